"""Which trained weights are on this machine."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple, Optional

from solvers import snapshots

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Choice(NamedTuple):
    net: str
    weights: str
    what: str


def published(variant: str) -> str:
    """Where the published weights of a variant go when they are fetched."""
    from fcn_data.published import PUBLISHED

    name = variant.replace("voc-", "")
    return os.path.join(ROOT, PUBLISHED[name].target) if name in PUBLISHED else ""


def weights_of(place: str) -> str:
    """The weights file that `place` means: a file, or the folder of a stage, of which it is the
    newest snapshot, or else the variant's published weights.

    Raises FileNotFoundError if there is none.
    """
    place = os.path.abspath(place)
    if not os.path.isdir(place):
        if not os.path.isfile(place):
            raise FileNotFoundError(f"{place}: no such file; needed as weights to start from")
        return place
    newest = snapshots.latest(os.path.join(place, snapshots.PREFIX))
    if newest:
        return newest.model
    name = os.path.basename(place)
    if os.path.dirname(place) == ROOT and os.path.isfile(published(name)):
        return published(name)
    raise FileNotFoundError(
        f"{os.path.join(place, snapshots.PREFIX)}_iter_*: no complete snapshot to start from; "
        f"train {name} first"
    )


def choices(variant: str, prototxt: str = "deploy.prototxt") -> Iterator[Choice]:
    """The weights for a variant, best first: the published, what was trained here, the demo's."""
    own = os.path.join(ROOT, variant)
    if os.path.isfile(published(variant)):
        yield Choice(os.path.join(own, prototxt), published(variant), "the published weights")
    for folder, what in (
        (own, "trained here"),
        (os.path.join(ROOT, "runs", "demo", variant), "trained on the demo set"),
    ):
        found = snapshots.best(folder)
        if found:
            yield Choice(os.path.join(folder, prototxt), found, what)


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
