"""Builds nets layer by layer, with the blocks that several published nets have."""

from __future__ import annotations

from typing import Any, Sequence, Tuple

import caffe
from caffe import layers as L
from caffe import params as P

FILLER = {"type": "msra"}


class Builder:
    """A net that grows by convolutions, in place as in published nets.

    size: height and width of the input, 1 x 3 x height x width. width: factor of the channels.
    """

    def __init__(self, size: Tuple[int, int], width: float) -> None:
        self.spec, self._width = caffe.NetSpec(), width
        self.spec.data = L.Input(input_param={"shape": {"dim": [1, 3, *size]}})

    def channels(self, count: int) -> int:
        """Return a number of channels of the published net, times the width."""
        return max(8, int(count * self._width))

    def convolved(self, name: str, x: Any, outputs: int, kernel: int = 3, **settings: Any) -> Any:
        """Add a convolution, by default with the padding that keeps the size of its map."""
        settings.setdefault("pad", kernel // 2)
        self.spec[name] = top = L.Convolution(
            x, num_output=outputs, kernel_size=kernel, weight_filler=FILLER, **settings
        )
        return top

    def rectified(self, name: str, x: Any, outputs: int, kernel: int = 3, **settings: Any) -> Any:
        """Add a convolution as `convolved` does, with ReLU."""
        top = self.convolved(name, x, outputs, kernel, **settings)
        self.spec[name + "_relu"] = top = L.ReLU(top, in_place=True)
        return top

    def normalized(
        self, name: str, x: Any, outputs: int, relu: bool = True, **settings: Any
    ) -> Any:
        """Add a convolution with BatchNorm, Scale and, by default, ReLU."""
        top = L.Convolution(
            x, num_output=outputs, bias_term=False, weight_filler=FILLER, **settings
        )
        self.spec[name] = top
        self.spec[name + "_bn"] = top = L.BatchNorm(top, in_place=True)
        self.spec[name + "_scale"] = top = L.Scale(top, bias_term=True, in_place=True)
        if relu:
            self.spec[name + "_relu"] = top = L.ReLU(top, in_place=True)
        return top

    def pooled(self, name: str, x: Any, kernel: int = 2, stride: int = 2, **settings: Any) -> Any:
        """Add a pooling, by default of maxima."""
        settings.setdefault("pool", P.Pooling.MAX)
        self.spec[name] = top = L.Pooling(x, kernel_size=kernel, stride=stride, **settings)
        return top

    def averaged(self, name: str, x: Any) -> Any:
        """Add the mean of each map."""
        self.spec[name] = top = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
        return top

    def joined(self, name: str, tops: Sequence[Any], axis: int = 1) -> Any:
        """Add a Concat."""
        self.spec[name] = top = L.Concat(*tops, axis=axis)
        return top
