"""The Python layers of multi-task network cascades, which run here where their modules are missing.

Dai, He & Sun 2016, "Instance-aware semantic segmentation via multi-task network cascades" (MNC).
The layers do what those of daijifeng001/MNC, `pylayer.*`, do in nets for inference. MNC trains on
its own data set in memory, which its own modules bring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ...errors import LayerError
from ...proto import caffe_pb2
from ..base import EngineLayer, Layer, zero_gradients
from ..function import Function
from ..python import stand_in
from .rcnn import decode_pixels, proposal_of_python


class MaskProposals(Function):
    """The masks R x 1 x M x M of R regions, from the rows R x M^2 of a fully connected layer.

    MNC, section 3.2: a layer of M^2 outputs regresses a mask of M x M pixels.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        rows, count = bottoms[0][0], math.prod(bottoms[0][1:])
        side = math.isqrt(count)
        if side * side != count:
            raise self.shape_error(f"rows of {count} values; a square of pixels is needed")
        return [(rows, 1, side, side)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*self.shapes([tuple(x.shape)])[0])


class StageBridge(EngineLayer):
    """The regions that the second round of the cascade starts from (MNC, section 3.4).

    Bottoms: regions R x 5; box codes R x 4 C; probabilities of the classes R x C, background first;
    and the image's height, width and scale. Each region moves by the codes of its most probable
    class, background aside, and is clipped to the image. The top is R x 5.
    """

    bottoms, tops = (4, 4), (1, 1)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        regions, codes, scores = (b.shape for b in bottom[:3])
        rows, classes = regions[0], math.prod(scores[1:])
        if (
            math.prod(regions[1:]) != 5
            or not codes[0] == scores[0] == rows
            or classes < 2
            or math.prod(codes[1:]) != 4 * classes
        ):
            raise self.shape_error(
                f"bottoms of shapes {regions}, {codes} and {scores}; regions R x 5, codes R x 4 C "
                "and probabilities R x C are needed"
            )
        top[0].resize((rows, 5))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        regions, codes, scores, info = (b.values.tensor().numpy() for b in bottom)
        rows, count = len(regions), math.prod(scores.shape[1:])
        regions = regions.reshape(rows, 5)
        classes = scores.reshape(rows, count)[:, 1:].argmax(1) + 1
        chosen = codes.reshape(rows, count, 4)[np.arange(rows), classes]
        moved = decode_pixels(chosen.T[None], regions[:, None, 1:])
        height, width = info.ravel()[:2]
        limits = np.array([width, height, width, height], np.float32) - 1
        values = np.concatenate([regions[:, :1], moved.clip(0, limits)], 1)
        top[0].values.set(torch.from_numpy(np.ascontiguousarray(values, np.float32)))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Inference has no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


def _for_inference(param: Any) -> None:
    """Raise LayerError for a layer of MNC's training."""
    if param.phase == caffe_pb2.TRAIN:
        p = param.python_param
        raise LayerError(
            param.name,
            param.type,
            f"module {p.module!r} is missing; training MNC needs its own modules on PYTHONPATH",
        )


@stand_in("pylayer.proposal_layer", "ProposalLayer")
def proposals(param: Any) -> Layer:
    """Return Faster R-CNN's proposals for MNC's Python layer of a LayerParameter."""
    _for_inference(param)
    return proposal_of_python(param)


@stand_in("pylayer.mask_layer", "MaskLayer")
def masks(param: Any) -> Layer:
    """Return the MaskProposals for MNC's Python layer of a LayerParameter."""
    _for_inference(param)
    return MaskProposals(param)


@stand_in("pylayer.stage_bridge_layer", "StageBridgeLayer")
def bridge(param: Any) -> Layer:
    """Return the StageBridge for MNC's Python layer of a LayerParameter."""
    _for_inference(param)
    return StageBridge(param)
