"""The demo set: drawn scenes with VOC's twenty classes, in the folder layouts of SBD and VOC.

Every class is a silhouette (solid parts, and thin ones: legs, spokes, masts, tails) in a texture of
its own. Scenes lay several of them over each other on a cluttered ground: a net has to tell the
classes apart, and thin parts and overlaps reward a finer stride.

    python -m fcn_data.demo ROOT [--seed N] [--train N] [--scale F] ...
"""

from . import layouts
from .build import make
from .scenes import CROP, SIZES, draw_crop, draw_scene
from .silhouettes import SHAPES
from .textures import LOOKS

__all__ = ["CROP", "LOOKS", "SHAPES", "SIZES", "draw_crop", "draw_scene", "layouts", "make"]
