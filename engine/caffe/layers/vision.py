"""Vision layers: Convolution, Deconvolution, Pooling, Crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob
from ..fillers import fill
from ..ops import cuda, upsample, winograd
from ..ops.product import large, product, room
from ..proto import caffe_pb2
from .axes import canonical_axis
from .base import EngineLayer
from .function import Function, Tensors, Window
from .registry import register

FLT_MAX = torch.finfo(torch.float32).max


def _spatial(layer: EngineLayer, p: Any, name: str, n: int, default: int | None) -> tuple[int, ...]:
    """A field given once, once an axis, or as `_h` and `_w`, as `n` integers."""
    field = "kernel_size" if name == "kernel" else name
    repeated = list(getattr(p, field))
    if name != "dilation" and (p.HasField(f"{name}_h") or p.HasField(f"{name}_w")):
        if n != 2 or repeated:
            raise layer.error(
                f"{name}_h and {name}_w are for 2 spatial axes, without {field}; found {n} axes "
                f"and {field} {repeated}"
            )
        return getattr(p, f"{name}_h"), getattr(p, f"{name}_w")
    if not repeated and default is not None:
        repeated = [default]
    if len(repeated) not in (1, n):
        raise layer.error(f"{field} is given {len(repeated)} times; it needs once, or {n} times")
    return tuple(repeated * n if len(repeated) == 1 else repeated)


def laid_out(x: torch.Tensor) -> torch.Tensor:
    """A map in the layout in which it is convolved fast."""
    if x.dim() != 4 or x.is_meta:
        return x
    return x.contiguous(memory_format=mode.map_layout(x.shape, x.device))


class _Convolving(Function):
    """What Convolution and Deconvolution share: parameters, weights, axes."""

    precision = "low"
    bottoms, tops = (1, math.inf), (1, math.inf)
    equal_bottoms_and_tops = True
    in_place = False
    transposed = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        self.axis = canonical_axis(self, p.axis, shape)
        n = len(shape) - self.axis - 1
        if not 1 <= n <= 3:
            raise self.error(
                f"the bottom of shape {shape} has {n} spatial axes after axis {self.axis}; "
                "1, 2 or 3 can be convolved"
            )
        self.kernel = _spatial(self, p, "kernel", n, None)
        self.stride = _spatial(self, p, "stride", n, 1)
        self.pad = _spatial(self, p, "pad", n, 0)
        self.dilation = _spatial(self, p, "dilation", n, 1)
        if min(self.kernel) < 1 or min(self.stride) < 1 or min(self.dilation) < 1:
            raise self.error(
                f"kernel {self.kernel}, stride {self.stride}, dilation {self.dilation}; all need "
                "to be at least 1"
            )
        channels, outputs, group = shape[self.axis], p.num_output, p.group
        if outputs < 1:
            raise self.error(f"num_output is {outputs}; it needs to be at least 1")
        if channels % group or outputs % group:
            raise self.error(
                f"group {group} does not divide {channels} channels and num_output {outputs}"
            )
        first, second = (channels, outputs) if self.transposed else (outputs, channels)
        self.blobs.add_blob(first, second // group, *self.kernel)
        fill(self.blobs[0], p.weight_filler, f"layer {self.name!r}")
        if p.bias_term:
            self.blobs.add_blob(outputs)
            fill(self.blobs[1], p.bias_filler, f"layer {self.name!r}")
        self.channels, self.group = channels, group
        #: How far apart the first and the last position are that a kernel sees, and one.
        self.reach = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))
        steps = (*self.stride, *self.dilation, group)
        self.small = self.kernel == (3, 3) and set(steps) == {1}

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for b in bottom:
            if b.shape != bottom[0].shape:
                raise self.error(
                    f"bottoms of shapes {bottom[0].shape} and {b.shape}; they need to be equal"
                )
            if len(b.shape) <= self.axis or b.shape[self.axis] != self.channels:
                raise self.error(
                    f"a bottom of shape {b.shape}; axis {self.axis} needs {self.channels} channels"
                )
            if min(self._output(b.shape[self.axis + 1 :]), default=0) < 1:
                raise self.error(
                    f"a bottom of shape {b.shape} is smaller than the kernel {self.kernel} "
                    f"(pad {self.pad}, dilation {self.dilation}); it needs a larger input"
                )
        super().reshape(bottom, top)

    def parameters(self, on: torch.device) -> Tensors:
        weight = self.blobs[0].values
        if on.type == "cuda" and len(weight.shape) == 4:
            weight.arrange(on, mode.map_layout(weight.shape, on))
        return super().parameters(on)

    def _output(self, size: Sequence[int]) -> list[int]:
        """The spatial size of the top."""
        axes = zip(size, self.reach, self.stride, self.pad)
        if self.transposed:
            return [s * (n - 1) + r - 2 * p for n, r, s, p in axes]
        # Rounded towards zero: a kernel that is too large by less than a stride has a place, too.
        return [math.trunc((n + 2 * p - r) / s) + 1 for n, r, s, p in axes]

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        outputs, axis = self.layer_param.convolution_param.num_output, self.axis
        return [(*s[:axis], outputs, *self._output(s[axis + 1 :])) for s in bottoms]

    def compute(self, *xs: torch.Tensor) -> Tensors:
        return tuple(self._one(x) for x in xs)

    def _one(self, x: torch.Tensor) -> torch.Tensor:
        if self.axis != 1:
            y = self.convolve(x.reshape(-1, *x.shape[self.axis :]))
            return y.reshape(*x.shape[: self.axis], *y.shape[1:])
        return self.convolve(laid_out(x))

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@register
class Convolution(_Convolving):
    """y[n, o] = b[o] + sum_c w[o, c] * x[n, c], cross-correlated over the spatial axes."""

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
        """As `inside`, before the bias."""
        return tuple(self._convolved(laid_out(x), (0, 0), biased=False) for x in xs)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        return self._convolved(x, self.pad)

    def _convolved(self, x: torch.Tensor, pad: Sequence[int], biased: bool = True) -> torch.Tensor:
        convolution = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel) - 1]
        w, b = self.weight_and_bias()
        b = b if biased else None
        if self.small and winograd.pays(x, w, pad):
            return winograd.convolve(x, w, b, pad)
        if any(n + 2 * p < r for n, p, r in zip(x.shape[2:], pad, self.reach)):
            short = [max(0, r - n - 2 * p) for n, p, r in zip(x.shape[2:], pad, self.reach)]
            x = F.pad(x, [side for n in reversed(short) for side in (0, n)])
        if self._is_product():
            return self._product(x, w, b, pad)
        outputs = w.shape[0]
        if self.group == 1 and x.device.type == "cuda" and x.dtype == torch.bfloat16:
            w, b = _in_whole_eights(w, b)
        y = convolution(x, w, b, self.stride, pad, self.dilation, self.group)
        return y if y.shape[1] == outputs else y[:, :outputs]

    def _is_product(self) -> bool:
        """Whether the weights are so many that putting them into its own order at every call makes
        oneDNN's convolution slow."""
        return large(self.blobs[0]) and self.group == 1 and len(self.kernel) == 2

    def rounds_weight(self) -> bool:
        return self._is_product()

    def _product(
        self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, pad: Sequence[int]
    ) -> torch.Tensor:
        """The convolution as one matrix product over unfolded patches."""
        axes = zip(x.shape[2:], self.reach, self.stride, pad)
        size = [(n + 2 * p - r) // s + 1 for n, r, s, p in axes]
        # Patches and weights as these lie in memory: the channels of a position together, or the
        # positions of a channel; for kernels of one position both are the same.
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


def _in_whole_eights(
    w: torch.Tensor, b: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weights, outputs first, and biases, with outputs of zeros up to a multiple of 8.

    Tensor cores take products of bfloat16 in 16 bytes; others are several times slower.
    """
    more = -w.shape[0] % 8
    if not more:
        return w, b
    w = F.pad(w, [0, 0] * (w.dim() - 1) + [0, more])
    return w, None if b is None else F.pad(b, [0, more])


@register
class Deconvolution(_Convolving):
    """The transpose of Convolution: every input value scatters its kernel into the output."""

    # Upsampled scores keep their digits: rounded to 8 bits, many would tie.
    precision = "full"
    transposed = True
    derives = True

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        w, b = self.weight_and_bias()
        own = self._own_kernels(x, w)
        if own is not None:
            size = self._output(x.shape[2:])
            if x.device.type == "cuda":
                return cuda.Upsample.apply(x, *own, b, size, self.stride, self.pad)
            down, across = own
            y = upsample.upsample(x, down, across, size, self.stride, self.pad)
            return y if b is None else y + b[:, None, None]
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[
            len(self.kernel) - 1
        ]
        return transpose(x, w, b, self.stride, self.pad, 0, self.group, self.dilation)

    def _own_kernels(self, x: torch.Tensor, w: torch.Tensor) -> Tensors | None:
        """The kernels, where every channel goes into one of its own, as in bilinear upsampling.

        On a CUDA device they are kh x kw x C; elsewhere their factors, C x kh and C x kw. None
        where there are none, and where the kernels are learned.
        """
        learned = torch.is_grad_enabled() and any(self.param_propagate_down[:1])
        memory, outputs = self.blobs[0].values, self.layer_param.convolution_param.num_output
        if learned or memory.held() or set(self.dilation) != {1} or self.channels != outputs:
            return None
        if self.group not in (1, outputs) or len(self.kernel) != 2 or x.dim() != 4:
            return None
        if not (upsample.takes(x) or cuda.upsamples(x, self._output(x.shape[2:]))):
            return None
        state = id(memory), memory.version, x.device
        if self.derived is None or self.derived[0] != state:
            if mode.capturing():
                return None
            w = w.detach()
            own = w.diagonal() if self.group == 1 else w[:, 0].permute(1, 2, 0)
            alone = self.group > 1 or bool(own.count_nonzero() == w.count_nonzero())
            found: Tensors | None = None
            if alone and x.device.type == "cuda":
                found = (own.contiguous(),)
            elif alone:
                found = upsample.factors(own.permute(2, 0, 1))
            self.derived = state, found
        return self.derived[1]


@register
class Pooling(Function):
    """The largest or mean value of each window, or a drawn one; see `stochastic_pool`.

    Output sizes round up unless round_mode says otherwise.
    """

    precision = "kept"
    bottoms, tops = (1, 1), (1, 2)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.pooling_param
        if len(bottom[0].shape) != 4:
            raise self.error(f"the bottom has shape {bottom[0].shape}; it needs 4 axes")
        self.kernel: tuple[int, int] | None = None
        if p.global_pooling:
            if p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w"):
                raise self.error("global_pooling takes the whole input; remove the kernel size")
        else:
            self.kernel = self._pair(p, "kernel")
        self.stride, self.pad = self._pair(p, "stride"), self._pair(p, "pad")
        if p.global_pooling and (self.pad != (0, 0) or self.stride != (1, 1)):
            raise self.error(
                f"global_pooling needs pad 0 and stride 1, found pad {self.pad}, "
                f"stride {self.stride}"
            )
        if self.kernel and (min(self.kernel) < 1 or min(self.stride) < 1):
            raise self.error(
                f"kernel {self.kernel}, stride {self.stride}; all need to be at least 1"
            )
        if self.kernel and any(a >= k for a, k in zip(self.pad, self.kernel)):
            raise self.error(f"pad {self.pad} needs to be below the kernel {self.kernel}")
        self.stochastic = p.pool == p.STOCHASTIC
        if self.stochastic and self.pad != (0, 0):
            raise self.error(f"pool STOCHASTIC has pad {self.pad}; it needs pad 0")
        if len(top) > 1 and p.pool != p.MAX:
            raise self.error("has 2 tops; it needs 1, for only pool MAX has a second, the indices")
        self.maximum, self.ceil = p.pool == p.MAX, p.round_mode == p.CEIL
        self.with_mask = len(top) > 1

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        return self.stochastic and self.phase == caffe_pb2.TRAIN

    def _pair(self, p: Any, name: str) -> tuple[int, int]:
        high, wide = f"{name}_h", f"{name}_w"
        if name == "kernel":
            # As in Caffe, one of the two beside kernel_size does not count.
            both = p.HasField(high) and p.HasField(wide)
            if p.HasField("kernel_size") == both:
                raise self.error("needs kernel_size, or both kernel_h and kernel_w, and not all")
            return (p.kernel_h, p.kernel_w) if both else (p.kernel_size, p.kernel_size)
        if p.HasField(high) or p.HasField(wide):
            if p.HasField(name) or not (p.HasField(high) and p.HasField(wide)):
                raise self.error(f"needs {name}, or both {high} and {wide}, and not all")
            return getattr(p, high), getattr(p, wide)
        return getattr(p, name), getattr(p, name)

    def _output(self, size: int, kernel: int, stride: int, pad: int) -> int:
        out = (math.ceil if self.ceil else math.floor)((size + 2 * pad - kernel) / stride) + 1
        # Rounded up, one window may reach past an input smaller than itself.
        if out < 1:
            raise self.error(f"an input of {size} (pad {pad}) is smaller than the kernel {kernel}")
        # With padding on either axis, the last window has to start inside the image or what pads it
        # on the left.
        return out - 1 if any(self.pad) and (out - 1) * stride >= size + pad else out

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        size = bottoms[0][2:]
        out = [self._output(*a) for a in zip(size, self.kernel or size, self.stride, self.pad)]
        return [(*bottoms[0][:2], *out)] * (1 + self.with_mask)

    def window(self) -> Window | None:
        if not self.kernel or not self.maximum or self.with_mask:
            return None
        return Window(self.kernel, self.stride, self.pad, fill=-FLT_MAX)

    def inside(self, *x: torch.Tensor) -> torch.Tensor:
        assert self.kernel
        size = [(n - k) // s + 1 for n, k, s in zip(x[0].shape[2:], self.kernel, self.stride)]
        if self._by_kernel(x[0], self.kernel):
            return cuda.MaxPool.apply(x[0], self.kernel, self.stride, size)
        return F.max_pool2d(x[0], self.kernel, self.stride)

    def _by_kernel(self, x: torch.Tensor, kernel: Sequence[int]) -> bool:
        """Whether a kernel of a device takes the maxima of windows without padding."""
        small = math.prod(kernel) <= 255 and x.numel() < 1 << 31
        return small and not self.with_mask and cuda.takes(x)

    def compute(self, x: torch.Tensor) -> torch.Tensor | Tensors:
        size = tuple(x.shape[2:])
        kernel = self.kernel or size
        out = [self._output(*a) for a in zip(size, kernel, self.stride, self.pad)]
        if self.maximum and all(
            2 * p <= k and (o - 1) * s < n + p
            for n, k, o, s, p in zip(size, kernel, out, self.stride, self.pad)
        ):
            if self.pad == (0, 0) and self._by_kernel(x, kernel):
                return cuda.MaxPool.apply(x, kernel, self.stride, out)
            y, index = F.max_pool2d(
                x, kernel, self.stride, self.pad, ceil_mode=self.ceil, return_indices=True
            )
            return (y, index.float()) if self.with_mask else y
        # Windows may also reach past the input, or miss it. Filling the input up to the last
        # window with values that never win makes each of them a whole window.
        reach = [(o - 1) * s + k for o, s, k in zip(out, self.stride, kernel)]
        (top, left), (high, wide) = self.pad, reach
        edges = (left, max(0, wide - left - size[1]), top, max(0, high - top - size[0]))
        if self.stochastic:
            return stochastic_pool(F.pad(x, edges), kernel, self.stride, self.phase)
        if self.maximum:
            filled = F.pad(x, edges, value=-FLT_MAX)
            y, index = F.max_pool2d(filled, kernel, self.stride, return_indices=True)
            row, column = index // filled.shape[3] - top, index % filled.shape[3] - left
            return (y, (row * size[1] + column).float()) if self.with_mask else y
        y = F.avg_pool2d(F.pad(x, edges), kernel, self.stride, divisor_override=1)
        return y / self._areas(size, kernel, out, x.device)

    def _areas(
        self, size: Sequence[int], kernel: Sequence[int], out: Sequence[int], on: torch.device
    ) -> torch.Tensor:
        """How many positions each window has, the padding included, what lies beyond it not."""
        counts = []
        for n, k, o, s, p in zip(size, kernel, out, self.stride, self.pad):
            start = torch.arange(o, device=on) * s - p
            counts.append((start + k).clamp(max=n + p) - start)
        return counts[0][:, None] * counts[1]


def stochastic_pool(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], phase: int
) -> torch.Tensor:
    """Each window's drawn value (Zeiler & Fergus 2013, "Stochastic Pooling", sections 3.1, 3.2).

    x: N x C x H x W of values that are not negative, as ReLU gives them; whole windows fit in it.
    TRAIN: one of the window's values, drawn with a chance in proportion to it; a negative one
    counts as 0. Where all are 0, the first. TEST: their mean under those chances, sum(x * x) /
    sum(x), or 0 where the sum is 0.
    """
    windows = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(4)
    if phase == caffe_pb2.TEST:
        total = windows.sum(-1)
        nothing = total == 0
        # Where the sum is 0 the divisor is 1, so that the gradient is finite as well.
        return (windows * windows).sum(-1).mul(~nothing) / (total + nothing)
    if x.is_meta:
        return windows[..., 0]
    reached = windows.detach().clamp(min=0).cumsum(-1)
    uniform = torch.rand(reached.shape[:-1], generator=mode.generator(x.device), device=x.device)
    # 1 - uniform is never 0, which would draw a leading zero.
    drawn = (reached < reached[..., -1:] * (1 - uniform)[..., None]).sum(-1, keepdim=True)
    return windows.gather(-1, drawn)[..., 0]


@register
class Crop(Function):
    """The part of the first bottom with the second's size, from `axis` on, at `offset`."""

    precision = "kept"
    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.crop_param
        axis = canonical_axis(self, p.axis, x.shape)
        cropped = x.dim() - axis
        if like.dim() != x.dim():
            raise self.error(
                f"bottoms of shapes {tuple(x.shape)} and {tuple(like.shape)}; they need as many "
                "axes"
            )
        if len(p.offset) not in (0, 1, cropped):
            raise self.error(
                f"{len(p.offset)} offsets; it needs none, one, or {cropped}, one an axis"
            )
        offsets = list(p.offset) or [0]
        if len(offsets) == 1:
            offsets *= cropped
        y = x
        for i, offset in zip(range(axis, x.dim()), offsets):
            if offset + like.shape[i] > x.shape[i]:
                raise self.error(
                    f"offset {offset} + size {like.shape[i]} on axis {i} reaches past the bottom "
                    f"of shape {tuple(x.shape)}; offset and size need to fit"
                )
            y = y.narrow(i, offset, like.shape[i])
        return y


@register
class Im2col(Function):
    """The patches that Convolution multiplies with its weights, one a column."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        self.axis = canonical_axis(self, p.axis, shape)
        n = len(shape) - self.axis - 1
        if n < 1:
            raise self.error(f"the bottom of shape {shape} has no axis after axis {self.axis}")
        self.kernel = _spatial(self, p, "kernel", n, None)
        self.stride = _spatial(self, p, "stride", n, 1)
        self.pad = _spatial(self, p, "pad", n, 0)
        self.dilation = _spatial(self, p, "dilation", n, 1)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel)]
        size = x.shape[self.axis + 1 :]
        short = [max(0, r - n - 2 * p) for n, p, r in zip(size, self.pad, reach)]
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or any(
            n >= s for n, s in zip(short, self.stride)
        ):
            raise self.error(
                f"kernel {self.kernel} (stride {self.stride}, pad {self.pad}, dilation "
                f"{self.dilation}) for a bottom of shape {tuple(x.shape)}; all but pad need to be "
                "at least 1, and the kernel needs a place in the bottom"
            )
        # A kernel that is too large by less than a stride sees zeros beyond the end.
        y = F.pad(x, [p for a, b in zip(reversed(self.pad), reversed(short)) for p in (a, a + b)])
        first, n = self.axis + 1, len(self.kernel)
        for i, (k, s, d) in enumerate(zip(self.kernel, self.stride, self.dilation)):
            # The axis becomes two: the place in the kernel, the kernel's place in the image.
            axis = first + 2 * i
            starts = torch.arange(0, y.shape[axis] - d * (k - 1), s, device=x.device)
            index = torch.arange(k, device=x.device)[:, None] * d + starts
            parts = (*y.shape[:axis], *index.shape, *y.shape[axis + 1 :])
            y = y.index_select(axis, index.flatten()).reshape(parts)
        order = [*range(first), *range(first, y.dim(), 2), *range(first + 1, y.dim(), 2)]
        return y.permute(order).flatten(self.axis, self.axis + n)


@register
class SPP(Function):
    """Spatial pyramid pooling: at level i the image pooled into 2^i x 2^i bins, all in one row."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        p = self.layer_param.spp_param
        return p.pool == p.STOCHASTIC and self.phase == caffe_pb2.TRAIN

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.spp_param
        if x.dim() != 4 or p.pyramid_height < 1:
            raise self.error(
                f"a bottom of shape {tuple(x.shape)} with pyramid_height {p.pyramid_height}; it "
                "needs 4 axes and at least 1 level"
            )
        levels = [self._level(x, 1 << i) for i in range(p.pyramid_height)]
        return levels[0] if len(levels) == 1 else torch.cat([y.flatten(1) for y in levels], 1)

    def _level(self, x: torch.Tensor, bins: int) -> torch.Tensor:
        p = self.layer_param.spp_param
        kernel = [math.ceil(n / bins) for n in x.shape[2:]]
        # What the bins have too much is padding, half of it, rounded up, before the image.
        pad = [(k * bins - n + 1) // 2 for n, k in zip(x.shape[2:], kernel)]
        if any(a >= k for a, k in zip(pad, kernel)):
            raise self.error(
                f"an image of {tuple(x.shape[2:])} does not spread over {bins} x {bins} bins: "
                f"windows of {kernel} would need padding {pad}"
            )
        if p.pool == p.STOCHASTIC and any(pad):
            raise self.error(
                f"an image of {tuple(x.shape[2:])} needs padding {pad} to spread over {bins} x "
                f"{bins} bins; pool STOCHASTIC needs an image that the bins divide"
            )
        edges = [k * bins - n - a for n, k, a in zip(x.shape[2:], kernel, pad)]
        sides = (pad[1], edges[1], pad[0], edges[0])
        if p.pool == p.MAX:
            return F.max_pool2d(F.pad(x, sides, value=-FLT_MAX), kernel, kernel)
        if p.pool == p.STOCHASTIC:
            return stochastic_pool(x, kernel, kernel, self.phase)
        return F.avg_pool2d(F.pad(x, sides), kernel, kernel)
