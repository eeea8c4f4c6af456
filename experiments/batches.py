"""Momentum 0.99 with one image in a batch against momentum 0.9 with twenty.

Shelhamer et al. (arXiv 1605.06211, section 4.3) relate learning rate, momentum and batch size. The
experiment compares such regimes on the demo's 16s stage: same start, same images in the same order.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from experiments import demo_run, report, running, training
from solvers import figures
from solvers.device import Gpu

#: The demo's stage that is trained again, and the stage that it starts from.
STAGE, START = "voc-fcn16s", "voc-fcn32s"
#: Momentum and batch size of the training with batches.
MOMENTUM, BATCH = 0.9, 20
#: The papers' momentum for batches of one image.
PAPER = 0.99
#: Snapshots of each run, which are scored on the val split.
SNAPSHOTS = 4
#: The number of losses whose mean is a point of the curve.
AVERAGED = 20

Rows = Sequence[Mapping[str, float]]


class Regime(NamedTuple):
    """A training. rate: base_lr with Caffe's iter_size, which averages a batch's gradients."""

    name: str
    momentum: float
    batch: int
    rate: float

    @property
    def title(self) -> str:
        """The regime's name in figures."""
        return f"momentum {self.momentum:.4g}, batch {self.batch}"

    @property
    def memory(self) -> float:
        """How many images an update remembers.

        This is the sum of the weights of all past images. For momentum p and batches of k, the
        weight of the j-th last image is p^floor(j / k).
        """
        return self.batch / (1 - self.momentum)

    @property
    def effect(self) -> float:
        """How far the gradient of one image moves the weights, over all later updates."""
        return self.rate / self.batch / (1 - self.momentum)


def equivalent_momentum(momentum: float, batch: int, other: int) -> float:
    """Return the momentum for batches of `other` that forgets images at the same pace.

    The pace is p^(1 / k) for momentum p and batches of k.
    """
    return momentum ** (other / batch)


def equivalent_rate(effect: float, momentum: float, batch: int) -> float:
    """Return the base_lr with which an image has this effect; see `Regime.effect`."""
    return effect * batch * (1 - momentum)


def regimes(effect: float) -> List[Regime]:
    """Return the three regimes of the comparison, with the same effect of an image."""
    exact = equivalent_momentum(MOMENTUM, BATCH, 1)
    choices = [("batches", MOMENTUM, BATCH), ("online", exact, 1), ("online-paper", PAPER, 1)]
    return [Regime(name, p, k, equivalent_rate(effect, p, k)) for name, p, k in choices]


