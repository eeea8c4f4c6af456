"""Copy, coerce, interpolate and expand the weights of pycaffe nets, in place."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from surgery.caffemodel import contents

log = logging.getLogger("surgery")
Shape = Tuple[int, ...]


@dataclass
class Report:
    """What a transplant did, by layer name of the new net (`dropped`: of the old one).

    copied: every blob had the new shape already.
    coerced: a blob held the same numbers in another shape, or a smaller window.
    dropped: layers or blobs of the old net that the new one lacks.
    unfilled: layers of the new net that got nothing and keep their fillers' values.
    zero: layers whose transplanted weights are all zero.
    """

    copied: List[str] = field(default_factory=list)
    coerced: List[str] = field(default_factory=list)
    dropped: List[str] = field(default_factory=list)
    unfilled: List[str] = field(default_factory=list)
    zero: List[str] = field(default_factory=list)

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

    A blob that differs only in shape is coerced (fc6: 4096 x 25088 into 4096 x 512 x 7 x 7). An
    InnerProduct over a C x h x w blob goes into the middle of a larger C x H x W kernel, with
    zeros around it: C, h and w are those of the layer's bottom in `net`. `suffix` is added to
    the old names to get the new ones.

    Raises ValueError, before anything is written, for a blob that fits in neither way.
    """
    report, moves = Report(), []
    for old_name in net.params:
        name = old_name + suffix
        if name not in new_net.params:
            report.dropped.append(old_name)
            continue
        old_blobs, new_blobs = net.params[old_name], new_net.params[name]
        same = True
        for i, old_blob in enumerate(old_blobs):
            if i >= len(new_blobs):
                report.dropped.append(f"{old_name}[{i}]")
                continue
            shape = tuple(new_blobs[i].data.shape)
            same = same and tuple(old_blob.data.shape) == shape
            window = _window(net, old_name) if i == 0 else None
            values = _coerce(name, i, np.asarray(old_blob.data), shape, window)
            moves.append((new_blobs[i], values))
        (report.copied if same else report.coerced).append(name)
        if len(old_blobs) and not np.any(old_blobs[0].data):
            report.zero.append(name)
    filled = report.copied + report.coerced
    report.unfilled = [name for name in new_net.params if name not in filled]
    for blob, values in moves:
        blob.data[...] = values
    if not filled:
        log.warning("transplant: the nets share no layer name, so nothing was copied")
    elif report.zero == filled:
        log.warning(
            "transplant: every weight that was copied is zero. A net on a zero trunk gives zero "
            "scores and its loss never moves: load the trained weights into the old net first"
        )
    return report


def _window(net: Any, layer: str) -> Optional[Shape]:
    """C x h x w of the layer's first bottom blob, where the net tells."""
    bottoms = net.bottom_names.get(layer)
    if not bottoms:
        return None
    shape: Shape = tuple(net.blobs[bottoms[0]].data.shape)
    return shape[1:] if len(shape) == 4 else None


def _coerce(
    layer: str, index: int, old: np.ndarray, shape: Shape, window: Optional[Shape]
) -> np.ndarray:
    if old.shape == shape:
        return old
    # The same count over another window would read one pixel's weights as another's.
    misread = window is not None and old.ndim == 2 and len(shape) == 4 and shape[1:] != window
    if old.size == int(np.prod(shape)) and not misread:
        return old.reshape(shape)
    kernel = old if old.ndim == 4 and old.shape[:2] == shape[:2] else None
    if kernel is None and window is not None and old.size == shape[0] * int(np.prod(window)):
        kernel = old.reshape((shape[0], *window))
    if (
        kernel is not None
        and len(shape) == 4
        and kernel.shape[:2] == shape[:2]
        and kernel.shape[2] <= shape[2]
        and kernel.shape[3] <= shape[3]
    ):
        top, left = (shape[2] - kernel.shape[2]) // 2, (shape[3] - kernel.shape[3]) // 2
        out = np.zeros(shape, old.dtype)
        out[:, :, top : top + kernel.shape[2], left : left + kernel.shape[3]] = kernel
        return out
    over = f" over a {_text(window)} blob" if window else ""
    raise ValueError(
        f"layer {layer}, blob {index}: found {_text(old.shape)}{over}, needed {_text(shape)}: "
        f"neither the same {'window' if misread else 'count'} nor a smaller window; rename the "
        "layer in the new net to leave it out"
    )


