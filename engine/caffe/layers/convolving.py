"""The settings, parameters and shapes that Convolution and Deconvolution share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .. import mode
from ..blob import Blob
from .axes import canonical_axis
from .base import EngineLayer
from .function import Function, Shape, Tensors
from .windows import Window, read_window


def spatial_window(layer: EngineLayer, axis: int, shape: Sequence[int]) -> Window:
    """Return the window of a layer over the axes after `axis` of a bottom of this shape.

    Raises LayerError for a window that Caffe refuses.
    """
    try:
        window = read_window(layer.type, layer.layer_param, len(shape) - axis - 1)
    except ValueError as error:
        raise layer.error(str(error)) from None
    assert window is not None
    return window


def laid_out(x: torch.Tensor) -> torch.Tensor:
    """Return a map in the memory layout that is convolved fastest."""
    if x.dim() != 4 or x.is_meta:
        return x
    return x.contiguous(memory_format=mode.map_layout(x.shape, x.device))


class Convolving(Function):
    """The parts that Convolution and Deconvolution share: settings, parameters, shapes.

    The bottoms are N x ... x C x spatial axes, C at `axis` of convolution_param (1); the tops have
    num_output in place of C. The bias has num_output values.
    """

    precision = "low"
    bottoms, tops = (1, math.inf), (1, math.inf)
    equal_bottoms_and_tops = True
    in_place = False
    transposed = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        self.axis = canonical_axis(self, p.axis, shape)
        axes = len(shape) - self.axis - 1
        if not 1 <= axes <= 3:
            raise self.shape_error(
                f"the bottom of shape {shape} has {axes} spatial axes after axis {self.axis}; "
                "it needs 1, 2 or 3"
            )
        window = spatial_window(self, self.axis, shape)
        self.kernel, self.stride, self.pad, self.dilation = window[:4]
        channels, outputs, group = shape[self.axis], p.num_output, p.group
        if outputs < 1:
            raise self.error(f"num_output is {outputs}; it needs to be at least 1")
        if group < 1 or channels % group or outputs % group:
            raise self.error(
                f"group {group} does not divide {channels} channels and num_output {outputs}"
            )
        first, second = (channels, outputs) if self.transposed else (outputs, channels)
        self.add_parameter((first, second // group, *self.kernel), p.weight_filler)
        if p.bias_term:
            self.add_parameter((outputs,), p.bias_filler)
        self.channels, self.group = channels, group
        self.reach = window.reach
        self.dense = len(self.kernel) == 2 and {*self.stride, *self.dilation} == {1}

    def _check(self, bottoms: Sequence[Shape]) -> None:
        """Raise ShapeError for bottoms of shapes that the layer cannot read."""
        for shape in bottoms:
            if shape != bottoms[0]:
                raise self.shape_error(
                    f"bottoms of shapes {bottoms[0]} and {shape}; they need to be equal"
                )
            if len(shape) <= self.axis or shape[self.axis] != self.channels:
                raise self.shape_error(
                    f"a bottom of shape {shape}; axis {self.axis} needs {self.channels} channels"
                )
            if min(self.output_size(shape[self.axis + 1 :]), default=0) < 1:
                raise self.shape_error(
                    f"a bottom of shape {shape} is smaller than the kernel {self.kernel} "
                    f"(pad {self.pad}, dilation {self.dilation}); it needs a larger input"
                )

    def parameters(self, on: torch.device) -> Tensors:
        weight = self.blobs[0].values
        if on.type == "cuda" and len(weight.shape) == 4:
            weight.arrange(on, mode.map_layout(weight.shape, on))
        return super().parameters(on)

    def output_size(self, size: Sequence[int]) -> list[int]:
        """Return the spatial size of the top for a bottom of spatial size `size`."""
        axes = zip(size, self.reach, self.stride, self.pad)
        if self.transposed:
            return [s * (n - 1) + r - 2 * p for n, r, s, p in axes]
        # As in Caffe, division rounds towards zero: a kernel that is larger than the padded
        # bottom by less than a stride still has one place.
        return [math.trunc((n + 2 * p - r) / s) + 1 for n, r, s, p in axes]

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        self._check(bottoms)
        outputs, axis = self.layer_param.convolution_param.num_output, self.axis
        return [(*s[:axis], outputs, *self.output_size(s[axis + 1 :])) for s in bottoms]

    def compute(self, *xs: torch.Tensor) -> Tensors:
        return tuple(self._along_axis(x) for x in xs)

    def _along_axis(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve one bottom, whose axes before `axis` count as a batch."""
        if self.axis != 1:
            y = self.convolve(x.reshape(-1, *x.shape[self.axis :]))
            return y.reshape(*x.shape[: self.axis], *y.shape[1:])
        return self.convolve(self._arranged(x))

    def _arranged(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map in the memory layout in which the layer reads it fastest."""
        return laid_out(x)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Return the top for a bottom N x C x spatial axes."""
        raise NotImplementedError
