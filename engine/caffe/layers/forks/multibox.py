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

#: Overlaps up to this number count as 0: a prior that only touches a box is not matched.
TOUCHING = 1e-6


class Truth(NamedTuple):
    """The objects of an image: labels (G), boxes (G x 4) and which are difficult (G)."""

    labels: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray


class _Image(NamedTuple):
    """The priors of an image, P x 4, with their variances, as a second stage may have moved them.

    matched, suppressed: the boxes that objects are matched with, and that suppression compares.
    likely: which priors the first stage takes for objects.
    """

    prior: torch.Tensor
    variance: torch.Tensor
    matched: np.ndarray
    suppressed: np.ndarray
    likely: np.ndarray


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

    With mining HARD_EXAMPLE, the sample_size hardest priors of an image count, matched or not, by
    the sum of both losses; nms_param first suppresses priors that overlap a harder one. With
    use_prior_for_matching false, the decoded boxes are matched in place of the priors, and
    use_prior_for_nms says the same of the suppression. map_object_to_agnostic, and 2 classes, give
    all objects the label 1. With ignore_cross_boundary_bbox, priors that leave the image are
    neither matched nor mined. With bp_inside, a code whose edge of the matched box lies outside the
    image has no loss. Difficult objects are left out of the match without use_difficult_gt, or with
    ignore_difficult_gt.

    With six bottoms the last two are scores and codes of a first stage (RefineDet, section 3.3):
    its codes move the priors, and priors whose first-stage score of an object is below
    objectness_score are left out of the mining.
    """

    bottoms, tops = (4, 6), (1, 1)
    auto_tops = 1
    no_gradient = (2, 3, 4, 5)
    loss = True
    in_place = False
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.multibox_loss_param
        if p.num_classes < 1:
            raise self.error("num_classes is missing; it counts the background")
        if not (p.use_prior_for_matching or p.share_location):
            raise self.error("use_prior_for_matching: false needs share_location: true")
        self.mines = p.mining_type != p.NONE
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
        *first_stage: torch.Tensor,
    ) -> torch.Tensor:
        p = self.layer_param.multibox_loss_param
        count = len(codes)
        prior, variance = priors.detach().reshape(2, -1, 4)
        codes = codes.reshape(count, len(prior), -1, 4)
        scores = scores.reshape(count, len(prior), p.num_classes)
        truths = read_truths(objects.detach().cpu().numpy(), count)
        truths = [self._relabelled(truth) for truth in truths]
        self._check_labels(truths)
        targets = torch.full((count, len(prior)), p.background_label_id, device=codes.device)
        counted = torch.ones_like(targets, dtype=torch.bool)
        matched = torch.zeros_like(counted)
        location = codes.sum() * 0
        for i, truth in enumerate(truths):
            image = self._image(prior, variance, codes[i].detach(), [t[i] for t in first_stage])
            matches, best = self._match(image.matched, truth)
            labels = torch.full_like(targets[i], p.background_label_id)
            index = np.flatnonzero(matches >= 0)
            rows = torch.from_numpy(index).to(codes.device)
            labels[rows] = torch.from_numpy(truth.labels[matches[index]]).to(codes.device)
            losses = codes.new_zeros(len(prior))
            if len(index):
                losses[rows] = self._box_losses(image, codes[i], truth, matches, labels, rows)
            if self.mines:
                hard = self._class_loss(scores[i].detach(), labels).cpu().numpy()
                kept = self._mined(image, matches, best, hard, losses.detach().cpu().numpy())
                counted[i] = torch.from_numpy(kept).to(codes.device)
            matched[i, rows] = True
            matched[i] &= counted[i]
            targets[i] = labels
            location = location + losses[matched[i].clone()].sum()
        total = self._class_loss(scores, targets)[counted].sum() + p.loc_weight * location
        return total / loss_divisor(self, matched, 1)

    def _image(
        self,
        prior: torch.Tensor,
        variance: torch.Tensor,
        codes: torch.Tensor,
        first_stage: Sequence[torch.Tensor],
    ) -> _Image:
        """Return the priors of an image, and the boxes that are matched and suppressed."""
        p = self.layer_param.multibox_loss_param
        factors = None if p.encode_variance_in_target else variance
        likely = np.ones(len(prior), bool)
        if first_stage:
            objectness, moves = (t.detach().reshape(len(prior), -1) for t in first_stage)
            prior = boxes.decode(moves[:, :4], prior, factors, p.code_type)
            likely = objectness[:, 1].cpu().numpy() >= p.objectness_score
        decoded = boxes.decode(codes[:, 0], prior, factors, p.code_type)
        corners, predicted = prior.cpu().numpy(), decoded.cpu().numpy()
        return _Image(
            prior,
            variance,
            corners if p.use_prior_for_matching else predicted,
            corners if p.use_prior_for_nms else predicted,
            likely,
        )

    def _box_losses(
        self,
        image: _Image,
        codes: torch.Tensor,
        truth: Truth,
        matches: np.ndarray,
        labels: torch.Tensor,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss of the codes of the matched priors, which `rows` numbers."""
        p = self.layer_param.multibox_loss_param
        corners = truth.boxes[matches[rows.cpu().numpy()]]
        factors = None if p.encode_variance_in_target else image.variance[rows]
        target = boxes.encode(
            torch.from_numpy(corners).to(codes), image.prior[rows], factors, p.code_type
        )
        predicted = codes[rows, 0 if p.share_location else labels[rows]]
        difference = predicted - target
        if p.bp_inside:
            edges = torch.from_numpy(image.matched).to(codes)[rows]
            difference = difference * ((edges >= 0) & (edges <= 1))
        return self._location_loss(difference)

    def _relabelled(self, truth: Truth) -> Truth:
        """Return the objects with the label 1 where the classes are object and background."""
        p = self.layer_param.multibox_loss_param
        if p.map_object_to_agnostic or p.num_classes == 2:
            labels = np.where(truth.labels > 0, 1, truth.labels)
            truth = truth._replace(labels=labels)
        return truth

    def _mined(
        self,
        image: _Image,
        matches: np.ndarray,
        best: np.ndarray,
        hard: np.ndarray,
        box_losses: np.ndarray,
    ) -> np.ndarray:
        """Return which priors count. hard, box_losses: the class loss and the box loss of each."""
        p = self.layer_param.multibox_loss_param
        matched = matches >= 0
        if p.mining_type == p.HARD_EXAMPLE:
            kept = self._hardest(image, hard + box_losses, np.arange(len(hard)), p.sample_size)
            return np.isin(np.arange(len(hard)), kept)
        candidates = np.flatnonzero(~matched & (best < p.neg_overlap) & image.likely)
        limit = int(matched.sum() * p.neg_pos_ratio)
        matched[self._hardest(image, hard, candidates, limit)] = True
        return matched

    def _check_labels(self, truths: Sequence[Truth]) -> None:
        classes = self.layer_param.multibox_loss_param.num_classes
        for truth in truths:
            if len(truth.labels) and not 0 <= truth.labels.min() <= truth.labels.max() < classes:
                labels = sorted(set(truth.labels.tolist()))
                raise self.error(
                    f"objects have labels {labels}; they need to be 0 .. {classes - 1}"
                )

    def _match(self, corners: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
        """Return the object of each prior, -1 for none, and each prior's largest overlap.

        The overlap of a prior that takes no part is infinite. corners: the boxes to match, P x 4.
        """
        p = self.layer_param.multibox_loss_param
        overlaps = boxes.overlaps(corners, truth.boxes)
        if not p.use_difficult_gt or p.ignore_difficult_gt:
            overlaps[:, truth.difficult] = 0
        outside = ((corners < 0) | (corners > 1)).any(1) & p.ignore_cross_boundary_bbox
        overlaps[outside] = 0
        matches, best = match(overlaps, p.overlap_threshold, p.match_type == p.PER_PREDICTION)
        best[outside] = np.inf
        return matches, best

    def _hardest(
        self, image: _Image, losses: np.ndarray, candidates: np.ndarray, limit: int
    ) -> np.ndarray:
        """Return the candidates, prior numbers, with the largest losses, at most `limit`."""
        p = self.layer_param.multibox_loss_param
        order = candidates[np.argsort(-losses[candidates], kind="stable")]
        if p.HasField("nms_param"):
            if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1:
                order = order[: p.nms_param.top_k]
            corners = image.suppressed[order]
            order = order[boxes.suppress(corners, p.nms_param.nms_threshold, eta=p.nms_param.eta)]
        return order[:limit]

    def _class_loss(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each prior, for scores ... x classes and labels of the priors."""
        p = self.layer_param.multibox_loss_param
        if p.conf_loss_type == p.SOFTMAX:
            log_prob = torch.log_softmax(scores, -1)
            return -log_prob.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        one_hot = F.one_hot(targets, p.num_classes).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, one_hot, reduction="none").sum(-1)

    def _location_loss(self, difference: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row of differences."""
        p = self.layer_param.multibox_loss_param
        if p.loc_loss_type == p.SMOOTH_L1:
            return smooth_l1(difference).sum(-1)
        return (difference * difference).sum(-1) / 2
