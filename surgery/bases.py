"""The classifier that each trunk is cast from, and its files in ilsvrc-nets/."""

from __future__ import annotations

import os
from typing import Dict, NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETS = os.path.join(ROOT, "ilsvrc-nets")


class Base(NamedTuple):
    """A classifier of `net_gen.CLASSIFIERS` and what is made of it; file names in ilsvrc-nets/.

    variant: the net whose deploy.prototxt says which layers are taken over.
    """

    classifier: str
    weights: str
    cast: str
    variant: str


#: By trunk. FCN-AlexNet pools before it normalizes, as CaffeNet does.
BASES: Dict[str, Base] = {
    "vgg16": Base("vgg16", "VGG_ILSVRC_16_layers.caffemodel", "vgg16-fcn.caffemodel", "voc-fcn32s"),
    "alexnet": Base(
        "caffenet",
        "bvlc_reference_caffenet.caffemodel",
        "caffenet-fcn.caffemodel",
        "voc-fcn-alexnet",
    ),
    "googlenet": Base(
        "googlenet", "bvlc_googlenet.caffemodel", "googlenet-fcn.caffemodel", "voc-fcn-googlenet"
    ),
}
