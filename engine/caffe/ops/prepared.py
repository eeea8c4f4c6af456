"""Convolutions of inference on the CPU, prepared once for all passes.

oneDNN reads weights in an order of its own. PyTorch rearranges the weights at every call, which
takes longer than the convolution of a small map. `convolution` rearranges the weights once. oneDNN
also adds another map and computes the ReLU while it writes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from .. import mode
from . import depthwise, fused_winograd, image, jobs, pointwise, stem, winograd

_POINTWISE = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
_REORDER = getattr(torch.ops.mkldnn, "_reorder_convolution_weight", None)
#: Up to this number of multiplications, PyTorch's own convolution of planes is faster than a call
#: of oneDNN, which takes at least 25 us.
MOST_PRODUCTS = 1_500_000
#: Up to this number of values of a single image, `torch.convolution` chooses PyTorch's own
#: convolution by itself for kernels of at most 3 x 3, and the call takes 2 us less.
MOST_CHOSEN_VALUES = 20480
#: A map with at least this number of values: to change its layout takes longer than a 1 x 1
#: convolution of the map.
LARGE_MAP = 1 << 20

Call = Callable[..., torch.Tensor]


class Geometry(NamedTuple):
    """The settings of a 2-d convolution; all but `group` are pairs (vertical, horizontal)."""

    stride: Sequence[int]
    pad: Sequence[int]
    dilation: Sequence[int]
    group: int


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Return whether this PyTorch has oneDNN's convolutions with prepared weights of this type."""
    if _POINTWISE is None or _REORDER is None or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def convolution(
    shape: Sequence[int],
    w: torch.Tensor,
    b: torch.Tensor | None,
    geometry: Geometry,
    slope: float | None = None,
    adds: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Call:
    """Return the convolution of maps of this shape, N x C x H x W, as a function.

    w: K x C / group x kh x kw. b: K values, or None. slope: of the negative results in a ReLU that
    follows; None without a ReLU. adds: the function has a second argument, a map that is added to
    the convolution before the ReLU. dtype: of the results, float32 or bfloat16; maps of another
    type are converted. w and b have this type, or are float32 for "winograd".
    """
    algorithm = choose_algorithm(shape, w.shape, geometry, dtype)
    if algorithm == "planes":
        return _with_epilogue(_small(shape, w, b, geometry), slope, adds)
    if algorithm == "stem":
        return _by_stem(shape, w, b, geometry, slope, adds)
    if algorithm == "winograd":
        return _by_winograd(shape, w, b, geometry.pad, slope, adds, dtype)
    if algorithm == "pointwise":
        prepared: Call = pointwise.Convolution(shape, w, b, geometry.stride, slope)
    elif algorithm in ("depthwise", "image"):
        kind = depthwise.Convolution if algorithm == "depthwise" else image.Convolution
        return kind(shape, w, b, geometry.stride, geometry.pad, slope)
    else:
        prepared = _by_onednn(shape, w, b, geometry, slope, adds)
    is_product = _is_pointwise(w.shape, geometry) and set(geometry.stride) == {1}
    if not is_product or math.prod(shape) < LARGE_MAP or dtype != torch.float32:
        return prepared
    on_planes = _with_epilogue(lambda x: torch.conv2d(x, w, b), slope, adds)
    return lambda x, *other: (on_planes if x.is_contiguous() else prepared)(x, *other)


def choose_algorithm(
    shape: Sequence[int],
    weights: Sequence[int],
    geometry: Geometry,
    dtype: torch.dtype = torch.float32,
    least: float = 0,
) -> str:
    """Return the name of the fastest algorithm for a convolution.

    The names are "planes" (PyTorch's own convolution, for few multiplications), "pointwise",
    "depthwise", "image" (of few planes), "stem", "winograd" and "onednn". All but the last two are
    for float32.

    shape, weights: the shapes of the map and of the weights. dtype: the type of the map, float32 or
    bfloat16. least: Winograd's algorithm is chosen if it saves at least this number of seconds.
    """
    kernel = tuple(weights[2:])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, geometry.dilation)]
    axes = zip(shape[2:], reach, geometry.stride, geometry.pad)
    positions = shape[0] * math.prod((n + 2 * p - r) // s + 1 for n, r, s, p in axes)
    is_full, is_dense = dtype == torch.float32, set(geometry.dilation) == {1}
    is_plain = is_full and is_dense and geometry.group == 1
    if is_plain and stem.is_usable(weights, geometry.stride, geometry.pad):
        return "stem"
    if is_plain and image.is_usable(weights, geometry.stride, positions):
        return "image"
    if is_plain and positions * math.prod(weights) <= MOST_PRODUCTS:
        return "planes"
    if is_full and _is_pointwise(weights, geometry) and jobs.is_usable():
        return "pointwise"
    is_depthwise = geometry.group == shape[1] == weights[0] and is_full and is_dense
    if is_depthwise and depthwise.is_usable(weights, geometry.stride, positions):
        return "depthwise"
    if not is_dense or set(geometry.stride) != {1}:
        return "onednn"
    pays = winograd.pays_for(shape, weights, geometry.pad, dtype, least)
    return "winograd" if pays else "onednn"


def _is_pointwise(weights: Sequence[int], geometry: Geometry) -> bool:
    """Return whether each output sees one position of all channels."""
    return tuple(weights[2:]) == (1, 1) and geometry.group == 1 and not any(geometry.pad)


def _by_winograd(
    shape: Sequence[int],
    w: torch.Tensor,
    b: torch.Tensor | None,
    pad: Sequence[int],
    slope: float | None,
    adds: bool,
    dtype: torch.dtype,
) -> Call:
    pads = pad[0], pad[1]
    groups = shape[1] // w.shape[1]
    if not fused_winograd.is_usable(w.shape, groups):
        return _with_epilogue(lambda x: winograd.convolve(x, w, b, pads), slope, adds)
    convolution = fused_winograd.Convolution(shape, w, b, pads, slope, dtype)

    def convolve_plainly(x: torch.Tensor) -> torch.Tensor:
        biases = None if b is None else b.to(dtype)
        return torch.conv2d(x.to(dtype), w.to(dtype), biases, padding=pads, groups=groups)

    plain = _with_epilogue(convolve_plainly, slope, adds)
    return _Finite(convolution, plain)


def _by_stem(
    shape: Sequence[int],
    w: torch.Tensor,
    b: torch.Tensor | None,
    geometry: Geometry,
    slope: float | None,
    adds: bool,
) -> Call:
    convolution = stem.Convolution(shape, w, b, geometry.pad, slope)
    stride, pad = tuple(geometry.stride), tuple(geometry.pad)
    plain = _with_epilogue(lambda x: torch.conv2d(x, w, b, stride, pad), slope, adds)
    return _Finite(convolution, plain)


class _Finite:
    """A convolution whose algorithm gives right values only where all values are finite.

    For other values, the plain convolution computes the result.
    """

    def __init__(self, fused: fused_winograd.Convolution | stem.Convolution, plain: Call) -> None:
        self.fused, self._plain = fused, plain

    def __call__(self, x: torch.Tensor, *other: torch.Tensor) -> torch.Tensor:
        y = self.fused.compute(x, *other)
        return self._plain(x, *other) if y is None else y


def fused(call: Callable[..., Any]) -> jobs.Operation | None:
    """Return the operation of the C library that a function is, or None."""
    if isinstance(call, _Finite):
        return call.fused
    return call if isinstance(call, jobs.Operation) else None


def _small(
    shape: Sequence[int], w: torch.Tensor, b: torch.Tensor | None, geometry: Geometry
) -> Call:
    """Return a convolution of planes, which PyTorch computes as a matrix product for each image."""
    kernel, convolve = tuple(w.shape[2:]), torch.ops.aten.thnn_conv2d.default
    stride, pad, w = tuple(geometry.stride), tuple(geometry.pad), w.contiguous()
    if shape[0] == 1 and max(kernel) <= 3 and math.prod(shape) <= MOST_CHOSEN_VALUES:
        rest = stride, pad, (1, 1), False, (0, 0), 1
        return lambda x: torch.convolution(x.contiguous(), w, b, *rest)
    return lambda x: convolve(x.contiguous(), w, kernel, b, stride, pad)


def _with_epilogue(convolve: Call, slope: float | None, adds: bool) -> Call:
    """Return the convolution followed by a sum and a ReLU, which are computed in place."""
    rectify = None if slope is None else rectifier(slope)
    if adds:
        add = torch.Tensor.add_
        if rectify is None:
            return lambda x, other: add(convolve(x), other)
        return lambda x, other: rectify(add(convolve(x), other))
    return convolve if rectify is None else lambda x: rectify(convolve(x))


def rectifier(slope: float) -> Call:
    """Return the ReLU with this slope of negative values, in place."""
    if not slope:
        return torch.relu_
    return lambda x: torch.nn.functional.leaky_relu_(x, slope)


def _by_onednn(
    shape: Sequence[int],
    w: torch.Tensor,
    b: torch.Tensor | None,
    geometry: Geometry,
    slope: float | None,
    adds: bool,
) -> Call:
    assert _POINTWISE is not None and _REORDER is not None
    stride, pad, dilation, group = (list(v) if isinstance(v, Sequence) else v for v in geometry)
    layout, dtype = mode.map_layout(shape, w.device), w.dtype
    packed = _REORDER(w, pad, stride, dilation, group, list(shape))
    kind: str | None = None if slope is None else ("leaky_relu" if slope else "relu")
    scalars: list[Any] = [slope] if slope else []
    if adds and slope:
        # After a sum, PyTorch passes no other function than ReLU on to oneDNN.
        add = _by_onednn(shape, w, b, geometry, None, adds)
        return lambda x, other: torch.nn.functional.leaky_relu_(add(x, other), slope)
    if adds:
        binary = _POINTWISE.binary

        def convolve_and_add(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            more = "add", None, kind, scalars, ""
            x, other = jobs.arranged(x, layout, dtype), jobs.arranged(other, layout, dtype)
            return binary(x, other, packed, b, pad, stride, dilation, group, *more)

        return convolve_and_add
    convolve, name = _POINTWISE.default, kind or "none"

    def convolve_alone(x: torch.Tensor) -> torch.Tensor:
        x = jobs.arranged(x, layout, dtype)
        return convolve(x, packed, b, pad, stride, dilation, group, name, scalars, "")

    return convolve_alone
