"""The classifier that each trunk is cast from, and its files in ilsvrc-nets/."""

from __future__ import annotations

import os
from typing import Dict, NamedTuple

from net_gen import TRUNKS, VARIANTS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETS = os.path.join(ROOT, "ilsvrc-nets")


class Base(NamedTuple):
    """The classifier that a trunk is cast from.

    classifier: a key of `net_gen.CLASSIFIERS`. weights, cast: the files of the classifier's weights
    and of the cast weights, in ilsvrc-nets/. variant: the net whose deploy.prototxt has the layers
    that are cast.
    """

    classifier: str
    weights: str
    cast: str
    variant: str


def _variant(trunk: str) -> str:
    """Return the first variant of a trunk that starts from the classifier."""
    return next(
        name
        for name, variant in VARIANTS.items()
        if variant.trunk == trunk and variant.init is None
    )


#: Name of a trunk -> the classifier that it is cast from.
BASES: Dict[str, Base] = {
    name: Base(trunk.classifier, trunk.weights, trunk.cast, _variant(name))
    for name, trunk in TRUNKS.items()
}
