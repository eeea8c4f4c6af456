"""The nets, written by functions: a trunk, a head and a data source make a NetParameter.

    net_gen.write(net_gen.fcn("voc-fcn8s", "train"), "train.prototxt")

The published prototxts are the defaults; other classes, widths and data are arguments.
"""

from .classifier import vgg16
from .data import MEAN, SBDD_DIR, VOC_DIR, PythonData
from .fcn import SPLITS, VARIANTS, Variant, fcn
from .generate import generate
from .solver import solver
from .text import to_text, write

__all__ = [
    "MEAN",
    "SBDD_DIR",
    "SPLITS",
    "VARIANTS",
    "VOC_DIR",
    "PythonData",
    "Variant",
    "fcn",
    "generate",
    "solver",
    "to_text",
    "vgg16",
    "write",
]
