"""Convolutions with a quarter to a half of the multiplications, on the CPU.

Winograd's F(4 x 4, 3 x 3): Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks",
section 4.3. A tile of 4 x 4 outputs sees 6 x 6 inputs. If the inputs and the kernel are written in
another basis, with 36 coordinates, the convolution is 36 matrix products, one for each coordinate:
tiles x channels times channels x outputs. Where the result has NaN or infinity, the plain
convolution takes its place.

The C library also multiplies larger kernels, up to 8 x 8: they are cut into four pieces of 3 x 3 or
4 x 4 weights, and the convolution is the sum of those with the pieces. This module has the
gradients and, for machines without the library, 3 x 3 kernels by PyTorch's operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from .. import mode
from . import bottom_gradient, fused_winograd, weight_gradient
from .product import Room
from .rooms import Rooms

# The least channels or outputs, and the least channels times outputs, that this algorithm takes.
CHANNELS = 64
KERNELS = 1 << 13
# The least channels of a group, or outputs, of a layer with so many kernels that learns by the
# algorithm of the C library. CaffeNet's second layer has 48 channels.
LEARNING_CHANNELS = 48
# Seconds that a forward pass needs to save for a layer of fewer kernels to learn by the algorithm.
# Narrow or small layers gain little in training, or lose where their maps change their order.
LEARNING = 4e-3
# Seconds, measured on one machine: for a multiplication of a plain convolution, of a product of
# coordinates and of a change of basis, for a kernel's change of basis, and for a strip of tiles.
PLAIN, PRODUCT, BASIS, KERNEL_BASIS, STRIP = 1 / 105e9, 1 / 75e9, 1 / 60e9, 22e-9, 80e-6
# Tiles of a block: as many as the channels, but at least enough to make the products fast, and at
# most as many as fit the cache.
BLOCK = 128, 384
# The most values of the weights' coordinates in memory at a time.
COORDINATES = 18 << 18
# Interpolation points, besides infinity. Their error is a fifth of that of 0, 1, -1, 2, -2.
POINTS = (0, 2**0.5, -(2**0.5), 0.5**0.5, -(0.5**0.5))


def _powers(n: int) -> torch.Tensor:
    """Return the first n powers of the points, and of infinity: 6 x n, float64."""
    points = torch.tensor(POINTS, dtype=torch.float64)[:, None]
    infinity = torch.eye(n, dtype=torch.float64)[-1:]
    return torch.cat([points ** torch.arange(n), infinity])


def _tile_basis() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the change of basis of an axis of tiles, 6 x 6, and its powers of 2, 6 x 1."""
    tile = torch.linalg.inv(_powers(6)).T
    scale = 2.0 ** tile.abs().amax(1, keepdim=True).log2().round()
    return tile / scale, scale


def kernel_basis(taps: int) -> torch.Tensor:
    """Return the change of basis of an axis of kernels with `taps` values: 6 x taps, float64."""
    return _powers(taps) * _tile_basis()[1]


