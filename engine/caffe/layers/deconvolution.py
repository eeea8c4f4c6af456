"""Deconvolution, and its fast paths for kernels that upsample each channel by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .. import mode
from ..ops import cuda, upsample
from .convolving import Convolving
from .function import Shape, Traced
from .registry import register


@register
class Deconvolution(Convolving):
    """The transpose of Convolution: each value of the bottom adds its kernel to the top.

    The weights are C x num_output / group x kernel (deconv_layer.cpp). Output sizes are
    stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad.
    """

    # bfloat16 has 8 significant bits: rounded to these, many upsampled scores would be equal.
    precision = "full"
    transposed = True
    derives = True

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        w, b = self.weight_and_bias()
        if 0 in x.shape[2:]:
            # No value adds its kernel; the bias stays.
            size = self.output_size(x.shape[2:])
            y = x.new_zeros(x.shape[0], w.shape[1] * self.group, *size)
            return y if b is None else y + b.reshape(-1, *[1] * len(size))
        kernels = self._channel_kernels(x, w)
        if kernels is not None:
            size = self.output_size(x.shape[2:])
            if isinstance(kernels, torch.Tensor):
                return cuda.Upsample.apply(x, kernels, b, size, self.stride, self.pad)
            y = upsample.upsample(x, kernels, size, self.stride, self.pad)
            return y if b is None else y + b[:, None, None]
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[
            len(self.kernel) - 1
        ]
        return transpose(x, w, b, self.stride, self.pad, 0, self.group, self.dilation)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        if len(shapes) != 1 or len(shapes[0]) != 4 or self.axis != 1 or 0 in shapes[0]:
            return None
        w, *rest = self.parameters(torch.device("cpu"))
        b, group = rest[0] if rest else None, self.group
        with torch.no_grad():
            kernels = self._channel_kernels(torch.empty(1, 1, 1, 1), w)
        if isinstance(kernels, upsample.Factors):
            if not kernels.is_short():
                return None
            w, group = kernels.products(), shapes[0][1]
        settings = b, self.stride, self.pad, 0, group, self.dilation
        return Traced(lambda x: F.conv_transpose2d(x, w, *settings))

    def _channel_kernels(
        self, x: torch.Tensor, w: torch.Tensor
    ) -> torch.Tensor | upsample.Factors | None:
        """Return one kernel for each channel, where no channel adds to another one's top.

        Bilinear upsampling is such a layer. On a CUDA device the kernels are kh x kw x C;
        elsewhere they are factored. None where channels mix,
        where the kernels have no factors, and where they are learned.
        """
        if not self._may_upsample(x):
            return None
        memory = self.blobs[0].values
        state = id(memory), memory.version, x.device
        if self.derived is None or self.derived[0] != state:
            if mode.capturing():
                return None
            self.derived = state, self._derive_kernels(w.detach(), x.device)
        return self.derived[1]

    def _may_upsample(self, x: torch.Tensor) -> bool:
        """Return whether the layer's settings and the bottom suit the upsampling functions."""
        learned = torch.is_grad_enabled() and any(self.param_propagate_down[:1])
        outputs = self.layer_param.convolution_param.num_output
        if learned or self.blobs[0].values.held() or set(self.dilation) != {1}:
            return False
        if self.channels != outputs or self.group not in (1, outputs):
            return False
        if len(self.kernel) != 2 or x.dim() != 4:
            return False
        return upsample.takes(x) or cuda.upsamples(x, self.output_size(x.shape[2:]))

    def _derive_kernels(
        self, w: torch.Tensor, on: torch.device
    ) -> torch.Tensor | upsample.Factors | None:
        """As `_channel_kernels`, from the weights."""
        diagonal = w.diagonal() if self.group == 1 else w[:, 0].permute(1, 2, 0)
        separate = self.group > 1 or bool(diagonal.count_nonzero() == w.count_nonzero())
        if not separate:
            return None
        if on.type == "cuda":
            return diagonal.contiguous()
        return upsample.factors(diagonal.permute(2, 0, 1))
