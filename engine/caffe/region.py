"""The layers of a net over whose maps the image does not reach, and how far it does.

A first convolution that pads by more than its kernel needs gives maps whose border depends on the
weights alone: it is what the net makes of an image of zeros. Away from the map's edges that is one
value a channel, so that a small map of zeros, widened by repeating its middle, gives the border at
any size. A `Region` computes the rectangle that the image reaches, and reads what lies around it
from the small map. The numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from . import strips
from .layers.activation import ReLU
from .layers.base import Function, Layer, Window
from .layers.utility import Split
from .layers.vision import Convolution

if TYPE_CHECKING:
    from .net import Net

#: A region ends where the image reaches more than this share of the maps.
MOST = 0.9
#: So many strips of a border are kept.
PARTS = 512


class Axis(NamedTuple):
    """One spatial axis of a blob.

    n: its size. lo, hi: the positions that the image reaches. left, right: how many positions at
    either end feel the edge of the map. step: input positions from one position to the next.
    """

    n: int
    lo: int
    hi: int
    left: int = 0
    right: int = 0
    step: int = 1

    def through(self, kernel: int, stride: int, pad: int, dilation: int, n: int) -> Axis:
        """The axis, of n positions, of what a layer with this window makes of a blob."""
        reach = dilation * (kernel - 1)
        lo = max(0, -((reach - self.lo - pad) // stride))
        hi = min(n, (self.hi - 1 + pad) // stride + 1)
        left = -(-(self.left + pad) // stride)
        right = n - ((self.n - self.right - 1 - reach + pad) // stride + 1)
        return Axis(n, lo, hi, min(left, n), min(max(right, 0), n), self.step * stride)

    def hull(self, other: Axis) -> Axis:
        """The axis of a blob made, position by position, of two of the same size."""
        return self._replace(
            lo=min(self.lo, other.lo),
            hi=max(self.hi, other.hi),
            left=max(self.left, other.left),
            right=max(self.right, other.right),
        )

    @property
    def whole(self) -> bool:
        return self.lo == 0 and self.hi == self.n


class Extent(NamedTuple):
    """The rows and the columns of a blob of a region."""

    rows: Axis
    columns: Axis

    @property
    def whole(self) -> bool:
        return self.rows.whole and self.columns.whole

    @property
    def reached(self) -> int:
        return (self.rows.hi - self.rows.lo) * (self.columns.hi - self.columns.lo)


class Patch(NamedTuple):
    """A blob of a region: what the image reaches of it, and whether a ReLU is still to come."""

    values: torch.Tensor
    rectify: bool = False


class Span(NamedTuple):
    """Where on one axis of a window lie the fill, the border and the patch; see `_span`."""

    size: int
    inside: slice  # of the window: within the map
    patch: slice  # of the window: within what the image reaches
    source: slice  # of the patch
    before: slice  # of the window: border before the patch
    after: slice  # and after it


class _Joined(torch.autograd.Function):
    """A window of a blob, put together of its patch (rectified or not), border and fill."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        patch: torch.Tensor,
        rectify: bool,
        rows: Span,
        columns: Span,
        fill: float,
        places: Sequence[tuple[slice, slice]],
        *border: torch.Tensor,
    ) -> torch.Tensor:
        x = patch[:, :, rows.source, columns.source]
        shape = (*x.shape[:2], rows.size, columns.size)
        last = x.device.type == "cpu" and min(shape[1:]) > 1
        layout = torch.channels_last if last else torch.contiguous_format
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        for slab in _outside(rows.inside, rows.size):
            out[:, :, slab] = fill
        for slab in _outside(columns.inside, columns.size):
            out[:, :, :, slab] = fill
        for (row, column), values in zip(places, border):
            out[:, :, row, column] = values
        middle = out[:, :, rows.patch, columns.patch]
        if rectify:
            torch.clamp_min(x, 0, out=middle)
            ctx.save_for_backward(out)
        else:
            middle.copy_(x)
        ctx.rectify, ctx.rows, ctx.columns, ctx.places = rectify, rows, columns, places
        ctx.patch_shape = patch.shape
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        rows, columns = ctx.rows, ctx.columns
        to_patch = None
        if ctx.needs_input_grad[0]:
            to_patch = grad[:, :, rows.patch, columns.patch]
            if ctx.rectify:
                (out,) = ctx.saved_tensors
                to_patch = torch.ops.aten.threshold_backward(
                    to_patch, out[:, :, rows.patch, columns.patch], 0
                )
            if to_patch.shape != ctx.patch_shape:
                part, to_patch = to_patch, grad.new_zeros(ctx.patch_shape)
                to_patch[:, :, rows.source, columns.source] = part
        to_border = [grad[:, :, a, b].sum(0, keepdim=True) for a, b in ctx.places]
        return (to_patch, None, None, None, None, None, *to_border)


