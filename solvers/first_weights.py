"""The weights that the first stage of a run starts from: a file, a run, published, or random."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Iterator, List, Optional

from fcn_common.files import write_text
from fcn_common.places import temporary_folder
from fcn_data import published
from fcn_data.published import PUBLISHED
from net_gen import VARIANTS
from solvers import available, chain, workers
from solvers.run_record import RUN, find_run, read_run
from solvers.train_options import RANDOM, Options
from surgery import BASES, adapt
from surgery.tensor_files import SUFFIXES, layers_of_caffe, read_tensors
from surgery.torchvision import convert
from surgery.torchvision import parse_mean as torchvision_mean

BASE = "base.caffemodel"
REPORT = "base.txt"


def resolve_weights(options: Options) -> Options:
    """Return the options with the path of the weights, `RANDOM`, or "" for the classifier.

    Published weights are fetched if they are missing. Raises OSError if there are no such weights.
    """
    weights = options.weights
    if not weights and options.width != "1":
        weights = RANDOM
    elif weights and weights != RANDOM:
        weights = _weights_file(weights)
    return options._replace(weights=weights)


def mean_of_weights(weights: str) -> Optional[List[float]]:
    """Return the mean of the run that weights belong to; None if they belong to no run."""
    folder = find_run(weights) if weights not in ("", RANDOM) else None
    return list(read_run(folder).mean) if folder else None


def write_first_weights(out: str, deploy: str, options: Options) -> str:
    """Write the weights of the net `deploy` into the run `out`; return where they come from.

    The report says what became of each layer. Raises ValueError if no layer fits.
    """
    trunk = VARIANTS[options.stages[0]].trunk
    weights: Optional[str] = options.weights
    if weights == RANDOM:
        workers.say(
            "NOTE: the net starts from RANDOM weights (He initialisation); trained weights need "
            "fewer pictures (--weights)"
        )
        weights = None
    elif not weights:
        if not os.path.isfile(chain.paths(trunk)[1]):
            _fetch(BASES[trunk].classifier)
        weights = chain.cast_base(trunk)
    patterns = options.layers.split(",")
    with _for_the_mean(weights, options.mean) as path:
        report = adapt(path, deploy, os.path.join(out, BASE), patterns, options.seed)
    lines = [f"weights: {weights or RANDOM}", *report.lines()]
    write_text(os.path.join(out, REPORT), "\n".join(lines) + "\n")
    if weights:
        workers.say("\n".join(lines))
        if report.random:
            names = ", ".join(report.random)
            workers.say(f"warning: layers below the scores start from random numbers: {names}")
    return weights or RANDOM


@contextmanager
def _for_the_mean(weights: Optional[str], mean: str) -> Iterator[Optional[str]]:
    """Yield the path of weights for images minus a mean that the user names.

    Weights of torchvision are written anew for another mean than ILSVRC's.
    """
    if not (mean and weights and weights.endswith(SUFFIXES)):
        yield weights
        return
    tensors = read_tensors(weights)
    with temporary_folder() as folder:
        path = weights
        if layers_of_caffe(tensors) is None:
            path = os.path.join(folder, "weights.caffemodel")
            convert(weights, path, torchvision_mean(mean))
        yield path


def _weights_file(path: str) -> str:
    """Return the weights file that a path, or else the name of published weights, means."""
    if os.path.isfile(os.path.join(path, RUN)):
        path = os.path.join(path, read_run(path).stages[-1])
    try:
        return available.weights_of(path)
    except FileNotFoundError:
        name = path[len("voc-") :] if path.startswith("voc-") else path
        if name not in PUBLISHED or not PUBLISHED[name].target.endswith(".caffemodel"):
            raise
        _fetch(name)
        return os.path.join(published.ROOT, PUBLISHED[name].target)


def _fetch(name: str) -> None:
    """Fetch published weights. Raises OSError that also says how to do without them."""
    try:
        published.fetch(name)
    except OSError as error:
        raise OSError(
            f"{error}\nor start without {name}: --weights FILE, --weights random, or a narrow net "
            "with random weights: --width 1/8"
        ) from None
