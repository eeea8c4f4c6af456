"""MultiBoxLoss: what SSD minimizes (Liu et al. 2016, section 2.2; weiliu89/caffe, branch ssd)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ...blob import Blob
from ...ops import boxes
from ..function import Function
from ..labels import loss_divisor
from ..registry import register
from .rcnn import smooth_l1

#: Overlaps up to this are none: no prior is matched with a box that it only touches.
TOUCHING = 1e-6


class Truth(NamedTuple):
    """The objects of an image: labels (G), boxes (G x 4) and which are difficult (G)."""

    labels: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray


def read_truths(rows: np.ndarray, images: int) -> list[Truth]:
    """Return the objects of each image from rows of 8, as AnnotatedData makes them.

    A row is: image, label, instance, xmin, ymin, xmax, ymax, difficult. An image number of -1
    marks a row without an object.
    """
    rows = rows.reshape(-1, 8)
    truths = []
    for image in range(images):
        of_image = rows[rows[:, 0] == image]
        truths.append(Truth(of_image[:, 1].astype(np.int64), of_image[:, 3:7], of_image[:, 7] != 0))
    return truths


def match(
    overlaps: np.ndarray, threshold: float, per_prediction: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the object of each prior, -1 for none, and the largest overlap of each prior.

    overlaps: priors x objects. Each object first takes the prior that overlaps it most, the best
    pair first. With `per_prediction`, other priors take the object that they overlap most, from
    `threshold` on.
    """
    matches = np.full(len(overlaps), -1, np.int64)
    best = overlaps.max(1, initial=0)
    free = overlaps.copy()
    for _ in range(overlaps.shape[1]):
        prior, target = np.unravel_index(free.argmax(), free.shape)
        if free[prior, target] <= TOUCHING:
            break
        matches[prior] = target
        free[prior], free[:, target] = -1, -1
    if per_prediction and overlaps.shape[1]:
        others = (matches < 0) & (best >= threshold) & (best > TOUCHING)
        matches[others] = overlaps.argmax(1)[others]
    return matches, best


