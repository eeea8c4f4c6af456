"""The published classifiers for deployment: nets of `net_gen` and the names of their scores."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple

import net_gen

CLASSES = 1000


class Classifier(NamedTuple):
    """A classifier for deployment.

    build: returns the NetParameter of a width and a batch size. scores: the blob of the scores.
    """

    build: Callable[[float, int], Any]
    scores: str


def builder(name: str) -> Callable[[float, int], Any]:
    """Return a function that builds the deploy net of the classifier."""
    return lambda width, batch: net_gen.CLASSIFIERS[name](
        "deploy", CLASSES, width=width, batch=batch
    )


CLASSIFIERS: Dict[str, Classifier] = {
    name: Classifier(builder(name), "loss3/classifier" if name == "googlenet" else "fc8")
    for name in net_gen.CLASSIFIERS
}
