"""What the skips add, against the two alternatives that the papers discuss.

The sum of skips is the demo's own 32s, 16s and 8s. From the same FCN-32s, and for as many
iterations as its 16s stage: pool5 without its stride, and training on without a skip
(Long et al. 2015, section 4.2).
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from experiments import report, training
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
STRIDES = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")  # of the demo: summed skips
SHOWN = 3  # test scenes in a figure
STRIDE = 16  # without pool5's
SCORED, UP = "score_fr", "upscore"  # the scores of FCN-32s, and what enlarges them
FC6 = (512, 7, 4096)  # VGG16's fc6 at full width: channels in, kernel, channels out
# --------------------------------------------------------------------------

RIGHT, WRONG, OTHER = (0, 140, 70), (205, 40, 40), (150, 150, 150)


def without_stride(net: Any) -> Any:
    """FCN-32s with stride 1 in pool5: a NetParameter of stride 16, for the same weights.

    fc6 is dilated by 2, so each of its outputs sees the pixels that it saw; every second one, down
    and across, is what the given net computes. Only the Deconvolution, of half the stride, is new.
    """
    import surgery

    dense = surgery.rarefy(net, SCORED, STRIDE)
    rest = {layer.name: layer for layer in net.layer if layer.name in (UP, "score", "loss")}
    up = dense.layer.add()
    up.CopyFrom(rest[UP])
    kernel = up.convolution_param.kernel_size[0]
    # A name of its own: the kernel is another, and is not to be copied from the given net.
    up.name = up.top[0] = f"{UP}{STRIDE}"
    up.convolution_param.kernel_size[0], up.convolution_param.stride[0] = 2 * STRIDE, STRIDE
    crop = dense.layer.add()
    crop.CopyFrom(rest["score"])
    crop.bottom[0] = up.name
    # The middle of the first cell's kernel stays at the same pixel.
    crop.crop_param.offset[0] -= (kernel - 2 * STRIDE) // 2
    if "loss" in rest:
        dense.layer.add().CopyFrom(rest["loss"])
    return dense


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    found = training.finished(demo)
    folder = os.path.join(out, "skips")
    fields = found.solver("voc-fcn16s")
    start = found.weights("voc-fcn32s")
    scores = {name: found.scores(name) for name in STRIDES}
    folders = {name: found.stage(name) for name in STRIDES}
    for name, change in (("stride16-pool5", without_stride), ("fcn32s-on", lambda net: net)):
        folders[name] = os.path.join(folder, name)
        net = _changed(training.fcn("voc-fcn32s", folders[name], found), change)
        scores[name] = training.train(folders[name], net, fields, start, found.seed, gpu)
    steps = [
        ("skip-16s", "voc-fcn32s", "voc-fcn16s", "The skip from pool4: FCN-32s to FCN-16s"),
        ("skip-8s", "voc-fcn16s", "voc-fcn8s", "The skip from pool3: FCN-16s to FCN-8s"),
        ("stride16", "voc-fcn32s", "stride16-pool5", "No skip, pool5 with stride 1"),
        ("on", "voc-fcn32s", "fcn32s-on", "No skip, FCN-32s trained on"),
    ]
    rows: List[List[report.Cell]] = []
    figures = []
    for file, before, after, title in steps:
        drawn = changes(found, folders[before], folders[after], os.path.join(folder, file + ".png"))
        rows.append([title, report.percent(drawn[0]), report.percent(drawn[1]),
                     report.percent(drawn[0] - drawn[1])])  # fmt: skip
        figures.append(report.Figure(file + ".png", f"{title}. {LEGEND}"))
    return report.Result(
        "skips",
        "What the skips add",
        _text(scores, fields),
        [_table(scores, found), _changes_table(rows)],
        figures,
    )


LEGEND = (
    "Before, after, and where they differ: green is right only after, red right only before, grey "
    "wrong both times."
)
WORDS = {
    "voc-fcn32s": "FCN-32s, the start",
    "voc-fcn16s": "FCN-16s: sum with pool4",
    "voc-fcn8s": "FCN-8s: sum with pool3 too",
    "stride16-pool5": "pool5 with stride 1",
    "fcn32s-on": "FCN-32s, trained on",
}


def _text(scores: Dict[str, Any], fields: Dict[str, Any]) -> List[str]:
    iu = {name: 100 * found["mean_iu"] for name, found in scores.items()}
    channels, kernel, outputs = FC6
    filters = channels * outputs * kernel**2 / 1e6
    start, on = iu["voc-fcn32s"], iu["fcn32s-on"] - iu["voc-fcn32s"]
    dense, skip = iu["stride16-pool5"] - start, iu["voc-fcn16s"] - start
    return [
        "FCN-16s adds the scores of a finer layer, pool4, to those of FCN-32s, and FCN-8s those of "
        "pool3. Is it the skip that helps, or the further training, or the finer grid of scores?",
        "Two nets start where FCN-16s starts, from the trained FCN-32s, and are trained for the "
        f"same {fields['max_iter']} iterations on the same images at the same learning rate "
        f"({fields['base_lr']:g}). One is FCN-32s again, trained on: the papers' control, in which "
        "they saw little gain. In the other, pool5 has stride 1, which gives scores every 16 "
        "pixels without a skip.",
        "The papers set this second way aside: with stride 1 in pool5, fc6 needs a window of "
        f"{2 * kernel} x {2 * kernel} to see as much of the image as before, and they could not "
        f"learn filters of that size well. At full width that is {4 * filters:,.0f} million "
        f"weights in place of {filters:,.0f} million. Here fc6 keeps its {kernel} x {kernel} "
        "weights and is dilated by 2, a means that Caffe gained later: it sees the same part of "
        "the image, needs no new weight, and before training gives FCN-32s's own scores at every "
        "second position.",
        f"Measured from FCN-32s's mean IU of {start:.1f}: training on {_moves(on)}, stride 1 in "
        f"pool5 {_moves(dense)}, the skip {_moves(skip)}; the second skip then takes "
        f"{iu['voc-fcn16s']:.1f} to {iu['voc-fcn8s']:.1f}.",
    ]


def _moves(points: float) -> str:
    return f"{'adds' if points >= 0 else 'loses'} {abs(points):.1f} points"


def _table(scores: Dict[str, Any], demo: training.Demo) -> report.Table:
    iterations = 0
    rows: List[List[report.Cell]] = []
    done = {name: 0 for name in WORDS}
    for name in STRIDES:
        iterations += demo.solver(name)["max_iter"]
        done[name] = iterations
    for name in ("stride16-pool5", "fcn32s-on"):
        done[name] = done["voc-fcn16s"]
    stride = {"voc-fcn32s": 32, "voc-fcn8s": 8, "fcn32s-on": 32}
    for name, words in WORDS.items():
        found = scores[name]
        rows.append(
            [
                words,
                report.Number(stride.get(name, 16), "d"),
                report.count(done[name]),
                *(report.percent(found[m]) for m in ("pixel_accuracy", "mean_accuracy")),
                *(report.percent(found[m]) for m in ("mean_iu", "fwavacc")),
            ]
        )
    head = ["net", "stride", "iterations", "pixel acc.", "mean acc.", "mean IU", "f.w. IU"]
    return report.Table("On the split `test`, percent", head, rows)


def _changes_table(rows: Sequence[Sequence[report.Cell]]) -> report.Table:
    head = ["step", "right only after", "right only before", "difference"]
    return report.Table("Pixels that change, percent of all with a label", head, rows)


def _changed(net: training.Net, change: Callable[[Any], Any]) -> training.Net:
    return lambda split: change(net(split))


def changes(demo: training.Demo, before: str, after: str, path: str) -> Tuple[float, float]:
    """The shares of the test split's pixels that are right only after and only before, of two
    trained nets; the first scenes are drawn to `path`."""
    from fcn_common.progress import track
    from solvers import available, infer

    nets = [infer.load(os.path.join(folder, "deploy.prototxt"), available.weights_of(folder))
            for folder in (before, after)]  # fmt: skip
    names = demo.test_images()
    gained = lost = known = 0
    rows: List[List[np.ndarray]] = []
    for name in track(names, len(names), os.path.basename(path)):
        photo, truth = demo.photo(name), demo.truth(name)
        one, two = (infer.predict(net, photo)[0] for net in nets)
        labelled = truth < 255
        gained += int(np.sum(labelled & (two == truth) & (one != truth)))
        lost += int(np.sum(labelled & (one == truth) & (two != truth)))
        known += int(labelled.sum())
        if len(rows) < SHOWN:
            rows.append([photo, one, two, difference(one, two, truth), truth])
    _draw(rows, path)
    return gained / known, lost / known


def difference(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The difference of two label maps as a picture, H x W x 3, uint8; see `LEGEND`."""
    picture = np.full((*truth.shape, 3), 255, np.uint8)
    changed = (before != after) & (truth < 255)
    picture[changed] = OTHER
    picture[changed & (after == truth)] = RIGHT
    picture[changed & (before == truth)] = WRONG
    return picture


def _draw(rows: Sequence[Sequence[np.ndarray]], path: str) -> None:
    from fcn_common.voc import PALETTE
    from solvers import figures

    plt = figures.pyplot()
    titles = ["photo", "before", "after", "difference", "truth"]
    shape = (len(rows), len(titles))
    figure, axes = plt.subplots(*shape, figsize=(1.9 * shape[1], 1.9 * shape[0]), squeeze=False)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=11)
    for axis_row, row in zip(axes, rows):
        for axis, picture in zip(axis_row, row):
            shown = picture if picture.ndim == 3 else PALETTE[picture]
            axis.imshow(shown, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_color("0.8")
    figure.tight_layout(pad=0.3)
    figures.write(figure, path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    report.main(run, __doc__, argv)


if __name__ == "__main__":
    main()
