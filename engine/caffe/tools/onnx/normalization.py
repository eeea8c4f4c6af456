"""Writers of the layers that normalize, scale and shift channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...layers.forks.dense import EPSILON, KINDS
from .arrays import Array, constant, mean, sizes_of
from .model import Model, Source, affine, broadcast, refusal, writes, writes_also


@writes
def LRN(m: Model, source: Source) -> str:
    """Write LRN across channels; within channels, the formula with a mean of squares."""
    p, n = source.param.lrn_param, source.param.lrn_param.local_size
    if p.norm_region == p.ACROSS_CHANNELS:
        return m.add("LRN", source.input, size=n, alpha=p.alpha, beta=p.beta, bias=p.k)
    x = Array(m, source.input)
    window: dict[str, Any] = {"kernel_shape": [n, n], "pads": [n // 2] * 4, "count_include_pad": 1}
    squares = (x * x).node("AveragePool", **window)
    return (x * (squares * p.alpha + 1.0).node("Pow", -p.beta)).name


@writes
def MVN(m: Model, source: Source) -> str:
    """Write (x - mean) / (std + eps) with the statistics of each channel or image."""
    p, x = source.param.mvn_param, Array(m, source.input)
    missing = range(source.ndim, 4)
    x = x.unsqueeze(*missing) if missing else x
    axes = range(1 if p.across_channels else 2, source.ndim)
    # A bottom with fewer axes has one value a channel, which is its own mean.
    centred = x - (mean(m, source, x, axes) if axes else x)
    if not p.normalize_variance:
        return centred.name
    squares = centred * centred
    variance = mean(m, source, squares, axes) if axes else squares
    return (centred / (variance.apply("Sqrt") + p.eps)).name


@writes
def BatchNorm(m: Model, source: Source) -> str:
    """Write the stored mean and variance as a product and a sum; or those of the batch."""
    p = source.param.batch_norm_param
    # The first two parameters are sums over the batches, the third is how many batches count.
    first, second, total, *learned = source.parameters()
    factor = 1 / float(total[0]) if total[0] else 0.0
    if p.update_global_stats and source.layer.uses_running_sums:
        raise refusal(source.layer, "update_global_stats, with which a pass changes the layer,")
    if source.layer.uses_running_sums:
        average, variance = first * factor, second * factor
        scale = np.ones_like(variance) if p.disable_variance else 1 / np.sqrt(variance + p.eps)
        shift = None if p.disable_mean else -average * scale
        x = affine(m, source.input, 1, source.ndim, scale, shift)
    else:
        x = _of_batch(m, source)
    return affine(m, x, 1, source.ndim, *[*learned, None][:2]) if learned else x


def _of_batch(m: Model, source: Source) -> str:
    """Write the normalization by the mean and the variance of the batch."""
    p = source.param.batch_norm_param
    x, axes = Array(m, source.input), [0, *range(2, source.ndim)]
    centred = x - mean(m, source, x, axes)
    variance = mean(m, source, centred * centred, axes)
    y = x if p.disable_mean else centred
    return (y if p.disable_variance else y / (variance + p.eps).apply("Sqrt")).name


@writes
def BN(m: Model, source: Source) -> str:
    """Write scale and shift, after the normalization by the stored statistics where there are."""
    layer, p = source.layer, source.param.bn_param
    scale, shift, *running = (values.reshape(-1) for values in source.parameters())
    if layer.inference:
        return affine(m, source.input, 1, source.ndim, scale, shift)
    if layer.uses_running:
        average, variance = running
        std = np.sqrt(variance + p.eps) if layer.has_slope else np.sqrt(variance) + layer.std_eps
        factor = scale / std
        return affine(m, source.input, 1, source.ndim, factor, shift - average * factor)
    x, axes = Array(m, source.input), [0, *range(2, source.ndim)]
    centred = x - mean(m, source, x, axes)
    squares = mean(m, source, centred * centred, axes)
    if layer.has_slope:
        std = (squares + p.eps).apply("Sqrt")
    else:
        std = squares.apply("Sqrt") + layer.std_eps
    return affine(m, (centred / std).name, 1, source.ndim, scale, shift)


@writes
def Normalize(m: Model, source: Source) -> str | list[str]:
    """Write x / sqrt(sum of x^2 + eps), over the channels or the image, times the scale."""
    p, x = source.param.norm_param, Array(m, source.input)
    if source.layer.of_faces:
        absolute = source.param.normalize_param.normalize_type == "L1"
        length = x.apply("Abs").sum(1) if absolute else (x * x).sum(1).apply("Sqrt")
        length = length.maximum(1e-12)
        y = (x / length).name
        return [y, length.name] if source.layer.with_length else y
    axes = range(1, source.ndim) if p.across_spatial else [1]
    norm = ((x * x).sum(*axes) + p.eps).apply("Sqrt")
    scale = source.parameters()[0].reshape(1, -1, *[1] * (source.ndim - 2))
    return (x / norm * constant(m, scale)).name


@writes
def L2Normalize(m: Model, source: Source) -> str:
    """Write x over the length of each row."""
    x = Array(m, source.input)
    return (x / (x * x).sum(1).apply("Sqrt").maximum(1e-12)).name


@writes
def DenseBlock(m: Model, source: Source) -> str:
    """Write the layers of a dense block one after another, with the stored statistics."""
    p, layer = source.param.denseblock_param, source.layer
    count, parameters = p.numTransition, source.parameters()
    total = float(parameters[-1][0]) if layer.divides else 1.0

    def activated(x: str, part: int, i: int) -> str:
        first = part * KINDS * count + i
        scale, bias, average, variance = (
            parameters[first + kind * count].reshape(-1) for kind in range(1, KINDS)
        )
        weight = 1 / total if total else 0.0
        factor = scale / np.sqrt(variance * weight + EPSILON)
        return m.add("Relu", affine(m, x, 1, 4, factor, bias - average * weight * factor))

    x = source.input
    for i in range(count):
        y = activated(x, 0, i)
        if p.use_BC:
            y = activated(m.add("Conv", y, m.constant(parameters[KINDS * count + i])), 1, i)
        pads = [p.pad_h, p.pad_w] * 2
        y = m.add("Conv", y, m.constant(parameters[i]), pads=pads)
        x = m.add("Concat", x, y, axis=1)
    return x


@writes
def ChannelNorm(m: Model, source: Source) -> str:
    """Write the square root of the sum of x^2 over the channels."""
    x = Array(m, source.input)
    return (x * x).sum(1).apply("Sqrt").name


@writes
def Softmax(m: Model, source: Source) -> str:
    """Write Softmax along the axis."""
    return m.add("Softmax", source.input, axis=source.axis(source.param.softmax_param.axis))


@writes
def Scale(m: Model, source: Source) -> str:
    """Write the product with a parameter or with the second bottom, and the bias."""
    p = source.param.scale_param
    axis, parameters = source.axis(p.axis), source.parameters()
    bias = parameters[-1] if p.bias_term else None
    if len(source.inputs) == 1:
        return affine(m, source.input, axis, source.ndim, parameters[0], bias)
    scaled = m.add("Mul", source.input, broadcast(m, source, axis))
    return affine(m, scaled, axis, source.ndim, None, bias)


@writes
def Bias(m: Model, source: Source) -> str:
    """Write the sum with a parameter or with the second bottom."""
    axis = source.axis(source.param.bias_param.axis)
    if len(source.inputs) == 1:
        (bias,) = source.parameters()
        return affine(m, source.input, axis, source.ndim, None, bias)
    return m.add("Add", source.input, broadcast(m, source, axis))


@writes
def Axpy(m: Model, source: Source) -> str:
    """Write a * x + b with one factor for each channel."""
    factor, x, shift = (Array(m, name) for name in source.inputs)
    ones = [1] * (len(source.shapes[1]) - 2)
    return (factor.reshape(0, source.shapes[0][1], *ones) * x + shift).name


@writes
def EltwiseAffine(m: Model, source: Source) -> str:
    """Write x * a + b with one factor and one term for each channel."""
    spread = (-1, *[1] * (source.ndim - 2))
    slope, shift = (constant(m, w.reshape(spread)) for w in source.parameters())
    return (Array(m, source.input) * slope + shift).name


@writes
def PadChannel(m: Model, source: Source) -> str:
    """Write zeros behind the channels."""
    more = source.param.pad_channel_param.num_channels_to_pad
    sides = [(0, 0), (0, more), *[(0, 0)] * (source.ndim - 2)]
    return Array(m, source.input).pad(source.ndim, sides).name


@writes
def ChannelScale(m: Model, source: Source) -> str:
    """Write the product with one factor for each position."""
    if not source.param.channel_scale_param.do_forward:
        return source.input
    x, factor = (Array(m, name) for name in source.inputs)
    if len(source.shapes[1]) == source.ndim:
        return (x * factor).name
    sizes = sizes_of(m, source, range(2, source.ndim))
    return (x * factor.reshape(-1, 1, *sizes)).name


writes_also(L2Normalize, "L2Normalization")
