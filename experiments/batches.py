"""Momentum 0.99 with one image a batch against momentum 0.9 with twenty.

The equivalence of learning rate, momentum and batch size of Shelhamer et al. 2016, section 4.3,
tried on the demo's 16s stage: same start, same images in the same order.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from experiments import report, training
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
STAGE, START = "voc-fcn16s", "voc-fcn32s"  # of the demo: the stage, and what it starts from
MOMENTUM, BATCH = 0.9, 20  # of the batches
PAPER = 0.99  # what the papers train with, one image a time
SNAPSHOTS = 4  # of each run, scored on the val split
AVERAGED = 20  # losses in a point of the curve
# --------------------------------------------------------------------------


class Regime(NamedTuple):
    """rate: base_lr for Caffe's iter_size, which averages the gradients of a batch."""

    name: str
    momentum: float
    batch: int
    rate: float

    @property
    def memory(self) -> float:
        """How many images an update remembers: the sum of the weights p^(j / k) of the j-th last
        image, for momentum p and batches of k."""
        return self.batch / (1 - self.momentum)

    @property
    def effect(self) -> float:
        """How far one image's gradient moves the weights in the end, over all later updates."""
        return self.rate / self.batch / (1 - self.momentum)


def equivalent(momentum: float, batch: int, other: int) -> float:
    """The momentum for batches of `other` that forgets images as fast as `momentum` does for
    batches of `batch`: p^(1/k) is the same for both."""
    return momentum ** (other / batch)


def rate(effect: float, momentum: float, batch: int) -> float:
    """The base_lr at which an image has this effect, see `Regime.effect`."""
    return effect * batch * (1 - momentum)


