"""Layers of optical flow: Correlation, FlowWarp, Resample, ChannelNorm (FlowNet, FlowNet2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ...blob import Blob
from ..function import Function
from ..registry import register


def _check_maps(layer: Function, shapes: Sequence[Sequence[int]], equal: Sequence[int]) -> None:
    """Raise ShapeError unless all shapes have 4 axes and equal sizes along the axes `equal`."""
    sizes = [[shape[i] for i in equal] for shape in shapes if len(shape) == 4]
    if len(sizes) < len(shapes) or any(s != sizes[0] for s in sizes):
        raise layer.shape_error(
            f"bottoms of shapes {', '.join(str(tuple(s)) for s in shapes)}; they need 4 axes, and "
            f"equal axes {', '.join(map(str, equal))}"
        )


#: Correlation multiplies matrices where a row has at most this many columns for a displacement.
#: Measured: there both ways take as long.
WIDE = 32


@register
class Correlation(Function):
    """How well patches of two maps match at each displacement (Dosovitskiy et al. 2015, FlowNet).

    a, b: N x C x H x W, padded with `pad` zeros. With K = kernel_size and r = max_displacement /
    stride_2, channel (q + r) (2 r + 1) + (p + r) of the top is, at position (i, j), the sum over
    C x K x K of a[y, x] b[y + q stride_2, x + p stride_2] / (C K^2), where the patch of a starts at
    y = i stride_1 + max_displacement, x = j stride_1 + max_displacement. With correlation_type
    SUBTRACT the summands are |a - b|. With single_direction -1 or 1 only the displacements to the
    left or to the right count, and with do_abs the top has absolute values.
    """

    #: The displacements are along both axes.
    both_axes = True

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.correlation_param
        if p.kernel_size % 2 == 0 or not p.HasField("max_displacement"):
            raise self.error(
                f"kernel_size {p.kernel_size}, max_displacement {p.max_displacement}; it needs an "
                "odd kernel_size and a max_displacement"
            )
        if p.stride_1 < 1 or p.stride_2 < 1:
            raise self.error(
                f"stride_1 {p.stride_1}, stride_2 {p.stride_2}; both need to be at least 1"
            )
        reach = p.max_displacement // p.stride_2
        steps = [i * p.stride_2 for i in range(-reach, reach + 1)]
        side = p.single_direction
        self.columns = [i for i in steps if not side or i * side >= 0]
        self.rows = steps if self.both_axes else [0]

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        _check_maps(self, bottoms, (0, 1, 2, 3))
        size = self.output_size(bottoms[0][2:])
        if min(size) < 1:
            raise self.shape_error(
                f"bottoms of shape {bottoms[0]} are smaller than the displacements and the kernel; "
                "they need a larger pad"
            )
        return [(bottoms[0][0], len(self.rows) * len(self.columns), *size)]

    def output_size(self, size: Sequence[int]) -> list[int]:
        """Return the height and width of the top for bottoms of this height and width."""
        p = self.layer_param.correlation_param
        half = p.kernel_size // 2
        borders = (p.max_displacement * self.both_axes + half, p.max_displacement + half)
        pads = (p.pad * self.both_axes, p.pad)
        axes = zip(size, pads, borders)
        return [(n + 2 * (a - b) + p.stride_1 - 1) // p.stride_1 for n, a, b in axes]

    def compute(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.correlation_param
        left, k = p.max_displacement, p.kernel_size
        first = left * self.both_axes
        height, width = ((n - 1) * p.stride_1 + k for n in self.output_size(a.shape[2:]))
        a, b = (F.pad(x, [p.pad] * 2 + [p.pad * self.both_axes] * 2) for x in (a, b))
        patch = a[:, :, first : first + height, left : left + width]
        if k == 1 and p.correlation_type == p.MULTIPLY and b.shape[3] <= WIDE * len(self.columns):
            y = self._products(patch[:, :, :: p.stride_1, :: p.stride_1], b) / a.shape[1]
            return y.abs() if p.do_abs else y
        rows = []
        for down in self.rows:
            for right in self.columns:
                y, x = first + down, left + right
                other = b[:, :, y : y + height, x : x + width]
                subtract = p.correlation_type == p.SUBTRACT
                rows.append(((patch - other).abs() if subtract else patch * other).sum(1))
        maps = torch.stack(rows, 1)
        y = F.avg_pool2d(maps, k, p.stride_1) / a.shape[1]
        return y.abs() if p.do_abs else y

    def _products(self, patch: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the sums over channels of patch times b at each displacement, for a kernel of 1.

        One product of matrices multiplies a row of positions with all columns of b.
        """
        p = self.layer_param.correlation_param
        height, width = patch.shape[2:]
        positions = torch.arange(width, device=b.device)[:, None] * p.stride_1
        displacements = torch.tensor(self.columns, device=b.device) + p.max_displacement
        columns = (positions + displacements).expand(len(b), height, -1, -1)
        left = patch.permute(0, 2, 3, 1).contiguous()
        right = b.permute(0, 2, 1, 3).contiguous()
        first = p.max_displacement * self.both_axes
        span = (height - 1) * p.stride_1 + 1
        rows = [
            (left @ right[:, first + down : first + down + span : p.stride_1]).gather(3, columns)
            for down in self.rows
        ]
        return torch.cat(rows, 3).permute(0, 3, 1, 2)


