"""The experiment: the demo's nets with less padding, and the time and memory that this saves."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

import net_gen
from experiments import demo_run, training
from experiments.padding import settings
from experiments.padding.drawings import LIMITS, PLACES, draw
from experiments.padding.positions import paddings
from experiments.padding.timing import time_rows
from experiments.report import Cell, Figure, Result, Table, count, percent
from fcn_common.places import make_folder
from fcn_common.progress import track
from fcn_common.voc import CLASSES
from net_gen import STAGES
from solvers import figures, interface, photograph
from solvers.device import Gpu
from solvers.metrics import fast_hist, metrics

SCENES_DRAWING = "scenes.png"


class Scored(NamedTuple):
    """A trained net with one padding: its label maps of the scenes, and their scores.

    inside: the scores of the pixels that are BORDER pixels or more from every border.
    """

    pad: int
    scores: Dict[str, Any]
    inside: Dict[str, Any]
    labels: List[np.ndarray]


def score_net(
    folder: str, net: str, pad: int, demo: demo_run.Demo, scenes: Sequence[str]
) -> Scored:
    """Score a stage of the demo with another padding on scenes of the split `test`."""
    path = os.path.join(folder, f"{net}-pad{pad}", "deploy.prototxt")
    net_gen.write(training.fcn(net, os.path.dirname(path), demo, pad=pad)("deploy"), path)
    deploy = interface.load(path, demo.weights(net))
    hist: Any = 0
    inner_hist: Any = 0
    labels = []
    for name in track(scenes, len(scenes), f"{net}, pad {pad}"):
        labels.append(photograph.predict(deploy, demo.photo(name))[0])
        truth = demo.truth(name)
        hist = hist + fast_hist(truth, labels[-1], len(CLASSES))
        inner_hist = inner_hist + fast_hist(inner(truth), inner(labels[-1]), len(CLASSES))
    return Scored(pad, metrics(hist), metrics(inner_hist), labels)


def inner(label: np.ndarray) -> np.ndarray:
    """Return the part of a label map (H x W) that is BORDER pixels or more from every border."""
    border = settings.BORDER
    return label[border:-border, border:-border]


def score_row(net: str, scored: Scored, published: Scored) -> List[Cell]:
    """Return a row of the table of scores."""
    pairs = list(zip(scored.labels, published.labels))
    return [
        net,
        count(scored.pad),
        percent(scored.scores["mean_iu"]),
        percent(scored.inside["mean_iu"]),
        percent(float(np.mean([(a == b).mean() for a, b in pairs]))),
        percent(float(np.mean([(inner(a) == inner(b)).mean() for a, b in pairs]))),
    ]


def run(out: str, demo: str, gpu: Gpu = None) -> Result:
    """Score the demo's nets with the published and with less padding; measure time and memory."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(out, "padding")
    make_folder(folder)
    scenes = finished.test_images()[: finished.iters(settings.SCENES)]
    smallest = min(min(finished.truth(name).shape) for name in scenes)
    rows: List[List[Cell]] = []
    for net in STAGES:
        results = [score_net(folder, net, pad, finished, scenes) for pad in paddings(net, smallest)]
        rows += [score_row(net, scored, results[0]) for scored in results]
    # The figure shows the last stage, FCN-8s.
    pair = results[0], results[-1]
    draw_scenes(finished, scenes[: settings.SHOWN], pair, os.path.join(folder, SCENES_DRAWING))
    draw(folder)
    pads = " and ".join(f"pad {scored.pad}" for scored in pair)
    return Result(
        "padding",
        "Why pad 100",
        text(smallest),
        [
            Table(
                f"The demo's nets on {len(scenes)} scenes, in percent",
                ["net", "pad", "mean IU", "inside", "same labels", "same labels inside"],
                rows,
            ),
            Table(
                f"{Fraction(settings.TIMED_WIDTH)} of the width, {settings.TIMED_SIZE} x "
                f"{settings.TIMED_SIZE}, one forward pass on the CPU",
                ["net", "pad", "CPU seconds", "MiB at the peak"],
                time_rows(smallest),
            ),
        ],
        [
            Figure(PLACES, "Where the values of each blob lie over the image, by padding."),
            Figure(
                LIMITS,
                "The smallest input by padding; the line is wide where every larger input is "
                "aligned.",
            ),
            Figure(SCENES_DRAWING, f"FCN-8s of the demo with {pads}."),
        ],
    )


def draw_scenes(
    demo: demo_run.Demo, scenes: Sequence[str], results: Tuple[Scored, Scored], path: str
) -> None:
    """Draw scenes with the label maps of two paddings, and their true label maps."""
    rows = [
        (demo.photo(name), [*(scored.labels[i] for scored in results), demo.truth(name)])
        for i, name in enumerate(scenes)
    ]
    figures.side_by_side(rows, [*(f"pad {scored.pad}" for scored in results), "truth"], path)


def text(smallest: int) -> List[str]:
    """Return the paragraphs of the result; smallest: the shortest side of a scene, in pixels."""
    return [
        "The published nets pad their image by 100 in the first convolution. `net_gen.padding` "
        "computes the effect of less padding. Here the demo's trained nets, which were trained "
        "with a padding of 100, run with two smaller paddings: the least one that aligns every "
        "size from 1 pixel on, and the least one for these scenes, whose sides have "
        f"{smallest} pixels or more.",
        "`same labels` is the share of the pixels that have the same label as with 100. `inside` "
        f"counts only the pixels that are {settings.BORDER} or more pixels from every border. "
        "There the only change is the phase of the net's stride relative to the image. Nearer to "
        "the border, the scores see less of the padding, and the coarse scores fade.",
    ]
