"""Which trained weights are on this machine, best first."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple, Optional

from solvers import stage

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Choice(NamedTuple):
    net: str
    weights: str
    what: str


def choices(variant: str, prototxt: str = "deploy.prototxt") -> Iterator[Choice]:
    """The weights for a variant: the published file, what was trained here, the demo's."""
    published = os.path.join(ROOT, variant, published_name(variant))
    if os.path.isfile(published):
        yield Choice(os.path.join(ROOT, variant, prototxt), published, "the published weights")
    for folder, what in (
        (os.path.join(ROOT, variant), "trained here"),
        (os.path.join(ROOT, "runs", "demo", variant), "trained on the demo set"),
    ):
        found = stage.best(folder)
        if found:
            yield Choice(os.path.join(folder, prototxt), found, what)


def published_name(variant: str) -> str:
    """voc-fcn8s -> fcn8s-heavy-pascal.caffemodel, as in the variant's caffemodel-url."""
    return variant.replace("voc-", "") + "-heavy-pascal.caffemodel"


def pick(
    variant: str, net: Optional[str], weights: Optional[str], prototxt: str = "deploy.prototxt"
) -> Choice:
    """The net and weights that were named, or the best that there are.

    Weights alone are for the prototxt beside them or in the folder above, else the variant's.
    Raises ValueError if there are none.
    """
    if weights:
        folder = os.path.dirname(os.path.abspath(weights))
        near = [os.path.join(f, prototxt) for f in (folder, os.path.dirname(folder))]
        own = os.path.join(ROOT, variant, prototxt)
        return Choice(net or next(filter(os.path.isfile, near), own), weights, "as asked")
    for choice in choices(variant, prototxt):
        return choice._replace(net=net or choice.net)
    raise ValueError(
        f"no weights for {variant} here: `make weights` fetches the published ones, `make demo` "
        f"trains small ones, `make {variant}` trains; or name a file with --weights"
    )