@register
class MultiBoxLoss(Function):
    """(loss of the classes + loc_weight * loss of the box codes) / number of matched priors.

    Bottoms: box codes N x (P 4), or N x (P classes 4) with share_location false; scores
    N x (P classes); priors 1 x 2 x (P 4); objects 1 x 1 x G x 8, as `read_truths` describes. A
    prior is matched with an object by overlap (`match`). Codes of matched priors are compared with
    the objects' codes: SMOOTH_L1 or L2, half the square. Scores are compared with the objects'
    labels, or with the background for priors that are not matched: SOFTMAX or LOGISTIC. With
    mining MAX_NEGATIVE, of the priors whose overlap is below neg_overlap the neg_pos_ratio hardest
    for each matched prior count; with mining NONE all priors count (multibox_loss_layer.cpp of
    SSD). The divisor is that of loss_param, VALID by default: the matched priors.

    Not supported, and refused: mining HARD_EXAMPLE, matching by predictions
    (use_prior_for_matching false), suppression before mining (nms_param).
    """

    bottoms, tops = (4, 4), (1, 1)
    auto_tops = 1
    no_gradient = (2, 3)
    loss = True
    in_place = False
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.multibox_loss_param
        if p.num_classes < 1:
            raise self.error("num_classes is missing; it counts the background")
        refused = {
            "mining_type HARD_EXAMPLE": p.mining_type == p.HARD_EXAMPLE,
            "use_prior_for_matching: false": not p.use_prior_for_matching,
            "nms_param": p.HasField("nms_param"),
            "map_object_to_agnostic: true": p.map_object_to_agnostic,
            "bp_inside: true": p.bp_inside,
        }
        for name, present in refused.items():
            if present:
                raise self.error(f"{name} is not supported; remove it")
        self.mines = p.mining_type == p.MAX_NEGATIVE
        if p.HasField("do_neg_mining"):
            self.mines = p.do_neg_mining

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p = self.layer_param.multibox_loss_param
        count, priors = bottoms[0][0], bottoms[2][-1] // 4
        located = 1 if p.share_location else p.num_classes
        for shape, needed in zip(bottoms, (priors * located * 4, priors * p.num_classes)):
            if shape[0] != count or int(np.prod(shape[1:])) != needed:
                raise self.shape_error(
                    f"a bottom of shape {shape}; {priors} priors and {p.num_classes} classes need "
                    f"{count} rows of {needed}"
                )
        if int(np.prod(bottoms[3])) % 8:
            raise self.shape_error(f"objects of shape {bottoms[3]}; rows of 8 are needed")
        return [()]

    def compute(
        self,
        codes: torch.Tensor,
        scores: torch.Tensor,
        priors: torch.Tensor,
        objects: torch.Tensor,
    ) -> torch.Tensor:
        p = self.layer_param.multibox_loss_param
        count = len(codes)
        prior, variance = priors.reshape(2, -1, 4)
        codes = codes.reshape(count, len(prior), -1, 4)
        scores = scores.reshape(count, len(prior), p.num_classes)
        truths = read_truths(objects.detach().cpu().numpy(), count)
        self._check_labels(truths)
        targets = torch.full((count, len(prior)), p.background_label_id, device=codes.device)
        counted = torch.ones_like(targets, dtype=torch.bool)
        matched = torch.zeros_like(counted)
        location = codes.sum() * 0
        for i, truth in enumerate(truths):
            matches, best = self._match(prior, truth)
            index = np.flatnonzero(matches >= 0)
            labels = torch.from_numpy(truth.labels[matches[index]]).to(codes.device)
            rows = torch.from_numpy(index).to(codes.device)
            targets[i, rows], matched[i, rows] = labels, True
            if self.mines:
                counted[i] = matched[i]
                candidates = np.flatnonzero((matches < 0) & (best < p.neg_overlap))
                counted[i, self._hardest(scores[i], targets[i], candidates, len(index))] = True
            target_boxes = torch.from_numpy(truth.boxes[matches[index]]).to(codes.device)
            factors = None if p.encode_variance_in_target else variance[rows]
            target_codes = boxes.encode(target_boxes, prior[rows], factors, p.code_type)
            predicted = codes[i, rows, 0 if p.share_location else labels]
            location = location + self._location_loss(predicted - target_codes)
        total = self._class_loss(scores, targets)[counted].sum() + p.loc_weight * location
        return total / loss_divisor(self, matched, 1)

    def _check_labels(self, truths: Sequence[Truth]) -> None:
        classes = self.layer_param.multibox_loss_param.num_classes
        for truth in truths:
            if len(truth.labels) and not 0 <= truth.labels.min() <= truth.labels.max() < classes:
                labels = sorted(set(truth.labels.tolist()))
                raise self.error(
                    f"objects have labels {labels}; they need to be 0 .. {classes - 1}"
                )

    def _match(self, prior: torch.Tensor, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
        """Return the object of each prior, -1 for none, and each prior's largest overlap."""
        p = self.layer_param.multibox_loss_param
        overlaps = boxes.overlaps(prior.detach().cpu().numpy(), truth.boxes)
        if not p.use_difficult_gt:
            overlaps[:, truth.difficult] = 0
        if p.ignore_cross_boundary_bbox:
            corners = prior.detach().cpu().numpy()
            overlaps[((corners < 0) | (corners > 1)).any(1)] = 0
        return match(overlaps, p.overlap_threshold, p.match_type == p.PER_PREDICTION)

    def _hardest(
        self, scores: torch.Tensor, targets: torch.Tensor, candidates: np.ndarray, matched: int
    ) -> torch.Tensor:
        """Return those of the candidates, prior numbers, whose class loss is largest."""
        ratio = self.layer_param.multibox_loss_param.neg_pos_ratio
        rows = torch.from_numpy(candidates).to(scores.device)
        losses = self._class_loss(scores.detach(), targets)[rows]
        order = losses.argsort(descending=True, stable=True)
        return rows[order[: int(matched * ratio)]]

    def _class_loss(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each prior, for scores ... x classes and labels of the priors."""
        p = self.layer_param.multibox_loss_param
        if p.conf_loss_type == p.SOFTMAX:
            log_prob = torch.log_softmax(scores, -1)
            return -log_prob.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        one_hot = F.one_hot(targets, p.num_classes).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, one_hot, reduction="none").sum(-1)

    def _location_loss(self, difference: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.multibox_loss_param
        if p.loc_loss_type == p.SMOOTH_L1:
            return smooth_l1(difference).sum()
        return (difference * difference).sum() / 2
