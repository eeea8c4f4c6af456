"""The regions of CTPN's Python layer, which runs here where its module is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ..base import EngineLayer, zero_gradients
from ..python import stand_in
from .rcnn import read_numbers

#: Heights of the anchors in pixels; all are as wide as a step of the map (CTPN, section 3.1).
HEIGHTS = (11, 16, 23, 33, 48, 68, 97, 139, 198, 283)
WIDTH = 16


class TextProposals(EngineLayer):
    """A narrow region of text for each anchor and position (Tian et al. 2016, CTPN, section 3.1).

    Bottoms: scores 1 x 20 x H x W, of text in the last 10; codes 1 x 20 x H x W, (y, h) for each
    anchor; and (height, width, scale) of the image. The centre is y h_a + y_a, the height
    exp(h) h_a, for an anchor of centre y_a and height h_a. Tops: corners K x 4, clipped to the
    image, for all K = 10 H W anchors, positions first; and optionally the scores K x 1.

    Sources: the paper and text_proposal_layer.py of tianzhi0549/CTPN, whose
    anchors have whole corners, rounded to 0 as by Python 2.
    """

    bottoms, tops = (3, 3), (1, 2)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        text = self.layer_param.python_param.param_str
        self.stride = int(read_numbers(text).get("feat_stride", [16])[0])
        centre = (WIDTH - 1) / 2
        #: The upper and lower edge of each anchor at the first position.
        self.edges = np.array(
            [[int(centre - h // 2), int(centre + h // 2)] for h in HEIGHTS], np.float32
        )

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shapes = [b.shape for b in bottom[:2]]
        if any(shape[:2] != (1, 2 * len(HEIGHTS)) for shape in shapes):
            raise self.shape_error(
                f"bottoms of shapes {shapes[0]} and {shapes[1]}; both need one image with "
                f"{2 * len(HEIGHTS)} channels"
            )
        count = len(HEIGHTS) * int(np.prod(shapes[0][2:]))
        for blob, columns in zip(top, (4, 1)):
            blob.resize((count, columns))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        scores, codes, info = (b.values.tensor().numpy() for b in bottom)
        rows, columns = scores.shape[2:]
        y, x = np.mgrid[:rows, :columns].astype(np.float32)[..., None] * self.stride
        upper, lower = self.edges.T
        height = lower - upper + 1
        moves = codes[0].reshape(len(HEIGHTS), 2, rows, columns).transpose(2, 3, 0, 1)
        tall = np.exp(moves[..., 1]) * height
        low = moves[..., 0] * height + (upper + lower) / 2 + y - tall / 2
        left, right = (np.broadcast_to(x + edge, low.shape) for edge in (0, WIDTH - 1))
        corners = np.stack([left, low, right, low + tall], -1).reshape(-1, 4)
        limits = info.ravel()[[1, 0, 1, 0]] - 1
        of_text = scores[0, len(HEIGHTS) :].transpose(1, 2, 0).reshape(-1, 1)
        for blob, values in zip(top, (corners.clip(0, limits), of_text)):
            blob.values.set(torch.from_numpy(np.ascontiguousarray(values, np.float32)))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Proposals have no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


@stand_in("layers.text_proposal_layer", "ProposalLayer")
def proposals_of_python(param: Any) -> TextProposals:
    """Return the TextProposals for CTPN's Python layer of a LayerParameter."""
    return TextProposals(param)
