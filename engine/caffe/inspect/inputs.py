"""The shapes of a net's inputs: from `--input`, and from the layers without bottoms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError

Shape = tuple[int, ...]

#: The settings of each layer type that reads images from files.
IMAGE_SETTINGS = {
    "Data": "data_param",
    "ImageData": "image_data_param",
    "WindowData": "window_data_param",
}
#: Channels of an image where nothing names another number.
CHANNELS = 3


@dataclass(frozen=True)
class Inputs:
    """The shapes that the user asks for.

    size: height and width of the image blobs, or None. shapes: whole shapes by blob name.
    """

    size: tuple[int, int] | None = None
    shapes: dict[str, Shape] = field(default_factory=dict)


def parse_inputs(texts: Iterable[str]) -> Inputs:
    """Return the inputs that texts such as `375x500` and `data=1,3,375,500` describe.

    Raises UsageError for another form.
    """
    size, shapes = None, {}
    for text in texts:
        if re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
            height, width = text.split("x")
            size = int(height), int(width)
        elif re.fullmatch(r"[^=]+=[1-9]\d*(,[1-9]\d*)*", text):
            name, dims = text.split("=")
            shapes[name] = tuple(map(int, dims.split(",")))
        else:
            raise UsageError(
                f"input {text!r}; HEIGHTxWIDTH or NAME=N,C,H,W is needed, "
                "such as 375x500 or data=1,3,375,500"
            )
    return Inputs(size, shapes)


def resized(shape: Shape, inputs: Inputs) -> Shape:
    """Return an image shape N x C x H x W with the size that the user asks for."""
    return (*shape[:2], *inputs.size) if inputs.size and len(shape) == 4 else shape


def image_shapes(param: Any, inputs: Inputs) -> list[Shape | None]:
    """Return the shapes of the tops of a layer that reads images, without reading any.

    The batch size and the size of crops are in the layer's settings. None stands for a shape that
    neither the settings nor the inputs determine.
    """
    shapes: list[Shape | None] = [None] * len(param.top)
    batch, size = 1, inputs.size
    if param.type in IMAGE_SETTINGS:
        settings = getattr(param, IMAGE_SETTINGS[param.type])
        batch = settings.batch_size or 1
        shapes = [(batch,)] * len(param.top)
        size = size or _size_in(settings, param.transform_param)
    if param.top:
        channels = 1 if param.transform_param.force_gray else CHANNELS
        shapes[0] = (batch, channels, *size) if size else None
    return shapes


def _size_in(settings: Any, transform: Any) -> tuple[int, int] | None:
    """Return the height and width to which a layer's settings crop or resize its images."""
    crop = transform.crop_size or getattr(settings, "crop_size", 0)
    if crop:
        return crop, crop
    height, width = getattr(settings, "new_height", 0), getattr(settings, "new_width", 0)
    return (height, width) if height and width else None
