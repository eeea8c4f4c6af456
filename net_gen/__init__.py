"""Generators of Caffe nets: a trunk, a head and a data set make a NetParameter.

    net_gen.write(net_gen.fcn("voc-fcn8s", "train"), "train.prototxt")

The defaults give the published prototxts; other classes, widths and data are arguments.
"""

from fcn_common import command

command.end_loading_at_interrupt()

from fcn_common.voc import MEAN

from . import padding
from .data import SPLITS, PythonData
from .fcn import fcn
from .generate import generate
from .programs import write_programs
from .solver import solver
from .text import to_text, write
from .trunks import CLASSIFIERS, PAD, TRUNKS, Trunk
from .variants import STAGES, VARIANTS, Branch, Head, Image, Variant, resolve_variant

vgg16, alexnet = CLASSIFIERS["vgg16"], CLASSIFIERS["alexnet"]
caffenet, googlenet = CLASSIFIERS["caffenet"], CLASSIFIERS["googlenet"]

__all__ = [
    "CLASSIFIERS",
    "MEAN",
    "PAD",
    "SPLITS",
    "STAGES",
    "TRUNKS",
    "VARIANTS",
    "Branch",
    "Head",
    "Image",
    "PythonData",
    "Trunk",
    "Variant",
    "alexnet",
    "caffenet",
    "fcn",
    "generate",
    "googlenet",
    "padding",
    "resolve_variant",
    "solver",
    "to_text",
    "vgg16",
    "write",
    "write_programs",
]
