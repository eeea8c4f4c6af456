"""The published classifiers, for deployment: nets of `net_gen` and the blob of their scores."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

import net_gen

CLASSES = 1000


def _deployed(name: str) -> Callable[[float, int], Any]:
    return lambda width, batch: net_gen.CLASSIFIERS[name](
        "deploy", CLASSES, width=width, batch=batch
    )


#: name -> (the net of a width and a batch size, the blob of its scores)
CLASSIFIERS: Dict[str, Tuple[Callable[[float, int], Any], str]] = {
    name: (_deployed(name), "loss3/classifier" if name == "googlenet" else "fc8")
    for name in net_gen.CLASSIFIERS
}
