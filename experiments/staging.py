"""Staged training, 32s then 16s then 8s, against training at once, with the same number of images.

Training at once is `voc-fcn8s-atonce`: FCN-8s from the classifier's weights. Its skips are scaled
down, so that the gradients of the finer layers are no larger than those of the coarse layer
(Shelhamer et al., arXiv 1605.06211, section 4.3).
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

from experiments import demo_run, report, running, training
from solvers import figures
from solvers.device import Gpu

#: The demo's stages, in order.
STAGED = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")
AT_ONCE = "voc-fcn8s-atonce"


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    """Train FCN-8s at once, and compare the net with the demo's last stage."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(out, "staging")
    iters = [finished.solver(name)["max_iter"] for name in STAGED]
    # The published solver for training at once has FCN-32s's rate and three times its iterations.
    fields = dict(finished.solver(STAGED[0]), max_iter=sum(iters))
    at_once = os.path.join(folder, AT_ONCE)
    net = training.fcn(AT_ONCE, at_once, finished)
    scores: Dict[str, Any] = {name: finished.scores(name) for name in STAGED}
    scores[AT_ONCE] = training.train(at_once, net, fields, finished.start, finished.seed, gpu)
    curves = _curves(finished, iters)
    curves["FCN-8s at once"] = training.loss_curve(at_once)
    _draw(curves, os.path.join(folder, "loss.png"))
    caption = (
        "Training loss, mean over 20 images. The curves of the stages follow one another. The "
        "learning rate falls to zero in each stage, and in the training at once."
    )
    return report.Result(
        "staging",
        "Staged training against training at once",
        _text(scores, iters, fields),
        [_table(scores, iters)],
        [report.Figure("loss.png", caption)],
    )


def _curves(demo: demo_run.Demo, iters: Sequence[int]) -> Dict[str, List[Dict[str, float]]]:
    """Return the losses of the stages, one behind the other."""
    curves = {}
    first = 0
    for name, count in zip(STAGED, iters):
        curves[_title(name)] = training.loss_curve(demo.stage(name), first)
        first += count
    return curves


def _table(scores: Mapping[str, Any], iters: Sequence[int]) -> report.Table:
    rows: List[List[report.Cell]] = []
    total = 0
    for name, count in zip(STAGED, iters):
        total += count
        rows.append(_row(f"staged, {_title(name)}", total, scores[name]))
    rows.append(_row("at once, FCN-8s", sum(iters), scores[AT_ONCE]))
    head = ["training", "iterations", "loss", "pixel acc.", "mean acc.", "mean IU", "f.w. IU"]
    return report.Table(
        "On the split `test`, in percent; the loss is summed over an image", head, rows
    )


def _title(variant: str) -> str:
    return variant.replace("voc-fcn", "FCN-")


def _text(scores: Mapping[str, Any], iters: Sequence[int], fields: Mapping[str, Any]) -> List[str]:
    staged, once = (100 * scores[name]["mean_iu"] for name in (STAGED[-1], AT_ONCE))
    comparison = "more" if staged >= once else "less"
    return [
        "The first paper trains FCN-8s in three stages, each from the net of the stage before. The "
        "second paper also trains FCN-8s at once: the skips are there from the first iteration, "
        "but are multiplied by 0.01 (pool4) and 0.0001 (pool3), so that the features of all "
        "streams have about the same size. The paper reports nearly the same accuracy in less "
        "time, and reports that training tends to diverge without the factors.",
        f"Here both trainings see {sum(iters):,} images. The stages see "
        f"{', '.join(f'{n:,}' for n in iters)}. Training at once has the first stage's learning "
        f"rate, {fields['base_lr']:g}, which falls to zero. Both start from the same cast "
        "classifier.",
        f"The mean IU is {staged:.1f} with staged training and {once:.1f} with training at once: "
        f"{abs(staged - once):.1f} points {comparison} with stages. The papers chose the factors "
        "0.01 and 0.0001 for VGG16 at full width. The factors were not tuned for this net.",
    ]


def _row(title: str, iterations: int, scores: Mapping[str, Any]) -> List[report.Cell]:
    return [
        title,
        report.count(iterations),
        report.count(scores["loss"]),
        *(report.percent(scores[m]) for m in ("pixel_accuracy", "mean_accuracy")),
        *(report.percent(scores[m]) for m in ("mean_iu", "fwavacc")),
    ]


def _draw(curves: Mapping[str, Sequence[Mapping[str, float]]], path: str) -> None:
    figure, axis = figures.pyplot().subplots(figsize=(6.4, 3.2))
    training.draw_losses(axis, curves, "iterations (one image each)")
    figure.tight_layout()
    figures.write(figure, path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line."""
    running.main("staging", run, __doc__, argv)


if __name__ == "__main__":
    main()
