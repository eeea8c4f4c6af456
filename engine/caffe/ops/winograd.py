"""3 x 3 convolutions with a quarter of the multiplications, on the CPU.

Winograd's F(4 x 4, 3 x 3): Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks",
section 4.3. A tile of 4 x 4 outputs sees 6 x 6 inputs. With both and the kernel in another basis,
in 36 coordinates, the convolution is 36 products, tiles x channels by channels x outputs.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch

# Fewer channels or outputs, or channels times outputs, are left to the plain convolution.
CHANNELS = 64
KERNELS = 1 << 13
# What either takes, on one machine: seconds a multiplication of a plain convolution and in
# coordinates, a multiplication by a basis, a kernel put into coordinates, and a strip of tiles.
PLAIN, PRODUCT, BASIS, KERNEL_BASIS, STRIP = 1 / 105e9, 1 / 75e9, 1 / 60e9, 22e-9, 80e-6
# Tiles worked on together are as many as the channels, in these bounds: enough for the products,
# few enough for the cache. Of the weights' coordinates so many values are there at a time.
BLOCK = 128, 384
COORDINATES = 18 << 18
# Interpolation points are these and infinity. They err a fifth as much as 0, 1, -1, 2, -2 do.
POINTS = (0, 2**0.5, -(2**0.5), 0.5**0.5, -(0.5**0.5))


def _bases() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """To coordinates from an input tile, 36 x 36, and from a kernel, 36 x 9; to outputs, 16 x 36.

    Positions of tiles and coordinates are columns first, those of kernels rows first.
    """
    points = torch.tensor(POINTS, dtype=torch.float64)[:, None]

    def powers(n: int) -> torch.Tensor:
        infinity = torch.eye(n, dtype=torch.float64)[-1:]
        return torch.cat([points ** torch.arange(n), infinity])

    tile = torch.linalg.inv(powers(6)).T
    scale = 2.0 ** tile.abs().amax(1, keepdim=True).log2().round()
    tile, kernel, output = tile / scale, powers(3) * scale, powers(4).T
    kernels = torch.einsum("ri,cj->crij", kernel, kernel).reshape(36, 9)
    return torch.kron(tile, tile).float(), kernels.float(), torch.kron(output, output).float()


TILE, KERNEL, OUTPUT = _bases()


class _Rooms(threading.local):
    """Memory by what it is for, kept: memory new to a process costs more than filling it."""

    def __init__(self) -> None:
        self._rooms: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        """Float32 values of this shape, in the place of those of this name before."""
        count = math.prod(shape)
        if name not in self._rooms or self._rooms[name].numel() < count:
            self._rooms.pop(name, None)
            self._rooms[name] = torch.empty(count)
        return self._rooms[name][:count].view(shape)


_room = _Rooms()


def pays(x: torch.Tensor, w: torch.Tensor, pad: Sequence[int]) -> bool:
    """Whether a 3 x 3 convolution of stride 1, N x C x H x W, runs here faster, and may."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or max(pad) > 2:
        return False
    outputs, channels = w.shape[:2]
    if min(outputs, channels) < CHANNELS or outputs * channels < KERNELS:
        return False
    high, wide = _tiles(x, pad)
    strips = x.shape[0] * high
    positions = x.shape[0] * math.prod(n + 2 * p - 2 for n, p in zip(x.shape[2:], pad))
    here = (
        36 * strips * wide * (PRODUCT * outputs * channels + BASIS * (36 * channels + 16 * outputs))
        + KERNEL_BASIS * outputs * channels
        + STRIP * strips
    )
    return here < PLAIN * 9 * positions * outputs * channels


def convolve(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: Sequence[int]
) -> torch.Tensor:
    """The convolution of N x C x H x W with K x C x 3 x 3, of stride 1; pad is 2 at most."""
    return _Convolution.apply(x, w, b, tuple(pad))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: tuple[int, int]
    ) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.pad = pad
        return _forward(x, w, b, pad)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, w = ctx.saved_tensors
        to_x, to_w, to_b, _ = ctx.needs_input_grad
        turned = w.flip(2, 3).transpose(0, 1)
        return (
            _forward(grad, turned, None, tuple(2 - p for p in ctx.pad)) if to_x else None,
            _weight_gradient(x, grad, ctx.pad) if to_w else None,
            grad.sum((0, 2, 3)) if to_b else None,
            None,
        )


def _forward(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: tuple[int, int]
) -> torch.Tensor:
    size, (outputs, channels) = [n + 2 * p - 2 for n, p in zip(x.shape[2:], pad)], w.shape[:2]
    high, wide = _tiles(x, pad)
    y = x.new_empty(x.shape[0], *size, outputs)
    strips, weights = _Strips(x, pad, wide, TILE), w.reshape(-1, 9)
    groups = _groups(weights)
    kernels = _in_coordinates(weights, groups[0]) if len(groups) == 1 else None
    for places in _blocks(x.shape[0] * high, wide, channels):
        tiles = _by_coordinate(strips.block(places, high, "tiles"))
        products = _room("products", 36, tiles.shape[1], outputs)
        for some in groups:
            u = _in_coordinates(weights, some) if kernels is None else kernels
            u = u.view(-1, outputs, channels).transpose(1, 2)
            torch.bmm(tiles[some], u, out=products[some])
        products = products.view(36, len(places), wide, outputs)
        for i, place in enumerate(places):
            image, row = divmod(place, high)
            _put(products[:, i], b, y[image, 4 * row : 4 * row + 4])
    return y.permute(0, 3, 1, 2)