def _bases() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the changes of basis: input tile to coordinates, 36 x 36; kernel to coordinates,
    36 x 9; coordinates to outputs, 16 x 36.

    The positions of tiles and the coordinates go down the columns first, those of kernels along
    the rows first.
    """
    tile, kernel, output = _tile_basis()[0], kernel_basis(3), _powers(4).T
    kernels = torch.einsum("ri,cj->crij", kernel, kernel).reshape(36, 9)
    return torch.kron(tile, tile).float(), kernels.float(), torch.kron(output, output).float()


TILE, KERNEL, OUTPUT = _bases()


_room = Rooms()


def pays(x: torch.Tensor, w: torch.Tensor, pad: Sequence[int]) -> bool:
    """Return whether `convolve` can be used and is faster than the plain convolution.

    x: N x C x H x W. w: K x C / groups x kh x kw, of a convolution with stride 1. pad: (height,
    width).
    """
    if x.device.type != "cpu" or x.dtype not in fused_winograd.PLAIN:
        return False
    by_library = fused_winograd.is_usable(w.shape, x.shape[1] // w.shape[1])
    least = LEARNING_CHANNELS if by_library else CHANNELS
    if not _learns(x, w) or _has_many_kernels(w.shape, least):
        return pays_for(x.shape, w.shape, pad, x.dtype)
    wide = min(w.shape[:2]) >= CHANNELS
    return wide and pays_for(x.shape, w.shape, pad, x.dtype, LEARNING)


def pays_for(
    shape: Sequence[int],
    weights: Sequence[int],
    pad: Sequence[int],
    dtype: torch.dtype = torch.float32,
    least: float = 0,
) -> bool:
    """As `pays`, for a map on the CPU and weights of these shapes.

    dtype: float32 or bfloat16. least: the seconds that the C library's algorithm needs to save.
    """
    if len(weights) != 4 or max(pad) >= min(weights[2:]) or not mode.fast():
        return False
    groups = shape[1] // weights[1]
    if fused_winograd.is_usable(weights, groups):
        return fused_winograd.saved_time(shape, weights, pad, dtype) > least
    is_small = tuple(weights[2:]) == (3, 3)
    return is_small and groups == 1 and _pays_in_steps(shape, weights, pad, dtype)


def _has_many_kernels(weights: Sequence[int], least: int = CHANNELS) -> bool:
    """Return whether there are KERNELS kernels, and `least` channels of a group and outputs."""
    outputs, channels = weights[:2]
    return min(outputs, channels) >= least and outputs * channels >= KERNELS


def _pays_in_steps(
    shape: Sequence[int], weights: Sequence[int], pad: Sequence[int], dtype: torch.dtype
) -> bool:
    """As `pays_for`, for the algorithm by PyTorch's operations, which are for float32 maps."""
    outputs, channels = weights[:2]
    if dtype != torch.float32 or not _has_many_kernels(weights):
        return False
    down, across = fused_winograd.tiles(shape, pad)
    strips = shape[0] * down
    positions = shape[0] * math.prod(n + 2 * p - 2 for n, p in zip(shape[2:], pad))
    products = PRODUCT * outputs * channels + BASIS * (36 * channels + 16 * outputs)
    estimate = 36 * strips * across * products + KERNEL_BASIS * outputs * channels + STRIP * strips
    return estimate < PLAIN * 9 * positions * outputs * channels


def convolve(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None,
    pad: Sequence[int],
    room: Room | None = None,
) -> torch.Tensor:
    """Return the convolution, with stride 1, of x, N x C x H x W, with w, K x C / groups x kh x kw.

    All are float32 or, where `pays` says so, bfloat16; w may be float32 where x is bfloat16. b: K
    biases, or None. pad: (height, width), each less than the kernel. room: as in
    `product.product`; its memory has the shape of w.
    """
    return _Convolution.apply(x, w, b, tuple(pad), _learns(x, w, b), room)


def _learns(*tensors: torch.Tensor | None) -> bool:
    """Return whether the gradient of a tensor will be computed."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        w: torch.Tensor,
        b: torch.Tensor | None,
        pad: Sequence[int],
        learns: bool,
        room: Room | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.pad, ctx.room = pad, room
        return forward(x, w, b, pad, learns)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_b, *_ = ctx.needs_input_grad
        return (
            _bottom_gradient(x.shape, grad, w, ctx.pad) if needs_x else None,
            _weight_gradient(x, grad, w, ctx.pad, ctx.room) if needs_w else None,
            grad.sum((0, 2, 3)) if needs_b else None,
            None,
            None,
            None,
        )


def forward(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None,
    pad: Sequence[int],
    learns: bool = True,
) -> torch.Tensor:
    """Return `convolve` without a gradient; the plain convolution where results are not finite.

    learns: whether the result is a gradient, or a gradient will be computed from it.
    """
    groups = x.shape[1] // w.shape[1]
    if fused_winograd.is_usable(w.shape, groups):
        y = fused_winograd.Convolution(x.shape, w, b, pad, dtype=x.dtype, exact=learns).compute(x)
    else:
        y = _in_steps(x, w, b, pad) if w.shape[2] == 3 else None
    if y is None:
        return F.conv2d(x, w.to(x.dtype), b, padding=pad, groups=groups)
    return y


def _in_steps(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: Sequence[int]
) -> torch.Tensor | None:
    """Return the convolution by PyTorch's operations, None where results are not finite."""
    outputs, channels = w.shape[:2]
    weights = w.reshape(-1, 9)
    groups = coordinate_groups(len(weights))
    kernels = kernel_coordinates(weights, groups[0]) if len(groups) == 1 else None

    def multiply(tiles: torch.Tensor) -> torch.Tensor:
        rows = _by_coordinate(tiles)
        products = _room("products", 36, rows.shape[1], outputs)
        for group in groups:
            u = kernel_coordinates(weights, group) if kernels is None else kernels
            u = u.view(-1, outputs, channels).transpose(1, 2)
            torch.bmm(rows[group], u, out=products[group])
        return products.view(36, *tiles.shape[:2], outputs)

    size = [n + 2 * p - 2 for n, p in zip(x.shape[2:], pad)]
    down, across = fused_winograd.tiles(x.shape, pad)
    y = x.new_empty(x.shape[0], *size, w.shape[0])
    strips = _Strips(x, pad, across, TILE)
    for block in _blocks(x.shape[0] * down, across, x.shape[1]):
        products = multiply(strips.block(block, down, "tiles"))
        for i, strip in enumerate(block):
            image, row = divmod(strip, down)
            _write_outputs(products[:, i], b, y[image, 4 * row : 4 * row + 4])
    # A NaN or infinity spreads to all outputs of its tiles, or of its kernel, and no further.
    finite = math.isfinite(float(y[:, ::4, ::4, 0].sum() + y[0, 0, 0].sum()))
    return y.permute(0, 3, 1, 2) if finite else None


