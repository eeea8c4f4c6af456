"""The trained weights on this machine: of runs, published, of variant folders, of the demo."""

from __future__ import annotations

import os
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from fcn_data import VOC, DataSet
from fcn_data.published import PUBLISHED, unusable
from net_gen import VARIANTS, Head
from solvers import snapshots
from solvers.folders import ROOT
from solvers.run_record import RUN, find_run, read_run

DEFAULT_VARIANT = "voc-fcn8s"
#: The folder of the runs below the repository. The chains on drawn images lie in its `CHAINS`.
RUNS = "runs"
CHAINS = (("demo", "trained on the demo set"), ("demo-full", "trained on the large demo set"))


class Model(NamedTuple):
    """A net and its weights: the paths of a prototxt and a .caffemodel.

    origin: where the weights come from, in words for the log. variant: the variant that the net
    is, or "" if nothing says so. run: the folder of the run on own pictures that it belongs to.
    """

    net: str
    weights: str
    origin: str
    variant: str = ""
    run: Optional[str] = None

    def __str__(self) -> str:
        return f"{self.net} with {self.weights} ({self.origin})"


def data_set_of(variant: str, weights: Optional[str] = None) -> DataSet:
    """Return the data set that a net is trained on.

    weights: the net's weights. If the weights belong to a run on own pictures, the mean, the
    classes and the colours are those of its run.json. Otherwise they are those of the variant, or
    of VOC for a name that is not a variant. Raises ValueError for a damaged run.json.
    """
    folder = find_run(weights) if weights else None
    if folder:
        return read_run(folder).data_set
    return VARIANTS[variant].data if variant in VARIANTS else VOC


def heads_of(variant: str) -> Tuple[Head, ...]:
    """Return the maps of scores of a variant; VOC's for a name that is not a variant."""
    return VARIANTS[variant].heads if variant in VARIANTS else (Head(),)


def published(variant: str) -> str:
    """Return the path of a variant's published weights, fetched or not; "" if there are none."""
    name = variant.replace("voc-", "")
    return os.path.join(ROOT, PUBLISHED[name].target) if name in PUBLISHED else ""


def _published_in_place(variant: str) -> bool:
    """Return whether a variant's published weights are here and fit its net."""
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
            raise FileNotFoundError(f"{path}: no such file; the training starts from these weights")
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


def trained_weights(path: str) -> str:
    """Return the weights file to segment or score with that `path` means.

    path: a file; the folder of a run, of which the last stage with a snapshot counts; the folder of
        a stage or of its snapshots, of which the best snapshot counts; or the folder of a variant
        without snapshots, which means its published weights.

    Raises FileNotFoundError if there are no weights.
    """
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path}: no such file or folder; name the trained weights")
        return path
    folder = os.path.abspath(path)
    if os.path.isfile(os.path.join(folder, RUN)):
        return _run_weights(folder, read_run(folder).stages)
    if os.path.basename(folder) == os.path.dirname(snapshots.PREFIX):
        folder = os.path.dirname(folder)
    best = snapshots.best(folder)
    return best if best else weights_of(folder)


def _run_weights(folder: str, stages: Sequence[str]) -> str:
    """Return the best snapshot of the last stage of a run that has one."""
    for stage in reversed(stages):
        best = snapshots.best(os.path.join(folder, stage))
        if best:
            return best
    raise FileNotFoundError(
        f"{folder}: no stage of {', '.join(stages)} has a complete snapshot; train the run first"
    )


def models(variant: str, prototxt: str = "deploy.prototxt") -> Iterator[Model]:
    """Yield the trained models of a variant, the best first.

    The published weights come first, then the best snapshot in the variant's folder, then the best
    snapshots on drawn images. prototxt: the name of the prototxt in the folder of the weights.
    """
    folder = os.path.join(ROOT, variant)
    if _published_in_place(variant):
        net = os.path.join(folder, prototxt)
        yield Model(net, published(variant), "the published weights", variant)
    chains = [(os.path.join(ROOT, RUNS, name, variant), origin) for name, origin in CHAINS]
    for stage, origin in ((folder, "trained here"), *chains):
        weights = snapshots.best(stage)
        if weights:
            yield Model(os.path.join(stage, prototxt), weights, origin, variant)


def runs() -> List[str]:
    """Return the folders of the runs on own pictures below `RUNS`, the latest trained first."""
    parent = os.path.join(ROOT, RUNS)
    folders = [os.path.join(parent, name) for name in _names(parent)]
    trained = {}
    for folder in folders:
        if os.path.isfile(os.path.join(folder, RUN)):
            try:
                trained[folder] = os.path.getmtime(trained_weights(folder))
            except (OSError, ValueError):
                continue  # a run without snapshots, or with a damaged run.json
    return sorted(trained, key=lambda folder: trained[folder], reverse=True)


