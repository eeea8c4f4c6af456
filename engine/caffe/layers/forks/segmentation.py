"""Layers of nets that label every pixel: BN, Interp, Upsample, Unpooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ... import glog
from ...blob import Blob
from ...forks import current_fork
from ...proto import caffe_pb2
from ..base import EngineLayer
from ..function import Function, Tensors
from ..registry import register

#: Fields of bn_param that the PSPNet and TSN forks have, and no other fork.
SLOPE_FIELDS = ("slope_filler", "bias_filler", "momentum", "eps", "frozen")
#: Fields of bn_param that the SegNet, ParseNet and CTPN forks have.
SCALE_FIELDS = ("bn_mode", "scale_filler", "shift_filler", "var_eps", "moving_average", "decay")
#: The forks of these fields.
SCALE_FORKS = ("segnet", "parsenet", "ctpn")
#: Added to the standard deviation where bn_param sets no var_eps (SegNet: 1e-9, ParseNet: 1e-10).
STD_EPS = 1e-9


@register
class BN(Function):
    """y = scale * (x - mean) / std + shift for each channel (Ioffe & Szegedy 2015, section 3).

    x is N x C x any further axes. The parameters are 1 x C x 1 x 1 each. The word has three
    meanings, which the fields of bn_param tell apart, else the blobs in the layer's message, else
    `caffe.set_fork`. The first meaning is the default.

    - PSPNet, ICNet and TSN (momentum, eps, frozen): scale, shift, mean and variance. Mean and
      variance are running ones in TEST and where `frozen`, else those of the batch, which the
      running ones follow by `momentum`. std = sqrt(variance + eps). Only scale and shift learn,
      and with `frozen` nothing.
    - SegNet, bn_mode INFERENCE: scale and shift. y = scale * x + shift.
    - SegNet, bn_mode LEARN, and ParseNet and CTPN: scale and shift, with mean and variance of the
      batch and std = sqrt(variance) + var_eps. With `moving_average` the running mean and variance
      are two more parameters, which TEST uses.
    """

    bottoms, tops = (1, 1), (1, 1)
    pointwise = True
    stateful = True
    replayable = False
    loose_axes = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.bn_param, bottom[0].shape
        if len(shape) < 2:
            raise self.shape_error(f"the bottom has shape {shape}; it needs a channel axis")
        if not p.across_spatial or p.axis != 1:
            raise self.error(
                f"across_spatial {p.across_spatial}, axis {p.axis:g}; the engine normalizes over "
                "all positions of a channel (across_spatial: true, axis: 1)"
            )
        self.has_slope = self._has_slope()
        self.inference = not self.has_slope and p.bn_mode == p.INFERENCE
        running = self.has_slope or p.moving_average
        self.uses_running = running and (
            self.phase == caffe_pb2.TEST or (self.has_slope and p.frozen)
        )
        fillers = (
            (p.slope_filler, p.bias_filler) if self.has_slope else (p.scale_filler, p.shift_filler)
        )
        one = caffe_pb2.FillerParameter(type="constant", value=1)
        scale = fillers[0] if fillers[0].ByteSize() else one
        zero = caffe_pb2.FillerParameter(type="constant", value=0)
        all_fillers = [scale, fillers[1], *([zero, one] if running else [])]
        for filler in all_fillers:
            self.add_parameter((1, shape[1], 1, 1), filler)
        first = 0 if self.has_slope and p.frozen else 2
        self._keep_from_learning(range(first, len(all_fillers)))

    def _has_slope(self) -> bool:
        """Return whether bn_param has the first of the three meanings."""
        p = self.layer_param.bn_param
        slopes = [name for name in SLOPE_FIELDS if p.HasField(name)]
        scales = [name for name in SCALE_FIELDS if p.HasField(name)]
        if slopes and scales:
            raise self.error(
                f"bn_param has {slopes[0]} of one fork and {scales[0]} of another; remove one"
            )
        if slopes or scales or self.layer_param.blobs:
            return bool(slopes) or (not scales and len(self.layer_param.blobs) == 4)
        if current_fork() is None:
            glog.write(
                "bn_layer.cpp",
                f"Layer {self.name}: bn_param tells no fork; PSPNet's BN is used. For another one "
                "call caffe.set_fork('segnet'), or set CAFFE_FORK",
                1,
            )
        return current_fork() not in SCALE_FORKS

    def _keep_from_learning(self, indices: Sequence[int]) -> None:
        """Set lr_mult and decay_mult of these parameters to 0."""
        specs = self.layer_param.param
        while len(specs) < max(indices, default=-1) + 1:
            specs.add()
        for i in indices:
            specs[i].lr_mult = specs[i].decay_mult = 0

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, channels = bottoms[0], self.blobs[0].count
        if len(shape) < 2 or shape[1] != channels:
            raise self.shape_error(
                f"the bottom has shape {shape}; axis 1 needs {channels} channels"
            )
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        scale, shift, *running = (w.reshape(-1, 1) for w in self.weights)
        if self.inference:
            return (rows * scale + shift).reshape(x.shape)
        if self.uses_running:
            mean, variance = (r.detach() for r in running)
        else:
            mean = rows.mean((0, 2))[:, None]
            variance = ((rows - mean) ** 2).mean((0, 2))[:, None]
            self._follow((mean.detach(), variance.detach()))
        return ((rows - mean) / self._std(variance) * scale + shift).reshape(x.shape)

    @property
    def std_eps(self) -> float:
        """The number that is added to the standard deviation, not to the variance."""
        p = self.layer_param.bn_param
        if self.has_slope:
            return 0.0
        return p.var_eps if p.HasField("var_eps") else STD_EPS

    def _std(self, variance: torch.Tensor) -> torch.Tensor:
        """Return the divisor for this variance."""
        if self.has_slope:
            return (variance + self.layer_param.bn_param.eps).sqrt()
        # The bound keeps the gradient finite where a channel is constant.
        return variance.clamp(min=1e-18).sqrt() + self.std_eps

    def _follow(self, statistics: Tensors) -> None:
        """Move the running mean and variance towards those of this batch, C x 1 each."""
        p = self.layer_param.bn_param
        # ParseNet's decay is the share of the running value, CTPN's that of the batch; the larger
        # share is the running value's in both.
        kept = p.momentum if self.has_slope else max(p.decay, 1 - p.decay)
        for blob, value in zip(self.blobs[2:], statistics):
            memory = blob.values.mutable(value.device).data
            memory.mul_(kept).add_(value.reshape(memory.shape), alpha=1 - kept)


class _FirstBottomLearns(Function):
    """A layer whose second bottom, a mask or a map of the needed size, is left without gradient."""

    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        super().backward(top, [*propagate_down[:1], *(False for _ in bottom[1:])], bottom)


@register
class Interp(_FirstBottomLearns):
    """Bilinear interpolation in which the corners of bottom and top coincide (DeepLab, PSPNet).

    N x C x H x W becomes N x C x h x w. pad_beg and pad_end, at most 0, first crop rows and
    columns. Then shrink_factor s gives (H - 1) / s + 1 and zoom_factor z gives H + (H - 1)(z - 1)
    rows; or height and width, or a second bottom, give the size. Row y of the top reads the bottom
    at y (H - 1) / (h - 1).
    """

    pure = True
    bottoms, tops = (1, 2), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.interp_param
        if p.pad_beg > 0 or p.pad_end > 0:
            raise self.error(f"pad_beg {p.pad_beg}, pad_end {p.pad_end}; both need to be at most 0")
        if p.zoom_factor < 1 or p.shrink_factor < 1:
            raise self.error(
                f"zoom_factor {p.zoom_factor}, shrink_factor {p.shrink_factor}; both need to be at "
                "least 1"
            )
        self.has_factor = p.HasField("zoom_factor") or p.HasField("shrink_factor")
        if len(bottom) == 1 and not self.has_factor and not (p.height > 0 and p.width > 0):
            raise self.error(
                "has no size; set zoom_factor, shrink_factor, or height and width, or give a "
                "second bottom of that size"
            )

    def compute(self, x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.interp_param
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        height, width = (n + p.pad_beg + p.pad_end for n in x.shape[2:])
        cropped = x[:, :, -p.pad_beg :, -p.pad_beg :][:, :, :height, :width]
        if min(height, width) < 1:
            raise self.shape_error(
                f"pad_beg {p.pad_beg} and pad_end {p.pad_end} leave nothing of a bottom of shape "
                f"{tuple(x.shape)}"
            )
        size = tuple(like.shape[2:]) if like is not None else self.output_size((height, width))
        return F.interpolate(cropped, size, mode="bilinear", align_corners=True)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the height and width of the top that interp_param sets for a cropped bottom."""
        p = self.layer_param.interp_param
        if not self.has_factor:
            return p.height, p.width
        return tuple(((n - 1) // p.shrink_factor) * p.zoom_factor + 1 for n in size)


def unpool(
    layer: EngineLayer, x: torch.Tensor, mask: torch.Tensor, size: Sequence[int]
) -> torch.Tensor:
    """Return a map of zeros of this size with each value of x at the place that the mask names.

    x: N x C x H x W. mask: as many values, each row * width + column of the top, as the second top
    of a Pooling has them. size: height and width of the top. Where several values of x have one
    place, one of them is there. Raises ShapeError, and LayerError for a place outside the top.
    """
    if x.dim() != 4 or tuple(mask.shape) != tuple(x.shape):
        raise layer.shape_error(
            f"bottoms of shapes {tuple(x.shape)} and {tuple(mask.shape)}; they need to be equal, "
            "with 4 axes"
        )
    places = mask.detach().long().flatten(2)
    area = size[0] * size[1]
    if not x.is_meta and places.numel() and not 0 <= places.min() <= places.max() < area:
        raise layer.error(
            f"the mask names the places {int(places.min())} .. {int(places.max())}; a top of "
            f"{size[0]} x {size[1]} has 0 .. {area - 1}: set the size of the pooling's bottom"
        )
    flat = x.new_zeros(*x.shape[:2], area).scatter(2, places, x.flatten(2))
    return flat.reshape(*x.shape[:2], *size)


@register
class Upsample(_FirstBottomLearns):
    """N x C x H x W enlarged, in the meanings of three forks.

    - With two bottoms, SegNet's (Badrinarayanan et al. 2015, section 3): the second bottom is the
      mask of a Pooling, the top has the values of the first at the places in the mask, and zeros.
      The size is upsample_h x upsample_w, or scale (2) times the bottom's, less one row or column
      with pad_out_h or pad_out_w. `unpool` has the formula.
    - With one bottom, YOLOv3's (Redmon & Farhadi 2018): each value `scale` (1) times along both
      axes, y[i, j] = x[i / scale, j / scale].
    - With one bottom and a stride, that of Huawei's CANN: each value, times `scale` (1), stride_h
      times along the rows and stride_w times along the columns, both by default `stride` (2).
    """

    bottoms, tops = (1, 2), (1, 1)
    replayable = False

    def compute(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        if mask is not None:
            return unpool(self, x, mask, self.output_size(x.shape[2:]))
        (rows, columns), factor = self.repetitions()
        if min(rows, columns) < 1:
            raise self.error(f"scale is {rows} x {columns}; it needs to be at least 1")
        y = x.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
        return y if factor == 1 else factor * y

    def repetitions(self) -> tuple[tuple[int, int], int]:
        """Return how often rows and columns are repeated without a mask, and a factor of x."""
        p = self.layer_param.upsample_param
        if p.HasField("stride") or p.HasField("stride_h") or p.HasField("stride_w"):
            factor = p.scale if p.HasField("scale") else 1
            return (p.stride_h or p.stride, p.stride_w or p.stride), factor
        return (p.scale, p.scale), 1

    def output_size(self, size: Sequence[int]) -> tuple[int, int]:
        """Return the height and width of the top for a bottom with a mask."""
        p = self.layer_param.upsample_param
        scale = p.scale if p.HasField("scale") else 2
        height, width = (
            n * (s or scale) - padded
            for n, s, padded in zip(size, (p.scale_h, p.scale_w), (p.pad_out_h, p.pad_out_w))
        )
        return p.upsample_h or height, p.upsample_w or width


@register
class Unpooling(_FirstBottomLearns):
    """DeconvNet's unpooling (Noh et al. 2015, section 3.2.1).

    - unpool MAX, with two bottoms: the second is the mask of a Pooling; the top has the values of
      the first at the places in the mask, and zeros. `unpool` has the formula.
    - unpool AVE or DIV, with one bottom: each value, divided by the area of its window, is added to
      the positions of its window: the transpose of average pooling.
    - unpool TILE or REP, with one bottom: each value is added to the positions of its window.
    - unpool FIXED, with one bottom: each value is added to the middle of its window, without pad.

    The size is unpool_size, or (size - 1) * stride + kernel - 2 pad. ParseNet writes the window as
    out_kernel_size, out_stride and out_pad.
    """

    bottoms, tops = (1, 2), (1, 1)
    replayable = False
    default_method = "MAX"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.unpooling_param
        method = p.unpool if p.HasField("unpool") else p.UnPoolMethod.Value(self.default_method)
        self.method = p.UnPoolMethod.Name(method)
        if len(bottom) != (2 if method == p.MAX else 1):
            raise self.error(
                f"has {len(bottom)} bottoms; unpool MAX needs 2, values and a mask, and "
                "the other methods need 1"
            )
        self.kernel, self.stride, self.pad = map(self._pair, ("kernel_size", "stride", "pad"))
        if method == p.FIXED and any(self.pad):
            raise self.error(
                f"unpool FIXED with pad {self.pad} is not supported; pad needs to be 0"
            )
        self.size = (p.unpool_h or p.unpool_size, p.unpool_w or p.unpool_size)
        if not all(self.kernel) and not (all(self.size) and method == p.MAX):
            raise self.error("the kernel has no size; set kernel_size, or kernel_h and kernel_w")

    def _pair(self, name: str) -> tuple[int, int]:
        """Return the rows and columns of kernel_size, stride or pad, in either spelling."""
        p, prefix = self.layer_param.unpooling_param, name.removesuffix("_size")
        spelled = (f"out_{name}", f"out_{prefix}_h", f"out_{prefix}_w")
        out = "out_" if any(map(p.HasField, spelled)) else ""
        both = getattr(p, f"{out}{name}")
        return getattr(p, f"{out}{prefix}_h") or both, getattr(p, f"{out}{prefix}_w") or both

    def shares(self) -> torch.Tensor:
        """Return the share of a value at each position of its window, kernel_h x kernel_w."""
        height, width = self.kernel
        if self.method == "FIXED":
            shares = torch.zeros(height, width)
            shares[(height - 1) // 2, (width - 1) // 2] = 1
            return shares
        divided = self.method in ("AVE", "DIV")
        return torch.full((height, width), 1 / (height * width) if divided else 1.0)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the height and width of the top for a bottom of this height and width."""
        axes = zip(self.size, size, self.stride, self.kernel, self.pad)
        return tuple(fixed or (n - 1) * s + k - 2 * p for fixed, n, s, k, p in axes)

    def compute(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        size = self.output_size(x.shape[2:])
        if mask is not None:
            return unpool(self, x, mask, size)
        channels = x.shape[1]
        shares = self.shares().to(x).expand(channels, 1, *self.kernel)
        y = F.conv_transpose2d(x, shares, stride=self.stride, groups=channels)
        # Rows and columns beyond the top are cut off; those that no window reaches are 0.
        (top, left), (height, width) = self.pad, size
        y = y[:, :, top : top + height, left : left + width]
        return F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))


@register
class UnPooling(Unpooling):
    """Unpooling under the spelling of ParseNet's fork, whose method is FIXED by default."""

    default_method = "FIXED"
