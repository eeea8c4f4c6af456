"""Losses of the YOLO forks: RegionLoss (YOLOv2) and Yolov3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ...blob import Blob
from ..function import Function
from ..registry import register


class Target(NamedTuple):
    """An object that one anchor at one position answers for.

    image, anchor, row, column: the place. box: centre and sides as parts of the image. label: its
    class.
    """

    image: int
    anchor: int
    row: int
    column: int
    box: np.ndarray
    label: int


def read_objects(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (G) and boxes (G x 4: centre, sides) of an image's rows of 5.

    A row is: label, x, y, width, height, as parts of the image. A width of 0 marks a row without an
    object.
    """
    rows = rows.reshape(-1, 5)
    objects = rows[rows[:, 3] > 0]
    return objects[:, 0].astype(np.int64), objects[:, 1:]


def overlaps(boxes: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the Jaccard overlap of boxes (... x 4: centre, sides) with another box (4)."""
    low = torch.maximum(boxes[..., :2] - boxes[..., 2:] / 2, other[:2] - other[2:] / 2)
    high = torch.minimum(boxes[..., :2] + boxes[..., 2:] / 2, other[:2] + other[2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    return shared / (boxes[..., 2:].prod(-1) + other[2:].prod() - shared)


class _BoxLoss(Function):
    """The sum of squares of what Darknet calls deltas, over N images.

    Bottoms: features N x A (5 + classes) x H x W, and objects, rows of 5 for each image as
    `read_objects` describes. For the anchor that fits an object best, at the position of the
    object's centre, the deltas are coord_scale times those of the centre and of the logarithms of
    the sides, object_scale (1 - o) and class_scale (t - p). Elsewhere the delta is
    noobject_scale o, unless the box overlaps an object by more than `thresh`. o and p are the
    sigmoids of objectness and classes, or their softmax. The gradient is -delta through the
    sigmoids of x, y and o, as in Darknet, divided by N.
    """

    bottoms, tops = (2, 2), (1, 2)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (1,)
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def scales(self) -> tuple[float, float, float, float]:
        """Return the factors of coordinates, objects, other boxes and classes."""
        p = self.settings()
        return p.coord_scale, p.object_scale, p.noobject_scale, p.class_scale

    def settings(self) -> Any:
        """The message with the settings."""
        raise NotImplementedError

    def sizes(self, width: int, height: int) -> np.ndarray:
        """Return all anchors, A x 2, as parts of the image."""
        raise NotImplementedError

    def numbers(self) -> list[int]:
        """The numbers of the anchors that this layer's features have."""
        raise NotImplementedError

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, shape = self.settings(), bottoms[0]
        channels = len(self.numbers()) * (5 + p.num_class)
        if len(shape) != 4 or shape[1] != channels:
            raise self.shape_error(
                f"a bottom of shape {shape}; {len(self.numbers())} anchors of {p.num_class} "
                f"classes need N x {channels} x H x W"
            )
        if int(np.prod(bottoms[1])) % (5 * shape[0]):
            raise self.shape_error(
                f"objects of shape {bottoms[1]}; rows of 5 for each of {shape[0]} images are needed"
            )
        return [(), ()]

    def compute(self, x: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        p, count = self.settings(), len(x)
        maps = x.reshape(count, len(self.numbers()), 5 + p.num_class, *x.shape[2:])
        truths = [read_objects(rows) for rows in objects.detach().cpu().numpy()]
        with torch.no_grad():
            predicted = self._predicted(maps)
            background = torch.ones(maps[:, :, 4].shape, dtype=torch.bool, device=x.device)
            for i, (_, boxes) in enumerate(truths):
                for box in torch.from_numpy(boxes).to(x):
                    background[i] &= overlaps(predicted[i], box) <= p.thresh
        targets = self._targets(truths, x.shape[3], x.shape[2])
        for t in targets:
            background[t.image, t.anchor, t.row, t.column] = False
        _, _, scale, _ = self.scales()
        loss = (scale * torch.sigmoid(maps[:, :, 4])[background]).square().sum()
        for t in targets:
            loss = loss + self._object_loss(maps, predicted, t)
        # The gradient of half the squares is Darknet's.
        loss = loss / count
        return loss / 2 + (loss / 2).detach()

    def _predicted(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the boxes, N x A x H x W x 4, as parts of the image."""
        rows, columns = maps.shape[3:]
        sizes = torch.from_numpy(self.sizes(columns, rows)[self.numbers()]).to(maps)
        x = (torch.arange(columns, device=maps.device) + torch.sigmoid(maps[:, :, 0])) / columns
        y = (torch.arange(rows, device=maps.device)[:, None] + torch.sigmoid(maps[:, :, 1])) / rows
        w = maps[:, :, 2].exp() * sizes[:, 0, None, None]
        h = maps[:, :, 3].exp() * sizes[:, 1, None, None]
        return torch.stack([x, y, w, h], -1)

    def _targets(
        self, truths: Sequence[tuple[np.ndarray, np.ndarray]], columns: int, rows: int
    ) -> list[Target]:
        """Return the anchor of each object; no anchor for an object of another map."""
        sizes, numbers = self.sizes(columns, rows), self.numbers()
        targets = []
        for image, (labels, boxes) in enumerate(truths):
            for label, box in zip(labels, boxes):
                if not 0 <= label < self.settings().num_class:
                    raise self.error(
                        f"an object has label {label}; 0 .. {self.settings().num_class - 1} is "
                        "needed"
                    )
                shared = np.minimum(sizes, box[2:]).prod(1)
                best = int((shared / (sizes.prod(1) + box[2:].prod() - shared)).argmax())
                if best in numbers:
                    column = min(int(box[0] * columns), columns - 1)
                    row = min(int(box[1] * rows), rows - 1)
                    targets.append(Target(image, numbers.index(best), row, column, box, int(label)))
        return targets

    def _object_loss(self, maps: torch.Tensor, predicted: torch.Tensor, t: Target) -> torch.Tensor:
        """Return the squares of the deltas of an object."""
        coordinates, objects, _, classes = self.scales()
        values = maps[t.image, t.anchor, :, t.row, t.column]
        rows, columns = maps.shape[3:]
        size = self.sizes(columns, rows)[self.numbers()[t.anchor]]
        place = [t.box[0] * columns - t.column, t.box[1] * rows - t.row]
        target_values = torch.tensor([*place, *np.log(t.box[2:] / size)]).to(maps)
        offsets = torch.cat([torch.sigmoid(values[:2]), values[2:4]])
        # Small boxes count more: the factor is 2 - area.
        factor = coordinates * (2 - float(t.box[2] * t.box[3]))
        level = torch.ones(())
        if getattr(self.settings(), "rescore", 0):
            box = torch.from_numpy(t.box).to(maps)
            level = overlaps(predicted[t.image, t.anchor, t.row, t.column], box)
        objectness = objects * (level.to(maps) - torch.sigmoid(values[4]))
        difference = classes * self._class_difference(values[5:], t.label)
        return (
            (factor * (target_values - offsets)).square().sum()
            + objectness.square()
            + difference.square().sum()
        )

    def _class_difference(self, scores: torch.Tensor, label: int) -> torch.Tensor:
        one_hot = F.one_hot(torch.tensor(label), len(scores)).to(scores)
        return one_hot - torch.sigmoid(scores)


@register
class RegionLoss(_BoxLoss):
    """YOLOv2's loss (Redmon & Farhadi 2016; eric612/MobileNet-YOLO). `_BoxLoss` has the formula.

    biases are the anchors in positions of the map; the classes go through a softmax, and with
    `rescore` the target of o is the box's overlap with its object.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.region_loss_param
        if len(p.biases) != 2 * p.num:
            raise self.error(f"{len(p.biases)} biases for num {p.num}; twice that is needed")
        if p.softmax_tree or p.class_map:
            raise self.error("softmax_tree and class_map are not supported; remove them")

    def settings(self) -> Any:
        return self.layer_param.region_loss_param

    def sizes(self, width: int, height: int) -> np.ndarray:
        return np.reshape(self.layer_param.region_loss_param.biases, (-1, 2)) / (width, height)

    def numbers(self) -> list[int]:
        return list(range(self.layer_param.region_loss_param.num))

    def _class_difference(self, scores: torch.Tensor, label: int) -> torch.Tensor:
        if not self.layer_param.region_loss_param.softmax:
            return super()._class_difference(scores, label)
        one_hot = F.one_hot(torch.tensor(label), len(scores)).to(scores)
        return one_hot - torch.softmax(scores, 0)


@register
class Yolov3(_BoxLoss):
    """YOLOv3's loss on one map (Redmon & Farhadi 2018; MobileNet-YOLO). `_BoxLoss` has the formula.

    biases are the anchors in pixels, of which `mask` numbers those of this map; anchors_scale is
    the map's stride.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.yolov3_param
        refused = {
            "use_focal_loss": p.use_focal_loss,
            f"iou_loss {p.IOU_LOSS.Name(p.iou_loss)}": p.iou_loss != p.MSE,
        }
        for name, present in refused.items():
            if present:
                raise self.error(f"{name} is not supported; remove it")
        if len(p.biases) % 2 or not p.biases or 2 * max(self.numbers()) >= len(p.biases):
            raise self.error(
                f"{len(p.biases)} biases for the anchors {self.numbers()}; "
                "2 for each anchor are needed"
            )

    def settings(self) -> Any:
        return self.layer_param.yolov3_param

    def sizes(self, width: int, height: int) -> np.ndarray:
        p = self.layer_param.yolov3_param
        image = np.array([width, height]) * p.anchors_scale
        return np.reshape(p.biases, (-1, 2)) / image

    def numbers(self) -> list[int]:
        p = self.layer_param.yolov3_param
        return list(p.mask) or list(range(p.num))
