"""The sliding windows of layers: kernel, stride, pad and dilation, read from a layer's settings.

This module is the only reader of these settings. `caffe.proto` spells an extent in three ways:
once for all axes (`kernel_size: 3`), once for each axis (`kernel_size: 3 kernel_size: 5`), or for
height and width (`kernel_h: 3 kernel_w: 5`). Forks have more words, which `in_plain_words` turns
into these. The reader needs neither a net nor PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import Message

from ..blob import INT_MAX
from ..proto import caffe_pb2

#: The largest float32. Max pooling pads with its negative, which never wins.
FLT_MAX = float(np.finfo(np.float32).max)

#: The field of LayerParameter that describes the window of each layer type.
WINDOW_FIELDS = {
    "CConvolution": "convolution_param",
    "Convolution": "convolution_param",
    "Convolution3D": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "Deconvolution3D": "convolution_param",
    "DepthwiseConv": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Im2col": "convolution_param",
    "NdConvolution": "convolution_param",
    "NdPooling": "pooling_param",
    "Pooling": "pooling_param",
    "Pooling3D": "pooling_param",
}

#: The words of forks for an extent's fields: DeepLab, ParseNet; C3D (the first of three axes).
FORK_WORDS = {
    "hole": "dilation",
    "hole_h": "dilation_h",
    "hole_w": "dilation_w",
    "filter_stride": "dilation",
    "filter_stride_h": "dilation_h",
    "filter_stride_w": "dilation_w",
}
FIRST_AXIS = {"kernel": "kernel_depth", "stride": "temporal_stride", "pad": "temporal_pad"}

Settings = Message | Mapping[str, Any]


class Window(NamedTuple):
    """The positions of the bottom that one position of the top depends on, for each spatial axis.

    Position o of the top reads the positions o * stride - pad + dilation * i of the bottom, for i
    from 0 to kernel - 1. In a Deconvolution the roles are reversed: position o of the bottom adds
    to these positions of the top.

    fill: the value that is read beyond the edges of the bottom.
    """

    kernel: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    pad: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    fill: float = 0.0

    @property
    def reach(self) -> tuple[int, ...]:
        """The distance from the first to the last position of a kernel, plus one."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))


#: The window of a layer whose top depends on the same position of the bottom alone.
POINT = Window()


def set_fields(settings: Settings) -> dict[str, Any]:
    """Return the fields that a message or a dict sets, by name."""
    if isinstance(settings, Message):
        return {field.name: value for field, value in settings.ListFields()}
    return dict(settings)


def window_settings(layer_type: str, layer: Settings) -> dict[str, Any]:
    """Return the settings from which a layer's window is read, by field name.

    layer: the LayerParameter, or the settings of a `net_spec.Function`, where the fields stand
        either by themselves or inside `convolution_param` or `pooling_param`.
    """
    if isinstance(layer, Message):
        return set_fields(getattr(layer, WINDOW_FIELDS[layer_type]))
    settings = dict(layer)
    for field in sorted(set(WINDOW_FIELDS.values())):
        settings.update(set_fields(settings.pop(field, {})))
    return settings


def read_window(layer_type: str, layer: Settings, axes: int | None = None) -> Window | None:
    """Return the window of a layer, or None for a Pooling over its whole bottom.

    layer_type: a type in WINDOW_FIELDS.
    layer: as in `window_settings`.
    axes: the number of spatial axes of the bottom. Each extent then has an entry for each axis, and
        a window that Caffe's layers refuse raises ValueError. With None, an extent has the entries
        that the settings have, one for all axes or one for each, and only a missing kernel raises
        ValueError.
    """
    settings = in_plain_words(window_settings(layer_type, layer))
    pooling = WINDOW_FIELDS[layer_type] == "pooling_param"
    if axes is not None:
        check = _check_pooling_spelling if pooling else _check_convolution_spelling
        check(settings, axes)
    stride, pad = _extent(settings, "stride", 1), _extent(settings, "pad", 0)
    if pooling and settings.get("global_pooling"):
        if axes is not None and (set(pad) != {0} or set(stride) != {1}):
            raise ValueError(
                f"global_pooling needs pad 0 and stride 1, found pad {pad}, stride {stride}"
            )
        return None
    kernel = _extent(settings, "kernel", None)
    if None in kernel:
        raise ValueError("the kernel has no size; set kernel_size, or kernel_h and kernel_w")
    method = settings.get("pool", caffe_pb2.PoolingParameter.MAX)
    maximum = pooling and method in (caffe_pb2.PoolingParameter.MAX, "MAX")
    window = Window(
        kernel, stride, pad, _extent(settings, "dilation", 1), -FLT_MAX if maximum else 0.0
    )
    return window if axes is None else _over_axes(window, axes, pooling)


