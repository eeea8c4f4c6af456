"""The trained weights on this machine: published, trained here, or the demo's."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple, Optional, Tuple

from fcn_data import VOC, DataSet
from fcn_data.published import PUBLISHED, unusable
from net_gen import VARIANTS, Head
from solvers import snapshots
from solvers.folders import ROOT
from solvers.run_record import find_run, read_run

DEFAULT_VARIANT = "voc-fcn8s"


class Model(NamedTuple):
    """A net and its weights: the paths of a prototxt and a .caffemodel.

    origin: where the weights come from, in words for the log.
    """

    net: str
    weights: str
    origin: str

    def __str__(self) -> str:
        return f"{self.net} with {self.weights} ({self.origin})"


def data_set_of(variant: str, weights: Optional[str] = None) -> DataSet:
    """Return the data set that a net is trained on.

    weights: the net's weights. If they belong to a run on own pictures, its run.json says what the
    mean, the classes and the colours are. Otherwise they are those of the variant; VOC's for a
    name that is no variant. Raises ValueError for a damaged run.json.
    """
    folder = find_run(weights) if weights else None
    if folder:
        return read_run(folder).data_set
    return VARIANTS[variant].data if variant in VARIANTS else VOC


def heads_of(variant: str) -> Tuple[Head, ...]:
    """Return the maps of scores of a variant; that of VOC's nets for a name that is no variant."""
    return VARIANTS[variant].heads if variant in VARIANTS else (Head(),)


def published(variant: str) -> str:
    """Return the path of a variant's published weights, fetched or not; "" if there are none."""
    name = variant.replace("voc-", "")
    return os.path.join(ROOT, PUBLISHED[name].target) if name in PUBLISHED else ""


def _published_in_place(variant: str) -> bool:
    """Whether a variant's published weights are on this machine, and are weights of its net."""
    return os.path.isfile(published(variant)) and not unusable(variant.replace("voc-", ""), ROOT)


def weights_of(path: str) -> str:
    """Return the weights file that `path` means.

    path: a file, or the folder of a stage. A folder means its newest snapshot, or, for a variant's
        folder without one, the variant's published weights.

    Raises FileNotFoundError if there are no weights.
    """
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file; needed as weights to start from")
        return path
    newest = snapshots.latest(os.path.join(path, snapshots.PREFIX))
    if newest:
        return newest.model
    name = os.path.basename(path)
    if os.path.dirname(path) == ROOT and _published_in_place(name):
        return published(name)
    raise FileNotFoundError(
        f"{os.path.join(path, snapshots.PREFIX)}_iter_*: no complete snapshot to start from; "
        f"train {name} first"
    )


def models(variant: str, prototxt: str = "deploy.prototxt") -> Iterator[Model]:
    """Yield the trained models of a variant, the best first.

    The published weights come first, then the best snapshot in the variant's folder, then the best
    snapshot of the demo. prototxt: the name of the prototxt in the folder of the weights.
    """
    folder = os.path.join(ROOT, variant)
    if _published_in_place(variant):
        yield Model(os.path.join(folder, prototxt), published(variant), "the published weights")
    for stage, origin in (
        (folder, "trained here"),
        (os.path.join(ROOT, "runs", "demo", variant), "trained on the demo set"),
    ):
        weights = snapshots.best(stage)
        if weights:
            yield Model(os.path.join(stage, prototxt), weights, origin)


def select_model(
    variant: str,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    prototxt: str = "deploy.prototxt",
) -> Model:
    """Return the named net and weights; what is not named is the best of `models(variant)`.

    If only `weights` is named, the net is the `prototxt` beside them or in the folder above, or
    else the one in the variant's folder. Raises ValueError for an unknown variant, or if there are
    no weights for the variant.
    """
    if weights:
        folder = os.path.dirname(os.path.abspath(weights))
        near = [os.path.join(f, prototxt) for f in (folder, os.path.dirname(folder))]
        published_net = os.path.join(ROOT, variant, prototxt)
        selected = net or next(filter(os.path.isfile, near), published_net)
        return Model(selected, weights, "named by the user")
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant}: needed one of {', '.join(VARIANTS)}")
    for model in models(variant, prototxt):
        return model._replace(net=net or model.net)
    raise ValueError(
        f"no weights for {variant} on this machine: `make weights` fetches the published ones, "
        f"`make demo` trains small ones, `make {variant}` trains full ones; or name a file with "
        "--weights"
    )
