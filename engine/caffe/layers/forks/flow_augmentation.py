"""Crops of FlowNet's training that are drawn: how images are turned, and their flow with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ... import mode
from ...blob import Blob
from ...data.transformer import draw
from ...proto import caffe_pb2
from ..base import EngineLayer, zero_gradients
from ..registry import register

#: Crops that are drawn until one lies inside the image; after these, the centre is taken.
TRIALS = 50
#: exp(-iterations / half_life * LOG_3) of a schedule is 1/3 at half_life iterations.
LOG_3 = math.log(3)
#: The settings of augmentation_param that move pixels.
MOVES = ("mirror", "translate", "rotate", "zoom", "squeeze")


def draw_number(p: Any, random: np.random.RandomState, share: float = 1.0) -> float:
    """Return a number that a RandomGeneratorParameter draws.

    A normal number or one of mean +- spread; with `bernoulli` in rand_type it is 0 but for the
    part `prob` of all, and `bernoulli` alone gives 1. With exp the number is an exponent of e.
    share: the factor of the spread.
    """
    kind, rest = p.rand_type, ""
    if "bernoulli" in kind:
        kind, _, rest = kind.rpartition("bernoulli")
        if random.uniform() >= p.prob:
            return 1.0 if p.exp else 0.0
        if not kind.strip("_") and not rest:
            return 1.0
    if kind.startswith("gaussian"):
        # Normal numbers come in pairs; the second one would be a state of its own.
        value = random.normal(p.mean, p.spread * share, 2)[0]
    else:
        value = random.uniform(p.mean - p.spread * share, p.mean + p.spread * share)
    return math.exp(value) if p.exp else value


def draw_move(
    p: Any, random: np.random.RandomState, size: Sequence[int], share: float = 1.0
) -> np.ndarray:
    """Return a drawn map of the places of a crop, 2 x 3, relative to its centre (x, y).

    The places are mirrored, turned by `rotate` radians, moved by the parts `translate` of the crop,
    and divided by `zoom` times (x) or over (y) `squeeze`. size: height and width of the crop.
    """

    def number(name: str, default: float = 0.0) -> float:
        return draw_number(getattr(p, name), random, share) if p.HasField(name) else default

    sign = -1.0 if number("mirror") else 1.0
    shift = np.array([number("translate"), number("translate")]) * size[::-1]
    angle, zoom, squeeze = number("rotate"), number("zoom", 1.0), number("squeeze", 1.0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    scale = 1 / np.array([zoom * squeeze, zoom / squeeze])
    linear = scale[:, None] * turn * np.array([sign, 1.0])
    return np.column_stack([linear, scale * shift])


def places(rows: np.ndarray, crop: Sequence[int], image: Sequence[int]) -> np.ndarray:
    """Return the map from positions (x, y, 1) of a crop to those of the image, 2 x 3.

    rows: the map relative to the centres. crop, image: heights and widths. Without a change the
    crop is the middle of the image, from a position on.
    """
    centre = (np.array(crop[::-1]) - 1) / 2
    offset = (np.array(image[::-1]) - crop[::-1]) // 2
    linear = rows[:, :2]
    return np.column_stack([linear, centre + offset + rows[:, 2] - linear @ centre])


def lies_inside(rows: np.ndarray, crop: Sequence[int], image: Sequence[int]) -> bool:
    """Return whether the corners of a crop are positions of the image."""
    height, width = crop[0] - 1, crop[1] - 1
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    x, y = places(rows, crop, image) @ corners.T
    return bool(x.min() >= 0 and y.min() >= 0 and x.max() < image[1] and y.max() < image[0])


def move(x: torch.Tensor, rows: torch.Tensor, crop: Sequence[int]) -> torch.Tensor:
    """Return crops of x (N x C x H x W), one for each map relative to the centres (N x 2 x 3)."""
    grid = np.indices(crop)[::-1].reshape(2, -1)
    positions = np.concatenate([grid, np.ones((1, grid.shape[1]))])
    tops = []
    for image, map_rows in zip(x, rows.cpu().numpy()):
        column, row = places(map_rows, crop, x.shape[2:]) @ positions
        tops.append(_sampled(image, row, column).reshape(len(image), *crop))
    return torch.stack(tops)


def _sampled(image: torch.Tensor, row: np.ndarray, column: np.ndarray) -> torch.Tensor:
    """Return the bilinear values of C x H x W at places, those of the edge beyond it."""
    height, width = image.shape[1:]
    y, x = (torch.from_numpy(v).to(image) for v in (row, column))
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor().clamp(max=max(height - 2, 0)), x.floor().clamp(max=max(width - 2, 0))
    total = torch.zeros(len(image), len(y)).to(image)
    flat = image.flatten(1)
    for i, vertical in ((0, 1 - (y - top)), (1, y - top)):
        for j, horizontal in ((0, 1 - (x - left)), (1, x - left)):
            weight = vertical * horizontal
            index = (top + i).clamp(max=height - 1) * width + (left + j).clamp(max=width - 1)
            # A value without weight does not count, be it not-a-number.
            total = total + torch.where(weight == 0, 0, flat[:, index.long()] * weight)
    return total


class Drawing(EngineLayer):
    """A layer that draws maps N x 2 x 3 of the places of crops relative to their centres."""

    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        #: The passes in TRAIN so far.
        self.passes = 0
        # A layer that draws nothing leaves the net's random numbers as they are.
        if self.draws():
            self.random = np.random.RandomState(draw(mode.rng()))

    def resume_state(self) -> Any:
        if not self.draws():
            return None
        return {"random": mode.twister_state(self.random), "passes": self.passes}

    def set_resume_state(self, values: Any) -> None:
        mode.set_twister_state(self.random, values["random"])
        self.passes = int(values["passes"])

    def draws(self) -> bool:
        """Return whether this phase moves pixels by drawn numbers."""
        p = self.layer_param.augmentation_param
        trains = self.phase == caffe_pb2.TRAIN or p.augment_during_test
        return trains and any(p.HasField(name) for name in MOVES)

    def draw_inside(
        self, first: np.ndarray, crop: Sequence[int], image: Sequence[int], share: float = 1.0
    ) -> np.ndarray:
        """Return `first` after a drawn change with which the crop lies inside the image."""
        for _ in range(TRIALS):
            change = draw_move(self.layer_param.augmentation_param, self.random, crop, share)
            linear = first[:, :2] @ change[:, :2]
            rows = np.column_stack([linear, first[:, :2] @ change[:, 2] + first[:, 2]])
            if lies_inside(rows, crop, image):
                return rows
        return first

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Data has no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


@register
class GenerateAugmentationParameters(Drawing):
    """Another change after the one that moved an image, for the next image (FlowNet, section 4.2).

    Bottoms: the maps N x 2 x 3 of a DataAugmentation, and its bottom and top, which give the
    sizes. The top, N x 2 x 3, has the maps with a drawn change, which `coeff_schedule_param` lets
    grow with the passes in TRAIN: of initial_coeff at first, half way to final_coeff after
    half_life.
    """

    bottoms, tops = (3, 3), (1, 1)
    stateful = True

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        check_maps(self, bottom[0].shape, bottom[1].shape)
        top[0].resize(bottom[0].shape)

    def share(self) -> float:
        """Return the factor of the spread of drawn numbers."""
        p = self.layer_param.coeff_schedule_param
        if not p.half_life:
            return 1.0
        grown = 2 / (1 + math.exp(-LOG_3 * self.passes / p.half_life)) - 1
        return p.initial_coeff + (p.final_coeff - p.initial_coeff) * grown

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        maps = bottom[0].values.tensor().numpy().astype(np.float64)
        if self.draws():
            image, crop = (b.shape[2:] for b in bottom[1:])
            share, rows = self.share(), range(len(maps))
            maps = np.stack([self.draw_inside(maps[i], crop, image, share) for i in rows])
        self.passes += self.phase == caffe_pb2.TRAIN
        top[0].values.set(torch.from_numpy(maps.astype(np.float32)))


@register
class FlowAugmentation(EngineLayer):
    """The flow between two images that DataAugmentation has moved (Dosovitskiy et al. 2015, 4.2).

    Bottoms: the flow N x 2 x H x W, and the maps N x 2 x 3 of the first and of the second image. At
    position p of the top, N x 2 x crop_height x crop_width, the flow is q - p: p lies at place s of
    the first image, whose flow (bilinear) leads to a place of the second image, which q shows.
    """

    bottoms, tops = (3, 3), (1, 1)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.augmentation_param, bottom[0].shape
        for maps in bottom[1:]:
            check_maps(self, maps.shape, shape)
        if shape[1] != 2:
            raise self.shape_error(f"a flow of shape {shape}; it needs 2 channels")
        self.crop = (p.crop_height or shape[2], p.crop_width or shape[3])
        top[0].resize((shape[0], 2, *self.crop))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        flow, first, second = (b.values.tensor(mode.device()) for b in bottom)
        size = flow.shape[2:]
        moved = move(flow, first, self.crop).flatten(2)
        grid = np.indices(self.crop)[::-1].reshape(2, -1).astype(np.float64)
        tops = []
        for values, *maps in zip(moved, first.cpu().numpy(), second.cpu().numpy()):
            there, back = (places(rows, self.crop, size) for rows in maps)
            place = there[:, :2] @ grid + there[:, 2:] + values.cpu().numpy()
            tops.append(np.linalg.solve(back[:, :2], place - back[:, 2:]) - grid)
        values = np.stack(tops).reshape(len(flow), 2, *self.crop)
        top[0].values.set(torch.from_numpy(np.ascontiguousarray(values, np.float32)))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Data has no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


def check_maps(layer: EngineLayer, maps: Sequence[int], images: Sequence[int]) -> None:
    """Raise ShapeError unless `maps` is N x 2 x 3 for images N x C x H x W."""
    if len(images) != 4 or tuple(maps) != (images[0], 2, 3):
        raise layer.shape_error(
            f"maps of shape {tuple(maps)} for images of shape {tuple(images)}; N x 2 x 3 and N x C "
            "x H x W are needed"
        )
