"""Pooling over windows and over pyramids of bins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob
from ..ops import cuda, pooling
from ..proto import caffe_pb2
from .function import Call, Function, Shape, Tensors, Traced
from .registry import register
from .windows import FLT_MAX, Window, read_window

#: Values of a map below which its layout does not matter to pooling. PyTorch takes the maxima of a
#: larger map up to 30 times as fast where the channels lie last.
FEW_VALUES = 1 << 14


@register
class Pooling(Function):
    """The maximum, the mean or a drawn value of each window (pooling_layer.cpp).

    N x C x H x W becomes N x C x output size, (size + 2 pad - kernel) / stride + 1, rounded up
    unless round_mode is FLOOR or ceil_mode, a field of forks, is false. A mean counts the padding
    but not what lies beyond it. With pool MAX, a second top holds the index of each maximum,
    row * W + column. `stochastic_pool` describes pool STOCHASTIC.

    As in forks, the bottom may also be a volume, N x C x L x H x W (C3D), and a window may have
    holes (DeepLab v1): its positions are then `hole` apart, and hole (kernel - 1) + 1 stands for
    kernel. torch_pooling, of NVCaffe, rounds down; avg_include_pad false, of intel/caffe, leaves
    the padding out of the means.
    """

    precision = "kept"
    bottoms, tops = (1, 1), (1, 2)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.pooling_param
        axes = len(bottom[0].shape) - 2
        if p.axis != 1:
            raise self.error(f"axis is {p.axis}; it needs to be 1, the axis of the channels")
        if axes not in (2, 3):
            raise self.shape_error(f"the bottom has shape {bottom[0].shape}; it needs 4 or 5 axes")
        try:
            window = read_window(self.type, self.layer_param, axes)
        except ValueError as error:
            raise self.error(str(error)) from None
        #: None pools over the whole bottom.
        self.kernel: tuple[int, ...] | None = None if window is None else window.kernel
        window = window or Window((), (1,) * axes, (0,) * axes, (1,) * axes)
        self.stride, self.pad, self.dilation = window[1:4]
        self.stochastic = p.pool == p.STOCHASTIC
        if self.stochastic and any(self.pad):
            raise self.error(f"pool STOCHASTIC has pad {self.pad}; it needs pad 0")
        if self.stochastic and (axes != 2 or set(self.dilation) != {1}):
            raise self.error(
                f"pool STOCHASTIC has hole {self.dilation}; it needs 2 axes and no holes"
            )
        if len(top) > 1 and p.pool != p.MAX:
            raise self.error("has 2 tops; it needs 1, because only pool MAX has a top of indices")
        self.maximum, self.ceil = p.pool == p.MAX, p.round_mode == p.CEIL and p.ceil_mode
        self.ceil = self.ceil and not p.torch_pooling
        self.with_mask = len(top) > 1

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Stochastic pooling draws other values at each forward in TRAIN."""
        return self.stochastic and self.phase == caffe_pb2.TRAIN

    def output_size(self, size: Sequence[int]) -> list[int]:
        """Return the spatial size of the top for a bottom of spatial size `size`."""
        reach = self._reach(self.kernel or size)
        if not self.kernel and 0 in size:
            raise self.shape_error(
                f"global_pooling over a map of size {tuple(size)}, without values; "
                "it needs at least 1"
            )
        return [self._places(*axis) for axis in zip(size, reach, self.stride, self.pad)]

    def _reach(self, kernel: Sequence[int]) -> list[int]:
        """Return the distance from the first to the last position of a window, plus one."""
        return [d * (k - 1) + 1 for k, d in zip(kernel, self.dilation)]

    def _places(self, size: int, kernel: int, stride: int, pad: int) -> int:
        """Return the number of windows along one axis."""
        count = (math.ceil if self.ceil else math.floor)((size + 2 * pad - kernel) / stride) + 1
        # With rounding up, a bottom smaller than the kernel by less than a stride has one window.
        if count < 1:
            raise self.shape_error(
                f"an input of {size} (pad {pad}) is smaller than the kernel {kernel}; "
                "it needs a larger input"
            )
        # With padding on either axis, the last window has to start inside the image or in the
        # padding before it.
        clipped = any(self.pad) and (count - 1) * stride >= size + pad
        return count - 1 if clipped else count

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return [(*bottoms[0][:2], *self.output_size(bottoms[0][2:]))] * (1 + self.with_mask)

    def window(self) -> Window | None:
        if not self.kernel or not self.maximum or self.with_mask:
            return None
        return Window(self.kernel, self.stride, self.pad, self.dilation, -FLT_MAX)

    def inside(self, *x: torch.Tensor) -> torch.Tensor:
        assert self.kernel
        size = [
            (n - r) // s + 1
            for n, r, s in zip(x[0].shape[2:], self._reach(self.kernel), self.stride)
        ]
        if self._on_device(x[0], self.kernel):
            return cuda.MaxPool.apply(x[0], self.kernel, self.stride, size)
        if self._fits_library(x[0].shape, x[0]):
            return pooling.maxima(x[0], self.kernel, self.stride, (0, 0), size)
        kernel = self.kernel
        (y,) = _maxima(x[0], lambda x: (F.max_pool2d(x, kernel, self.stride, 0, self.dilation),))
        return y

    def _on_device(self, x: torch.Tensor, kernel: tuple[int, ...]) -> bool:
        """Return whether the engine's CUDA kernel computes the maxima of windows without padding.

        The kernel notes the place of a maximum in its window in 8 bits, and indexes in 32.
        """
        small = math.prod(kernel) <= 255 and x.numel() < 1 << 31
        plain = x.dim() == 4 and set(self.dilation) == {1} and not self.with_mask
        return small and plain and cuda.takes(x)

    def _fits_library(self, shape: Shape, x: torch.Tensor | None = None) -> bool:
        """Return whether the C library computes the maxima of maps of this shape.

        x: a map of the shape; None if only the shape is known.
        """
        plain = len(shape) == 4 and set(self.dilation) == {1} and not self.with_mask
        large = math.prod(shape) >= FEW_VALUES
        return plain and large and mode.fast() and pooling.is_usable(shape[1], x)

    def compute(self, x: torch.Tensor) -> torch.Tensor | Tensors:
        size = tuple(x.shape[2:])
        kernel, out = self.kernel or size, self.output_size(size)
        if not x.shape[1]:
            empty = x.new_zeros(*x.shape[:2], *out)
            return (empty, empty.clone()) if self.with_mask else empty
        if self.maximum and self.rounds_as_pytorch(size, kernel, out):
            return self._max_pool(x, kernel, out)
        edges = self._edges(size, kernel, out)
        if self.stochastic:
            return stochastic_pool(F.pad(x, edges), kernel, self.stride, self.phase)
        if self.maximum:
            padded = F.pad(x, edges, value=-FLT_MAX)
            y, index = _maxima(padded, self._pool_call(kernel, (0,) * len(size), False))
            return (y, self._mask(y, index, padded.shape[2:], size)) if self.with_mask else y
        total = self._window_sums(F.pad(x, edges), kernel)
        return total / self.areas(size, kernel, out, x.device)

    def _edges(self, size: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> list[int]:
        """Return the padding up to the last window, as `F.pad` expects it.

        A window may also reach past the bottom, or lie outside. The padding makes each window
        complete, with values that never win or that do not count.
        """
        ends = [(o - 1) * s + r for o, s, r in zip(out, self.stride, self._reach(kernel))]
        axes = reversed(list(zip(size, self.pad, ends)))
        return [side for n, p, end in axes for side in (p, max(0, end - p - n))]

    def _pool_call(
        self, kernel: Sequence[int], pad: Sequence[int], ceil: bool
    ) -> Callable[[torch.Tensor], Tensors]:
        """Return PyTorch's max pooling with these settings, which gives maxima and indices."""
        settings = kernel, self.stride, pad, self.dilation, ceil
        return lambda x: _max_pool_function(x)(x, *settings, return_indices=True)

    def bind(self, shapes: Sequence[Shape]) -> Call:
        (shape,) = shapes
        size, out = shape[2:], self.output_size(shape[2:])
        kernel = tuple(self.kernel or size)
        if not self.maximum and not self.stochastic:
            if self._fits_library(shape) and mode.low_dtype() == torch.float32:
                counts = bool(self.layer_param.pooling_param.avg_include_pad)
                return pooling.Means(shape, kernel, self.stride, self.pad, out, counts)
            return self._bind_means(size, kernel, out)
        if not self._is_plain(shape):
            return super().bind(shapes)
        pool, settings = torch.max_pool2d, (kernel, self.stride, self.pad, self.dilation, self.ceil)
        if math.prod(shape) < FEW_VALUES:
            return lambda x: _maxima(x, lambda y: (pool(y, *settings),))[0]
        if self._fits_library(shape):
            if mode.low_dtype() == torch.float32:
                return pooling.Maxima(shape, kernel, self.stride, self.pad, out)
            return lambda x: pooling.maxima(x, kernel, self.stride, self.pad, out)
        layout = mode.map_layout(shape, torch.device("cpu"))
        return lambda x: _maxima(
            x.contiguous(memory_format=layout), lambda y: (pool(y, *settings),)
        )[0]

    def _is_plain(self, shape: Shape) -> bool:
        """Return whether the top is PyTorch's maxima of a bottom of this shape."""
        size = shape[2:]
        plain = self.maximum and not self.with_mask and len(shape) == 4
        kernel = tuple(self.kernel or size)
        return plain and self.rounds_as_pytorch(size, kernel, self.output_size(size))

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        (shape,) = shapes
        size, out = shape[2:], self.output_size(shape[2:])
        kernel = tuple(self.kernel or size)
        if not self.maximum and not self.stochastic and len(shape) == 4:
            return Traced(self._bind_means(size, kernel, out))
        if not self._is_plain(shape):
            return None
        settings = kernel, self.stride, self.pad, self.dilation, self.ceil
        return Traced(lambda x: torch.max_pool2d(x, *settings), finite=True)

    def _bind_means(self, size: Sequence[int], kernel: tuple[int, ...], out: Sequence[int]) -> Call:
        """As `bind`, for the means of windows."""
        edges = self._edges(size, kernel, out)
        areas = self.areas(size, kernel, out, torch.device("cpu"))
        if not any(edges):
            return lambda x: self._window_sums(x, kernel) / areas
        return lambda x: self._window_sums(F.pad(x, edges), kernel) / areas

    def rounds_as_pytorch(
        self, size: Sequence[int], kernel: Sequence[int], out: Sequence[int]
    ) -> bool:
        """Return whether PyTorch's padding and rounding are Caffe's for these windows."""
        axes = zip(size, kernel, out, self.stride, self.pad)
        return all(2 * p <= k and (o - 1) * s < n + p for n, k, o, s, p in axes)

    def _mask(
        self, y: torch.Tensor, index: torch.Tensor, padded: Sequence[int], size: Sequence[int]
    ) -> torch.Tensor:
        """Return the indices of maxima in a map of this size, from those in the padded map."""
        places = torch.zeros_like(index)
        for axis, (n, wide, pad) in enumerate(zip(size, padded, self.pad)):
            place = index // math.prod(padded[axis + 1 :]) % wide - pad
            places = places * n + place
        return _indices(y, places)

    def _max_pool(
        self, x: torch.Tensor, kernel: tuple[int, ...], out: Sequence[int]
    ) -> torch.Tensor | Tensors:
        """Max pooling where PyTorch's padding and rounding are Caffe's."""
        if not any(self.pad) and self._on_device(x, kernel):
            return cuda.MaxPool.apply(x, kernel, self.stride, out)
        if self._fits_library(x.shape, x):
            return pooling.maxima(x, kernel, self.stride, self.pad, out)
        on_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 4
        if on_cpu and mode.fast() and not self.with_mask and x.numel() >= FEW_VALUES:
            x = x.contiguous(memory_format=mode.map_layout(x.shape, x.device))
        y, index = _maxima(x, self._pool_call(kernel, self.pad, self.ceil))
        return (y, _indices(y, index)) if self.with_mask else y

    def _window_sums(self, x: torch.Tensor, kernel: tuple[int, ...]) -> torch.Tensor:
        """Return the sum of the values in each window of a padded map."""
        if set(self.dilation) == {1}:
            pool = F.avg_pool3d if x.dim() == 5 else F.avg_pool2d
            return pool(x, kernel, self.stride, divisor_override=1)
        ones = x.new_ones(x.shape[1], 1, *kernel)
        convolution = F.conv3d if x.dim() == 5 else F.conv2d
        return convolution(x, ones, None, self.stride, 0, self.dilation, x.shape[1])

    def areas(
        self, size: Sequence[int], kernel: Sequence[int], out: Sequence[int], on: torch.device
    ) -> torch.Tensor:
        """Return the positions in each window: the padding counts, what lies beyond does not.

        With avg_include_pad false the padding does not count either.
        """
        skips_pad = not self.layer_param.pooling_param.avg_include_pad
        areas = torch.ones((), dtype=torch.int64, device=on)
        axes = zip(size, kernel, out, self.stride, self.pad, self.dilation)
        for n, k, o, s, p, d in axes:
            start = torch.arange(o, device=on) * s - p
            places = start[:, None] + torch.arange(k, device=on) * d
            inside = (places >= 0) & (places < n) if skips_pad else places < n + p
            areas = areas[..., None] * inside.sum(1)
        return areas


def _maxima(x: torch.Tensor, pool: Callable[[torch.Tensor], Tensors]) -> Tensors:
    """Return `pool(x)`, on the CPU with BVLC Caffe's maxima of NaN and infinity.

    In BVLC Caffe a maximum starts as -FLT_MAX and a larger value replaces it, which a NaN is not.
    """
    tops = pool(x)
    if x.device.type != "cpu" or math.isfinite(float(tops[0].detach().sum())):
        return tops
    return pool(without_nan(x))


def without_nan(x: torch.Tensor) -> torch.Tensor:
    """Return a map whose maxima are those that BVLC Caffe finds in a map with NaN."""
    return x.masked_fill(x.isnan() | (x == -math.inf), -FLT_MAX)


def _indices(y: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the indices of maxima as floats, -1 where no value was above -FLT_MAX."""
    return index.float().masked_fill(y == -FLT_MAX, -1)


def _max_pool_function(x: torch.Tensor) -> Callable[..., Any]:
    """PyTorch's max pooling over the axes of x after the channels."""
    return F.max_pool3d if x.dim() == 5 else F.max_pool2d


def stochastic_pool(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], phase: int
) -> torch.Tensor:
    """Pool stochastically (Zeiler & Fergus 2013, "Stochastic Pooling", sections 3.1 and 3.2).

    x: N x C x H x W with values of at least 0, such as the top of a ReLU. Windows without padding
        cover the map.

    TRAIN: each window gives one of its values, drawn with a probability in proportion to the value.
    A negative value counts as 0; if all values are 0, the first is drawn. TEST: each window gives
    the expected value of the draw, sum(x * x) / sum(x), or 0 where the sum is 0.
    """
    windows = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(4)
    if phase == caffe_pb2.TEST:
        total = windows.sum(-1)
        empty = total == 0
        # Where the sum is 0 the divisor is 1, which keeps the gradient finite.
        return (windows * windows).sum(-1).mul(~empty) / (total + empty)
    if x.is_meta:
        return windows[..., 0]
    cumulative = windows.detach().clamp(min=0).cumsum(-1)
    uniform = torch.rand(cumulative.shape[:-1], generator=mode.generator(x.device), device=x.device)
    # 1 - uniform is never 0: a threshold of 0 would draw a leading zero.
    threshold = cumulative[..., -1:] * (1 - uniform)[..., None]
    drawn = (cumulative < threshold).sum(-1, keepdim=True)
    return windows.gather(-1, drawn)[..., 0]


@register
class SPP(Function):
    """Spatial pyramid pooling (He et al. 2014; spp_layer.cpp).

    Level i pools N x C x H x W into 2^i x 2^i bins. The top is the levels joined along axis 1, one
    row for each image; a pyramid of one level keeps the shape N x C x 1 x 1.
    """

    pure = True
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Stochastic pooling draws other values at each forward in TRAIN."""
        p = self.layer_param.spp_param
        return p.pool == p.STOCHASTIC and self.phase == caffe_pb2.TRAIN

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.spp_param
        if x.dim() != 4 or p.pyramid_height < 1:
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)} with pyramid_height {p.pyramid_height}; it "
                "needs 4 axes and at least 1 level"
            )
        levels = [self._level(x, 1 << i) for i in range(p.pyramid_height)]
        return levels[0] if len(levels) == 1 else torch.cat([y.flatten(1) for y in levels], 1)

    def _level(self, x: torch.Tensor, bins: int) -> torch.Tensor:
        """Pool into bins x bins windows of equal size."""
        p, size = self.layer_param.spp_param, tuple(x.shape[2:])
        kernel = [math.ceil(n / bins) for n in size]
        # The bins cover more than the image. Half of the excess, rounded up, pads the front.
        pad = [(k * bins - n + 1) // 2 for n, k in zip(size, kernel)]
        if any(a >= k for a, k in zip(pad, kernel)):
            raise self.shape_error(
                f"an image of {size} does not spread over {bins} x {bins} bins: "
                f"windows of {kernel} would need padding {pad}"
            )
        if p.pool == p.STOCHASTIC and any(pad):
            raise self.shape_error(
                f"an image of {size} needs padding {pad} to spread over {bins} x {bins} bins; "
                "pool STOCHASTIC needs an image that the bins divide"
            )
        ends = [k * bins - n - a for n, k, a in zip(size, kernel, pad)]
        sides = (pad[1], ends[1], pad[0], ends[0])
        if p.pool == p.MAX:
            padded = F.pad(x, sides, value=-FLT_MAX)
            return _maxima(padded, lambda x: (F.max_pool2d(x, kernel, kernel),))[0]
        if p.pool == p.STOCHASTIC:
            return stochastic_pool(x, kernel, kernel, self.phase)
        return F.avg_pool2d(F.pad(x, sides), kernel, kernel)