def _weight_gradient(x: torch.Tensor, grad: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """The gradient K x C x 3 x 3 from that of the outcome, N x K x H x W."""
    channels, outputs = x.shape[1], grad.shape[1]
    high, wide = _tiles(x, pad)
    found = x.new_zeros(outputs * channels, 9)
    for some in _groups(found):
        strips = _Strips(x, pad, wide, TILE[some])
        diffs = _Strips(grad, (0, 0), wide, OUTPUT.t()[some])
        total = _room("kernels", strips.basis.shape[1], outputs, channels)
        for places in _blocks(x.shape[0] * high, wide, channels):
            tiles = _by_coordinate(strips.block(places, high, "tiles"))
            diff = _by_coordinate(diffs.block(places, high, "diffs")).transpose(1, 2)
            torch.baddbmm(total, diff, tiles, beta=float(places.start > 0), out=total)
        found.addmm_(total.flatten(1).t(), KERNEL[some])
    return found.view(outputs, channels, 3, 3)


class _Strips:
    """A map in strips of as many rows as a tile has, and the tiles of a strip in coordinates.

    A strip is laid out columns first, so that each of its overlapping tiles lies in one piece.
    basis: coordinates x the tile's positions.
    """

    def __init__(
        self, x: torch.Tensor, pad: tuple[int, int], wide: int, basis: torch.Tensor
    ) -> None:
        self.x, self.pad = x.permute(0, 2, 3, 1), pad
        self.side, channels = int(basis.shape[1] ** 0.5), x.shape[1]
        self.strip = x.new_zeros(4 * wide + self.side - 4, self.side, channels)
        size, stride = (wide, self.side**2, channels), (4 * self.side * channels, channels, 1)
        self.tiles = self.strip.as_strided(size, stride)
        self.basis = basis.expand(wide, *basis.shape)

    def block(self, places: range, high: int, room: str) -> torch.Tensor:
        """The tiles of some strips, strips x tiles x coordinates x C."""
        wide, _, channels = self.tiles.shape
        out = _room(room, len(places), wide, self.basis.shape[1], channels)
        for place, made in zip(places, out):
            image, row = divmod(place, high)
            start = 4 * row - self.pad[0]
            first, last = max(start, 0), min(start + self.side, self.x.shape[1])
            if last - first < self.side:
                self.strip.zero_()
            columns = slice(self.pad[1], self.pad[1] + self.x.shape[2])
            rows = self.x[image, first:last].transpose(0, 1)
            self.strip[columns, first - start : last - start].copy_(rows)
            torch.bmm(self.basis, self.tiles, out=made)
        return out


def _tiles(x: torch.Tensor, pad: Sequence[int]) -> tuple[int, int]:
    """The tiles that cover the outcome, down and across."""
    high, wide = (-(-(n + 2 * p - 2) // 4) for n, p in zip(x.shape[2:], pad))
    return high, wide


def _blocks(strips: int, wide: int, channels: int) -> Iterator[range]:
    """Strips of all images, in nearly equal blocks."""
    least, most = BLOCK
    each = max(1, round(min(max(channels, least), most) / wide))
    count = -(-strips // each)
    for i in range(count):
        yield range(i * strips // count, (i + 1) * strips // count)


def _groups(weights: torch.Tensor) -> list[slice]:
    """The 36 coordinates, in groups of as many as there are at a time for so many kernels x 9."""
    most = COORDINATES // len(weights)
    each = max(n for n in (2, 4, 6, 12, 18, 36) if n == 2 or n <= most)
    return [slice(first, first + each) for first in range(0, 36, each)]


def _by_coordinate(tiles: torch.Tensor) -> torch.Tensor:
    """Strips x tiles x coordinates x C as coordinates x tiles x C."""
    return tiles.flatten(0, 1).transpose(0, 1)


def _in_coordinates(weights: torch.Tensor, some: slice) -> torch.Tensor:
    """Kernels x 9 in some of the coordinates, coordinates x kernels."""
    basis = KERNEL[some]
    found = _room("kernels", len(basis), len(weights))
    return torch.mm(basis, weights.t(), out=found)


def _put(products: torch.Tensor, b: torch.Tensor | None, rows: torch.Tensor) -> None:
    """Write the outputs of a strip's tiles, 36 x tiles x K, into up to 4 rows, each W x K."""
    wide, outputs = products.shape[1:]
    made = _room("outputs", wide, 16, outputs)
    torch.bmm(OUTPUT.expand(wide, 16, 36), products.transpose(0, 1), out=made)
    made = made.view(wide, 4, 4, outputs).permute(2, 0, 1, 3)[: rows.shape[0]]
    whole, rest = divmod(rows.shape[1], 4)
    pairs = [(made[:, :whole], rows[:, : 4 * whole].unflatten(1, (whole, 4)))] if whole else []
    if rest:
        pairs.append((made[:, whole, :rest], rows[:, 4 * whole :]))
    for source, out in pairs:
        out.copy_(source) if b is None else torch.add(source, b, out=out)
