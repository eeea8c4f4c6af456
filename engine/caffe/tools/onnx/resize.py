"""Writers of the layers that change the size of maps, and of those of optical flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...layers.forks.flow_data import shares
from .arrays import Array, Size, constant, inputs, number, size_of, sizes_of, vector
from .model import BOOL, INT64, Model, Source, free_size, linear, refusal, writes, writes_also


def _resize(m: Model, x: Array, size: Sequence[Size], batch: Sequence[Size], **how: Any) -> str:
    """Write Resize to a height and width. batch: the sizes of the first two axes."""
    sizes = vector(m, *batch, *size)
    return m.add("Resize", x.name, "", "", sizes.name, **how)


@writes
def Interp(m: Model, source: Source) -> str:
    """Write Resize, linear, with aligned corners; before it Slice for pad_beg and pad_end."""
    p, x = source.param.interp_param, Array(m, source.input)
    sizes: list[Any] = sizes_of(m, source, (2, 3))
    if p.pad_beg or p.pad_end:
        for axis, n in zip((2, 3), sizes):
            x = x.slice(axis, -p.pad_beg, n + p.pad_end)
        sizes = [n + (p.pad_beg + p.pad_end) for n in sizes]
    if len(source.inputs) > 1:
        size: Sequence[Size] = sizes_of(m, source, (2, 3), bottom=1)
    else:
        size = source.layer.output_size(sizes)
    how = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    return _resize(m, x, size, sizes_of(m, source, (0, 1)), **how)


@writes
def Accum(m: Model, source: Source) -> str:
    """Write Resize, linear, with aligned corners."""
    p = source.param.accum_param
    size: Sequence[Any] = (p.top_height, p.top_width)
    if len(source.inputs) > 1:
        size = sizes_of(m, source, (2, 3), bottom=1)
    elif p.size_divisible_by:
        step = p.size_divisible_by
        size = [(n + (step - 1)) // step * step for n in sizes_of(m, source, (2, 3))]
    how = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    return _resize(m, Array(m, source.input), size, sizes_of(m, source, (0, 1)), **how)


@writes
def ImResize(m: Model, source: Source) -> str:
    """Write Resize, cubic with a = -0.75."""
    p = source.param.imresize_param
    size: Sequence[Size] = (p.target_spatial_height, p.target_spatial_width)
    if p.factor:
        size = [_times(n, p.factor) for n in sizes_of(m, source, (2, 3))]
    how = {"mode": "cubic", "cubic_coeff_a": -0.75}
    return _resize(m, Array(m, source.input), size, sizes_of(m, source, (0, 1)), **how)


def _times(size: Size, factor: float) -> Size:
    """A size times a factor, rounded down."""
    if isinstance(size, Array):
        return (number(size) * factor).to(INT64)
    return int(size * factor)


@writes
def MaskResize(m: Model, source: Source) -> str:
    """Write Resize, linear, from the positions i H / h."""
    p = source.param.mask_resize_param
    how = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    size = (p.output_height, p.output_width)
    return _resize(m, Array(m, source.input), size, sizes_of(m, source, (0, 1)), **how)


@writes
def DataAugmentation(m: Model, source: Source) -> str:
    """Write the centre crop as Slice, and Sub of the mean."""
    p, x = source.param.augmentation_param, Array(m, source.input)
    if len(source.inputs) > 1:
        raise refusal(source.layer, "a second bottom, which moves the crop,")
    for axis, size in ((2, p.crop_height), (3, p.crop_width)):
        if size:
            first: Any = size_of(m, source, axis)
            first = (first - size) // 2
            x = x.slice(axis, first, first + size)
    if p.recompute_mean:
        _, pixels, channels = source.parameters()
        if p.mean_per_pixel:
            source.fixed_sizes((2, 3))
        x = x - constant(m, pixels if p.mean_per_pixel else channels)
    return (x - constant(m, np.reshape(p.mean, (-1, 1, 1)))).name if p.mean else x.name


@writes
def Upsample(m: Model, source: Source) -> str:
    """Write ScatterElements for a mask of maxima, else Resize to the nearest value."""
    if len(source.inputs) > 1:
        return _unpool(m, source, source.layer.output_size(sizes_of(m, source, (2, 3))))
    repetitions, factor = source.layer.repetitions()
    scales = m.constant([1.0, 1.0, *map(float, repetitions)])
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = m.add("Resize", source.input, "", scales, mode="nearest", **how)
    return linear(m, y, factor, 0)


@writes
def Unpooling(m: Model, source: Source) -> str:
    """Write ScatterElements for a mask of maxima; ConvTranspose for other methods."""
    layer = source.layer
    if len(source.inputs) > 1:
        return _unpool(m, source, layer.output_size(sizes_of(m, source, (2, 3))))
    channels = source.shapes[0][1]
    share = m.constant(layer.shares().repeat(channels, 1, 1, 1).numpy())
    strides = list(layer.stride)
    y = m.add("ConvTranspose", source.input, share, strides=strides, group=channels)
    size = layer.output_size(sizes_of(m, source, (2, 3)))
    # A size that unpool_size sets may reach beyond the windows.
    x = Array(m, y)
    if any(layer.size):
        x = x.pad(4, [(0, beyond) for beyond in layer.size])
    for axis, (before, n) in enumerate(zip(layer.pad, size), 2):
        x = x.slice(axis, before, n + before)
    return x.name


writes_also(Unpooling, "UnPooling")


def _unpool(m: Model, source: Source, size: Sequence[Any]) -> str:
    """Write maps of zeros with each value at the place in its map that the mask names."""
    x, mask = inputs(m, source)
    batch = sizes_of(m, source, (0, 1))
    zeros = constant(m, [[[0.0]]]).expand(*batch, size[0] * size[1])
    places, values = mask.to(INT64).reshape(0, 0, -1), x.reshape(0, 0, -1)
    flat = zeros.node("ScatterElements", places, values, axis=2)
    return flat.reshape(*batch, *size).name


@writes
def Resample(m: Model, source: Source) -> str:
    """Write MatMul with the weights of rows and columns; with free sizes Resize."""
    p, layer = source.param.resample_param, source.layer
    axes, x = (2, 3), Array(m, source.input)
    old: list[Any] = sizes_of(m, source, axes)
    if len(source.inputs) > 1:
        new: list[Any] = sizes_of(m, source, axes, bottom=1)
    elif p.HasField("height"):
        new = [p.height, p.width]
    else:
        new = [_times(n, p.factor) for n in old]
    if not any(isinstance(n, Array) for n in [*old, *new]):
        widened = p.antialias and (new[0] < old[0] or new[1] < old[1])
        like = torch.empty(0)
        rows, columns = (layer.weights_along(a, b, widened, like) for a, b in zip(old, new))
        y = constant(m, rows.numpy()).matmul(x)
        return y.matmul(constant(m, columns.T.numpy())).name
    grows = p.HasField("factor") and len(source.inputs) == 1 and p.factor >= 1
    if p.antialias and not grows and p.type != p.NEAREST:
        raise free_size(layer, "the sizes between which antialias filters")
    modes: dict[int, dict[str, Any]] = {
        p.NEAREST: {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
        p.LINEAR: {"mode": "linear"},
        p.CUBIC: {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    }
    how = {**modes[p.type], "coordinate_transformation_mode": "half_pixel"}
    return _resize(m, x, new, sizes_of(m, source, (0, 1)), **how)


@writes
def Downsample(m: Model, source: Source) -> str:
    """Write MatMul with the shares of rows and columns; not-a-number does not count."""
    p, x = source.param.downsample_param, Array(m, source.input)
    if len(source.inputs) > 1 and any(source.is_free(axis, 1) for axis in (2, 3)):
        raise free_size(source.layer, "the size of its second bottom")
    new = source.shapes[1][2:] if len(source.inputs) > 1 else (p.top_height, p.top_width)
    old, like = source.fixed_sizes((2, 3)), torch.empty(0)
    rows, columns = (shares(n, k, like).numpy() for n, k in zip(old, new))
    down, right = constant(m, rows), constant(m, columns.T)
    missing = x.node("IsNaN", kind=BOOL)
    zero, one = constant(m, 0.0), constant(m, 1.0)
    total = down.matmul(missing.where(zero, x)).matmul(right)
    return (total / down.matmul(missing.where(zero, one)).matmul(right)).name


@writes
def Correlation(m: Model, source: Source) -> str:
    """Write a product of both maps for each displacement, and AveragePool."""
    p, layer = source.param.correlation_param, source.layer
    left, k = p.max_displacement, p.kernel_size
    first, above = (left, p.pad) if layer.both_axes else (0, 0)
    size: list[Any] = layer.output_size(sizes_of(m, source, (2, 3)))
    height, width = ((n - 1) * p.stride_1 + k for n in size)
    a, b = (x.pad(4, [(above, above), (p.pad, p.pad)]) for x in inputs(m, source))
    patch = a.slice(2, first, height + first).slice(3, left, width + left)
    maps = []
    for down in layer.rows:
        rows = b.slice(2, first + down, height + (first + down))
        for right in layer.columns:
            other = rows.slice(3, left + right, width + (left + right))
            subtract = p.correlation_type == p.SUBTRACT
            terms = (patch - other).apply("Abs") if subtract else patch * other
            maps.append(terms.sum(1))
    joined = maps[0].concat(1, *maps[1:]) if len(maps) > 1 else maps[0]
    if k > 1 or p.stride_1 > 1:
        joined = joined.node("AveragePool", kernel_shape=[k, k], strides=[p.stride_1] * 2)
    joined = joined / float(source.shapes[0][1])
    return (joined.apply("Abs") if p.do_abs else joined).name


writes_also(Correlation, "Correlation1D")
