"""Convolutions of an inference on the CPU, with all decisions made and the weights put in order.

oneDNN reads weights in an order of its own. PyTorch puts them into that order at every call, which
takes longer than the convolution where the map is small. `convolution` does it once, and lets
oneDNN add another map and rectify while it writes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

import torch

from .. import mode
from . import fused_winograd, inner, jobs, pointwise, pooling, stem, winograd

_POINTWISE = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
_REORDER = getattr(torch.ops.mkldnn, "_reorder_convolution_weight", None)
#: Multiplications up to which PyTorch's own convolution of planes is faster than a call of oneDNN,
#: which takes 25 us at least.
FEW = 1_500_000
#: Values of a single image up to which PyTorch's `convolution` is its own for kernels of 3 at most;
#: a call of it takes 2 us less than naming its own.
OWN = 20480
#: Values of a map from which on turning planes takes longer than a 1 x 1 convolution of them.
MANY = 1 << 20

Call = Callable[..., torch.Tensor]
#: What the C library computes in a chain.
NativeCall = Union[jobs.Convolution, pooling.Maxima, inner.Product]


class Geometry(NamedTuple):
    """How a 2-d convolution moves over its map; each but `group` has a value for both axes."""

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

    w: K x C / group x kh x kw. b: K values, or None. slope: that of negative results in a ReLU that
    follows; None without a ReLU. adds: the function has a second argument, a map that is added to
    the convolution before the ReLU. dtype: float32 or bfloat16; maps of another type are converted
    to it, and results have it. w and b have it, too, or are float32 for "winograd".
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
    else:
        prepared = _by_onednn(shape, w, b, geometry, slope, adds)
    is_product = _is_pointwise(w.shape, geometry) and set(geometry.stride) == {1}
    if not is_product or math.prod(shape) < MANY or dtype != torch.float32:
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
    """Return what computes a convolution fastest.

    The result is "planes", "winograd", "pointwise", "stem" or "onednn".
    shape, weights: the shapes of the map and of the weights. dtype: the type of the map, float32 or
    bfloat16. least: the seconds that the C library's Winograd needs to save. "planes" is PyTorch's
    own convolution, for few multiplications; it, "pointwise" and "stem" are for float32.
    """
    kernel = tuple(weights[2:])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, geometry.dilation)]
    axes = zip(shape[2:], reach, geometry.stride, geometry.pad)
    positions = shape[0] * math.prod((n + 2 * p - r) // s + 1 for n, r, s, p in axes)
    is_full, is_dense = dtype == torch.float32, set(geometry.dilation) == {1}
    is_plain = is_full and is_dense and geometry.group == 1
    if is_plain and positions * math.prod(weights) <= FEW:
        return "planes"
    if is_full and _is_pointwise(weights, geometry) and jobs.is_usable(weights[0]):
        return "pointwise"
    if is_plain and stem.is_usable(weights, geometry.stride, geometry.pad):
        return "stem"
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
    return _Winograd(convolution, plain)


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
    return _Winograd(convolution, plain)


class _Winograd:
    """A convolution by Winograd's algorithm; the plain one where results are not finite."""

    def __init__(self, fused: fused_winograd.Convolution | stem.Convolution, plain: Call) -> None:
        self.fused, self._plain = fused, plain

    def __call__(self, x: torch.Tensor, *other: torch.Tensor) -> torch.Tensor:
        y = self.fused(x, *other)
        return self._plain(x, *other) if y is None else y


def fused(call: Call) -> NativeCall | None:
    """Return the convolution, pooling or product of the C library that a function is, or None."""
    if isinstance(call, _Winograd):
        return call.fused
    return call if isinstance(call, (jobs.Convolution, pooling.Maxima, inner.Product)) else None


def _small(
    shape: Sequence[int], w: torch.Tensor, b: torch.Tensor | None, geometry: Geometry
) -> Call:
    """Return a convolution of planes that is a product for each image."""
    kernel, convolve = tuple(w.shape[2:]), torch.ops.aten.thnn_conv2d.default
    stride, pad, w = tuple(geometry.stride), tuple(geometry.pad), w.contiguous()
    if shape[0] == 1 and max(kernel) <= 3 and math.prod(shape) <= OWN:
        rest = stride, pad, (1, 1), False, (0, 0), 1
        return lambda x: torch.convolution(x.contiguous(), w, b, *rest)
    return lambda x: convolve(x.contiguous(), w, kernel, b, stride, pad)


def _with_epilogue(convolve: Call, slope: float | None, adds: bool) -> Call:
    """Return the convolution with a sum and a ReLU, computed in place, after it."""
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
