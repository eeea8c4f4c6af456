"""Layers that prune their weights and splice them again while they learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ... import mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..axes import canonical_axis
from ..convolving import spatial_window
from ..function import Function, Tensors
from ..registry import register

#: The thresholds of pruning and of splicing, as parts of mean + c_rate * deviation.
PRUNED, SPLICED = 0.9, 1.1


class _Spliced(Function):
    """Weights and a bias times masks of 0 and 1 (Guo et al. 2016, dynamic network surgery, 3.2).

    The masks are the parameters behind weights and bias. In TRAIN, pass t changes them with the
    probability (1 + gamma t)^-power while t is below iter_stop: a mask becomes 0 where the absolute
    value is at most 0.9 times mean + c_rate * deviation, and 1 where it is above 1.1 times that.
    Mean and deviation are those of the absolute values in the first pass. Values behind a mask of 0
    learn as the others do (yiwenguo/Dynamic-Network-Surgery).
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    settings: str
    replayable = False

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Each pass in TRAIN may change the masks."""
        return self.phase == caffe_pb2.TRAIN

    def add_masks(self) -> None:
        """Add a mask for each parameter, which does not learn. Raises LayerError."""
        p = getattr(self.layer_param, self.settings)
        missing = [
            name for name in ("gamma", "power", "c_rate", "iter_stop") if not p.HasField(name)
        ]
        if missing and self.stateful:
            raise self.error(f"{self.settings} has no {', '.join(missing)}; TRAIN needs them")
        one = caffe_pb2.FillerParameter(type="constant", value=1)
        fillers = ("weight_mask_filler", "bias_mask_filler")
        shapes = [blob.shape for blob in self.blobs]
        for shape, name in zip(shapes, fillers):
            self.add_parameter(shape, getattr(p, name) if p.HasField(name) else one)
        specs = self.layer_param.param
        while len(specs) < len(self.blobs):
            specs.add()
        for spec in specs[len(shapes) :]:
            spec.lr_mult = spec.decay_mult = 0
        #: The passes in TRAIN, and mean and deviation of the absolute values in the first.
        self.passes, self.mean, self.deviation = 0, 0.0, 0.0

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.stateful:
            self._change_masks()
        super().forward(bottom, top)

    def _change_masks(self) -> None:
        p, half = getattr(self.layer_param, self.settings), len(self.blobs) // 2
        weights = [blob.values.tensor(mode.device()).abs() for blob in self.blobs[:half]]
        masks = [blob.values.mutable(mode.device()).data for blob in self.blobs[half:]]
        if not self.passes:
            values = torch.cat([(w * m).flatten() for w, m in zip(weights, masks)]).double()
            values = values[values != 0]
            if len(values):
                self.mean, self.deviation = float(values.mean()), float(values.std(correction=0))
        draw = mode.rng().uniform()
        if (1 + p.gamma * self.passes) ** -p.power > draw and self.passes < p.iter_stop:
            threshold = max(self.mean + p.c_rate * self.deviation, 0.0)
            for w, m in zip(weights, masks):
                m[(m == 1) & (w <= PRUNED * threshold)] = 0
                m[(m == 0) & (w > SPLICED * threshold)] = 1
        self.passes += 1

    def parameters(self, on: torch.device) -> Tensors:
        """Return weights and bias times their masks, so that gradients pass the masks by."""
        values = [blob.values.tensor(on) for blob in self.blobs]
        half = len(values) // 2
        return tuple(w * m for w, m in zip(values[:half], values[half:]))

    def masked_arrays(self) -> list[np.ndarray]:
        """Return weights and bias times their masks."""
        return [values.numpy() for values in self.parameters(torch.device("cpu"))]

    def resume_state(self) -> dict[str, Any]:
        return {"passes": self.passes, "mean": self.mean, "deviation": self.deviation}

    def set_resume_state(self, values: Any) -> None:
        self.passes = int(values["passes"])
        self.mean, self.deviation = float(values["mean"]), float(values["deviation"])


@register
class CInnerProduct(_Spliced):
    """An InnerProduct with masks, which `_Spliced` describes."""

    settings = "cinner_product_param"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.inner_product_param, bottom[0].shape
        if p.num_output < 1:
            raise self.error(f"num_output is {p.num_output}; it needs to be at least 1")
        self.axis = canonical_axis(self, p.axis, shape)
        self.inputs = math.prod(shape[self.axis :])
        self.add_parameter((p.num_output, self.inputs), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)
        self.add_masks()

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape = bottoms[0]
        if math.prod(shape[self.axis :]) != self.inputs:
            raise self.shape_error(
                f"a bottom of shape {shape}; the weights need {self.inputs} values from axis "
                f"{self.axis} on"
            )
        return [(*shape[: self.axis], self.layer_param.inner_product_param.num_output)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(self.axis), *self.weight_and_bias())


@register
class CConvolution(_Spliced):
    """A Convolution of N x C x H x W with masks, which `_Spliced` describes."""

    settings = "cconvolution_param"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        if len(shape) != 4 or p.group < 1 or shape[1] % p.group or p.num_output % p.group:
            raise self.shape_error(
                f"the bottom has shape {shape}, num_output is {p.num_output}; 4 axes are needed, "
                f"and numbers of channels that group {p.group} divides"
            )
        if p.num_output < 1 or p.axis != 1:
            raise self.error(f"num_output {p.num_output}, axis {p.axis}; at least 1, and axis 1")
        self.window_read = spatial_window(self, 1, shape)
        channels = shape[1] // p.group
        self.add_parameter((p.num_output, channels, *self.window_read.kernel), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)
        self.add_masks()

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        window, group = self.window_read, self.layer_param.convolution_param.group
        weight, bias = self.weight_and_bias()
        return F.conv2d(x, weight, bias, window.stride, window.pad, window.dilation, group)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,), w = bottoms, self.window_read
        channels = self.blobs[0].shape[1] * self.layer_param.convolution_param.group
        size = [
            (n + 2 * pad - reach) // stride + 1
            for n, pad, reach, stride in zip(shape[2:], w.pad, w.reach, w.stride)
        ]
        if len(shape) != 4 or shape[1] != channels or min(size) < 1:
            raise self.shape_error(
                f"a bottom of shape {shape}; it needs {channels} channels and a size of at least "
                f"the kernel {w.kernel}"
            )
        return [(shape[0], self.layer_param.convolution_param.num_output, *size)]
