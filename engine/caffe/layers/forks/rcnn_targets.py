"""What Faster R-CNN trains on: the targets of anchors and of proposals (Ren et al. 2015).

py-faster-rcnn has these layers in Python, `rpn.anchor_target_layer` and
`rpn.proposal_target_layer`. The ones here run where these modules are missing, with the settings of
its end-to-end training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ... import mode
from ...blob import Blob
from ...data.transformer import draw
from ...ops import boxes
from ..base import EngineLayer, Layer, zero_gradients
from ..python import stand_in
from .rcnn import anchors, read_numbers

#: Anchors a batch, the share of them that are objects, and the overlaps of objects and background.
ANCHORS, OBJECT_SHARE, OBJECT_OVERLAP, BACKGROUND_OVERLAP = 256, 0.5, 0.7, 0.3
#: Regions a batch, and the share and the least overlap of objects.
REGIONS, REGION_SHARE, REGION_OVERLAP = 128, 0.25, 0.5
#: What the codes of regions are divided by.
STDS = np.array([0.1, 0.1, 0.2, 0.2], np.float32)


def encode_pixels(regions: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the codes of objects relative to regions, N x 4 each; a box of k pixels has side k."""
    sizes = regions[:, 2:] - regions[:, :2] + 1
    targets = objects[:, 2:] - objects[:, :2] + 1
    shift = (objects[:, :2] + targets / 2 - regions[:, :2] - sizes / 2) / sizes
    return np.concatenate([shift, np.log(targets / sizes)], 1).astype(np.float32)


class Targets(EngineLayer):
    """A layer that draws training examples. Its tops have no gradient."""

    in_place = False
    stateful = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.random = np.random.RandomState(draw(mode.rng()))

    def resume_state(self) -> Any:
        return {"random": mode.twister_state(self.random)}

    def set_resume_state(self, values: Any) -> None:
        mode.set_twister_state(self.random, values["random"])

    def region_count(self, default: int) -> int:
        """Return `batch_size` of param_str, a number of regions, or -1 for all of them."""
        text = self.layer_param.python_param.param_str
        match = re.search(r"batch_size'?\s*:\s*(-?\d+)", text)
        count = int(match[1]) if match else default
        if count < 1 and count != -1:
            raise self.error(f"batch_size is {count}; a number above 0 or -1 (all) is needed")
        return count

    def set_tops(self, top: Sequence[Blob], values: Sequence[np.ndarray]) -> None:
        """Resize the tops for these arrays, and fill them."""
        for blob, array in zip(top, values):
            blob.resize(array.shape)
            blob.values.set(torch.from_numpy(np.ascontiguousarray(array, np.float32)))

    def chosen(self, index: np.ndarray, count: int) -> np.ndarray:
        """Return at most `count` of the numbers in `index`, drawn."""
        if len(index) <= count:
            return index
        return np.sort(self.random.choice(index, count, replace=False))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        zero_gradients(propagate_down, bottom)


