"""Nets without strides: filter rarefaction (Long et al., arXiv 1411.4038, section 3.2).

A layer of stride s keeps one position in s. Without that stride, the filters behind the layer find
their inputs s times as far apart. With their taps (dilation) and their padding spread by s, they
compute at every s-th position what they computed before, and in between what shifted inputs would
give. The a trous algorithm does the same with wavelets.

All layers of the new nets exist in BVLC Caffe 1.0, and every weight keeps its layer and its shape:
the old weights file fills the new net.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from net_gen.pointwise import check_pointwise
from net_gen.windows import (
    Pair,
    Window,
    layer_error,
    multiply_pairs,
    read_window,
    write_setting,
)
from surgery.dilated_pooling import Bottom, add_dilated_pooling
from surgery.subnet import copy_layer, layers_to, without_layers

#: Pointwise types whose tops are never negative, and types whose tops are not negative if their
#: bottoms are not.
NOT_NEGATIVE = {"AbsVal", "BNLL", "Exp", "Sigmoid", "Softmax", "Threshold"}
KEEP_SIGN = {"Concat", "Dropout", "ELU", "LRN", "Silence", "Slice", "Split", "TanH"}


class _Blob(NamedTuple):
    """A blob of the new net.

    stride: pixels between two positions. spread: positions between two that are neighbours in the
    old net. not_negative: no value is below 0. one_channel: the blob has a single channel.
    """

    stride: Pair
    spread: Pair
    not_negative: bool = False
    one_channel: bool = False


_IMAGE = _Blob((1, 1), (1, 1))


def rarefy(net: Any, top: Optional[str] = None, stride: int = 1) -> Any:
    """Return the NetParameter whose blob `top` has `stride` pixels between its positions.

    net: a NetParameter, such as a deploy net; it is not changed.
    top: the blob to compute; None is the last one. Layers that do not lead to it are left out.
    stride: 1 gives the dense map, a divisor of the net's stride a map in between. The last strides
        of the net are the ones that are removed.

    Position j of the old map is position j * (old stride) / `stride` of the new map, with equal
    values. The positions in between are those of the net whose maps are shifted at the strides. If
    only the first layer pads (`gather_padding`), they are what the net computes for shifted images.

    Raises ValueError, with the layer's name, if no layers of Caffe express the new net.
    """
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise ValueError(f"stride is {stride!r}, needs an integer of at least 1")
    layers, top = layers_to(net, top)
    rarefied = without_layers(net)
    blobs: Dict[str, _Blob] = {name: _IMAGE for name in net.input}
    for layer in layers:
        blob = _RarefiedLayer(rarefied, layer, [blobs[name] for name in layer.bottom], stride).add()
        blobs.update((name, blob) for name in layer.top)
    if blobs[top].stride != (stride, stride):
        old = " x ".join(str(side) for side in sorted(set(blobs[top].stride)))
        raise ValueError(
            f"stride is {stride}, blob {top} of the net has stride {old}, needs a product of the "
            "net's first strides"
        )
    return rarefied


class _RarefiedLayer:
    """A layer on its way into the new net.

    net: the new net. layer: the old layer. bottoms: its bottoms in the new net. stride: of the top
    of the new net, in pixels.
    """

    def __init__(self, net: Any, layer: Any, bottoms: List[_Blob], stride: int) -> None:
        if len({(blob.stride, blob.spread) for blob in bottoms}) > 1:
            raise layer_error(layer, "its bottoms have different strides, needs a single stride")
        self.net, self.layer, self.bottoms, self.stride = net, layer, bottoms, stride
        self.bottom = bottoms[0] if bottoms else _IMAGE

    def add(self) -> _Blob:
        """Add the layer, or the layers that take its place, and return its top."""
        if self.layer.type == "Convolution":
            return self._add_convolution()
        if self.layer.type == "Pooling":
            return self._add_pooling()
        if self.layer.bottom:
            self._check_pointwise()
        copy_layer(self.net, self.layer)
        return self.bottom._replace(
            not_negative=self._is_not_negative(), one_channel=self._has_one_channel()
        )

    def _check_pointwise(self) -> None:
        """Raise ValueError for a layer whose values depend on other positions than their own."""
        layer = self.layer
        check_pointwise(layer)
        across = layer.lrn_param.DESCRIPTOR.enum_values_by_name["ACROSS_CHANNELS"].number
        if layer.type == "LRN" and layer.lrn_param.norm_region != across and self._is_spread():
            raise layer_error(
                layer, "norm_region WITHIN_CHANNEL cannot be spread, needs ACROSS_CHANNELS"
            )
        params = {"Concat": layer.concat_param, "Slice": layer.slice_param}
        if layer.type in params and params[layer.type].axis not in (1, -3):
            raise layer_error(layer, f"axis is {params[layer.type].axis}, needs the channels, 1")

    def _is_spread(self) -> bool:
        return self.bottom.spread != (1, 1)

    def _has_one_channel(self) -> bool:
        layer = self.layer
        if layer.type == "Input":
            shape = layer.input_param.shape[0].dim if len(layer.input_param.shape) else []
            return list(shape[1:2]) == [1]
        return self.bottom.one_channel and len(layer.bottom) == 1

    def _is_not_negative(self) -> bool:
        layer, signs = self.layer, [blob.not_negative for blob in self.bottoms]
        if layer.type == "ReLU":
            return layer.relu_param.negative_slope == 0 or all(signs)
        if layer.type == "Eltwise":
            p = layer.eltwise_param
            if p.operation == p.MAX:
                return any(signs)
            return all(signs) and all(c >= 0 for c in p.coeff)
        if layer.type in KEEP_SIGN:
            return bool(signs) and all(signs)
        return layer.type in NOT_NEGATIVE and (layer.type != "Exp" or layer.exp_param.base != 0)

    def _stride(self, window: Window) -> Pair:
        """Return the stride that the layer keeps."""
        strides = []
        for before, stride in zip(self.bottom.stride, window.stride):
            kept = min(stride, self.stride // before)
            if self.stride % before or (self.stride // before) % kept or stride % kept:
                raise layer_error(
                    self.layer,
                    f"stride {stride} behind a stride of {before}: no part of it gives a stride of "
                    f"{self.stride}, needs a product of the net's first strides",
                )
            strides.append(kept)
        return strides[0], strides[1]

    def _behind(self, window: Window, kept: Pair) -> _Blob:
        """Return the top of a window that keeps the stride `kept`."""
        removed = window.stride[0] // kept[0], window.stride[1] // kept[1]
        stride = multiply_pairs(self.bottom.stride, kept)
        return self.bottom._replace(
            stride=stride, spread=multiply_pairs(self.bottom.spread, removed)
        )

    def _add_convolution(self) -> _Blob:
        window, spread = read_window(self.layer), self.bottom.spread
        kept, layer = self._stride(window), copy_layer(self.net, self.layer)
        write_setting(layer, "stride", kept)
        write_setting(layer, "pad", multiply_pairs(window.pad, spread))
        if window.kernel != (1, 1):
            write_setting(layer, "dilation", multiply_pairs(window.dilation, spread))
        one_channel = self.layer.convolution_param.num_output == 1
        return self._behind(window, kept)._replace(not_negative=False, one_channel=one_channel)

    def _add_pooling(self) -> _Blob:
        window = read_window(self.layer)
        kept = self._stride(window)
        blob = self._behind(window, kept)
        if kept == window.stride and not self._is_spread():
            copy_layer(self.net, self.layer)
            return blob
        if kept != (1, 1):
            raise layer_error(
                self.layer,
                f"stride {window.stride} would become {kept}, needs to keep all of it or none",
            )
        bottom = Bottom(
            self.layer.bottom[0],
            self.bottom.spread,
            self.bottom.not_negative,
            self.bottom.one_channel,
        )
        add_dilated_pooling(self.net, self.layer, window, bottom)
        return blob
