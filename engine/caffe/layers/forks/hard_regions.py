"""Online hard example mining of Fast R-CNN, by a second net that only reads (abhi2610/ohem)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ...ops import boxes
from ..base import Layer
from ..python import stand_in
from .rcnn import smooth_l1
from .rcnn_targets import REGIONS, Targets

#: Of regions of a label that overlap by more, the one with the largest loss stays.
OVERLAP = 0.7


class HardRegions(Targets):
    """The regions with the largest losses (Shrivastava et al. 2016, section 4.2).

    Bottoms: probabilities R x C and box codes R x 4 C of the net that only reads; regions R x 5,
    labels R, targets, inside weights and outside weights R x 4 C. Tops: the last five bottoms of
    the hardest 128 regions, hardest first, or of another `batch_size` in param_str.

    The loss of a region is -log p[label], and for objects also the sum of
    w_out f(w_in (codes - targets)), with f of SmoothL1Loss. Suppression at an overlap of 0.7 goes
    before, by the losses of each image and label.
    """

    bottoms, tops = (7, 7), (5, 5)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        self.count = self.region_count(REGIONS)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shapes = [b.shape for b in bottom]
        rows, columns = shapes[0][0], math.prod(shapes[0][1:])
        sizes = [rows * n for n in (columns, 4 * columns, 5, 1, *[4 * columns] * 3)]
        if [math.prod(shape) for shape in shapes] != sizes:
            raise self.shape_error(
                f"bottoms of shapes {shapes}; R x C, R x 4 C, R x 5, R and three of R x 4 C are "
                "needed"
            )
        for blob, shape in zip(top, shapes[2:]):
            blob.resize((min(rows, self.count) if self.count > 0 else rows, *shape[1:]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = bottom[0].shape[0]
        values = [b.values.tensor().reshape(rows, -1) for b in bottom]
        probabilities, codes, regions, labels, targets, inside, outside = values
        index = labels.long()
        floor = float(np.finfo(float).eps)
        of_label = -probabilities.double().gather(1, index).clamp(min=floor).log()[:, 0]
        distance = outside * smooth_l1(inside * (codes - targets))
        loss = (of_label + distance.double().sum(1) * (index[:, 0] > 0)).numpy()
        groups = np.column_stack([regions[:, 0].numpy(), labels[:, 0].numpy()])
        corners = regions[:, 1:].numpy()
        kept: list[int] = []
        for group in np.unique(groups, axis=0):
            of_group = np.flatnonzero((groups == group).all(1))
            order = of_group[np.argsort(-loss[of_group], kind="stable")]
            kept += order[boxes.suppress(corners[order], OVERLAP, extra=1)].tolist()
        hardest = np.array(kept, int)[np.argsort(-loss[kept], kind="stable")]
        hardest = hardest[: self.count] if self.count > 0 else hardest
        chosen = [b.values.tensor()[torch.from_numpy(hardest)].numpy() for b in bottom[2:]]
        self.set_tops(top, chosen)


@stand_in("roi_data_layer.layer", "OHEMDataLayer")
def hard_regions(param: Any) -> Layer:
    """Return the HardRegions for the Python layer of a LayerParameter."""
    return HardRegions(param)
