"""Ristretto's layers, which compute in few bits: convolutions and inner products.

Gysel et al. 2016, "Hardware-oriented Approximation of Convolutional Neural Networks".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ... import boost_random, mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..axes import canonical_axis
from ..function import Function
from ..registry import register
from ..windows import read_window

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest whole numbers; halves are rounded away from zero, as by C's round."""
    return x.sign() * (x.abs() + 0.5).floor()


def fixed_point(x: torch.Tensor, bits: int, fraction: int, stochastic: bool) -> torch.Tensor:
    """Return x rounded to fixed-point numbers of `bits` bits, `fraction` of them after the point.

    Values beyond the range become the least or the largest number. stochastic: a value between two
    numbers is rounded at random; the nearer number has the larger probability.
    """
    step = 2.0**-fraction
    count = x.clamp(-(2.0 ** (bits - 1)) * step, (2.0 ** (bits - 1) - 1) * step) / step
    if not stochastic:
        return rounded(count) * step
    return (count + _uniform(x)).floor() * step


def power_of_two(x: torch.Tensor, least: int, most: int, stochastic: bool) -> torch.Tensor:
    """Return x as +-2^e, with e a whole number from `least` to `most`; 0 counts as positive."""
    exponent = x.abs().log2()
    exponent = (exponent + _uniform(x)).floor() if stochastic else rounded(exponent)
    return torch.where(x >= 0, 1.0, -1.0) * torch.exp2(exponent.clamp(least, most))


def _uniform(x: torch.Tensor) -> torch.Tensor:
    """Return numbers from 0 up to 1 in the shape of x."""
    if x.is_meta:
        return x
    if x.device.type != "cpu":
        return torch.empty_like(x).uniform_(generator=mode.generator(x.device))
    values = boost_random.uniform(mode.rng(), 0, 1, x.numel())
    return torch.from_numpy(values).to(x.dtype).reshape(x.shape)


def _straight(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return `value`, with the gradient of x."""
    return x + (value - x).detach()


class _Quantized(Function):
    """A layer of trimmed parameters and, in TEST, of trimmed bottoms and tops.

    quantization_param: DYNAMIC_FIXED_POINT trims the bottom to bw_layer_in bits with fl_layer_in
    behind the point, parameters to bw_params and fl_params, the top to bw_layer_out and
    fl_layer_out. INTEGER_POWER_OF_2_WEIGHTS trims the weights alone, to powers of two from exp_min
    to exp_max, and the top. TEST rounds as rounding_scheme says, TRAIN stochastically. The gradient
    passes a trim unchanged. Sources: the paper and base_ristretto_layer.cpp of
    pmgysel/caffe; there the bottom's own values are trimmed as well.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Whether each forward rounds at random."""
        return self.stochastic

    @property
    def replayable(self) -> bool:  # type: ignore[override]
        """A CUDA graph may contain the layer where it draws nothing."""
        return not self.stochastic

    @property
    def stochastic(self) -> bool:
        """Whether parameters are rounded stochastically."""
        p = self.layer_param.quantization_param
        return self.phase == caffe_pb2.TRAIN or p.rounding_scheme == p.STOCHASTIC

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.quantization_param
        if p.precision == p.MINIFLOAT:
            raise self.error(
                "precision is MINIFLOAT; the engine has DYNAMIC_FIXED_POINT and "
                "INTEGER_POWER_OF_2_WEIGHTS"
            )

    def apply(self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
        """Return the top of trimmed values."""
        raise NotImplementedError

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.quantization_param
        fixed = p.precision == p.DYNAMIC_FIXED_POINT
        w, b = self.weight_and_bias()
        if fixed:
            w = self._fixed(w, p.bw_params, p.fl_params)
            b = b if b is None else self._fixed(b, p.bw_params, p.fl_params)
        else:
            w = _straight(w, power_of_two(w.detach(), p.exp_min, p.exp_max, self.stochastic))
        if self.phase == caffe_pb2.TRAIN:
            return self.apply(x, w, b)
        x = self._fixed(x, p.bw_layer_in, p.fl_layer_in) if fixed else x
        return self._fixed(self.apply(x, w, b), p.bw_layer_out, p.fl_layer_out)

    def _fixed(self, x: torch.Tensor, bits: int, fraction: int) -> torch.Tensor:
        return _straight(x, fixed_point(x.detach(), bits, fraction, self.stochastic))


class _QuantizedWindow(_Quantized):
    """A convolution or its transpose, with the settings and parameters of BVLC's."""

    transposes = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        if canonical_axis(self, p.axis, shape) != 1 or not 3 <= len(shape) <= 5:
            raise self.shape_error(f"bottom of shape {shape}; it needs N x C and 1 to 3 more axes")
        if p.num_output < 1 or p.num_output % p.group or shape[1] % p.group:
            raise self.error(
                f"num_output {p.num_output} and {shape[1]} channels; group {p.group} needs to "
                "divide both"
            )
        try:
            extent = read_window("Convolution", self.layer_param, len(shape) - 2)
        except ValueError as error:
            raise self.error(str(error)) from None
        assert extent is not None
        self.extent = extent
        outputs, inputs = (shape[1], p.num_output) if self.transposes else (p.num_output, shape[1])
        self.add_parameter((outputs, inputs // p.group, *self.extent.kernel), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def apply(self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
        e, group = self.extent, self.layer_param.convolution_param.group
        settings = {"stride": e.stride, "padding": e.pad, "dilation": e.dilation, "groups": group}
        operations = TRANSPOSED if self.transposes else CONVOLUTIONS
        return operations[len(e.kernel) - 1](x, w, b, **settings)


@register
class ConvolutionRistretto(_QuantizedWindow):
    """A Convolution in few bits (Gysel et al. 2016, Ristretto). `_Quantized` has the formula."""


@register
class DeconvolutionRistretto(_QuantizedWindow):
    """A Deconvolution in few bits (Gysel et al. 2016, Ristretto). `_Quantized` has the formula."""

    transposes = True


@register
class FcRistretto(_Quantized):
    """An InnerProduct in few bits (Gysel et al. 2016, Ristretto). `_Quantized` has the formula."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        p, shape = self.layer_param.inner_product_param, bottom[0].shape
        if p.num_output < 1 or p.transpose:
            raise self.error(f"num_output {p.num_output}, transpose: at least 1, without transpose")
        self.axis = canonical_axis(self, p.axis, shape)
        self.add_parameter((p.num_output, math.prod(shape[self.axis :])), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def apply(self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
        rows = x.reshape(-1, math.prod(x.shape[self.axis :]))
        if rows.shape[1] != w.shape[1]:
            raise self.shape_error(f"{rows.shape[1]} values a row; the weights need {w.shape[1]}")
        return F.linear(rows, w, b).reshape(*x.shape[: self.axis], len(w))
