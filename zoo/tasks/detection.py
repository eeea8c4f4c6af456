"""Detection: the rows of a DetectionOutput as boxes in pixels, and boxes drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

#: Colours of the labels, in turn: RGB.
COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (0, 128, 128),
)


class Detection(NamedTuple):
    """A label, its score 0 .. 1, and the corners xmin, ymin, xmax, ymax in pixels."""

    label: int
    score: float
    corners: tuple[int, int, int, int]


def read_detections(
    rows: np.ndarray, size: tuple[int, int], least: float = 0.5, image: int = 0
) -> list[Detection]:
    """Return the detections of an image, from the best score on.

    rows: 1 x 1 x K x 7, the top of DetectionOutput. size: height and width of the picture. least:
    the least score. image: the number of the image in its batch.
    """
    height, width = size
    table = np.asarray(rows).reshape(-1, 7)
    table = table[(table[:, 0] == image) & (table[:, 1] >= 0) & (table[:, 2] >= least)]
    table = table[np.argsort(-table[:, 2], kind="stable")]
    corners = (table[:, 3:].clip(0, 1) * [width, height, width, height]).round().astype(int)
    return [
        Detection(int(row[1]), float(row[2]), tuple(box))  # type: ignore[arg-type]
        for row, box in zip(table, corners.tolist())
    ]


def draw_detections(
    picture: np.ndarray, detections: Sequence[Detection], names: Sequence[str] = ()
) -> np.ndarray:
    """Return the picture with a frame, a name and a score for each detection.

    names: by label; a label without a name is written as its number.
    """
    drawn = np.array(picture, np.uint8, order="C")
    line = max(1, round(min(picture.shape[:2]) / 200))
    thick = max(1, line // 2)
    scale = max(0.4, min(picture.shape[:2]) / 900)
    for label, score, (left, top, right, bottom) in reversed(detections):
        colour = COLOURS[label % len(COLOURS)]
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, line)
        name = names[label] if label < len(names) else str(label)
        text = f"{name} {score:.2f}"
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        # Above the frame, or inside where there is no room above.
        y = top - base if top >= height + 2 * base else top + height + base
        cv2.rectangle(drawn, (left, y - height - base), (left + width, y + base), colour, -1)
        at, font, white = (left, y), cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255)
        cv2.putText(drawn, text, at, font, scale, white, thick, cv2.LINE_AA)
    return drawn
