"""Staged training, 32s then 16s then 8s, against all at once, with the same images in all.

At once is `voc-fcn8s-atonce`: FCN-8s from the classifier's weights, its skips scaled down so that
the gradients of the finer layers are no larger than those of the coarse one (Shelhamer et al.
2016, section 4.3).
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

from experiments import report, training
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
STAGED = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")  # of the demo
AT_ONCE = "voc-fcn8s-atonce"
# --------------------------------------------------------------------------


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    found = training.finished(demo)
    folder = os.path.join(out, "staging")
    iters = [found.solver(name)["max_iter"] for name in STAGED]
    # The published solver at once has the rate of 32s and three times its iterations.
    fields = dict(found.solver(STAGED[0]), max_iter=sum(iters))
    place = os.path.join(folder, AT_ONCE)
    net = training.fcn(AT_ONCE, place, found)
    scores: Dict[str, Any] = {name: found.scores(name) for name in STAGED}
    scores[AT_ONCE] = training.train(place, net, fields, found.start, found.seed, gpu)

    curves: Dict[str, List[Dict[str, float]]] = {}
    first = 0
    for name, count in zip(STAGED, iters):
        curves[name.replace("voc-fcn", "FCN-")] = training.curve(found.stage(name), first)
        first += count
    curves["FCN-8s at once"] = training.curve(place)
    _draw(curves, os.path.join(folder, "loss.png"))

    rows: List[List[report.Cell]] = []
    done = 0
    for name, count in zip(STAGED, iters):
        done += count
        rows.append(_row(f"staged, {name.replace('voc-fcn', 'FCN-')}", done, scores[name]))
    rows.append(_row("at once, FCN-8s", sum(iters), scores[AT_ONCE]))
    head = ["training", "iterations", "loss", "pixel acc.", "mean acc.", "mean IU", "f.w. IU"]
    table = report.Table("On the split `test`, percent; the loss of an image", head, rows)
    caption = (
        "Training loss, mean over 20 images. The staged nets follow one another; each starts with "
        "a learning rate that falls to zero, and so does the one trained at once."
    )
    return report.Result(
        "staging",
        "Staged training against at once",
        _text(scores, iters, fields),
        [table],
        [report.Figure("loss.png", caption)],
    )


def _text(scores: Mapping[str, Any], iters: Sequence[int], fields: Mapping[str, Any]) -> List[str]:
    staged, once = (100 * scores[name]["mean_iu"] for name in (STAGED[-1], AT_ONCE))
    words = "more" if staged >= once else "less"
    return [
        "The papers train FCN-8s in three stages, each from the net before, and later all at once: "
        "the skips are there from the first iteration, but multiplied by 0.01 (pool4) and 0.0001 "
        "(pool3), so that the features of all streams are about as large. They report nearly the "
        "same accuracy in less time, and that without the factors training tends to diverge.",
        f"Here both see {sum(iters):,} images: {', '.join(f'{n:,}' for n in iters)} in stages, or "
        f"all at the first stage's learning rate, {fields['base_lr']:g} falling to zero. Both "
        "start from the same cast classifier.",
        f"Measured: mean IU {staged:.1f} staged, {once:.1f} at once; staged training gives "
        f"{abs(staged - once):.1f} points {words}. The factors 0.01 and 0.0001 are those that the "
        "papers chose for VGG16 at full width; they were not tuned for this net.",
    ]


def _row(words: str, iterations: int, scores: Mapping[str, Any]) -> List[report.Cell]:
    return [
        words,
        report.count(iterations),
        report.count(scores["loss"]),
        *(report.percent(scores[m]) for m in ("pixel_accuracy", "mean_accuracy")),
        *(report.percent(scores[m]) for m in ("mean_iu", "fwavacc")),
    ]


def _draw(curves: Mapping[str, Sequence[Mapping[str, float]]], path: str) -> None:
    from solvers import figures

    figure, axis = figures.pyplot().subplots(figsize=(6.4, 3.2))
    training.draw_losses(axis, curves, "iterations (one image each)")
    figure.tight_layout()
    figures.write(figure, path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    report.main(run, __doc__, argv)


if __name__ == "__main__":
    main()