def _names(folder: str) -> List[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def resolve_variant(name: str) -> str:
    """Return the variant that a name means: `voc-fcn8s` for fcn8s. Raises ValueError if none."""
    for variant in (name, f"voc-{name}"):
        if variant in VARIANTS:
            return variant
    raise ValueError(f"variant is {name!r}, needs one of {', '.join(VARIANTS)}")


def run_model(
    folder: str,
    net: Optional[str] = None,
    prototxt: str = "deploy.prototxt",
    variant: Optional[str] = None,
) -> Model:
    """Return the trained net of a run on own pictures.

    folder: that of the run, or its run.json. variant: the name of the stage; None means the last
    stage with a snapshot.

    Raises OSError for a folder without run.json or snapshots, ValueError for a damaged run.json and
    for a variant that is not a stage of the run.
    """
    folder = os.path.dirname(folder) if os.path.basename(folder) == RUN else folder
    record = read_run(folder)
    stages = tuple(s for s in record.stages if variant in (None, s, f"voc-{s}"))
    if not stages:
        raise ValueError(f"run {folder}: has the stages {', '.join(record.stages)}, not {variant}")
    weights = _run_weights(folder, stages)
    stage = os.path.dirname(os.path.dirname(weights))
    origin = f"the run {folder}"
    if os.path.basename(stage) != stages[-1]:
        origin += f", whose last stage {stages[-1]} has no snapshot yet"
    selected = net or os.path.join(stage, prototxt)
    return Model(selected, weights, origin, record.variant, os.path.abspath(folder))


def select_model(
    variant: Optional[str] = None,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    prototxt: str = "deploy.prototxt",
    run: Optional[str] = None,
) -> Model:
    """Return the net and weights that are named, or else the best trained ones on this machine.

    variant: the variant; None leaves the choice open. net: a prototxt. weights: a file or a folder
    (`trained_weights`). run: the folder of a run on own pictures, of which `variant` is a stage.

    If only `weights` is named, the net is the `prototxt` beside them or in the folder above, or
    else the one in the variant's folder. If nothing is named, the first of these that exists is
    used: the latest run in runs/, `models` of FCN-8s, `models` of the other variants.

    Raises ValueError for an unknown variant, or if there are no weights; OSError for a file that is
    named and missing.
    """
    if run:
        if weights:
            raise ValueError(f"run {run} and weights {weights} are named: name one of them")
        return run_model(run, net, prototxt, variant)
    variant = resolve_variant(variant) if variant else None
    if weights:
        return _named_model(variant, net, weights, prototxt)
    names = [variant] if variant else [DEFAULT_VARIANT, *VARIANTS]
    if not variant and not net:
        for folder in runs():
            model = run_model(folder, prototxt=prototxt)
            words = "the latest in runs/; --run, --variant and --weights name others"
            return model._replace(origin=f"{model.origin}, {words}")
    for name in names:
        for model in models(name, prototxt):
            return model._replace(net=net or model.net)
    raise ValueError(
        f"no weights for {variant or DEFAULT_VARIANT} on this machine: `make weights` fetches the "
        "published ones, `make demo` trains small ones, "
        f"`make {variant or DEFAULT_VARIANT}` trains full ones; or name a file with --weights"
    )


def _named_model(variant: Optional[str], net: Optional[str], weights: str, prototxt: str) -> Model:
    """Return the model of weights that the user names."""
    named_folder = os.path.abspath(weights)
    weights = trained_weights(weights) if os.path.isdir(weights) else weights
    folder = os.path.dirname(os.path.abspath(weights))
    near = [os.path.join(f, prototxt) for f in (folder, os.path.dirname(folder))]
    fallback = os.path.join(ROOT, variant or DEFAULT_VARIANT, prototxt)
    selected = net or next(filter(os.path.isfile, near), fallback)
    if not variant:
        # The folders of variants and of the demo's stages have the names of the variants.
        stage = os.path.basename(os.path.dirname(os.path.abspath(selected)))
        variant = stage if stage in VARIANTS else ""
    origin = "named by the user"
    if os.path.isdir(named_folder):
        origin = f"the best in {named_folder}"
    run = find_run(weights)
    if run:
        return Model(selected, weights, origin, read_run(run).variant, run)
    return Model(selected, weights, origin, variant)
