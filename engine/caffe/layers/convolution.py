"""Convolution, by the algorithm that is fastest for the layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .. import mode
from ..ops import fused_winograd, prepared, winograd
from ..ops.product import large, product, room
from .convolving import Convolving, laid_out
from .function import Call, Shape, Tensors, in_dtype
from .registry import register
from .windows import Window

#: Values of the weights for one value of the maps from which on a convolution reads planes.
#: PyTorch puts weights into the order of the maps at every call; planes are the weights' own order.
WEIGHTS_PER_VALUE = 4
#: Multiplications up to which a graph in bfloat16 saves more than 1 % of a convolution, which takes
#: 0.6 ms on a core. A graph has the rounded weights in memory twice.
SHORT = 1 << 26
#: Seconds that Winograd's algorithm needs to save in bfloat16 where it divides a graph in two.
DIVIDING = 0.5e-3
#: The most positions for which a layer with many weights learns as a product of patches.
PRODUCT_POSITIONS = 64


@register
class Convolution(Convolving):
    """y[n, o] = b[o] + sum over c of w[o, c] * x[n, c], a cross-correlation (conv_layer.cpp).

    The weights are num_output x C / group x kernel. Output sizes are
    (size + 2 pad - (dilation (kernel - 1) + 1)) / stride + 1.
    """

    @property
    def products(self) -> int:
        weights = self.blobs[0]
        return weights.count // weights.shape[0]

    def window(self) -> Window | None:
        if self.axis != 1 or len(self.kernel) != 2:
            return None
        return Window(self.kernel, self.stride, self.pad, self.dilation)

    def inside(self, *xs: torch.Tensor) -> Tensors:
        return tuple(self._convolved(laid_out(x), (0, 0)) for x in xs)

    def without_bias(self, *xs: torch.Tensor) -> Tensors:
        """As `inside`, without the bias."""
        return tuple(self._convolved(laid_out(x), (0, 0), biased=False) for x in xs)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        return self._convolved(x, self.pad)

    def is_preparable(self, shapes: Sequence[Shape]) -> bool:
        """Return whether `bind_with` can be called: a 2-d convolution of one map, of usual size."""
        shape = shapes[0]
        complete = all(n + 2 * p >= r for n, p, r in zip(shape[2:], self.pad, self.reach))
        plain = len(shapes) == 1 and self.axis == 1 and len(shape) == 4 and complete
        return plain and not self._is_product() and prepared.available(mode.low_dtype())

    def bind(self, shapes: Sequence[Shape]) -> Call:
        if self.blobs[0].values.held() or not self.is_preparable(shapes):
            return super().bind(shapes)
        return self.bind_with(shapes)

    def bind_with(
        self,
        shapes: Sequence[Shape],
        affine: Tensors | None = None,
        slope: float | None = None,
        adds: bool = False,
    ) -> Call:
        """As `bind`, with the layers that follow the convolution.

        affine: the factor and the term of each output channel, or None. slope, adds: as in
        `prepared.convolution`. The function does not see later changes of the weights.
        """
        # Winograd's algorithm computes in float32 from maps of any type.
        dtype = mode.low_dtype()
        rounds = dtype != torch.float32 and self._algorithm(shapes) != "winograd"
        w, b = self._ready_to_bind(affine, dtype if rounds else torch.float32)
        return prepared.convolution(shapes[0], w, b, self._geometry(), slope, adds, dtype)

    def _ready_to_bind(
        self, affine: Tensors | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return weights and biases of this type, with factors and terms folded in."""
        on = torch.device("cpu")
        self.forget_rounded()
        if affine is None and dtype != torch.float32:
            w, *rest = self.rounded_parameters(on)
            return w, rest[0] if rest else None
        w, *rest = self.parameters(on)
        b = rest[0] if rest else None
        if affine is None:
            return w, b
        w, b = _folded(w, b, affine)
        return w.to(dtype), b.to(dtype)

    def _geometry(self) -> prepared.Geometry:
        return prepared.Geometry(self.stride, self.pad, self.dilation, self.group)

    def is_for_graphs(self, shapes: Sequence[Shape]) -> bool:
        """Return whether a graph of oneDNN computes the convolution fastest, with `operation`."""
        if mode.low_dtype() != torch.float32 and self._products(shapes[0]) > SHORT:
            return False
        return self._algorithm_among_graphs(shapes) == "onednn"

    def fits_graphs(self, shapes: Sequence[Shape]) -> bool:
        """Return whether a graph that computes the layers around is fastest for this one, too."""
        return self._algorithm_among_graphs(shapes) in ("onednn", "planes", "pointwise")

    def _products(self, shape: Shape) -> int:
        """Return the number of multiplications for a bottom of this shape."""
        return shape[0] * math.prod(self.output_size(shape[2:])) * self.blobs[0].count

    def _algorithm(self, shapes: Sequence[Shape], least: float = 0) -> str:
        """Return what computes the convolution fastest by itself; "" for one that is not prepared.

        least: as in `prepared.choose_algorithm`.
        """
        if not self.is_preparable(shapes):
            return ""
        weights, geometry = self.blobs[0].shape, self._geometry()
        return prepared.choose_algorithm(shapes[0], weights, geometry, mode.low_dtype(), least)

    def _algorithm_among_graphs(self, shapes: Sequence[Shape]) -> str:
        """As `_algorithm`, for a convolution between layers that a graph computes."""
        # In float32 such layers are few: the C library computes 1 x 1 convolutions.
        return self._algorithm(shapes, DIVIDING if mode.low_dtype() != torch.float32 else 0)

    def operation(
        self,
        affine: Tensors | None = None,
        slope: float | None = None,
        adds: bool = False,
        folds: bool = False,
    ) -> Call:
        """As `bind_with`, by operations of PyTorch that a graph can join with others.

        folds: whether the factors are multiplied into a copy of the weights, or into the results.
        In bfloat16 they always are in the weights, which are copied anyway.
        """
        settings, dtype = (self.stride, self.pad, self.dilation, self.group), mode.low_dtype()
        folds = folds or dtype != torch.float32
        w, b = self._ready_to_bind(affine if folds else None, dtype)
        affine = None if folds else affine
        if affine is not None:
            factor, term = (v[:, None, None] for v in affine)

        def convolve(x: torch.Tensor, *other: torch.Tensor) -> torch.Tensor:
            y = F.conv2d(in_dtype(x, dtype), w, b, *settings)
            y = y if affine is None else y * factor + term
            y = y + in_dtype(other[0], dtype) if adds else y
            if slope is None:
                return y
            return F.leaky_relu(y, slope) if slope else torch.relu(y)

        return convolve

    def _arranged(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 4 or x.device.type != "cpu" or x.dtype != torch.float32 or not mode.fast():
            return laid_out(x)
        if self.kernel == self.stride == (1, 1):
            return x if x.is_contiguous() else laid_out(x)
        return x.contiguous() if self._has_few_positions(x) else laid_out(x)

    def _has_few_positions(self, x: torch.Tensor) -> bool:
        """Return whether weights far outnumber the values of the maps, in float32 on the CPU."""
        if x.dim() != 4 or x.device.type != "cpu" or x.dtype != torch.float32 or not mode.fast():
            return False
        positions = math.prod(self.output_size(x.shape[2:]))
        values = x.numel() + x.shape[0] * self.blobs[0].shape[0] * positions
        return self.blobs[0].count > WEIGHTS_PER_VALUE * values

    def _convolved(self, x: torch.Tensor, pad: Sequence[int], biased: bool = True) -> torch.Tensor:
        """Convolve with this padding, by the algorithm that is fastest for the layer."""
        convolution = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel) - 1]
        w, b = self.weight_and_bias()
        b = b if biased else None
        # Without the library, large weights would be copied for the gradient of the bottom.
        copies = self._is_product() and not fused_winograd.is_usable(w.shape)
        learns_by_copies = copies and torch.is_grad_enabled()
        if self.dense and not learns_by_copies and winograd.pays(x, w, pad):
            return winograd.convolve(x, w, b, pad, room(self.blobs[0], w, lambda memory: memory))
        if any(n + 2 * p < r for n, p, r in zip(x.shape[2:], pad, self.reach)):
            short = [max(0, r - n - 2 * p) for n, p, r in zip(x.shape[2:], pad, self.reach)]
            x = F.pad(x, [side for n in reversed(short) for side in (0, n)])
        if self._is_product() or self._learns_as_product(x):
            return self._product(x, w, b, pad)
        outputs = w.shape[0]
        if self.group == 1 and x.device.type == "cuda" and x.dtype == torch.bfloat16:
            w, b = _with_outputs_in_eights(w, b)
        y = convolution(x, w, b, self.stride, pad, self.dilation, self.group)
        return y if y.shape[1] == outputs else y[:, :outputs]

    def _is_product(self) -> bool:
        """Return whether the convolution is computed as one matrix product.

        With this many weights oneDNN's convolution is slow, for it reorders them at every call.
        """
        return large(self.blobs[0]) and self.group == 1 and len(self.kernel) == 2

    def _learns_as_product(self, x: torch.Tensor) -> bool:
        """Return whether the matrix product has faster gradients than the convolution."""
        if not torch.is_grad_enabled() or self.group != 1 or not self._has_few_positions(x):
            return False
        return x.shape[0] * math.prod(self.output_size(x.shape[2:])) <= PRODUCT_POSITIONS

    def rounds_weight(self) -> bool:
        return self._is_product()

    def _product(
        self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: Sequence[int]
    ) -> torch.Tensor:
        """Convolve as the product of unfolded patches (positions x C kh kw) and the weights."""
        axes = zip(x.shape[2:], self.reach, self.stride, pad)
        size = [(n + 2 * p - r) // s + 1 for n, r, s, p in axes]
        # Patches are unfolded in the order in which the weights lie in memory: position by
        # position (channels last), or channel by channel. A 1 x 1 kernel has both orders.
        last = w.is_contiguous(memory_format=torch.channels_last)
        nhwc = last and (not w.is_contiguous() or self.kernel == (1, 1))
        padded = F.pad(x, (pad[1], pad[1], pad[0], pad[0])) if any(pad) else x
        windows = padded.permute(0, 2, 3, 1) if nhwc else padded.contiguous()
        first = 1 if nhwc else 2
        for axis, (r, s, d) in enumerate(zip(self.reach, self.stride, self.dilation), first):
            windows = windows.unfold(axis, r, s)[..., ::d]
        order = (0, 1, 2, 4, 5, 3) if nhwc else (0, 2, 3, 1, 4, 5)
        patches = windows.permute(order).reshape(-1, w[0].numel())

        def matrix(weights: torch.Tensor) -> torch.Tensor:
            return (weights.permute(0, 2, 3, 1) if nhwc else weights).flatten(1)

        y = product(patches, matrix(w), b, room(self.blobs[0], w, matrix))
        return y.view(x.shape[0], *size, w.shape[0]).permute(0, 3, 1, 2)


def _folded(
    w: torch.Tensor, b: torch.Tensor | None, affine: Tensors
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and biases that give a convolution's results, times the factor plus term."""
    factor, term = affine
    return w * factor[:, None, None, None], term if b is None else b * factor + term


def _with_outputs_in_eights(
    w: torch.Tensor, b: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weights (outputs first) and biases with outputs of zeros up to a multiple of 8.

    Tensor cores read bfloat16 in units of 16 bytes; other sizes are several times slower.
    """
    more = -w.shape[0] % 8
    if not more:
        return w, b
    w = F.pad(w, [0, 0] * (w.dim() - 1) + [0, more])
    return w, None if b is None else F.pad(b, [0, more])
