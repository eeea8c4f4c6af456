"""Layers of MS-CNN and Cascade R-CNN: BoxOutput and DecodeBBox (Cai et al. 2016, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...blob import Blob
from ...ops import boxes
from ..base import EngineLayer, zero_gradients
from ..registry import register


@register
class BoxOutput(EngineLayer):
    """The boxes that the detection maps of several scales propose (Cai et al. 2016, MS-CNN, 3).

    Bottoms: maps N x (C + 4) x H x W, C scores with the background first and 4 codes. The score of
    a position is the best score less that of the background; boxes from fg_thr on count. Map i has
    its field_w, field_h (the size of its boxes in pixels) and downsample_rate: the centre is
    code field_w + (column + 0.5) downsample_rate, the width field_w exp(code), with codes limited
    to +-1 / field_xyr and +-log field_whr. The max_nms_num best boxes go through suppression at
    iou_thr: overlap (nms_type IOU) or shared area over the smaller box (IOMU). max_post_nms_num
    remain, with sides of at least min_size. The top is R x 5: image, xmin, ymin, xmax, ymax; a
    second top, R x 6, has the score as well. An image without boxes has one of 1 pixel.
    """

    bottoms, tops = (1, float("inf")), (1, 2)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.box_output_param
        counts = {len(p.field_h), len(p.field_w), len(p.downsample_rate)}
        if counts != {len(bottom)}:
            raise self.error(
                f"field_h, field_w, downsample_rate are set {sorted(counts)} times for "
                f"{len(bottom)} bottoms; one for each is needed"
            )
        if p.nms_type not in ("IOU", "IOMU"):
            raise self.error(f"nms_type is {p.nms_type!r}; IOU or IOMU is needed")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if any(len(b.shape) != 4 or b.shape[1] < 6 for b in bottom):
            raise self.shape_error("the bottoms need N x (classes + 4) x H x W")
        for blob, columns in zip(top, (5, 6)):
            blob.resize((bottom[0].shape[0], columns))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        maps = [b.values.tensor().numpy() for b in bottom]
        rows = []
        for image in range(len(maps[0])):
            read = [self._read(i, m[image]) for i, m in enumerate(maps)]
            corners, scores = (np.concatenate(parts) for parts in zip(*read))
            kept = self._kept(corners, scores)
            of_image = np.column_stack([np.full(len(kept), image), corners[kept], scores[kept]])
            rows.append(of_image if len(kept) else [[image, 0, 0, 0, 0, 0]])
        values = np.concatenate(rows).astype(np.float32)
        for blob, columns in zip(top, (5, 6)):
            blob.resize((len(values), columns))
            blob.values.set(torch.from_numpy(values[:, :columns].copy()))

    def _read(self, number: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (K x 4) and scores (K) of a map."""
        p = self.layer_param.box_output_param
        size = np.array([p.field_w[number], p.field_h[number]], np.float32)[:, None]
        scores = (values[1:-4].max(0) - values[0]).reshape(-1)
        codes = values[-4:].reshape(4, -1)
        moved = codes[:2].clip(-1 / p.field_xyr, 1 / p.field_xyr)
        limit = np.log(np.float32(p.field_whr))
        sides = np.exp(codes[2:].clip(-limit, limit)) * size
        row, column = np.indices(values.shape[1:]).reshape(2, -1)
        places = (np.stack([column, row]) + np.float32(0.5)) * p.downsample_rate[number]
        low = moved * size + places - sides / 2
        corners = np.concatenate([low, low + sides]).T
        chosen = (scores >= p.fg_thr) & (sides.min(0) >= p.min_size)
        return corners[chosen], scores[chosen]

    def _kept(self, corners: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the indices of the boxes that remain, from the best score on."""
        p = self.layer_param.box_output_param
        order = np.argsort(-scores, kind="stable")[: p.max_nms_num or None]
        limit = p.max_post_nms_num or None
        if p.nms_type == "IOU":
            return order[boxes.suppress(corners[order], p.iou_thr, limit=limit)]
        kept: list[int] = []
        for index in order:
            shared = _shared_part(corners[index], corners[kept])
            if not (shared > p.iou_thr).any():
                kept.append(int(index))
        return np.array(kept[:limit], np.int64)


def _shared_part(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area that a box shares with each other, over the smaller of the two areas."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(1)
    return shared / np.minimum(boxes.areas(box[None]), boxes.areas(others)).clip(min=1e-12)


@register
class DecodeBBox(EngineLayer):
    """The regions that the next stage of a cascade starts from (Cai & Vasconcelos 2018, 3).

    Bottoms: codes R x 4, or R x 8 whose last 4 count; regions R x 5; and in training the objects
    G x 5 or wider. The codes, times bbox_std plus bbox_mean of bbox_reg_param, move the centre in
    units of the region's size and multiply the size by the exponentials. In training, regions
    that overlap an object by more than gt_iou_thr are left out. The top is R x 5.
    """

    bottoms, tops = (2, 3), (1, 1)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = bottom[1].shape[0]
        if bottom[0].shape[0] != rows or int(np.prod(bottom[1].shape[1:])) != 5:
            raise self.shape_error(
                f"bottoms of shapes {bottom[0].shape} and {bottom[1].shape}; R x 4 and R x 5 are "
                "needed"
            )
        top[0].resize((rows, 5))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.bbox_reg_param
        codes = bottom[0].values.tensor().reshape(bottom[0].shape[0], -1)[:, -4:]
        if p.bbox_std:
            codes = codes * torch.tensor(list(p.bbox_std))
        if p.bbox_mean:
            codes = codes + torch.tensor(list(p.bbox_mean))
        regions = bottom[1].values.tensor().reshape(-1, 5)
        # A region of k pixels spans xmin .. xmin + k - 1.
        priors = regions[:, 1:] + torch.tensor([0.0, 0, 1, 1])
        corners = boxes.decode(codes, priors, None, boxes.CENTER_SIZE)
        corners = corners - torch.tensor([0.0, 0, 1, 1])
        rows = torch.cat([regions[:, :1], corners], 1)
        if len(bottom) == 3 and self.phase == 0:
            objects = bottom[2].values.tensor().reshape(bottom[2].shape[0], -1).numpy()
            limit = self.layer_param.decode_bbox_param.gt_iou_thr
            near = boxes.overlaps(regions[:, 1:].numpy(), objects[:, 1:5], 1).max(1, initial=0)
            kept = near <= limit
            rows = rows[torch.from_numpy(kept)] if kept.any() else rows
        top[0].resize(tuple(rows.shape))
        top[0].values.set(rows.contiguous())

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """The regions have no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)
