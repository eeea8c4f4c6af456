"""The nets, written by functions: a trunk, a head and a data source make a NetParameter.

    net_gen.write(net_gen.fcn("voc-fcn8s", "train"), "train.prototxt")

The published prototxts are the defaults; other classes, widths and data are arguments.
"""

from . import padding
from .classifier import CLASSIFIERS, alexnet, caffenet, googlenet, vgg16
from .data import MEAN, SBDD_DIR, VOC_DIR, PythonData
from .fcn import SPLITS, STAGES, VARIANTS, Variant, fcn
from .generate import generate
from .solver import solver
from .text import to_text, write
from .trunks import TRUNKS

__all__ = [
    "CLASSIFIERS",
    "MEAN",
    "SBDD_DIR",
    "SPLITS",
    "STAGES",
    "TRUNKS",
    "VARIANTS",
    "VOC_DIR",
    "PythonData",
    "Variant",
    "alexnet",
    "caffenet",
    "fcn",
    "generate",
    "googlenet",
    "padding",
    "solver",
    "to_text",
    "vgg16",
    "write",
]