def in_plain_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return window settings with the words of forks for an extent turned into BVLC's.

    `hole` (DeepLab v1) is `dilation`. `kernel_shape { dim: 3 dim: 5 dim: 5 }` and
    `kernel_size_3d` name each axis. `kernel_depth`, `temporal_stride` and `temporal_pad` (C3D) are
    the first of three axes, 1, 1 and 0 by default where one of them is set.
    """
    plain = {FORK_WORDS.get(name, name): value for name, value in settings.items()}
    volume = any(field in plain for field in FIRST_AXIS.values())
    for name, default in (("kernel", 1), ("stride", 1), ("pad", 0)):
        shape = plain.pop(f"{name}_shape", None)
        if shape is not None:
            plain[_field(name)] = list(set_fields(shape).get("dim", ()))
        each = plain.pop(f"{_field(name)}_3d", None)
        if each is not None:
            plain[_field(name)] = list(each)
        first = plain.pop(FIRST_AXIS[name], default)
        if volume:
            sides = _extent(plain, name, default)
            plain[_field(name)] = [first, *(sides * 2)[-2:]]
            for side in _sides(plain, name):
                del plain[side]
    return plain


def _field(name: str) -> str:
    """Return the field that holds an extent for all axes or for each."""
    return "kernel_size" if name == "kernel" else name


def _extent(settings: Mapping[str, Any], name: str, default: int | None) -> tuple[Any, ...]:
    """Return the entries of an extent, in the spelling that is set; the default without one."""
    sides = _sides(settings, name)
    if len(sides) < 2 and _field(name) in settings:
        entries = tuple(np.atleast_1d(settings[_field(name)]).tolist())
        return entries or (default,)
    if not sides:
        return (default,)
    return settings.get(f"{name}_h", default), settings.get(f"{name}_w", default)


def _check_convolution_spelling(settings: Mapping[str, Any], axes: int) -> None:
    """Raise ValueError where Caffe's base_conv_layer.cpp refuses how an extent is spelled."""
    for name in ("kernel", "stride", "pad", "dilation"):
        field, sides = _field(name), _sides(settings, name)
        entries = np.size(settings.get(field, ()))
        if sides and (axes != 2 or entries):
            raise ValueError(
                f"{name}_h and {name}_w are for 2 spatial axes, without {field}; found {axes} axes "
                f"and {entries} {field}"
            )
        if len(sides) == 1 and name != "pad":
            raise ValueError(f"{name}_h and {name}_w are needed together; found {sides[0]} alone")
        if entries not in (0, 1, axes):
            raise ValueError(f"{field} is set {entries} times; it needs once, or {axes} times")


def _check_pooling_spelling(settings: Mapping[str, Any], axes: int) -> None:
    """Raise ValueError where Caffe's pooling_layer.cpp refuses how an extent is spelled."""
    if settings.get("global_pooling") and ("kernel_size" in settings or _sides(settings, "kernel")):
        raise ValueError("global_pooling pools over the whole bottom; remove the kernel size")
    for name in ("kernel", "stride", "pad"):
        entries = np.size(settings.get(_field(name), ()))
        if entries not in (0, 1, axes):
            raise ValueError(
                f"{_field(name)} is set {entries} times; it needs once, or {axes} times"
            )
        once, sides = _field(name) in settings, len(_sides(settings, name))
        if name == "kernel":
            # As in Caffe, kernel_h or kernel_w alone is ignored beside kernel_size.
            valid = once != (sides == 2) or bool(settings.get("global_pooling"))
        else:
            valid = not sides or (sides == 2 and not once)
        if not valid:
            raise ValueError(
                f"needs {_field(name)}, or both {name}_h and {name}_w, and not all three"
            )


def _sides(settings: Mapping[str, Any], name: str) -> list[str]:
    """Return the fields of an extent for height and width that are set."""
    return [field for field in (f"{name}_h", f"{name}_w") if field in settings]


def _over_axes(window: Window, axes: int, pooling: bool) -> Window:
    """Return the window with an entry for each axis. Raises ValueError for invalid sizes."""
    if axes < 1:
        raise ValueError("a window needs a bottom with at least one axis to slide over")
    extents = (window.kernel, window.stride, window.pad, window.dilation)
    kernel, stride, pad, dilation = (
        extent * axes if len(extent) == 1 else extent for extent in extents
    )
    if min(*kernel, *stride, *dilation) < 1:
        raise ValueError(
            f"kernel {kernel}, stride {stride}, dilation {dilation}; all need to be at least 1"
        )
    if max(*kernel, *stride, *pad, *dilation) > INT_MAX:
        raise ValueError(
            f"kernel {kernel}, stride {stride}, pad {pad}, dilation {dilation}; all need to be at "
            f"most {INT_MAX}"
        )
    if pooling and any(p >= k for p, k in zip(pad, kernel)):
        raise ValueError(f"pad {pad} needs to be below the kernel {kernel}")
    return Window(kernel, stride, pad, dilation, window.fill)
