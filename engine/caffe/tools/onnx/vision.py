"""Writers of the layers that work on windows of maps: convolutions, pooling, patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...proto import caffe_pb2
from .arrays import Array, constant, product, sizes_of
from .model import INT64, Model, Source, free_size, refusal, writes, writes_also


def _convolve(m: Model, source: Source, op: str) -> list[str]:
    layer = source.layer
    if layer.axis != 1:
        raise refusal(layer, f"axis {layer.axis} (other than 1)")
    parameters = [m.constant(values) for values in source.parameters()]
    attributes = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": layer.pad * 2,
        "dilations": layer.dilation,
        "group": layer.group,
    }
    return [m.add(op, x, *parameters, **attributes) for x in source.inputs]


@writes
def Convolution(m: Model, source: Source) -> list[str]:
    """Write Conv."""
    return _convolve(m, source, "Conv")


@writes
def Deconvolution(m: Model, source: Source) -> list[str]:
    """Write ConvTranspose."""
    return _convolve(m, source, "ConvTranspose")


@writes
def CConvolution(m: Model, source: Source) -> str:
    """Write Conv with the masked weights."""
    window = source.layer.window_read
    attributes = {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": window.pad * 2,
        "dilations": window.dilation,
        "group": source.param.convolution_param.group,
    }
    parameters = [m.constant(values) for values in source.layer.masked_arrays()]
    return m.add("Conv", source.input, *parameters, **attributes)


writes_also(
    Convolution,
    "Convolution3D",
    "NdConvolution",
    "ConvolutionDepthwise",
    "DepthwiseConv",
    "DepthwiseConvolution",
)
writes_also(Deconvolution, "Deconvolution3D")


@writes
def Pooling(m: Model, source: Source) -> str | list[str]:
    """Write MaxPool or AveragePool, or their global forms. An average counts the padding.

    The second top has the places of the maxima in their maps.
    """
    layer, x = source.layer, source.input
    if layer.kernel is None and not layer.stochastic and not layer.with_mask:
        return m.add("GlobalMaxPool" if layer.maximum else "GlobalAveragePool", x)
    # A global pooling has one window, as large as the map.
    kernel = layer.kernel or source.fixed_sizes(range(2, source.ndim))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": layer.stride}
    free = any(source.is_free(axis) for axis in range(2, source.ndim))
    if free:
        if layer.ceil and any(s > k for s, k in zip(layer.stride, kernel)):
            raise free_size(layer, f"the size of its bottom, as stride {layer.stride} is large")
        attributes.update(pads=layer.pad * 2, ceil_mode=int(layer.ceil))
    else:
        attributes["pads"] = _sides(source)
    if layer.maximum:
        return _maxima(m, source, {**attributes, "dilations": layer.dilation})
    if set(layer.dilation) != {1}:
        raise refusal(layer, f"an average over windows with hole {layer.dilation}")
    if layer.stochastic:
        return _expected(m, source, attributes)
    counts = int(source.param.pooling_param.avg_include_pad)
    shares = None if free or not counts else _shares(source, kernel)
    if shares is None:
        return m.add("AveragePool", x, count_include_pad=counts, **attributes)
    # Programs count a padding that differs behind and before in several ways.
    sides, axes = attributes.pop("pads"), source.ndim - 2
    padded = Array(m, x).pad(source.ndim, list(zip(sides[:axes], sides[axes:])))
    return (padded.node("AveragePool", **attributes) * constant(m, shares)).name


writes_also(Pooling, "Pooling3D", "NdPooling")


def _sides(source: Source) -> list[int]:
    """Return the padding before and behind each axis, so that all windows are complete.

    Programs round sizes up in several ways; with fixed sizes, nothing has to be rounded.
    """
    layer, size = source.layer, source.shapes[0][2:]
    reach = [d * (k - 1) + 1 for k, d in zip(layer.kernel or size, layer.dilation)]
    behind = []
    for n, o, s, r, p in zip(size, layer.output_size(size), layer.stride, reach, layer.pad):
        if (o - 1) * s >= n + p:
            raise refusal(layer, f"a window that begins behind the {n} positions")
        behind.append(max((o - 1) * s + r - n - p, 0))
    return [*layer.pad, *behind]


def _shares(source: Source, kernel: Sequence[int]) -> np.ndarray | None:
    """Return the factors for the means over complete windows: some of their values do not count.

    None if all windows lie inside the padding, so that all values count.
    """
    layer, size = source.layer, source.shapes[0][2:]
    shares: np.ndarray = np.ones(())
    for n, o, s, k, p in zip(size, layer.output_size(size), layer.stride, kernel, layer.pad):
        start = np.arange(o) * s - p
        shares = shares[..., None] * (k / (np.minimum(start + k, n + p) - start))
    return None if (shares == 1).all() else shares


def _maxima(m: Model, source: Source, attributes: dict[str, Any]) -> str | list[str]:
    """Write MaxPool, and for a second top the places, row * width + column."""
    if not source.layer.with_mask:
        return m.add("MaxPool", source.input, **attributes)
    maxima, index = m.add_split("MaxPool", 2, source.input, **attributes)
    # ONNX counts through all maps of the batch.
    area = _area(m, source)
    places = Array(m, index, INT64).node("Mod", area)
    return [maxima, m.add("Cast", places.name, to=1)]


def _area(m: Model, source: Source) -> Any:
    """Return the number of positions of a map of the first bottom."""
    return product(sizes_of(m, source, range(2, source.ndim)))


def _expected(m: Model, source: Source, attributes: dict[str, Any]) -> str:
    """Write stochastic pooling in TEST: sum(x^2) / sum(x) over each window."""
    if source.layer.phase != caffe_pb2.TEST:
        raise refusal(source.layer, "stochastic pooling in the TRAIN phase")
    x = Array(m, source.input)
    squares = (x * x).node("AveragePool", **attributes)
    total = x.node("AveragePool", **attributes)
    empty = total.equals(0.0)
    one, zero = constant(m, 1.0), constant(m, 0.0)
    return empty.where(zero, squares / empty.where(one, total)).name


@writes
def Crop(m: Model, source: Source) -> str:
    """Write the part of the first bottom that has the size of the second."""
    p, ndim = source.param.crop_param, source.ndim
    axis = source.axis(p.axis)
    offsets = list(p.offset) or [0]
    offsets = offsets * (ndim - axis) if len(offsets) == 1 else offsets
    axes = range(axis, ndim)
    starts = m.integers(*offsets)
    x, reference = source.inputs
    if not any(source.is_free(i, 1) for i in axes):
        ends = m.integers(*(o + source.shapes[1][i] for o, i in zip(offsets, axes)))
    else:
        size = m.add("Slice", m.add("Shape", reference), m.integers(axis), m.integers(ndim))
        ends = m.add("Add", size, starts)
    return m.add("Slice", x, starts, ends, m.integers(*axes))


@writes
def Im2col(m: Model, source: Source) -> str:
    """Write Conv with a kernel for each place of the window that copies the place."""
    layer, ndim = source.layer, source.ndim
    if layer.axis != 1:
        raise refusal(layer, f"axis {layer.axis} (other than 1)")
    if any(r > n + 2 * p for r, n, p in zip(layer.reach, source.shapes[0][2:], layer.pad)):
        raise refusal(layer, "a window that is larger than the padded bottom")
    channels, places = source.shapes[0][1], math.prod(layer.kernel)
    copies = np.eye(places).reshape(places, 1, *layer.kernel)
    kernels = np.tile(copies, (channels, *[1] * (ndim - 1)))
    return m.add(
        *("Conv", source.input, m.constant(kernels)),
        strides=layer.stride,
        pads=layer.pad * 2,
        dilations=layer.dilation,
        group=channels,
    )


@writes
def Local(m: Model, source: Source) -> str:
    """Write Conv that copies the patches, their products with the weights, and ReduceSum."""
    p = source.param.local_param
    source.fixed_sizes((2, 3))
    weights, *bias = source.parameters()
    count, channels = p.kernel_size**2, source.shapes[0][1]
    copies = np.tile(np.eye(count).reshape(count, 1, p.kernel_size, -1), (channels, 1, 1, 1))
    window: dict[str, Any] = {"strides": [p.stride] * 2, "pads": [p.pad] * 4, "group": channels}
    patches = Array(m, source.input).node("Conv", constant(m, copies), **window)
    columns = patches.reshape(0, 1, channels * count, -1)
    y = (columns * constant(m, weights[:, 0])).sum(2, keepdims=False)
    y = y + constant(m, bias[0][0]) if bias else y
    return y.reshape(0, p.num_output, *source.layer.size).name


@writes
def SPP(m: Model, source: Source) -> str:
    """Write a pooling for each level of the pyramid, and Concat."""
    p = source.param.spp_param
    if p.pool == p.STOCHASTIC:
        raise refusal(source.layer, "stochastic pooling")
    size = source.fixed_sizes((2, 3))
    levels = []
    for bins in (1 << i for i in range(p.pyramid_height)):
        kernel = [math.ceil(n / bins) for n in size]
        before = [(k * bins - n + 1) // 2 for n, k in zip(size, kernel)]
        behind = [k * bins - n - a for n, k, a in zip(size, kernel, before)]
        window: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": kernel,
            "pads": before + behind,
        }
        if p.pool == p.MAX:
            level = m.add("MaxPool", source.input, **window)
        else:
            level = m.add("AveragePool", source.input, count_include_pad=1, **window)
        levels.append(level)
    if len(levels) == 1:
        return levels[0]
    return m.add("Concat", *(m.add("Flatten", level, axis=1) for level in levels), axis=1)
