"""The class names of the data sets beside VOC, by index."""

from __future__ import annotations

from typing import Tuple


def _names(text: str) -> Tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


#: The background and the 59 most frequent classes of PASCAL-Context.
PASCAL_CONTEXT = _names(
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, "
    "book, building, cabinet, ceiling, clothes, computer, cup, door, fence, floor, flower, food, "
    "grass, ground, keyboard, light, mountain, mouse, curtain, platform, sign, plate, road, rock, "
    "shelves, sidewalk, sky, snow, bedcloth, track, tree, truck, wall, water, window, wood"
)
#: The semantic classes of SIFT Flow.
SIFT_FLOW = _names(
    "awning, balcony, bird, boat, bridge, building, bus, car, cow, crosswalk, desert, door, fence, "
    "field, grass, moon, mountain, person, plant, pole, river, road, rock, sand, sea, sidewalk, "
    "sign, sky, staircase, streetlight, sun, tree, window"
)
#: The geometric classes of SIFT Flow.
GEOMETRIC = ("sky", "horizontal", "vertical")
#: The 40 classes of NYUDv2 (Gupta et al., CVPR 2013), spelled as in the data set.
NYUD = _names(
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, "
    "blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, "
    "refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, "
    "night stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop"
)