class AnchorTargets(Targets):
    """Labels and codes of the anchors of one image (Ren et al. 2015, section 3.1.2).

    Bottoms: scores 1 x 2A x H x W, objects G x 5 in pixels, the image's height, width and scale,
    and the image. Tops: labels 1 x 1 x A H x W (1 object, 0 background, -1 not counted), codes,
    inside weights and outside weights, 1 x 4A x H x W. Anchors inside the image are objects where
    they overlap one by 0.7, or most of all, and background below 0.3; 256 of both count, at most
    half of them objects.
    """

    bottoms, tops = (3, 4), (4, 4)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        numbers = read_numbers(self.layer_param.python_param.param_str)
        self.stride = int(numbers.get("feat_stride", [16])[0])
        ratios, scales = numbers.get("ratios"), numbers.get("scales")
        self.anchors = anchors(16, ratios or [0.5, 1, 2], scales or [8, 16, 32])

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        height, width = bottom[0].shape[2:]
        count = len(self.anchors)
        if bottom[0].shape[:2] != (1, 2 * count):
            raise self.shape_error(
                f"scores of shape {bottom[0].shape}; {count} anchors need 1 x {2 * count} x H x W"
            )
        top[0].resize((1, 1, count * height, width))
        for blob in top[1:]:
            blob.resize((1, 4 * count, height, width))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        size, count = bottom[0].shape[2:], len(self.anchors)
        objects = bottom[1].values.tensor().numpy().reshape(-1, bottom[1].shape[-1])[:, :4]
        height, width = bottom[2].values.tensor().numpy().ravel()[:2]
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) * self.stride
        grid = (np.stack([x, y, x, y], -1).reshape(-1, 1, 4) + self.anchors).reshape(-1, 4)
        inside = np.flatnonzero(
            (grid[:, :2] >= 0).all(1) & (grid[:, 2] < width) & (grid[:, 3] < height)
        )
        labels, codes = self._label(grid[inside], objects)
        all_labels = np.full(len(grid), -1, np.float32)
        all_codes = np.zeros((2, len(grid), 4), np.float32)
        all_labels[inside], all_codes[0, inside] = labels, codes
        all_codes[1, inside[labels == 1]] = 1
        outside = np.zeros((len(grid), 4), np.float32)
        outside[inside[labels >= 0]] = 1 / max(1, int((labels >= 0).sum()))
        maps = [m.reshape(1, *size, 4 * count).transpose(0, 3, 1, 2) for m in (*all_codes, outside)]
        rows = all_labels.reshape(1, *size, count).transpose(0, 3, 1, 2)
        self.set_tops(top, [rows.reshape(1, 1, count * size[0], size[1]), *maps])

    def _label(self, grid: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the label and the codes of each anchor inside the image."""
        labels = np.full(len(grid), -1, np.float32)
        overlaps = boxes.overlaps(grid, objects, 1)
        best = overlaps.max(1, initial=0)
        labels[best < BACKGROUND_OVERLAP] = 0
        if len(objects) and len(grid):
            most = overlaps.max(0)
            labels[((overlaps == most) & (most > 0)).any(1)] = 1
        labels[best >= OBJECT_OVERLAP] = 1
        positive = np.flatnonzero(labels == 1)
        kept = self.chosen(positive, int(ANCHORS * OBJECT_SHARE))
        labels[np.setdiff1d(positive, kept)] = -1
        negative = np.flatnonzero(labels == 0)
        labels[np.setdiff1d(negative, self.chosen(negative, ANCHORS - len(kept)))] = -1
        codes = np.zeros((len(grid), 4), np.float32)
        if len(objects) and len(grid):
            codes = encode_pixels(grid, objects[overlaps.argmax(1)])
        return labels, codes


class ProposalTargets(Targets):
    """A sample of the proposals with labels and codes (Girshick 2015, "Fast R-CNN", section 2.3).

    Bottoms: proposals R x 5 and objects G x 5, whose last column is the label. Tops: regions S x 5,
    labels S, codes, inside weights and outside weights, S x (4 classes). Of 128 regions, objects
    among them, at most a quarter overlap an object by 0.5; the others are background. With
    num_classes 2, boxes are predicted for objects of any label (R-FCN's class-agnostic boxes).
    `batch_size` in param_str is another number of regions; -1 is all, without a limit of objects,
    from which BoxAnnotatorOHEM then chooses (py-R-FCN's BATCH_SIZE).
    """

    bottoms, tops = (2, 2), (5, 5)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        text = self.layer_param.python_param.param_str
        match = re.search(r"num_classes'?\s*:\s*(\d+)", text)
        if match is None:
            raise self.error(f"param_str {text!r} has no num_classes; name it")
        self.classes = int(match[1])
        self.count = self.region_count(REGIONS)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, columns in zip(top, (5, 1, *[4 * self.classes] * 3)):
            blob.resize((1, columns))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        proposals = bottom[0].values.tensor().numpy().reshape(-1, 5)
        objects = bottom[1].values.tensor().numpy().reshape(-1, 5)
        as_regions = np.concatenate([np.zeros((len(objects), 1)), objects[:, :4]], 1)
        regions = np.concatenate([proposals, as_regions]).astype(np.float32)
        overlaps = boxes.overlaps(regions[:, 1:], objects[:, :4], 1)
        best = overlaps.max(1, initial=0)
        positive = np.flatnonzero(best >= REGION_OVERLAP)
        count, share = self.count, REGION_SHARE
        if count == -1:
            count, share = len(regions), 1
        positive = self.chosen(positive, round(count * share))
        negative = self.chosen(np.flatnonzero(best < REGION_OVERLAP), count - len(positive))
        kept = np.concatenate([positive, negative])
        labels = np.zeros(len(kept), np.float32)
        codes = np.zeros((2, len(kept), self.classes, 4), np.float32)
        if len(positive):
            targets = objects[overlaps[positive].argmax(1)]
            labels[: len(positive)] = targets[:, 4]
            classes = targets[:, 4].astype(int)
            if self.classes == 2:
                classes = np.minimum(classes, 1)
            place = np.arange(len(positive)), classes
            codes[0][place] = encode_pixels(regions[positive, 1:], targets[:, :4]) / STDS
            codes[1][place] = 1
        flat = codes.reshape(2, len(kept), -1)
        self.set_tops(top, [regions[kept], labels, *flat, flat[1]])


@stand_in("rpn.anchor_target_layer", "AnchorTargetLayer")
def anchor_targets(param: Any) -> Layer:
    """Return the layer for py-faster-rcnn's Python layer of a LayerParameter."""
    return AnchorTargets(param)


@stand_in("rpn.proposal_target_layer", "ProposalTargetLayer")
def proposal_targets(param: Any) -> Layer:
    """Return the layer for py-faster-rcnn's Python layer of a LayerParameter."""
    return ProposalTargets(param)
