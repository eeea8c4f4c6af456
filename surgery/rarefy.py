"""Nets without strides: filter rarefaction (Long et al., arXiv 1411.4038, section 3.2).

A layer of stride s keeps one position in s. Take the stride away, and the filters behind it find
their inputs s times as far apart: spread their taps (dilation) and their padding by s, and at
every s-th position they compute what they computed before; in between is what shifted inputs
would give. The a trous algorithm does so with wavelets. Caffe's Pooling has no dilation, so that
a rarefied max pooling is written as Crops of one blob, `spread` positions apart, and their
maximum. Every layer here is one that BVLC Caffe 1.0 has, and every weight keeps its layer and
shape: the old weights file fills the new net.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

Pair = Tuple[int, int]  # along the height, along the width

# Types that compute each position from itself alone.
_POINTWISE = {
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Concat", "Dropout", "Eltwise", "ELU", "Exp"),
    *("Log", "LRN", "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Silence", "Slice", "Softmax"),
    *("Split", "Swish", "TanH", "Threshold"),
}
# Of these, the ones whose tops are never negative, and the ones that leave no sign changed.
_NOT_NEGATIVE = {"AbsVal", "BNLL", "Exp", "Sigmoid", "Softmax", "Threshold"}
_KEEP_SIGN = {"Concat", "Dropout", "ELU", "LRN", "Silence", "Slice", "Split", "TanH"}


class _Blob(NamedTuple):
    """What is known of a blob.

    stride: input pixels between its positions. spread: positions between those that its
    makers' filters would meet as neighbours in the net with all strides. single: has one channel.
    """

    stride: Pair
    spread: Pair
    not_negative: bool = False
    single: bool = False


class _Window(NamedTuple):
    kernel: Pair
    stride: Pair
    pad: Pair


def rarefy(net: Any, top: Optional[str] = None, stride: int = 1) -> Any:
    """The NetParameter whose blob `top` has `stride` input pixels between its positions.

    net: a NetParameter, such as a deploy net; it stays as it is. top: the blob to make (the last
    one); layers that do not lead to it are left out. stride: 1 makes the dense map, a divisor of
    the net's stride a map between the two; the last strides of the net are the ones removed.

    Position j of the old map is position j * old stride / `stride` of the new one, with equal
    values. The positions between are those of the net with its maps shifted at the strides; with
    no padding but the first layer's (`gather_padding`) they are, all of them, what the whole net
    gives for shifted images.

    Raises ValueError, naming the layer, where no layers of Caffe express it.
    """
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise ValueError(f"stride {stride!r}: a whole number from 1 on is needed")
    layers, top = _leading_to(net, top)
    made = type(net)()
    made.CopyFrom(net)
    del made.layer[:]
    blobs: Dict[str, _Blob] = {name: _SOURCE for name in net.input}
    for layer in layers:
        _Rarefied(made, layer, blobs, stride).add()
    if blobs[top].stride != (stride, stride):
        found = " x ".join(str(s) for s in sorted(set(blobs[top].stride)))
        raise ValueError(
            f"stride {stride}: the net's blob {top} has stride {found}; a product of its first "
            "strides is needed"
        )
    return made


def gather_padding(net: Any, top: Optional[str] = None, extra: int = 0) -> Any:
    """The NetParameter in which the first layer alone pads, for all layers up to `top`.

    A pad of p behind the stride s becomes s * p pixels around the image. Positions and the places
    they stand for remain, and so do the values wherever no padding was seen; at the border a
    layer now meets what the layers before it make of empty image instead of zeros, which is what
    lets the map of a shifted image be the shifted map. `extra`: further pixels on every side.

    Raises ValueError, naming the layer, where paths of different padding meet.
    """
    layers, _ = _leading_to(net, top)
    first = _first_convolution(layers)
    made = type(net)()
    made.CopyFrom(net)
    del made.layer[:]
    # Blob -> (stride, padding in pixels) from the image to it.
    found: Dict[str, Tuple[Pair, Pair]] = {name: ((1, 1), (0, 0)) for name in net.input}
    total = (0, 0)
    for old in layers:
        layer = made.layer.add()
        layer.CopyFrom(old)
        places = {found[name] for name in old.bottom}
        if len(places) > 1:
            raise _error(old, "its bottoms were padded differently; only chains can be gathered")
        step, pad = places.pop() if places else ((1, 1), (0, 0))
        if old.type in ("Convolution", "Pooling"):
            window = _window(old)
            pad = _add(pad, _times(window.pad, step))
            step = _times(step, window.stride)
            _set(layer, "pad", (0, 0))
        elif old.bottom and old.type not in _POINTWISE:
            raise _no_positions(old)
        total = max(total[0], pad[0]), max(total[1], pad[1])
        found.update((name, (step, pad)) for name in old.top)
    for layer in made.layer:
        if layer.name == first.name:
            _set(layer, "pad", _add(total, (extra, extra)))
    return made


def add_padding(net: Any, extra: int) -> Any:
    """The NetParameter whose first convolution pads by `extra` more pixels on every side."""
    made = type(net)()
    made.CopyFrom(net)
    first = _first_convolution(made.layer)
    pad = _add(_window(first).pad, (extra, extra))
    if min(pad) < 0:
        raise _error(first, f"pad {pad} with {extra} more; 0 or more is needed")
    _set(first, "pad", pad)
    return made


_SOURCE = _Blob((1, 1), (1, 1))


def _leading_to(net: Any, top: Optional[str]) -> Tuple[List[Any], str]:
    """The layers that `top` is made from, and its name."""
    if len(net.layers):
        raise ValueError("a net in Caffe's old format (`layers`); upgrade_net_proto_text renews it")
    names = [name for layer in net.layer for name in layer.top]
    if not names:
        raise ValueError("a net without a layer that makes a blob; one with an output is needed")
    top = names[-1] if top is None else top
    if top not in names:
        raise ValueError(
            f"blob {top}: not in this net, which has {', '.join(dict.fromkeys(names))}"
        )
    needed, layers = {top}, []
    for layer in reversed(net.layer):
        if needed & set(layer.top):
            layers.append(layer)
            needed |= set(layer.bottom)
    return layers[::-1], top


def _first_convolution(layers: Sequence[Any]) -> Any:
    for layer in layers:
        if layer.type == "Convolution":
            return layer
        if layer.bottom and (layer.type not in _POINTWISE or layer.type == "Concat"):
            break
    raise ValueError("no Convolution is the first layer of this net; one has to pad the image")


class _Rarefied:
    """One layer on its way into the net without strides."""

    def __init__(self, net: Any, layer: Any, blobs: Dict[str, _Blob], stride: int) -> None:
        self.net, self.layer, self.blobs, self.stride = net, layer, blobs, stride
        bottoms = [blobs[name] for name in layer.bottom]
        places = {(blob.stride, blob.spread) for blob in bottoms}
        if len(places) > 1:
            raise _error(layer, "its bottoms have different strides; a single one is needed")
        self.bottom = bottoms[0] if bottoms else _SOURCE
        self.signs = [blob.not_negative for blob in bottoms]

    def add(self) -> None:
        kind, made = self.layer.type, self.bottom
        if kind == "Convolution":
            made = self._convolution()
        elif kind == "Pooling":
            made = self._pooling()
        elif not self.layer.bottom or kind in _POINTWISE:
            made = self._pointwise()
        else:
            raise _no_positions(self.layer)
        self.blobs.update((name, made) for name in self.layer.top)

    def _copy(self) -> Any:
        layer = self.net.layer.add()
        layer.CopyFrom(self.layer)
        return layer

    def _pointwise(self) -> _Blob:
        layer, kind = self.layer, self.layer.type
        across = layer.lrn_param.DESCRIPTOR.enum_values_by_name["ACROSS_CHANNELS"].number
        axes = {"Concat": layer.concat_param, "Slice": layer.slice_param}
        if kind == "LRN" and layer.lrn_param.norm_region != across and self._spread():
            raise _error(layer, "norm_region WITHIN_CHANNEL cannot be spread, ACROSS_CHANNELS can")
        if kind in axes and axes[kind].axis not in (1, -3):
            raise _error(layer, f"axis {axes[kind].axis}; it has to be the channels, axis 1")
        self._copy()
        single = self.bottom.single and len(layer.bottom) == 1
        if kind == "Input":
            shape = layer.input_param.shape[0].dim if len(layer.input_param.shape) else []
            single = list(shape[1:2]) == [1]
        return self.bottom._replace(not_negative=self._not_negative(), single=single)

    def _not_negative(self) -> bool:
        layer, kind = self.layer, self.layer.type
        if kind == "ReLU":
            return layer.relu_param.negative_slope == 0 or all(self.signs)
        if kind == "Eltwise":
            p = layer.eltwise_param
            if p.operation == p.MAX:
                return any(self.signs)
            return all(self.signs) and all(c >= 0 for c in p.coeff)
        if kind in _KEEP_SIGN:
            return bool(self.signs) and all(self.signs)
        return kind in _NOT_NEGATIVE and (kind != "Exp" or layer.exp_param.base != 0)

    def _spread(self) -> bool:
        return self.bottom.spread != (1, 1)

    def _stride(self, window: _Window) -> Pair:
        """The stride that the layer keeps."""
        kept = []
        for before, own in zip(self.bottom.stride, window.stride):
            wanted = min(own, self.stride // before)
            if self.stride % before or (self.stride // before) % wanted or own % wanted:
                raise _error(
                    self.layer,
                    f"stride {own} behind a stride of {before}: no part of it makes "
                    f"{self.stride} in all; ask for a product of the net's first strides",
                )
            kept.append(wanted)
        return kept[0], kept[1]

    def _after(self, window: _Window, kept: Pair) -> _Blob:
        left = window.stride[0] // kept[0], window.stride[1] // kept[1]
        stride, spread = _times(self.bottom.stride, kept), _times(self.bottom.spread, left)
        return self.bottom._replace(stride=stride, spread=spread)

    def _convolution(self) -> _Blob:
        window, spread = _window(self.layer), self.bottom.spread
        kept, layer = self._stride(window), self._copy()
        _set(layer, "stride", kept)
        _set(layer, "pad", _times(window.pad, spread))
        dilation = _pair(self.layer.convolution_param, "dilation", 1)
        if window.kernel != (1, 1):
            _set(layer, "dilation", _times(dilation, spread))
        single = self.layer.convolution_param.num_output == 1
        return self._after(window, kept)._replace(not_negative=False, single=single)

    def _pooling(self) -> _Blob:
        p, window = self.layer.pooling_param, _window(self.layer)
        kept = self._stride(window)
        made = self._after(window, kept)
        if kept == window.stride and not self._spread():
            self._copy()
            return made
        if kept != (1, 1):
            raise _error(
                self.layer, f"stride {window.stride} would become {kept}; ask for all of it or none"
            )
        if len(self.layer.top) > 1:
            raise _error(self.layer, "makes a mask of places, which no other layer makes")
        if p.pool not in (p.MAX, p.AVE):
            raise _error(self.layer, "pools at random; MAX or AVE is needed")
        self._taps(window, self._overhang(window), p.pool == p.MAX)
        return made

    def _overhang(self, window: _Window) -> Pair:
        """How many windows begin so late that they reach over the padded end of the blob.

        Rounding up, the last window of a phase does if that phase does not end with a whole one;
        over all phases of a stride s that is s - 1 windows, once each.
        """
        p = self.layer.pooling_param
        up = getattr(p, "round_mode", 0) == 0
        over = tuple(s - 1 if up else 0 for s in window.stride)
        for k, pad, o in zip(window.kernel, window.pad, over):
            if (pad or o) and pad + o >= k:
                raise _error(
                    self.layer,
                    f"kernel {k}, stride {o + 1}, pad {pad}: its last windows begin behind the "
                    "input's end; the pad and the stride less 1 have to be below the kernel",
                )
        return over[0], over[1]

    def _taps(self, window: _Window, over: Pair, maximum: bool) -> None:
        """The layers of a pooling whose taps lie `spread` positions apart."""
        name, (bottom,), (top,) = self.layer.name, self.layer.bottom, self.layer.top
        spread, around = self.bottom.spread, _add(window.pad, over)
        if max(around) and not maximum:
            raise _error(
                self.layer,
                "AVE windows at the border have fewer positions; pad 0 and round_mode FLOOR are "
                "needed to take its stride or spread it",
            )
        if max(around) and not self.signs[0]:
            raise _error(
                self.layer,
                "its windows at the border are filled with zeros, so its bottom may not be "
                "negative; a ReLU before it is needed",
            )
        reach = _times(tuple(k - 1 for k in window.kernel), spread)
        # Sides of the top less sides of the bottom.
        more = [2 * p * d + o * d - r for p, o, d, r in zip(window.pad, over, spread, reach)]
        like = bottom if not any(more) else self._extents(bottom, more)
        source = bottom
        if max(around):
            source = self._im2col(f"{name}_pad", bottom, (1, 1), (1, 1), _times(around, spread))
        for axis in (3, 2):
            side = axis - 2
            starts = [(over[side] + tap) * spread[side] for tap in range(window.kernel[side])]
            goal = top if axis == 2 else f"{name}_w"
            source = self._line(goal, source, like, axis, starts, maximum)

    def _line(
        self, top: str, bottom: str, like: str, axis: int, starts: List[int], maximum: bool
    ) -> str:
        """The maximum or mean of `bottom` cut to the extents of `like`, from each of `starts`."""
        name = self.layer.name if axis == 2 else top
        side, parts = "hw"[axis - 2], []
        for number, start in enumerate(starts):
            part = f"{self.layer.name}_{side}{number}" if len(starts) > 1 else top
            layer = self.net.layer.add(name=part, type="Crop", bottom=[bottom, like], top=[part])
            layer.crop_param.axis = axis
            layer.crop_param.offset.extend([start, 0] if axis == 2 else [start])
            parts.append(part)
        if len(parts) > 1:
            layer = self.net.layer.add(name=name, type="Eltwise", bottom=parts, top=[top])
            p = layer.eltwise_param
            p.operation = p.MAX if maximum else p.SUM
            if not maximum:
                p.coeff.extend([1.0 / len(parts)] * len(parts))
        return top

    def _im2col(self, name: str, bottom: str, kernel: Pair, dilation: Pair, pad: Pair) -> str:
        """Adds Im2col; with a kernel of 1 it is the layer that puts zeros around a blob."""
        layer = self.net.layer.add(name=name, type="Im2col", bottom=[bottom], top=[name])
        p = layer.convolution_param
        p.kernel_size.extend(kernel)
        p.pad.extend(pad)
        p.dilation.extend(dilation)
        return name

    def _extents(self, bottom: str, more: Sequence[int]) -> str:
        """A blob whose sides are `more` longer than the bottom's, for Crops to be like."""
        name = self.layer.name
        one, rest = bottom, f"{name}_rest"
        if not self.bottom.single:
            one = f"{name}_one"
            layer = self.net.layer.add(name=one, type="Slice", bottom=[bottom], top=[one, rest])
            layer.slice_param.axis = 1
            layer.slice_param.slice_point.append(1)
            self.net.layer.add(name=rest, type="Silence", bottom=[rest])
        # Two taps |m| apart take |m| from a side, a pad of m gives twice that.
        high, wide = ((2, abs(m), max(m, 0)) if m else (1, 1, 0) for m in more)
        kernel, dilation, pad = zip(high, wide)
        return self._im2col(f"{name}_like", one, kernel, dilation, pad)