def regimes(effect: float) -> List[Regime]:
    """The three that are compared, all with the same effect of an image."""
    exact = equivalent(MOMENTUM, BATCH, 1)
    chosen = [("batches", MOMENTUM, BATCH), ("online", exact, 1), ("online-paper", PAPER, 1)]
    return [Regime(name, p, k, rate(effect, p, k)) for name, p, k in chosen]


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    found = training.finished(demo)
    folder = os.path.join(out, "batches")
    given = found.solver(STAGE)
    own = Regime("demo", given["momentum"], 1, given["base_lr"])
    images = max(SNAPSHOTS * BATCH, given["max_iter"] // (SNAPSHOTS * BATCH) * SNAPSHOTS * BATCH)
    compared = regimes(own.effect)
    scores: Dict[str, Any] = {}
    curves: Dict[str, Any] = {}
    vals: Dict[str, Any] = {}
    for regime in compared:
        place = os.path.join(folder, regime.name)
        fields = dict(
            given,
            base_lr=regime.rate,
            momentum=regime.momentum,
            iter_size=regime.batch,
            max_iter=images // regime.batch,
            snapshot=images // regime.batch // SNAPSHOTS,
            # Caffe bounds the sum over a batch, before it is averaged.
            clip_gradients=given["clip_gradients"] * regime.batch,
            display=1 if regime.batch > 1 else AVERAGED,
            average_loss=AVERAGED if regime.batch == 1 else max(1, AVERAGED // 4),
        )
        net = training.fcn(STAGE, place, found)
        start = found.weights(START)
        scores[regime.name] = training.train(place, net, fields, start, found.seed, gpu, True)
        title = _title(regime)
        curves[title] = training.curve(place, scale=regime.batch)
        vals[title] = training.records(place, scale=regime.batch)
    curves[_title(own)] = training.curve(found.stage(STAGE))
    vals[_title(own)] = training.records(found.stage(STAGE))
    scores[own.name] = found.scores(STAGE)
    _draw(curves, vals, os.path.join(folder, "loss.png"))
    everything = [*compared, own]
    rows = [_row(regime, images, given["max_iter"], scores[regime.name]) for regime in everything]
    head = ["momentum", "batch", "learning rate", "updates", "images remembered", "test loss",
            "pixel acc.", "mean IU"]  # fmt: skip
    table = report.Table(
        "On the split `test`, percent; the loss of an image. Last row: the demo's own stage",
        head,
        rows,
    )
    caption = (
        "Left: training loss; with batches, Caffe shows only the last image of each, so its curve "
        "is the mean of fewer images. Right: mean IU on the val split."
    )
    return report.Result(
        "batches",
        "Momentum and batch size",
        _text(compared, own, images, scores),
        [table],
        [report.Figure("loss.png", caption)],
    )


def _text(
    compared: Sequence[Regime], own: Regime, images: int, scores: Mapping[str, Any]
) -> List[str]:
    batches, online, paper = compared
    iu = {name: 100 * found["mean_iu"] for name, found in scores.items()}
    loss = {name: found["loss"] for name, found in scores.items()}
    apart = abs(iu["batches"] - iu["online"])
    loss_apart = abs(loss["batches"] - loss["online"]) / loss["batches"]
    return [
        "With momentum p and batches of k images, an update is a sum over all images so far in "
        "which the j-th last one has the weight p^floor(j/k), about (p^(1/k))^j. So two regimes "
        "forget at the same pace if p^(1/k) is the same in both. For 0.9 and 20 that is "
        f"0.9^(1/20) = {online.momentum:.5f}, which the papers round to {PAPER}.",
        "The learning rate goes with it. In the end one image's gradient moves the weights by "
        "rate / (k (1 - p)) of itself, as Caffe averages over the k images of `iter_size`. The "
        f"demo's stage has {own.rate:g} / (1 - {own.momentum:g}) = {own.effect:.3g}. The same "
        f"effect needs, with batches of {batches.batch}, "
        f"{own.effect:.3g} x {batches.batch} x (1 - {batches.momentum:g}) = {batches.rate:.3g}; "
        f"one image a time, {own.effect:.3g} x (1 - {online.momentum:.5f}) = {online.rate:.3g}, "
        f"which is the first rate divided by {batches.rate / online.rate:,.0f}; and at {PAPER} "
        f"{paper.rate:.3g}. Rounded to {PAPER}, training remembers "
        f"{paper.memory:.0f} images in place of {online.memory:.0f}.",
        "The bound on the gradients' norm, which the demo needs, is for the sum of a batch, so it "
        f"is {batches.batch} times as large there: one rule for single images, another for "
        "batches, and a difference that the argument leaves out.",
        f"All start from FCN-32s and see the same {images:,} images in the same order, with the "
        f"learning rate falling to zero. Measured: mean IU {iu['batches']:.1f} with batches, "
        f"{iu['online']:.1f} with their online equal ({apart:.1f} points apart, the test loss "
        f"{100 * loss_apart:.0f} % apart), {iu['online-paper']:.1f} at {PAPER}, and "
        f"{iu['demo']:.1f} with the demo's own momentum {own.momentum:g}, which remembers "
        f"{own.memory:.0f} images.",
    ]


def _title(regime: Regime) -> str:
    return f"momentum {regime.momentum:.4g}, batch {regime.batch}"


def _row(
    regime: Regime, images: int, demo_images: int, scores: Mapping[str, Any]
) -> List[report.Cell]:
    seen = demo_images if regime.name == "demo" else images
    return [
        report.Number(regime.momentum, ".4g"),
        report.Number(regime.batch, "d"),
        report.Number(regime.rate, ".2e"),
        report.count(seen // regime.batch),
        report.count(regime.memory),
        report.count(scores["loss"]),
        report.percent(scores["pixel_accuracy"]),
        report.percent(scores["mean_iu"]),
    ]


Rows = Sequence[Mapping[str, float]]


def _draw(curves: Mapping[str, Rows], vals: Mapping[str, Rows], path: str) -> None:
    from solvers import figures

    figure, axes = figures.pyplot().subplots(1, 2, figsize=(8.4, 3.4))
    training.draw_losses(axes[0], curves, "images")
    for title, rows in vals.items():
        found = [(r["at"], 100 * r["mean_iu"]) for r in rows]
        axes[1].plot(*zip(*found), marker="o", markersize=3, linewidth=1, label=title)
    axes[1].set_xlabel("images", fontsize=9)
    axes[1].set_ylabel("mean IU on val, percent", fontsize=9)
    axes[1].tick_params(labelsize=8)
    figure.tight_layout()
    figures.write(figure, path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    report.main(run, __doc__, argv)


if __name__ == "__main__":
    main()
