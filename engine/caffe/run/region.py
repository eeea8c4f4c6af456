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
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .. import mode
from ..layers.activation import ReLU
from ..layers.base import Layer
from ..layers.function import Function, Window
from ..layers.utility import Split
from ..layers.vision import Convolution
from ..ops import cuda
from . import strips

if TYPE_CHECKING:
    from ..net import Net

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
    """A blob of a region: what the image reaches of it, and whether bias and ReLU are to come."""

    values: torch.Tensor
    rectify: bool = False
    bias: torch.Tensor | None = None

    def whole(self) -> torch.Tensor:
        """The values with all that was to come."""
        x = self.values if self.bias is None else self.values + self.bias.view(1, -1, 1, 1)
        return torch.relu(x) if self.rectify else x


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
        layout = mode.map_layout(shape, x.device)
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
        to_border = [grad[:, :, a, b] for a, b in ctx.places]
        if grad.shape[0] > 1:
            to_border = [part.sum(0, keepdim=True) for part in to_border]
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

    def __init__(self, cut: tuple[int, int], indices: dict[Any, torch.Tensor]) -> None:
        #: Input positions that the small maps are smaller by.
        self.cut = cut
        self.maps: dict[int, torch.Tensor] = {}
        #: Those of the region: where positions of a map are in the small one.
        self._indices = indices
        self._parts: dict[tuple[int, range, range], torch.Tensor] = {}

    def part(self, blob: int, extent: Extent, rows: range, columns: range) -> torch.Tensor:
        """The values at these positions of the full-size map."""
        key = (blob, rows, columns)
        if key in self._parts:
            return self._parts[key]
        small = self.maps[blob]
        for dim, axis, cut, wanted in zip((2, 3), extent, self.cut, (rows, columns)):
            place = (axis, cut // axis.step, wanted)
            if (place, small.device) not in self._indices:
                index = torch.tensor(_in_small(*place), dtype=torch.int32, device=small.device)
                self._indices[place, small.device] = index
            small = small.index_select(dim, self._indices[place, small.device])
        if not mode.capturing():
            if len(self._parts) >= PARTS:
                self._parts.clear()
            self._parts[key] = small
        return small

    def tensors(self) -> list[torch.Tensor]:
        """Everything that is read."""
        return [*self.maps.values(), *self._parts.values()]


def _in_small(axis: Axis, shift: int, wanted: range) -> list[int]:
    """Where positions of a map are in one that is smaller by `shift`, its middle repeated."""
    return [
        i if i <= axis.left else max(axis.left, i - shift if i >= axis.n - axis.right else 0)
        for i in wanted
    ]


class Region:
    """The layers `first` .. `last` of a net, for inputs of one shape."""

    def __init__(self, net: Net, first: int, source: int) -> None:
        self.first = self.last = first
        self.source = source
        self.extents: dict[int, Extent] = {}
        self._windows: dict[int, Window] = {}
        #: See `Border`, and `_places`.
        self._indices: dict[Any, torch.Tensor] = {}
        self._places_of: dict[Any, cuda.Places] = {}
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

    def tensors(self) -> list[torch.Tensor]:
        """What every pass reads."""
        places = [t for p in self._places_of.values() for t in (*p.tensors, *p.runs)]
        return [*self._indices.values(), *places]

    def border(self) -> Border:
        """The border under the layers' present `weights`."""
        border = Border(self.cut, self._indices)
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
        # A maximum can be rectified after, and a bias added, if all of it is of the patch.
        first = live[bottoms[0]]
        rectify, bias = window.fill < 0 and first.rectify, None
        inputs = []
        for j, b in enumerate(bottoms):
            extent = self.extents[tops[min(j, len(tops) - 1)]]
            places = [
                (a.lo * s - p, (a.hi - 1) * s - p + d * (k - 1) + 1)
                for a, k, s, p, d in zip(extent, *window[:4])
            ]
            patch = live[b]._replace(rectify=False) if rectify else live[b]
            if window.fill < 0 and patch.bias is not None and self._inside(b, *places):
                patch, bias = patch._replace(bias=None), patch.bias
            inputs.append(self._window(b, patch, border, places[0], places[1], window.fill))
        x = layer.rounded(inputs)
        if isinstance(layer, Convolution) and cuda.late_bias(x[0], layer.weights):
            bias = layer.weights[1]
            return [Patch(y, bias=bias) for y in layer.without_bias(*x)]
        return [Patch(y, rectify, bias) for y in _tuple(layer.inside(*x))]

    def _inside(self, blob: int, *places: tuple[int, int]) -> bool:
        """Whether all of a window is of the patch."""
        spans = (_span(axis, *place) for axis, place in zip(self.extents[blob], places))
        return all(span.patch == slice(0, span.size) for span in spans)

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
            return patch._replace(values=patch.values[:, :, r.source, c.source]).whole()
        if cuda.takes(patch.values):
            places = self._places(blob, rows, columns)
            maps = patch.values, patch.bias, border.maps.get(blob)
            return cuda.Join.apply(*maps, places, patch.rectify, fill)
        if patch.bias is not None:
            patch = Patch(patch.whole())
        slabs = [
            (r.before, c.inside),
            (r.after, c.inside),
            (r.patch, c.before),
            (r.patch, c.after),
        ]
        slabs = [(a, b) for a, b in slabs if a.start < a.stop and b.start < b.stop]
        strips = [
            border.part(
                blob,
                extent,
                range(a.start + rows[0], a.stop + rows[0]),
                range(b.start + columns[0], b.stop + columns[0]),
            )
            for a, b in slabs
        ]
        return _Joined.apply(patch.values, patch.rectify, r, c, fill, slabs, *strips)

    def _places(self, blob: int, rows: tuple[int, int], columns: tuple[int, int]) -> cuda.Places:
        """Where these positions of a blob are in its patch and in its small map."""
        key = (blob, self.extents[blob], rows, columns, mode.device())
        if key not in self._places_of:
            extent, wanted = self.extents[blob], (rows, columns)
            in_patch = [_shifted(range(a.lo, a.hi), *at) for a, at in zip(extent, wanted)]
            in_small = []
            for axis, cut, (first, last) in zip(extent, self.cut, wanted):
                within = range(max(first, 0), min(last, axis.n))
                index = _in_small(axis, cut // axis.step, within)
                in_small.append([-1] * (within.start - first) + index)
                in_small[-1] += [-1] * (last - first - len(in_small[-1]))
            spans = [_span(axis, *at) for axis, at in zip(extent, wanted)]
            edges = [edge for s in spans for edge in (s.patch.start, s.patch.stop)]
            whole = [s.patch.stop - s.patch.start == a.hi - a.lo for s, a in zip(spans, extent)]
            # The source, zeros around it, has no small map.
            small = self.small(blob) if blob != self.source else [a.n for a in extent]
            runs = [_runs(index, n) for index, n in zip(in_small, small)]
            tensors = [
                torch.tensor(numbers, dtype=torch.int32, device=mode.device())
                for numbers in (*in_patch, *in_small, *runs)
            ]
            self._places_of[key] = cuda.Places(tensors[:4], all(whole), edges, tensors[4:])
        return self._places_of[key]


def _shifted(patch: range, first: int, last: int) -> list[int]:
    """Where positions first .. last - 1 are in a patch, -1 where they are not."""
    return [i - patch.start if i in patch else -1 for i in range(first, last)]


def _runs(index: Sequence[int], n: int) -> list[int]:
    """For each number below n the first place in `index` where it stands, and the one after the
    last; 0 and 0 where it does not."""
    first, last = [0] * n, [0] * n
    for place, i in enumerate(index):
        if i >= 0:
            first[i] = first[i] if last[i] else place
            last[i] = place + 1
    return [edge for pair in zip(first, last) for edge in pair]


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
