"""Copy weights from the layers of one pycaffe net into those of another, in place."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, List, Optional, Sequence

import numpy as np

from surgery.shapes import Shape, shape_text

log = logging.getLogger("surgery")


@dataclass
class Report:
    """What a transplant did, by layer name of the new net (`dropped`: of the old net).

    copied: layers whose blobs had the new shapes already.
    coerced: layers with a blob of the same numbers in another shape, or of a smaller window.
    dropped: layers or blobs of the old net that the new one lacks.
    unfilled: layers of the new net that keep the values of their fillers.
    zero: layers whose transplanted weights are all zero.
    """

    copied: List[str] = field(default_factory=list)
    coerced: List[str] = field(default_factory=list)
    dropped: List[str] = field(default_factory=list)
    unfilled: List[str] = field(default_factory=list)
    zero: List[str] = field(default_factory=list)

    @property
    def filled(self) -> List[str]:
        """The layers of the new net that have weights of the old one."""
        return self.copied + self.coerced

    def __str__(self) -> str:
        lines = [
            f"{title}: {', '.join(names)}"
            for title, names in (
                ("copied", self.copied),
                ("coerced", self.coerced),
                ("dropped", self.dropped),
                ("not filled", self.unfilled),
                ("all zero", self.zero),
            )
            if names
        ]
        return "\n".join(lines)


def transplant(new_net: Any, net: Any, suffix: str = "") -> Report:
    """Copy the weights of `net` into the layers of `new_net` that have the same names.

    A blob that differs only in shape is coerced (fc6: 4096 x 25088 into 4096 x 512 x 7 x 7). The
    weights of an InnerProduct over a C x h x w blob go into the middle of a larger C x H x W
    kernel, with zeros around them; C, h and w are those of the layer's bottom in `net`.

    suffix: is put behind the old names to get the new ones: conv1_1 fills conv1_1color.

    Raises ValueError, before anything is written, for a blob that fits in neither way.
    """
    report, values = Report(), []
    for old_name in net.params:
        name = old_name + suffix
        if name not in new_net.params:
            report.dropped.append(old_name)
            continue
        old_blobs, new_blobs = net.params[old_name], new_net.params[name]
        report.dropped += [f"{old_name}[{i}]" for i in range(len(new_blobs), len(old_blobs))]
        equal = True
        for i, (old_blob, new_blob) in enumerate(zip(old_blobs, new_blobs)):
            shape = tuple(new_blob.data.shape)
            equal = equal and tuple(old_blob.data.shape) == shape
            window = _window(net, old_name) if i == 0 else None
            values.append((new_blob, _coerce(name, i, np.asarray(old_blob.data), shape, window)))
        (report.copied if equal else report.coerced).append(name)
        if len(old_blobs) and not np.any(old_blobs[0].data):
            report.zero.append(name)
    report.unfilled = [name for name in new_net.params if name not in report.filled]
    for blob, array in values:
        blob.data[...] = array
    _warn(report)
    return report


def _warn(report: Report) -> None:
    if not report.filled:
        log.warning("transplant: the nets share no layer name, so nothing was copied")
    elif set(report.zero) == set(report.filled):
        log.warning(
            "transplant: every weight that was copied is zero. A net on a zero trunk gives zero "
            "scores, and its loss never changes: load the trained weights into the old net first"
        )


def _window(net: Any, layer: str) -> Optional[Shape]:
    """Return C x h x w of the layer's first bottom; None if the net does not tell."""
    bottoms = net.bottom_names.get(layer)
    if not bottoms:
        return None
    shape: Shape = tuple(net.blobs[bottoms[0]].data.shape)
    return shape[1:] if len(shape) == 4 else None


def _coerce(
    layer: str, index: int, old: np.ndarray, shape: Shape, window: Optional[Shape]
) -> np.ndarray:
    """Return the numbers of `old` in a new shape.

    window: C x h x w of the blob that the weights are multiplied with, if that is known.
    """
    if old.shape == shape:
        return old
    # Equal counts over another window would take one pixel's weights for another's.
    other_window = window is not None and old.ndim == 2 and len(shape) == 4 and shape[1:] != window
    if old.size == int(np.prod(shape)) and not other_window:
        return old.reshape(shape)
    kernel = _kernel(old, shape, window)
    if kernel is not None:
        return _centred(kernel, shape)
    over = f" over a {shape_text(window)} blob" if window else ""
    raise ValueError(
        f"layer {layer}, blob {index}: is {shape_text(old.shape)}{over}, needs "
        f"{shape_text(shape)}, the same {'window' if other_window else 'count'} or a smaller "
        "window; rename the layer in the new net to leave it out, or use `python -m surgery adapt`"
    )


