"""Writers of the layers that move values: reshape, transpose, turn around, shuffle."""

from __future__ import annotations

from collections.abc import Sequence

from .arrays import END, Array, Size, sizes_of
from .model import Model, Source, writes


@writes
def Flatten(m: Model, source: Source) -> str:
    """Write Reshape with the axes from `axis` to `end_axis` joined."""
    p, x = source.param.flatten_param, Array(m, source.input)
    first, last = source.axis(p.axis), source.axis(p.end_axis)
    joined = -1 if first <= last else 1
    rest = sizes_of(m, source, range(last + 1, source.ndim))
    return x.reshape(*[0] * first, joined, *rest).name


@writes
def Reshape(m: Model, source: Source) -> str:
    """Write Reshape; 0 and -1 mean the same in Caffe and ONNX."""
    p, ndim = source.param.reshape_param, source.ndim
    start = p.axis if p.axis >= 0 else ndim + p.axis + 1
    end = ndim if p.num_axes == -1 else start + p.num_axes
    dims: list[Size] = [*[0] * start, *p.shape.dim]
    dims += sizes_of(m, source, range(end, ndim))
    return Array(m, source.input).reshape(*dims).name


@writes
def Permute(m: Model, source: Source) -> str:
    """Write Transpose."""
    return m.add("Transpose", source.input, perm=source.layer.order)


@writes
def Transpose(m: Model, source: Source) -> str:
    """Write Transpose."""
    return m.add("Transpose", source.input, perm=list(source.param.transpose_param.dim))


def _reversed(m: Model, x: str, axes: Sequence[int]) -> str:
    """Write x with the order along axes turned around."""
    if not axes:
        return x
    backward = [m.integers(*[n] * len(axes)) for n in (-1, -END, -1)]
    return m.add("Slice", x, *backward[:2], m.integers(*axes), backward[2])


@writes
def Reverse(m: Model, source: Source) -> str:
    """Write Slice with step -1."""
    return _reversed(m, source.input, [source.axis(source.param.reverse_param.axis)])


@writes
def Flip(m: Model, source: Source) -> str:
    """Write Slice with step -1."""
    p = source.param.flip_param
    flips = ((2, p.flip_height), (3, p.flip_width))
    return _reversed(m, source.input, [axis for axis, flipped in flips if flipped])


@writes
def ShuffleChannel(m: Model, source: Source) -> str:
    """Write Reshape to groups, Transpose and Reshape back."""
    group, channels = source.param.shuffle_channel_param.group, source.shapes[0][1]
    x = Array(m, source.input)
    rest = sizes_of(m, source, range(2, source.ndim))
    groups = x.reshape(0, group, channels // group, -1).transpose(0, 2, 1, 3)
    return groups.reshape(0, channels, *rest).name


@writes
def PixelShuffle(m: Model, source: Source) -> str:
    """Write DepthToSpace in mode CRD."""
    factor = source.param.pixel_shuffle_param.upscale_factor
    return m.add("DepthToSpace", source.input, blocksize=factor, mode="CRD")


@writes
def Reorg(m: Model, source: Source) -> str:
    """Write Reshape, Transpose and Reshape, in Darknet's order of the channels."""
    p, x = source.param.reorg_param, Array(m, source.input)
    s, channels = p.stride, source.shapes[0][1]
    height, width = sizes_of(m, source, (2, 3))
    if p.reverse:
        maps = x.reshape(0, s, s, channels // (s * s), height, width).transpose(0, 3, 4, 1, 5, 2)
        return maps.reshape(0, channels // (s * s), height * s, width * s).name
    maps = x.reshape(0, channels // (s * s), height, s, width, s).transpose(0, 3, 5, 1, 2, 4)
    return maps.reshape(0, channels * s * s, height // s, width // s).name