def solver_fields(regime: Regime, stage: Mapping[str, Any], images: int) -> Dict[str, Any]:
    """Return the fields of a regime's solver; stage: the fields of the demo's stage."""
    return dict(
        stage,
        base_lr=regime.rate,
        momentum=regime.momentum,
        iter_size=regime.batch,
        max_iter=images // regime.batch,
        snapshot=images // regime.batch // SNAPSHOTS,
        # Caffe limits the norm of a batch's sum, before averaging.
        clip_gradients=stage["clip_gradients"] * regime.batch,
        display=1 if regime.batch > 1 else AVERAGED,
        average_loss=AVERAGED if regime.batch == 1 else max(1, AVERAGED // 4),
    )


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    """Train every regime, and compare the regimes with the demo's stage."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(out, "batches")
    stage = finished.solver(STAGE)
    reference = Regime("demo", stage["momentum"], 1, stage["base_lr"])
    interval = SNAPSHOTS * BATCH
    images = max(interval, stage["max_iter"] // interval * interval)
    trained = regimes(reference.effect)
    scores: Dict[str, Any] = {}
    curves: Dict[str, Any] = {}
    vals: Dict[str, Any] = {}
    for regime in trained:
        place = os.path.join(folder, regime.name)
        net = training.fcn(STAGE, place, finished)
        fields = solver_fields(regime, stage, images)
        weights = finished.weights(START)
        scores[regime.name] = training.train(
            place, net, fields, weights, finished.seed, gpu, score=True
        )
        curves[regime.title] = training.loss_curve(place, scale=regime.batch)
        vals[regime.title] = training.snapshot_scores(place, scale=regime.batch)
    curves[reference.title] = training.loss_curve(finished.stage(STAGE))
    vals[reference.title] = training.snapshot_scores(finished.stage(STAGE))
    scores[reference.name] = finished.scores(STAGE)
    _draw(curves, vals, os.path.join(folder, "loss.png"))
    caption = (
        "Left: the training loss. With batches, Caffe logs only the loss of the last image of each "
        "batch, so a point of the curve is the mean of fewer images. Right: the mean IU on the val "
        "split."
    )
    image_counts = {**dict.fromkeys(trained, images), reference: stage["max_iter"]}
    return report.Result(
        "batches",
        "Momentum and batch size",
        _text(trained, reference, images, scores),
        [_table(image_counts, scores)],
        [report.Figure("loss.png", caption)],
    )


def _text(
    trained: Sequence[Regime], reference: Regime, images: int, scores: Mapping[str, Any]
) -> List[str]:
    batches, online, paper = trained
    iu = {name: 100 * values["mean_iu"] for name, values in scores.items()}
    loss = {name: values["loss"] for name, values in scores.items()}
    iu_difference = abs(iu["batches"] - iu["online"])
    loss_difference = abs(loss["batches"] - loss["online"]) / loss["batches"]
    return [
        "With momentum p and batches of k images, an update is a weighted sum over all past "
        "images. The j-th last image has the weight p^floor(j/k), about (p^(1/k))^j. So two "
        "regimes forget at the same pace if p^(1/k) is the same in both. For 0.9 and 20 this is "
        f"0.9^(1/20) = {online.momentum:.5f}, which the papers round to {PAPER}.",
        "The learning rate has to be changed too. Caffe averages over the k images of `iter_size`, "
        "so over all updates, one image's gradient moves the weights by rate / (k (1 - p)) of "
        f"itself. For the demo's stage this is {reference.rate:g} / (1 - {reference.momentum:g}) = "
        f"{reference.effect:.3g}. The same effect needs a rate of {reference.effect:.3g} x "
        f"{batches.batch} x (1 - {batches.momentum:g}) = {batches.rate:.3g} with batches of "
        f"{batches.batch}. With single images it needs {reference.effect:.3g} x (1 - "
        f"{online.momentum:.5f}) = {online.rate:.3g}, which is the rate for batches divided by "
        f"{batches.rate / online.rate:,.0f}. With momentum {PAPER} it needs {paper.rate:.3g}. "
        f"Rounded to {PAPER}, training remembers {paper.memory:.0f} images instead of "
        f"{online.memory:.0f}.",
        "The demo needs a limit on the norm of the gradients. Caffe applies the limit to the sum "
        f"of a batch, so the limit for batches is {batches.batch} times as large. A limit on sums "
        "acts differently from a limit on single images. The argument above ignores this "
        "difference.",
        f"All regimes start from FCN-32s and see the same {images:,} images in the same order, and "
        f"their learning rates fall to zero. The mean IU is {iu['batches']:.1f} with batches and "
        f"{iu['online']:.1f} with the equivalent momentum for single images: "
        f"{iu_difference:.1f} points apart, with test losses {100 * loss_difference:.0f} % apart. "
        f"It is {iu['online-paper']:.1f} with momentum {PAPER}, and {iu['demo']:.1f} with the "
        f"demo's momentum {reference.momentum:g}, which remembers {reference.memory:.0f} images.",
    ]


def _table(image_counts: Mapping[Regime, int], scores: Mapping[str, Any]) -> report.Table:
    rows = [_row(regime, count, scores[regime.name]) for regime, count in image_counts.items()]
    head = ["momentum", "batch", "learning rate", "updates", "images remembered", "test loss",
            "pixel acc.", "mean IU"]  # fmt: skip
    return report.Table(
        "On the split `test`, in percent; the loss is summed over an image. The last row is the "
        "demo's stage",
        head,
        rows,
    )


def _row(regime: Regime, images: int, scores: Mapping[str, Any]) -> List[report.Cell]:
    return [
        report.Number(regime.momentum, ".4g"),
        report.Number(regime.batch, "d"),
        report.Number(regime.rate, ".2e"),
        report.count(images // regime.batch),
        report.count(regime.memory),
        report.count(scores["loss"]),
        report.percent(scores["pixel_accuracy"]),
        report.percent(scores["mean_iu"]),
    ]


def _draw(curves: Mapping[str, Rows], vals: Mapping[str, Rows], path: str) -> None:
    figure, axes = figures.pyplot().subplots(1, 2, figsize=(8.4, 3.4))
    training.draw_losses(axes[0], curves, "images")
    for title, rows in vals.items():
        points: List[Tuple[float, float]] = [(r["at"], 100 * r["mean_iu"]) for r in rows]
        axes[1].plot(*zip(*points), marker="o", markersize=3, linewidth=1, label=title)
    axes[1].set_xlabel("images", fontsize=9)
    axes[1].set_ylabel("mean IU on val, percent", fontsize=9)
    axes[1].tick_params(labelsize=8)
    figure.tight_layout()
    figures.write(figure, path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line."""
    running.main("batches", run, __doc__, argv)


if __name__ == "__main__":
    main()
