"""Layers of SSD (Liu et al. 2016, "SSD: Single Shot MultiBox Detector"; weiliu89/caffe, ssd).

multibox.py has its loss, evaluation.py what measures its detections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ...forks import current_fork
from ...ops import boxes
from ...proto import caffe_pb2
from ...upgrade import priors
from ..base import EngineLayer
from ..function import Function, Shape, Tensors, Traced
from ..registry import register
from .detection_files import files_of
from .yolo_output import of_detection_output


@register
class Permute(Function):
    """y has the axes of x in the order of `order`: axis i of y is axis order[i] of x.

    Axes that `order` does not name follow in their own order (permute_layer.cpp of SSD).
    """

    precision = "kept"
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        order, axes = list(self.layer_param.permute_param.order), len(bottom[0].shape)
        if len(set(order)) < len(order) or any(axis >= axes for axis in order):
            raise self.error(f"order {order} needs to name axes below {axes}, each at most once")
        self.order = order + [axis for axis in range(axes) if axis not in order]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self.order).contiguous()

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.compute, aliases=True)


@register
class Normalize(Function):
    """y = scale * x / sqrt(sum(x^2) + eps) (Liu et al. 2016, "ParseNet", section 3.3).

    x is N x C x H x W. The sum is over an image, or with across_spatial false over the channels of
    a position. The learned scale is one number, or with channel_shared false one for each channel
    (normalize_layer.cpp of SSD). With fix_scale, a field of ParseNet's, it does not learn.

    With normalize_param, a field of happynear/caffe-windows, or `caffe.set_fork("faces")` where
    there are no settings, each position's channels are divided by their length (L2) or by the sum
    of their absolute values (L1), without a scale; a second top holds the divisor. With
    fix_gradient the gradient takes the divisor as a constant.
    """

    bottoms, tops = (1, 1), (1, 2)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.norm_param
        if len(bottom[0].shape) < 2:
            raise self.shape_error(f"the bottom has shape {bottom[0].shape}; it needs 2 axes")
        unset = not self.layer_param.HasField("norm_param") and current_fork() == "faces"
        self.of_faces = self.layer_param.HasField("normalize_param") or unset or len(top) > 1
        self.with_length = len(top) > 1
        if self.of_faces:
            kind = self.layer_param.normalize_param.normalize_type
            if kind not in ("L1", "L2") or self.layer_param.normalize_param.bp_norm:
                raise self.error(f"normalize_type {kind!r}, bp_norm: L1 or L2 is needed, without")
            return
        one = caffe_pb2.FillerParameter(value=1)
        filler = p.scale_filler if p.HasField("scale_filler") else one
        self.add_parameter(() if p.channel_shared else bottom[0].shape[1:2], filler)
        if p.HasField("fix_scale") and p.fix_scale:
            specs = self.layer_param.param
            spec = specs[0] if specs else specs.add()
            spec.lr_mult = spec.decay_mult = 0

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return [bottoms[0], (bottoms[0][0], 1, *bottoms[0][2:])]

    def _rows(self, x: torch.Tensor) -> torch.Tensor | Tensors:
        """Return x over the lengths of the channels, and the lengths if there is a top for them."""
        p = self.layer_param.normalize_param
        order = 1 if p.normalize_type == "L1" else 2
        length = x.norm(order, 1, keepdim=True).clamp(min=1e-12)
        y = x / (length.detach() if p.fix_gradient else length)
        return (y, length) if self.with_length else y

    def compute(self, x: torch.Tensor) -> torch.Tensor | Tensors:
        if self.of_faces:
            return self._rows(x)
        p = self.layer_param.norm_param
        axes = list(range(1, x.dim())) if p.across_spatial else [1]
        norm = ((x * x).sum(axes, keepdim=True) + p.eps).sqrt()
        scale = self.weights[0].reshape(1, -1, *[1] * (x.dim() - 2))
        return x / norm * scale


@register
class PriorBox(Function):
    """The default boxes around each position of a feature map (SSD, section 2.2 and 3.1).

    Bottoms: the features N x C x H x W and the image. The top is 1 x 2 x (H W P 4): the corners of
    P boxes for each position, as parts of the image's size, and their variances. The sides of the
    boxes are, for each min_size s and its max_size m: s and s; sqrt(s m) twice; and for each aspect
    ratio a, s sqrt(a) and s / sqrt(a). `flip` adds 1 / a. The centres are
    (column + offset) * step (prior_box_layer.cpp of SSD). With `caffe.set_fork("textboxes")` there
    is a second row of boxes, half a step below (Liao et al. 2017, "TextBoxes", section 3.2); with
    "faceboxes" there are 4 x 4 boxes of 32 pixels and 2 x 2 of 64, evenly over a step of 32 (Zhang
    et al. 2017, "FaceBoxes", 3.3). The layers beside a PriorBox tell this too (upgrade/priors.py).
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False
    differentiable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.prior_box_param
        if not p.min_size or min(p.min_size) <= 0:
            raise self.error(f"min_size is {list(p.min_size)}; it needs sizes above 0")
        if p.max_size and len(p.max_size) != len(p.min_size):
            raise self.error(
                f"{len(p.max_size)} max_size for {len(p.min_size)} min_size; one for each is needed"
            )
        if any(high <= low for low, high in zip(p.min_size, p.max_size)):
            raise self.error(
                f"max_size {list(p.max_size)} needs to be above min_size {list(p.min_size)}"
            )
        if len(p.variance) not in (0, 1, 4):
            raise self.error(f"{len(p.variance)} variance; none, 1 or 4 are needed")
        for name in ("img", "step"):
            sides = [p.HasField(f"{name}_{side}") for side in "hw"]
            once = p.HasField("img_size" if name == "img" else name)
            if any(sides) and (once or not all(sides)):
                raise self.error(f"{name}_h and {name}_w are needed together, and alone")
        #: The width and height of each box, and how far its centre is from the position's: x and
        #: y in pixels, and y in steps.
        self.sides, self.shifts = self._sides()

    def _sides(self) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
        p, fork = self.layer_param.prior_box_param, current_fork()
        if p.layout == p.FACEBOXES or fork == "faceboxes":
            return self._dense_boxes()
        ratios, sides = priors.ratios(p), []
        for i, size in enumerate(p.min_size):
            sides.append((size, size))
            if p.max_size:
                sides.append((math.sqrt(size * p.max_size[i]),) * 2)
            sides += [(size * math.sqrt(a), size / math.sqrt(a)) for a in ratios[1:]]
        shifts = [(0.0, 0.0, 0.0)] * len(sides)
        if p.layout == p.TEXTBOXES or fork == "textboxes":
            return sides * 2, shifts + [(0.0, 0.0, 0.5)] * len(sides)
        return sides, shifts

    def _dense_boxes(self) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
        sides, shifts = [], []
        for size in self.layer_param.prior_box_param.min_size:
            count = priors.DENSITIES.get(int(size), 1)
            places = [(i - (count - 1) / 2) * 32 / count for i in range(count)]
            for y in places:
                for x in places:
                    sides.append((size, size))
                    shifts.append((x, y, 0.0))
        return sides, shifts

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return [(1, 2, bottoms[0][2] * bottoms[0][3] * len(self.sides) * 4)]

    def compute(self, x: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.prior_box_param
        rows, columns = x.shape[2:]
        height = p.img_h or p.img_size or image.shape[2]
        width = p.img_w or p.img_size or image.shape[3]
        step_h = p.step_h or p.step or height / rows
        step_w = p.step_w or p.step or width / columns
        sides = torch.tensor(self.sides, device=x.device) / 2
        right, down, lower = torch.tensor(self.shifts, device=x.device).T
        y = (torch.arange(rows, device=x.device) + p.offset)[:, None, None] + lower
        y = y * step_h + down
        x0 = ((torch.arange(columns, device=x.device) + p.offset) * step_w)[None, :, None] + right
        half_w, half_h = sides[:, 0], sides[:, 1]
        grid = (rows, columns, len(sides))
        edges = (
            *((x0 - half_w) / width, (y - half_h) / height),
            *((x0 + half_w) / width, (y + half_h) / height),
        )
        corners = torch.stack([edge.expand(grid) for edge in edges], -1).flatten()
        if p.clip:
            corners = corners.clamp(0, 1)
        variance = torch.tensor(list(p.variance) or [0.1], device=x.device)
        variances = variance.repeat(corners.numel() // variance.numel())
        return torch.stack([corners, variances])[None]


@register
class DetectionOutput(EngineLayer):
    """The detections of a batch: decoded boxes after non-maximum suppression (SSD, section 2).

    Bottoms: codes of boxes, N x (P 4), or N x (P classes 4) with share_location false; scores,
    N x (P classes); priors, 1 x 2 x (P 4). In each class but the background, boxes with a score
    above confidence_threshold compete: the top_k best go through suppression. Of all classes,
    keep_top_k remain. The top is 1 x 1 x K x 7: image, label, score, xmin, ymin, xmax, ymax, as
    parts of the image's size. Without detections, the top has a row of (image, -1, ...) for each
    image (detection_output_layer.cpp of SSD).

    With five bottoms the last two are scores and codes of a first stage (Zhang et al. 2018,
    "RefineDet", section 3): its codes move the priors, and boxes whose first-stage score of an
    object is below objectness_score count as background.

    With output_directory, label_map_file and name_size_file in save_output_param, the layer writes
    the detections to files in the forms of VOC, COCO or ILSVRC (detection_files.py); where these
    files are missing, the log says that it does not. visualize, which opens windows, has no effect.
    """

    bottoms, tops = (3, 5), (1, 1)
    in_place = False

    def __new__(cls, param: Any) -> Any:
        """Return the layer; with one bottom that of YOLOv2, which has the same name in forks."""
        return of_detection_output(param) if len(param.bottom) == 1 else super().__new__(cls)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.detection_output_param
        if p.num_classes < 1:
            raise self.error("num_classes is missing; it counts the background")
        if p.nms_param.nms_threshold < 0 or not 0 < p.nms_param.eta <= 1:
            raise self.error(
                f"nms_threshold {p.nms_param.nms_threshold:g} and eta {p.nms_param.eta:g}; they "
                "need to be at least 0, and above 0 and at most 1"
            )
        self.files = files_of(self)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.detection_output_param
        priors = bottom[2].shape[2] // 4
        located = 1 if p.share_location else p.num_classes
        needed = (priors * located * 4, priors * p.num_classes)
        counts = tuple(int(np.prod(b.shape[1:])) for b in bottom[:2])
        if counts != needed:
            raise self.shape_error(
                f"the bottoms have {counts[0]} codes and {counts[1]} scores an image; {priors} "
                f"priors and {p.num_classes} classes need {needed[0]} and {needed[1]}"
            )
        top[0].resize((1, 1, 1, 7))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.detection_output_param
        codes, confidence, priors, *first_stage = (b.values.tensor() for b in bottom)
        count = len(codes)
        prior, variance = priors.reshape(2, -1, 4)
        factors = None if p.variance_encoded_in_target else variance
        located = 1 if p.share_location else p.num_classes
        scores = confidence.reshape(count, -1, p.num_classes).transpose(1, 2).numpy()
        if first_stage:
            objectness, moves = (t.reshape(count, len(prior), -1) for t in first_stage)
            prior = boxes.decode(moves[..., :4], prior, factors, p.code_type)
            scores = scores.copy()
            background = objectness[..., 1].numpy() < p.objectness_score
            for label in range(p.num_classes):
                scores[:, label][background] = label == p.background_label_id
        each = codes.reshape(count, -1, located, 4).transpose(1, 2)
        prior = prior if prior.dim() == 2 else prior[:, None]
        decoded = boxes.decode(each, prior, factors, p.code_type).numpy()
        each_image = [self._detections(i, decoded[i], scores[i]) for i in range(count)]
        if self.files is not None:
            for detections in each_image:
                self.files.add(detections)
        rows = np.concatenate(each_image)
        if not len(rows):
            rows = np.full((count, 7), -1, np.float32)
            rows[:, 0] = np.arange(count)
        top[0].resize((1, 1, *rows.shape))
        top[0].values.set(torch.from_numpy(rows)[None, None])

    def _detections(self, image: int, decoded: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the detections of an image, K x 7, from boxes (1 or C) x P x 4, scores C x P."""
        p = self.layer_param.detection_output_param
        rows = []
        for label in range(p.num_classes):
            if label == p.background_label_id:
                continue
            of_class = decoded[0 if p.share_location else label]
            index = self._kept(of_class, scores[label])
            row = np.empty((len(index), 7), np.float32)
            row[:, 0], row[:, 1], row[:, 2] = image, label, scores[label][index]
            row[:, 3:] = of_class[index]
            rows.append(row)
        joined = np.concatenate(rows) if rows else np.empty((0, 7), np.float32)
        if -1 < p.keep_top_k < len(joined):
            best = np.argsort(-joined[:, 2], kind="stable")[: p.keep_top_k]
            joined = joined[best]
            joined = joined[np.argsort(joined[:, 1], kind="stable")]
        return joined

    def _kept(self, decoded: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the indices of the boxes of a class that remain, from the best score on."""
        p = self.layer_param.detection_output_param
        threshold = p.confidence_threshold if p.HasField("confidence_threshold") else -np.inf
        index = np.flatnonzero(scores > np.float32(threshold))
        index = index[np.argsort(-scores[index], kind="stable")]
        if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1:
            index = index[: p.nms_param.top_k]
        nms = p.nms_param
        return index[boxes.suppress(decoded[index], nms.nms_threshold, eta=nms.eta)]