def _outside(inside: slice, size: int) -> Iterable[slice]:
    for slab in (slice(0, inside.start), slice(inside.stop, size)):
        if slab.start < slab.stop:
            yield slab


def _span(axis: Axis, first: int, last: int) -> Span:
    """The parts of the window from position `first` up to `last`, which may pass the edges."""

    def part(low: int, high: int) -> slice:
        low, high = max(first, low), min(last, high)
        return slice(low - first, max(low, high) - first)

    lo, hi = min(max(axis.lo, first), last), max(min(axis.hi, last), first)
    return Span(
        last - first,
        part(0, axis.n),
        slice(lo - first, hi - first),
        slice(lo - axis.lo, hi - axis.lo),
        part(0, min(axis.lo, axis.n)),
        part(max(axis.hi, 0), axis.n),
    )


class Border:
    """The border of every blob of a region, on small maps whose middle repeats."""

    def __init__(self, cut: tuple[int, int]) -> None:
        #: Input positions that the small maps are smaller by.
        self.cut = cut
        self.maps: dict[int, torch.Tensor] = {}
        self._parts: dict[tuple[int, range, range], torch.Tensor] = {}

    def part(self, blob: int, extent: Extent, rows: range, columns: range) -> torch.Tensor:
        """The values at these positions of the full-size map."""
        key = (blob, rows, columns)
        if key in self._parts:
            return self._parts[key]
        small = self.maps[blob]
        for dim, axis, cut, wanted in zip((2, 3), extent, self.cut, (rows, columns)):
            index = _in_small(axis, cut // axis.step, wanted, small.device)
            small = small.index_select(dim, index)
        if len(self._parts) >= PARTS:
            self._parts.clear()
        self._parts[key] = small
        return small


@lru_cache(maxsize=4096)
def _in_small(axis: Axis, shift: int, wanted: range, device: torch.device) -> torch.Tensor:
    """Where positions of a map are in one that is smaller by `shift`, its middle repeated."""
    return torch.tensor(
        [
            i if i <= axis.left else max(axis.left, i - shift if i >= axis.n - axis.right else 0)
            for i in wanted
        ],
        device=device,
    )


class Region:
    """The layers `first` .. `last` of a net, for inputs of one shape."""

    def __init__(self, net: Net, first: int, source: int) -> None:
        self.first = self.last = first
        self.source = source
        self.extents: dict[int, Extent] = {}
        self._windows: dict[int, Window] = {}
        shape = net._blobs[source].shape
        at = Extent(*(Axis(n, 0, n) for n in shape[2:]))
        self._shapes = {source: shape}
        self.extents[source] = at
        for i in range(first, len(net._layers)):
            if not self._take(net, i):
                break
        self._stop_where_whole(net)
        self.cut = self._cut()

    # ---- which layers, and how far the image reaches -------------------------------------------

    def _take(self, net: Net, i: int) -> bool:
        """Take layer i in, if what it makes is local; whether it is."""
        layer, bottoms, tops = net._layers[i], net._bottoms[i], net._tops[i]
        if any(b not in self.extents for b in bottoms) or any(net._loss_weights[i]):
            return False
        if self.source in bottoms and i != self.first:
            return False
        extents = [self.extents[b] for b in bottoms]
        shapes: Sequence[Sequence[int]]
        if isinstance(layer, Split):
            made, shapes = [extents[0]] * len(tops), [self._shapes[bottoms[0]]] * len(tops)
        else:
            window = layer.window() if isinstance(layer, Function) else None
            if window is None or (i == self.first and len(bottoms) > 1):
                return False
            assert isinstance(layer, Function)
            if layer.stateful:
                return False
            if any(a.step != b.step for e in extents for a, b in zip(e, extents[0])):
                return False
            shapes = layer.shapes([self._shapes[b] for b in bottoms])
            if len(tops) == 1:
                for e in extents[1:]:
                    extents[0] = Extent(*(a.hull(b) for a, b in zip(extents[0], e)))
            made = [
                Extent(
                    *(
                        a.through(k, s, p, d, n)
                        for a, k, s, p, d, n in zip(e, *window[:4], shape[2:])
                    )
                )
                for e, shape in zip(extents, shapes)
            ]
            if i == self.first:  # zeros around zeros have no edge
                made = [Extent(*(a._replace(left=0, right=0) for a in e)) for e in made]
            self._windows[i] = window
        for top, extent, shape in zip(tops, made, shapes):
            if top in bottoms and self.extents[top] != extent:
                return False
            self.extents[top], self._shapes[top] = extent, tuple(shape)
        self.last = i
        return True

    def _stop_where_whole(self, net: Net) -> None:
        """Leave out the last layers, where the image reaches nearly everything."""
        while self.last > self.first and all(
            self.extents[t].reached > MOST * math.prod(self._shapes[t][2:])
            for t in net._tops[self.last]
        ):
            self.last -= 1
        self._layers = net._layers[self.first : self.last + 1]
        self._bottoms = net._bottoms[self.first : self.last + 1]
        self._tops = net._tops[self.first : self.last + 1]
        inside = {t for tops in self._tops for t in tops}
        self.extents = {b: e for b, e in self.extents.items() if b in inside | {self.source}}
        self._widen()
        later = net._bottoms[self.last + 1 :]
        read = {b for bottoms in later for b in bottoms}
        self.exits = sorted(inside & (read | set(net._outputs)))

    def _widen(self) -> None:
        """Widen patches by the position or two that make them whole windows of a pooling."""
        for i in reversed(range(len(self._layers))):
            window = self._windows.get(self.first + i)
            if window is None or max(window.stride) == 1:
                continue
            bottom, top = self._bottoms[i][0], self._tops[i][0]
            if bottom == self.source or len(self._bottoms[i]) > 1:
                continue
            wider = []
            for a, b, k, s, p, d in zip(self.extents[bottom], self.extents[top], *window[:4]):
                low, high = b.lo * s - p, (b.hi - 1) * s - p + d * (k - 1) + 1
                wider.append(a._replace(lo=max(0, min(a.lo, low)), hi=min(a.n, max(a.hi, high))))
            for blob in self._same(bottom):
                self.extents[blob] = Extent(*wider)

    def _same(self, blob: int) -> set[int]:
        """The blobs that hold the same values by way of Split layers."""
        same = {blob}
        for layer, bottoms, tops in zip(self._layers, self._bottoms, self._tops):
            if isinstance(layer, Split) and same & {*bottoms, *tops}:
                same |= {*bottoms, *tops}
        return same

    def _cut(self) -> tuple[int, int]:
        """By how many input positions the map of zeros can be smaller, its middle repeated."""
        cuts = []
        for axis in range(2):
            axes = [e[axis] for b, e in self.extents.items() if b != self.source]
            most = min(a.step * (a.n - a.left - a.right - 1) for a in axes)
            period = max(a.step for a in axes)
            cuts.append(
                max(0, most // period * period) if all(period % a.step == 0 for a in axes) else 0
            )
        return cuts[0], cuts[1]

    def small(self, blob: int) -> list[int]:
        """The size of a blob's small map."""
        return [a.n - cut // a.step for a, cut in zip(self.extents[blob], self.cut)]

    def share(self) -> float:
        """The multiplications of this region as a share of the plain ones."""
        plain = ours = 0
        for layer, tops in zip(self._layers, self._tops):
            if not isinstance(layer, Convolution):
                continue
            for top in tops:
                batch, channels, *size = self._shapes[top]
                each = channels * layer.blobs[0].count // layer.blobs[0].shape[0]
                high, wide = self.small(top)
                plain += each * batch * size[0] * size[1]
                ours += each * (batch * self.extents[top].reached + high * wide)
        return ours / plain if plain else 1.0

    def sound(self) -> bool:
        """Whether the layers make small maps of the sizes that the border is read from."""
        sizes = {b: (1, self._shapes[b][1], *self.small(b)) for b in self.extents}
        for layer, bottoms, tops in list(zip(self._layers, self._bottoms, self._tops))[1:]:
            if isinstance(layer, Function):
                made = layer.shapes([sizes[b] for b in bottoms])
                if [tuple(shape) for shape in made] != [sizes[t] for t in tops]:
                    return False
        return all(a.lo < a.hi for e in self.extents.values() for a in e)

    # ---- running -------------------------------------------------------------------------------

    def border(self) -> Border:
        """The border under the layers' present `weights`."""
        border = Border(self.cut)
        first = self._layers[0]
        assert isinstance(first, Convolution)
        k, s, _, d, _ = self._windows[self.first]
        for top in self._tops[0]:
            size = [
                (n - 1) * stride + dilation * (kernel - 1) + 1
                for n, kernel, stride, dilation in zip(self.small(top), k, s, d)
            ]
            shape = (1, self._shapes[self.source][1], *size)
            zeros = first.weights[0].new_zeros(shape)
            (border.maps[top],) = _tuple(first.inside(zeros))
        run(self._layers[1:], self._bottoms[1:], self._tops[1:], border.maps)
        return border

    def patches(
        self, source: torch.Tensor, border: Border, wanted: Iterable[int]
    ) -> dict[int, torch.Tensor]:
        """Run the layers; the blobs in `wanted`, whole."""
        wanted, found = set(wanted), {}
        live = {self.source: Patch(source)}
        last_use = {b: i for i, bottoms in enumerate(self._bottoms) for b in bottoms}
        at = 0
        while at < len(self._layers):
            stage = strips.stage(self, at, wanted, source.device)
            if stage:
                (bottom,), (top,) = self._bottoms[at], self._tops[stage[-1]]
                live[top] = strips.run(self, stage, live[bottom], border)
            else:
                live.update(zip(self._tops[at], self.layer(at, live, border)))
            at = stage.stop if stage else at + 1
            for b in [b for b in live if last_use.get(b, -1) < at]:
                if b in wanted:
                    rows, columns = self.extents[b]
                    place = (0, rows.n), (0, columns.n)
                    found[b] = self._window(b, live[b], border, *place, 0.0)
                del live[b]
        return found

    def layer(self, i: int, live: dict[int, Patch], border: Border) -> list[Patch]:
        """The tops of the region's layer `i`."""
        layer, bottoms, tops = self._layers[i], self._bottoms[i], self._tops[i]
        if isinstance(layer, Split):
            return [live[bottoms[0]]] * len(tops)
        if isinstance(layer, ReLU) and not layer.layer_param.relu_param.negative_slope:
            return [live[bottoms[0]]._replace(rectify=True)]
        assert isinstance(layer, Function)
        return self._step(layer, self._windows[self.first + i], bottoms, tops, live, border)

    def _step(
        self,
        layer: Function,
        window: Window,
        bottoms: Sequence[int],
        tops: Sequence[int],
        live: dict[int, Patch],
        border: Border,
    ) -> list[Patch]:
        """One layer on the windows that its patches are made of."""
        rectify = window.fill < 0 and live[bottoms[0]].rectify  # a maximum can be rectified after
        inputs = []
        for j, b in enumerate(bottoms):
            extent = self.extents[tops[min(j, len(tops) - 1)]]
            places = [
                (a.lo * s - p, (a.hi - 1) * s - p + d * (k - 1) + 1)
                for a, k, s, p, d in zip(extent, *window[:4])
            ]
            patch = live[b]._replace(rectify=False) if rectify else live[b]
            inputs.append(self._window(b, patch, border, places[0], places[1], window.fill))
        return [Patch(y, rectify) for y in _tuple(layer.inside(*layer.rounded(inputs)))]

    def _window(
        self,
        blob: int,
        patch: Patch,
        border: Border,
        rows: tuple[int, int],
        columns: tuple[int, int],
        fill: float,
    ) -> torch.Tensor:
        """The values of a blob at these positions; beyond its edges, `fill`."""
        extent = self.extents[blob]
        r, c = _span(extent.rows, *rows), _span(extent.columns, *columns)
        if (r.patch, c.patch) == (slice(0, r.size), slice(0, c.size)):
            x = patch.values[:, :, r.source, c.source]
            return torch.relu(x) if patch.rectify else x
        places = [
            (r.before, c.inside),
            (r.after, c.inside),
            (r.patch, c.before),
            (r.patch, c.after),
        ]
        places = [(a, b) for a, b in places if a.start < a.stop and b.start < b.stop]
        strips = [
            border.part(
                blob,
                extent,
                range(a.start + rows[0], a.stop + rows[0]),
                range(b.start + columns[0], b.stop + columns[0]),
            )
            for a, b in places
        ]
        return _Joined.apply(patch.values, patch.rectify, r, c, fill, places, *strips)


def run(
    layers: Sequence[Layer],
    bottoms: Sequence[Sequence[int]],
    tops: Sequence[Sequence[int]],
    values: dict[int, torch.Tensor],
    made: Callable[[int, torch.Tensor], None] = lambda blob, value: None,
) -> None:
    """Run layers on tensors by blob number, adding those that they make; `made` sees each."""
    for layer, b, t in zip(layers, bottoms, tops):
        if isinstance(layer, Split):
            outcome: Sequence[torch.Tensor] = [values[b[0]].view_as(values[b[0]]) for _ in t]
        else:
            assert isinstance(layer, Function)
            outcome = _tuple(layer.compute(*layer.rounded([values[i] for i in b])))
        for blob, value in zip(t, outcome):
            made(blob, value)
            values[blob] = value


def _tuple(y: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)