def _bottom_gradient(
    shape: Sequence[int], grad: torch.Tensor, w: torch.Tensor, pad: Sequence[int]
) -> torch.Tensor:
    """Return the gradient of the bottom, N x C x H x W, from that of the outputs."""
    groups = shape[1] // w.shape[1]
    if bottom_gradient.pays(shape, w.shape, pad):
        to_x = bottom_gradient.gradient(shape, grad, w, pad)
        if to_x is not None:
            return to_x
        return conv2d_input(shape, w.to(grad.dtype), grad, padding=pad, groups=groups)
    transposed = w.flip(2, 3).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return forward(grad, transposed, None, tuple(w.shape[2] - 1 - p for p in pad))


def _weight_gradient(
    x: torch.Tensor,
    grad: torch.Tensor,
    w: torch.Tensor,
    pad: Sequence[int],
    room: Room | None = None,
) -> torch.Tensor:
    """Return the gradient of weights, K x C / groups x kh x kw, from that of the outputs."""
    shape = tuple(w.shape)
    if weight_gradient.is_usable(x, shape):
        memory = None if room is None else room()
        is_in_order = memory is not None and memory.is_contiguous()
        out = memory if is_in_order else None
        to_w = weight_gradient.gradient(x, grad.to(x.dtype), shape, pad, out)
    elif shape[1] == x.shape[1] and shape[2] == 3 and _pays_in_steps(x.shape, shape, pad, x.dtype):
        to_w = _weight_gradient_in_steps(x, grad, shape, pad)
    else:
        to_w = None
    if to_w is None:
        return conv2d_weight(x, shape, grad, padding=pad, groups=x.shape[1] // shape[1])
    return to_w.to(w.dtype)


def _weight_gradient_in_steps(
    x: torch.Tensor, grad: torch.Tensor, shape: Sequence[int], pad: Sequence[int]
) -> torch.Tensor | None:
    """Return the gradient of 3 x 3 weights by PyTorch's operations, None if it is not finite."""
    outputs, channels = shape[:2]
    down, across = fused_winograd.tiles(x.shape, pad)
    to_w = x.new_zeros(outputs * channels, 9)
    for group in coordinate_groups(len(to_w)):
        strips = _Strips(x, pad, across, TILE[group])
        diffs = _Strips(grad, (0, 0), across, OUTPUT.t()[group])
        total = _room("kernels", strips.basis.shape[1], outputs, channels)
        for block in _blocks(x.shape[0] * down, across, channels):
            tiles = _by_coordinate(strips.block(block, down, "tiles"))
            diff = _by_coordinate(diffs.block(block, down, "diffs")).transpose(1, 2)
            torch.baddbmm(total, diff, tiles, beta=float(block.start > 0), out=total)
        to_w.addmm_(total.flatten(1).t(), KERNEL[group])
    # A NaN or infinity spreads to all nine gradients of its kernels.
    finite = math.isfinite(float(to_w[:, 0].sum()))
    return to_w.view(outputs, channels, 3, 3) if finite else None


class _Strips:
    """A map in strips, as high as a tile, and the tiles of a strip in coordinates.

    A strip is stored column by column, so that each of its overlapping tiles is contiguous.
    basis: coordinates x positions of a tile.
    """

    def __init__(
        self, x: torch.Tensor, pad: Sequence[int], across: int, basis: torch.Tensor
    ) -> None:
        self.x, self.pad = x.permute(0, 2, 3, 1), pad
        self.side, channels = int(basis.shape[1] ** 0.5), x.shape[1]
        self.strip = x.new_zeros(4 * across + self.side - 4, self.side, channels)
        size, stride = (across, self.side**2, channels), (4 * self.side * channels, channels, 1)
        self.tiles = self.strip.as_strided(size, stride)
        self.basis = basis.expand(across, *basis.shape)

    def block(self, block: range, down: int, room: str) -> torch.Tensor:
        """Return the tiles of the strips in `block`: strips x tiles x coordinates x C.

        down: strips of an image. room: the name of the memory for the tiles.
        """
        across, _, channels = self.tiles.shape
        out = _room(room, len(block), across, self.basis.shape[1], channels)
        for strip, tiles in zip(block, out):
            image, row = divmod(strip, down)
            start = 4 * row - self.pad[0]
            first, last = max(start, 0), min(start + self.side, self.x.shape[1])
            if last - first < self.side:
                self.strip.zero_()
            columns = slice(self.pad[1], self.pad[1] + self.x.shape[2])
            rows = self.x[image, first:last].transpose(0, 1)
            self.strip[columns, first - start : last - start].copy_(rows)
            torch.bmm(self.basis, self.tiles, out=tiles)
        return out


def _blocks(strips: int, across: int, channels: int) -> Iterator[range]:
    """Yield the strips of all images, by number, in blocks of nearly equal size."""
    least, most = BLOCK
    each = max(1, round(min(max(channels, least), most) / across))
    count = -(-strips // each)
    for i in range(count):
        yield range(i * strips // count, (i + 1) * strips // count)


def coordinate_groups(kernels: int) -> list[slice]:
    """Return the 36 coordinates in groups so small that a group of `kernels` 3 x 3 kernels has
    COORDINATES values at most, or in pairs."""
    most = COORDINATES // kernels
    each = max(n for n in (2, 4, 6, 12, 18, 36) if n == 2 or n <= most)
    return [slice(first, first + each) for first in range(0, 36, each)]


def _by_coordinate(tiles: torch.Tensor) -> torch.Tensor:
    """Return strips x tiles x coordinates x C as coordinates x tiles x C."""
    return tiles.flatten(0, 1).transpose(0, 1)


def kernel_coordinates(weights: torch.Tensor, group: slice) -> torch.Tensor:
    """Return a group of the coordinates of kernels x 9 weights: coordinates x kernels."""
    basis = KERNEL[group]
    return torch.mm(basis, weights.t(), out=_room("kernels", len(basis), len(weights)))


def _write_outputs(products: torch.Tensor, b: torch.Tensor | None, rows: torch.Tensor) -> None:
    """Write the outputs of a strip's tiles, 36 x tiles x K, into up to 4 rows, each W x K."""
    across, outputs = products.shape[1:]
    tiles = _room("outputs", across, 16, outputs)
    torch.bmm(OUTPUT.expand(across, 16, 36), products.transpose(0, 1), out=tiles)
    tiles = tiles.view(across, 4, 4, outputs).permute(2, 0, 1, 3)[: rows.shape[0]]
    full, rest = divmod(rows.shape[1], 4)
    pairs = [(tiles[:, :full], rows[:, : 4 * full].unflatten(1, (full, 4)))] if full else []
    if rest:
        pairs.append((tiles[:, full, :rest], rows[:, 4 * full :]))
    for source, out in pairs:
        out.copy_(source) if b is None else torch.add(source, b, out=out)