def _window(layer: Any) -> _Window:
    """Kernel, stride and pad of a Convolution or Pooling over height and width."""
    if layer.type == "Pooling":
        p = layer.pooling_param
        if p.global_pooling:
            raise _error(layer, "pools the whole map, which has no positions left")
    else:
        p = layer.convolution_param
        if p.axis != 1 or len(p.kernel_size) > 2:
            raise _error(layer, "convolves other axes than height and width")
    kernel = _pair(p, "kernel", 0)
    if min(kernel) < 1:
        raise _error(layer, "has no kernel_size; one is needed")
    return _Window(kernel, _pair(p, "stride", 1), _pair(p, "pad", 0))


def _pair(p: Any, name: str, default: int) -> Pair:
    """A setting along height and width, however it is given."""
    if name != "dilation" and (p.HasField(name + "_h") or p.HasField(name + "_w")):
        return getattr(p, name + "_h"), getattr(p, name + "_w")
    value = getattr(p, "kernel_size" if name == "kernel" else name)
    values = list(value) if hasattr(value, "extend") else [value]
    return (values or [default])[0], (values or [default])[-1]


def _set(layer: Any, name: str, pair: Pair) -> None:
    """Sets stride, pad or dilation of a layer; leaves a setting alone that says so already."""
    p = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
    if _pair(p, name, 0 if name == "pad" else 1) == pair:
        return
    if name != "dilation":
        p.ClearField(name + "_h")
        p.ClearField(name + "_w")
    p.ClearField(name)
    if layer.type != "Pooling":
        getattr(p, name).extend(pair if pair[0] != pair[1] else pair[:1])
    elif pair[0] == pair[1]:
        setattr(p, name, pair[0])
    else:
        setattr(p, name + "_h", pair[0])
        setattr(p, name + "_w", pair[1])


def _add(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], a[1] + b[1]


def _times(a: Sequence[int], b: Sequence[int]) -> Pair:
    return a[0] * b[0], a[1] * b[1]


def _error(layer: Any, text: str) -> ValueError:
    return ValueError(f"layer {layer.name} ({layer.type}): {text}")


def _no_positions(layer: Any) -> ValueError:
    return _error(
        layer,
        "no stride before it can be taken away; name the last blob before it as the top",
    )
