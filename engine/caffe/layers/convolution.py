"""Convolution, Deconvolution and Im2col."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob
from ..ops import cuda, prepared, upsample, weight_gradient, winograd
from ..ops.product import Replacement, large, product, room
from .axes import canonical_axis
from .base import EngineLayer
from .function import Call, Function, Shape, Tensors, Traced, in_dtype
from .registry import register
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


class _Convolving(Function):
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
        return _laid_out(x)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Return the top for a bottom N x C x spatial axes."""
        raise NotImplementedError


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


def _laid_out(x: torch.Tensor) -> torch.Tensor:
    """Return a map in the memory layout that is convolved fastest."""
    if x.dim() != 4 or x.is_meta:
        return x
    return x.contiguous(memory_format=mode.map_layout(x.shape, x.device))


@register
class Convolution(_Convolving):
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
        return tuple(self._convolved(_laid_out(x), (0, 0)) for x in xs)

    def without_bias(self, *xs: torch.Tensor) -> Tensors:
        """As `inside`, without the bias."""
        return tuple(self._convolved(_laid_out(x), (0, 0), biased=False) for x in xs)

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
            return _laid_out(x)
        if self.kernel == self.stride == (1, 1):
            return x if x.is_contiguous() else _laid_out(x)
        return x.contiguous() if self._has_few_positions(x) else _laid_out(x)

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
        by_winograd = self.dense and winograd.pays(x, w, pad)
        if by_winograd and not (self._is_product() and torch.is_grad_enabled()):
            return winograd.convolve(x, w, b, pad)
        if any(n + 2 * p < r for n, p, r in zip(x.shape[2:], pad, self.reach)):
            short = [max(0, r - n - 2 * p) for n, p, r in zip(x.shape[2:], pad, self.reach)]
            x = F.pad(x, [side for n in reversed(short) for side in (0, n)])
        if self._is_product() or self._learns_as_product(x):
            return self._product(x, w, b, pad, by_winograd)
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
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        b: torch.Tensor | None,
        pad: Sequence[int],
        by_winograd: bool = False,
    ) -> torch.Tensor:
        """Convolve as the product of unfolded patches (positions x C kh kw) and the weights.

        by_winograd: whether the patches are only for the gradient of the bottom.
        """
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

        replacement = _by_winograd(x, w, b, pad) if by_winograd else None
        y = product(patches, matrix(w), b, room(self.blobs[0], w, matrix), replacement)
        return y.view(x.shape[0], *size, w.shape[0]).permute(0, 3, 1, 2)


def _by_winograd(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: Sequence[int]
) -> Replacement:
    """Return the product of a map's patches and the weights by Winograd's algorithm."""
    x, shape = x.detach(), tuple(w.shape)
    with torch.no_grad():
        y = winograd.forward(x, w, b, pad)
    size = y.shape[2:]

    def write(grad: torch.Tensor, out: torch.Tensor) -> bool:
        in_order = out.is_contiguous() and w.is_contiguous() and out.dtype == torch.float32
        if not in_order or not weight_gradient.is_usable(x, shape):
            return False
        diff = grad.to(x.dtype).view(x.shape[0], *size, shape[0]).permute(0, 3, 1, 2)
        return weight_gradient.gradient(x, diff, shape, pad, out) is not None

    return Replacement(y.permute(0, 2, 3, 1).reshape(-1, shape[0]), write)


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


@register
class Deconvolution(_Convolving):
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
        factors = self._channel_kernels(x, w)
        if factors is not None:
            size = self.output_size(x.shape[2:])
            if x.device.type == "cuda":
                return cuda.Upsample.apply(x, *factors, b, size, self.stride, self.pad)
            down, across = factors
            y = upsample.upsample(x, down, across, size, self.stride, self.pad)
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
            factors = self._channel_kernels(torch.empty(1, 1, 1, 1), w)
        if factors is not None and not upsample.is_short(*factors):
            return None
        if factors is not None:
            w, group = upsample.outer_products(*factors), shapes[0][1]
        settings = b, self.stride, self.pad, 0, group, self.dilation
        return Traced(lambda x: F.conv_transpose2d(x, w, *settings))

    def _channel_kernels(self, x: torch.Tensor, w: torch.Tensor) -> Tensors | None:
        """Return one kernel for each channel, where no channel adds to another one's top.

        Bilinear upsampling is such a layer. On a CUDA device the kernels are kh x kw x C;
        elsewhere they are factored into columns C x kh and rows C x kw. None where channels mix,
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

    def _derive_kernels(self, w: torch.Tensor, on: torch.device) -> Tensors | None:
        """As `_channel_kernels`, from the weights."""
        diagonal = w.diagonal() if self.group == 1 else w[:, 0].permute(1, 2, 0)
        separate = self.group > 1 or bool(diagonal.count_nonzero() == w.count_nonzero())
        if not separate:
            return None
        if on.type == "cuda":
            return (diagonal.contiguous(),)
        return upsample.factors(diagonal.permute(2, 0, 1))


@register
class Im2col(Function):
    """The patches that Convolution multiplies with its weights, one in each column.

    N x ... x C x spatial axes becomes N x ... x C kernel x output sizes (im2col_layer.cpp).
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        self.axis = canonical_axis(self, p.axis, shape)
        if len(shape) - self.axis < 2:
            raise self.shape_error(f"the bottom of shape {shape} has no axis after {self.axis}")
        window = spatial_window(self, self.axis, shape)
        self.kernel, self.stride, self.pad, self.dilation = window[:4]
        self.reach = window.reach

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[self.axis + 1 :]
        short = [max(0, r - n - 2 * p) for n, p, r in zip(size, self.pad, self.reach)]
        if any(n >= s for n, s in zip(short, self.stride)):
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)} is smaller than the kernel {self.kernel} "
                f"(stride {self.stride}, pad {self.pad}, dilation {self.dilation}); it needs a "
                "larger input"
            )
        # A kernel that is larger than the padded bottom by less than a stride reads zeros there.
        y = F.pad(x, [p for a, b in zip(reversed(self.pad), reversed(short)) for p in (a, a + b)])
        first, n = self.axis + 1, len(self.kernel)
        for i, (k, s, d) in enumerate(zip(self.kernel, self.stride, self.dilation)):
            # Each axis becomes two: the place in the kernel, and the place of the kernel.
            axis = first + 2 * i
            starts = torch.arange(0, y.shape[axis] - d * (k - 1), s, device=x.device)
            index = torch.arange(k, device=x.device)[:, None] * d + starts
            parts = (*y.shape[:axis], *index.shape, *y.shape[axis + 1 :])
            y = y.index_select(axis, index.flatten()).reshape(parts)
        order = [*range(first), *range(first, y.dim(), 2), *range(first + 1, y.dim(), 2)]
        return y.permute(order).flatten(self.axis, self.axis + n)