def bilinear(size: int) -> np.ndarray:
    """The size x size kernel that upsamples bilinearly by the factor (size + 1) // 2."""
    factor = (size + 1) // 2
    centre = (size - 1) / 2.0
    line = 1 - np.abs(np.arange(size) - centre) / factor
    return np.outer(line, line)


def interp(net: Any, layers: Iterable[str]) -> None:
    """Fill Deconvolution layers with bilinear kernels, each class into itself.

    The weights are K x K x k x k, or K x 1 x k x k with one group a class. Raises ValueError for
    a kernel that is not square, or that maps one count of channels to another.
    """
    for name in layers:
        if name not in net.params:
            raise ValueError(f"layer {name}: not in this net, which has {', '.join(net.params)}")
        weights = net.params[name][0].data
        shape = tuple(weights.shape)
        if len(shape) != 4 or shape[2] != shape[3]:
            raise ValueError(f"layer {name}: found weights {_text(shape)}, needed a square kernel")
        if shape[1] not in (1, shape[0]):
            raise ValueError(
                f"layer {name}: found {shape[0]} to {shape[1]} channels, needed as many in as out"
            )
        weights[...] = 0
        weights[np.arange(shape[0]), np.arange(shape[1])] = bilinear(shape[2])


def interp_layers(net: Any) -> List[str]:
    """The layers that upsample: those with `up` in their names, in the net's order."""
    return [name for name in net.params if "up" in name]


def expand_score(new_net: Any, new_layer: str, net: Any, layer: str) -> None:
    """Copy a score layer of K classes into the first K classes of a larger one.

    The further classes keep what they had. Raises ValueError if the new layer has fewer classes
    or the kernels differ in any other dimension.
    """
    for i, (new, old) in enumerate(zip(new_net.params[new_layer], net.params[layer])):
        new_shape, old_shape = tuple(new.data.shape), tuple(old.data.shape)
        if new_shape[0] < old_shape[0] or new_shape[1:] != old_shape[1:]:
            raise ValueError(
                f"layer {new_layer}, blob {i}: found {_text(old_shape)} in {layer}, needed at "
                f"most {new_shape[0]} classes of {_text(new_shape[1:]) or 'one number'}"
            )
    for new, old in zip(new_net.params[new_layer], net.params[layer]):
        new.data[: old.data.shape[0]] = old.data


def check_weights(net: Any, path: str, need: Sequence[str] = ()) -> List[str]:
    """Whether `net.copy_from(path)` would do what is meant; the layers it would fill.

    Caffe skips, without a word, the layers that a weights file does not name. Raises ValueError
    for a file that is cut off, that has no layer of `net`, a layer in another shape, or that
    lacks one of the layers in `need`; OSError for one that cannot be read.
    """
    if path.endswith((".h5", ".hdf5")):
        return []
    found = contents(path)
    common = [name for name in net.params if name in found]
    if not common:
        raise ValueError(
            f"{path}: has none of this net's layers: found {_some(found)}, needed "
            f"{_some(net.params)}; these are the weights of another net"
        )
    for name in common:
        blobs = net.params[name]
        if len(blobs) != len(found[name]):
            raise ValueError(
                f"{path}: layer {name} has {len(found[name])} blobs, this net needs {len(blobs)}"
            )
        for i, shape in enumerate(found[name]):
            needed = tuple(blobs[i].shape)
            if not _equal(shape, needed):
                raise ValueError(
                    f"{path}: layer {name}, blob {i}: found {_text(shape)}, this net needs "
                    f"{_text(needed)}; these are the weights of another net"
                )
    missing = [name for name in need if name not in found]
    if missing:
        raise ValueError(
            f"{path}: lacks layer {_some(missing)} of this net; it has {_some(found)}; these are "
            "the weights of another net"
        )
    return common


def zero_layers(net: Any, names: Iterable[str]) -> List[str]:
    """Those of the named layers whose weights are all zero."""
    return [name for name in names if not np.any(net.params[name][0].data)]


def _equal(shape: Shape, needed: Shape) -> bool:
    """Caffe's rule: an old-format blob of four dimensions may have ones in front."""
    if len(shape) == 4 and len(needed) < 4:
        return shape == (1,) * (4 - len(needed)) + needed
    return shape == needed


def _text(shape: Optional[Shape]) -> str:
    return " x ".join(str(n) for n in shape or ())


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