def _kernel(old: np.ndarray, shape: Shape, window: Optional[Shape]) -> Optional[np.ndarray]:
    """Return weights as K x C x h x w with h and w not above those of `shape`, or None."""
    if len(shape) != 4:
        return None
    kernel = old if old.ndim == 4 and old.shape[:2] == shape[:2] else None
    if kernel is None and window is not None and old.size == shape[0] * int(np.prod(window)):
        kernel = old.reshape((shape[0], *window))
    if kernel is None or kernel.shape[:2] != shape[:2]:
        return None
    return kernel if kernel.shape[2] <= shape[2] and kernel.shape[3] <= shape[3] else None


def _centred(kernel: np.ndarray, shape: Shape) -> np.ndarray:
    """Return zeros of `shape` with a kernel in the middle of height and width."""
    height, width = kernel.shape[2:]
    top, left = (shape[2] - height) // 2, (shape[3] - width) // 2
    larger = np.zeros(shape, kernel.dtype)
    larger[:, :, top : top + height, left : left + width] = kernel
    return larger


def expand_score(new_net: Any, new_layer: str, net: Any, layer: str) -> None:
    """Copy a score layer of K classes into the first K classes of a larger one.

    The further classes keep their values. Raises ValueError if the new layer has fewer classes or
    the kernels differ in another dimension.
    """
    blobs = list(zip(new_net.params[new_layer], net.params[layer]))
    for i, (new, old) in enumerate(blobs):
        new_shape, old_shape = tuple(new.data.shape), tuple(old.data.shape)
        if new_shape[0] < old_shape[0] or new_shape[1:] != old_shape[1:]:
            raise ValueError(
                f"layer {new_layer}, blob {i}: is {shape_text(old_shape)} in {layer}, needs at "
                f"most {new_shape[0]} classes of {shape_text(new_shape[1:]) or 'one number'}"
            )
    for new, old in blobs:
        new.data[: old.data.shape[0]] = old.data


def extend_channels(new_net: Any, new_layer: str, blobs: Sequence[np.ndarray]) -> None:
    """Fill a convolution that reads more channels than the one with the weights `blobs`.

    The first channels get the old weights, each further channel their mean over the channels: so
    early fusion reads depth beside colour (Long et al., arXiv 1605.06211, section 5).

    blobs: weights, K x C x h x w, and more, such as the bias, in the shapes of the new layer.
    Raises ValueError for blobs of other shapes, and for a layer that reads fewer channels.
    """
    new_blobs = new_net.params[new_layer]
    if len(new_blobs) != len(blobs):
        raise ValueError(f"layer {new_layer}: has {len(new_blobs)} blobs, needs {len(blobs)}")
    new, old = tuple(new_blobs[0].data.shape), tuple(blobs[0].shape)
    fits = len(old) == len(new) == 4 and (new[0], *new[2:]) == (old[0], *old[2:])
    if not fits or new[1] < old[1]:
        raise ValueError(
            f"layer {new_layer}: is {shape_text(new)}, needs {shape_text(old)}, or more channels"
        )
    for i, (blob, array) in enumerate(zip(new_blobs, blobs)):
        if i and int(np.prod(blob.data.shape)) != array.size:
            raise ValueError(
                f"layer {new_layer}, blob {i}: is {shape_text(tuple(blob.data.shape))}, needs "
                f"{shape_text(array.shape)}"
            )
    new_blobs[0].data[:, : old[1]] = blobs[0]
    new_blobs[0].data[:, old[1] :] = blobs[0].mean(axis=1, keepdims=True)
    for blob, array in zip(list(new_blobs)[1:], blobs[1:]):
        blob.data[...] = array.reshape(blob.data.shape)