@register
class Correlation1D(Correlation):
    """Correlation with displacements along the rows alone, for stereo (Mayer et al. 2016, DispNet).

    The columns of the bottoms are padded, the rows are not.
    """

    both_axes = False


@register
class FlowWarp(Function):
    """y[i, j] = x at row i + v[i, j], column j + u[i, j], bilinear (Ilg et al. 2017, FlowNet2, 3).

    x is N x C x H x W; the second bottom, N x 2 x H x W, has u and v. Where the place is outside
    the map, the top has fill_value: 0 or not-a-number.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        _check_maps(self, bottoms, (0, 2, 3))
        if bottoms[1][1] != 2:
            raise self.shape_error(f"the flow has shape {bottoms[1]}; it needs 2 channels")
        return bottoms[:1]

    def compute(self, x: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.flow_warp_param
        height, width = x.shape[2:]
        column = torch.arange(width, device=x.device) + flow[:, :1]
        row = torch.arange(height, device=x.device)[:, None] + flow[:, 1:]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        top, left = row.detach().floor(), column.detach().floor()
        down, right = row - top, column - left
        y = torch.zeros_like(x)
        for i, vertical in ((0, 1 - down), (1, down)):
            for j, horizontal in ((0, 1 - right), (1, right)):
                index = (top + i).clamp(0, height - 1) * width + (left + j).clamp(0, width - 1)
                places = torch.where(inside, index, 0).long().flatten(2).expand(-1, x.shape[1], -1)
                y = y + x.flatten(2).gather(2, places).reshape(x.shape) * vertical * horizontal
        empty = math.nan if p.fill_value == p.NOT_A_NUMBER else 0.0
        return torch.where(inside, y, empty)


@register
class ChannelNorm(Function):
    """y = sqrt(sum of x^2 over the channels): N x C x H x W becomes N x 1 x H x W (FlowNet2)."""

    pure = True
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        return torch.linalg.vector_norm(x, dim=1, keepdim=True)


def triangle(x: torch.Tensor) -> torch.Tensor:
    """Return the weight of a linear filter at distance x."""
    return (1 - x.abs()).clamp(min=0)


def cubic(x: torch.Tensor) -> torch.Tensor:
    """Return the weight of Catmull & Rom's cubic filter at distance x (Keys 1981, a = -1/2)."""
    x = x.abs()
    near = x * x * (1.5 * x - 2.5) + 1
    far = x * (x * (-0.5 * x + 2.5) - 4) + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@register
class Resample(Function):
    """N x C x H x W at another size, with the centres of pixels at 0.5, 1.5, ... (FlowNet2).

    Row i of the top lies at row (i + 1/2) H / h - 1/2 of the bottom. Type NEAREST gives the nearest
    row, half rounded up. LINEAR and CUBIC weigh the rows around by their distance with `triangle`
    or `cubic`, and divide by the sum of the weights; with antialias the filter is H / h wider when
    a map shrinks. Columns alike. The size is that of a second bottom, or width and height, or
    `factor` times the bottom's. The layer has no gradient.
    """

    pure = True
    bottoms, tops = (1, 2), (1, 1)
    in_place = False
    differentiable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.resample_param
        if p.type not in (p.NEAREST, p.LINEAR, p.CUBIC):
            raise self.error(
                f"type is {p.ResampleType.Name(p.type)}; it needs NEAREST, LINEAR or CUBIC"
            )
        if p.HasField("height") != p.HasField("width"):
            raise self.error(f"height {p.height}, width {p.width}; it needs both or none")

    def compute(self, x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        height, width = self._size(x, like)
        antialias = self.layer_param.resample_param.antialias
        # The filter is widened along both axes as soon as one of them shrinks.
        widened = antialias and (height < x.shape[2] or width < x.shape[3])
        rows = self.weights_along(x.shape[2], height, widened, x)
        columns = self.weights_along(x.shape[3], width, widened, x)
        return rows @ x @ columns.T

    def _size(self, x: torch.Tensor, like: torch.Tensor | None) -> tuple[int, ...]:
        """Return the height and width of the top."""
        p = self.layer_param.resample_param
        if like is not None:
            return tuple(like.shape[2:])
        if p.HasField("height"):
            return p.height, p.width
        size = tuple(int(n * p.factor) for n in x.shape[2:])
        if min(size) < 1:
            raise self.shape_error(
                f"factor {p.factor:g} leaves nothing of {tuple(x.shape)}; it needs to be larger"
            )
        return size

    def weights_along(self, size: int, new: int, widened: bool, like: torch.Tensor) -> torch.Tensor:
        """Return the weight of each of `size` rows in each of `new` rows, `new` x `size`.

        widened: whether the filter is as wide as `new` rows are apart. like: the tensor whose
            device and element type the weights have.
        """
        p = self.layer_param.resample_param
        ratio = size / new
        centre = (torch.arange(new, device=like.device, dtype=like.dtype) + 0.5) * ratio - 0.5
        places = torch.arange(size, device=like.device, dtype=like.dtype)
        if p.type == p.NEAREST:
            nearest = (centre + 0.5).floor().clamp(0, size - 1)
            return (places == nearest[:, None]).to(like.dtype)
        weights = (triangle if p.type == p.LINEAR else cubic)(
            (places - centre[:, None]) / (ratio if widened else 1.0)
        )
        # Where the filter reaches no row at all, the top is 0.
        total = weights.sum(1, keepdim=True)
        return weights / torch.where(total == 0, 1, total)
