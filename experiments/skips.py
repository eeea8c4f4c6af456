"""How much the skips add, compared with two alternatives that the papers discuss.

The demo's stages 32s, 16s and 8s sum skips. The alternatives start from the same FCN-32s and train
for the 16s stage's number of iterations: pool5 without its stride, and training on without a skip
(Long et al., arXiv 1411.4038, section 4.2).
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

import surgery
from experiments import demo_run, report, running, training
from fcn_common.progress import track
from fcn_common.voc import PALETTE
from solvers import available, figures, interface, photograph
from solvers.device import Gpu

#: The demo's stages, whose nets sum skips.
STAGES = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")
#: The number of test scenes in a figure.
SHOWN = 3
#: The stride of the scores without pool5's stride.
STRIDE = 16
#: FCN-32s's blob of coarse scores, and the layer that upsamples the scores.
SCORES, UP = "score_fr", "upscore"
#: VGG16's fc6 at full width: input channels, kernel size, output channels.
FC6 = (512, 7, 4096)
#: Colours of pixels that are right only after a step, right only before, and wrong both times.
RIGHT, WRONG, OTHER = (0, 140, 70), (205, 40, 40), (150, 150, 150)
LEGEND = (
    "Before, after, and the difference: green is right only after, red is right only before, grey "
    "is wrong both times."
)
TITLES = {
    "voc-fcn32s": "FCN-32s, the start",
    "voc-fcn16s": "FCN-16s: sum with pool4",
    "voc-fcn8s": "FCN-8s: sum with pool3 too",
    "stride16-pool5": "pool5 with stride 1",
    "fcn32s-on": "FCN-32s, trained on",
}
#: (file, net before, net after, title) of each step that is drawn.
STEPS = (
    ("skip-16s", "voc-fcn32s", "voc-fcn16s", "The skip from pool4: FCN-32s to FCN-16s"),
    ("skip-8s", "voc-fcn16s", "voc-fcn8s", "The skip from pool3: FCN-16s to FCN-8s"),
    ("stride16", "voc-fcn32s", "stride16-pool5", "No skip, pool5 with stride 1"),
    ("on", "voc-fcn32s", "fcn32s-on", "No skip, FCN-32s trained on"),
)


def without_stride(net: Any) -> Any:
    """Return FCN-32s with stride 1 in pool5: a net of stride 16 for the same weights.

    fc6 is dilated by 2, so an output of fc6 sees the same pixels as before. Every second output,
    down and across, is an output of the original net. Only the Deconvolution, whose stride is
    halved, has a new kernel.
    """
    dense = surgery.rarefy(net, SCORES, STRIDE)
    layers = {layer.name: layer for layer in net.layer if layer.name in (UP, "score", "loss")}
    up = dense.layer.add()
    up.CopyFrom(layers[UP])
    kernel = up.convolution_param.kernel_size[0]
    # The new name prevents the original net's kernel from being copied into this layer.
    up.name = up.top[0] = f"{UP}{STRIDE}"
    up.convolution_param.kernel_size[0], up.convolution_param.stride[0] = 2 * STRIDE, STRIDE
    crop = dense.layer.add()
    crop.CopyFrom(layers["score"])
    crop.bottom[0] = up.name
    # The middle of the first cell's kernel stays at the same pixel.
    crop.crop_param.offset[0] -= (kernel - 2 * STRIDE) // 2
    if "loss" in layers:
        dense.layer.add().CopyFrom(layers["loss"])
    return dense


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    """Train both alternatives, and compare them with the demo's stages."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(out, "skips")
    fields = finished.solver("voc-fcn16s")
    start = finished.weights("voc-fcn32s")
    scores = {name: finished.scores(name) for name in STAGES}
    folders = {name: finished.stage(name) for name in STAGES}
    for name, change in (("stride16-pool5", without_stride), ("fcn32s-on", lambda net: net)):
        folders[name] = os.path.join(folder, name)
        net = _with_change(training.fcn("voc-fcn32s", folders[name], finished), change)
        scores[name] = training.train(folders[name], net, fields, start, finished.seed, gpu)
    rows: List[List[report.Cell]] = []
    drawings = []
    for file, before, after, title in STEPS:
        path = os.path.join(folder, file + ".png")
        gained, lost = compare_nets(finished, folders[before], folders[after], path)
        rows.append([title, *map(report.percent, (gained, lost, gained - lost))])
        drawings.append(report.Figure(file + ".png", f"{title}. {LEGEND}"))
    return report.Result(
        "skips",
        "What the skips add",
        _text(scores, fields),
        [_table(scores, finished), _step_table(rows)],
        drawings,
    )


def _text(scores: Dict[str, Any], fields: Dict[str, Any]) -> List[str]:
    iu = {name: 100 * values["mean_iu"] for name, values in scores.items()}
    channels, kernel, outputs = FC6
    weights = channels * outputs * kernel**2 / 1e6
    start, on = iu["voc-fcn32s"], iu["fcn32s-on"] - iu["voc-fcn32s"]
    dense, skip = iu["stride16-pool5"] - start, iu["voc-fcn16s"] - start
    return [
        "FCN-16s adds the scores of the finer layer pool4 to the scores of FCN-32s, and FCN-8s "
        "also adds those of pool3. Does the accuracy come from the skip, from the additional "
        "training, or from the finer grid of scores?",
        "Two nets start like FCN-16s from the trained FCN-32s. They are trained for the same "
        f"{fields['max_iter']} iterations on the same images at the same learning rate "
        f"({fields['base_lr']:g}). The first net is FCN-32s itself, trained on: the papers' "
        "control, which gained little. In the second net, pool5 has stride 1, which gives scores "
        "every 16 pixels without a skip.",
        "The papers reject the second alternative: with stride 1 in pool5, fc6 needs a window of "
        f"{2 * kernel} x {2 * kernel} to see the same part of the image, and the authors could not "
        f"learn filters of that size well. At full width these are {4 * weights:,.0f} million "
        f"weights instead of {weights:,.0f} million. Here fc6 keeps its {kernel} x {kernel} "
        "weights and is dilated by 2, which Caffe learned after the papers. The dilated fc6 sees "
        "the same part of the image and needs no new weights. Before training it gives the scores "
        "of FCN-32s at every second position.",
        f"FCN-32s starts with a mean IU of {start:.1f}. Training on {_change(on)}, stride 1 in "
        f"pool5 {_change(dense)}, and the skip {_change(skip)}. The second skip then changes "
        f"{iu['voc-fcn16s']:.1f} to {iu['voc-fcn8s']:.1f}.",
    ]


def _change(points: float) -> str:
    return f"{'adds' if points >= 0 else 'loses'} {abs(points):.1f} points"


def _table(scores: Dict[str, Any], demo: demo_run.Demo) -> report.Table:
    iterations = {}
    total = 0
    for name in STAGES:
        total += demo.solver(name)["max_iter"]
        iterations[name] = total
    for name in ("stride16-pool5", "fcn32s-on"):
        iterations[name] = iterations["voc-fcn16s"]
    strides = {"voc-fcn32s": 32, "voc-fcn8s": 8, "fcn32s-on": 32}
    rows: List[List[report.Cell]] = [
        [
            title,
            report.Number(strides.get(name, STRIDE), "d"),
            report.count(iterations[name]),
            *(report.percent(scores[name][m]) for m in ("pixel_accuracy", "mean_accuracy")),
            *(report.percent(scores[name][m]) for m in ("mean_iu", "fwavacc")),
        ]
        for name, title in TITLES.items()
    ]
    head = ["net", "stride", "iterations", "pixel acc.", "mean acc.", "mean IU", "f.w. IU"]
    return report.Table("On the split `test`, in percent", head, rows)


def _step_table(rows: Sequence[Sequence[report.Cell]]) -> report.Table:
    head = ["step", "right only after", "right only before", "difference"]
    return report.Table("Pixels that change, in percent of all labelled pixels", head, rows)


def _with_change(net: training.Net, change: Callable[[Any], Any]) -> training.Net:
    return lambda split: change(net(split))


def compare_nets(demo: demo_run.Demo, before: str, after: str, path: str) -> Tuple[float, float]:
    """Compare two trained nets on the split `test`, and draw the first scenes to `path`.

    before, after: the folders of the nets. Return the shares of the labelled pixels that are right
    only after, and only before.
    """
    nets = [
        interface.load(os.path.join(folder, "deploy.prototxt"), available.weights_of(folder))
        for folder in (before, after)
    ]
    names = demo.test_images()
    gained = lost = total = 0
    rows: List[List[np.ndarray]] = []
    for name in track(names, len(names), os.path.basename(path)):
        photo, truth = demo.photo(name), demo.truth(name)
        old, new = (photograph.predict(net, photo)[0] for net in nets)
        labelled = truth < 255
        gained += int(np.sum(labelled & (new == truth) & (old != truth)))
        lost += int(np.sum(labelled & (old == truth) & (new != truth)))
        total += int(labelled.sum())
        if len(rows) < SHOWN:
            rows.append([photo, old, new, difference(old, new, truth), truth])
    _draw(rows, path)
    return gained / total, lost / total


def difference(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the difference of two label maps as a picture, H x W x 3, uint8; see LEGEND."""
    picture = np.full((*truth.shape, 3), 255, np.uint8)
    differ = (before != after) & (truth < 255)
    picture[differ] = OTHER
    picture[differ & (after == truth)] = RIGHT
    picture[differ & (before == truth)] = WRONG
    return picture


def _draw(rows: Sequence[Sequence[np.ndarray]], path: str) -> None:
    plt = figures.pyplot()
    titles = ["photo", "before", "after", "difference", "truth"]
    shape = (len(rows), len(titles))
    figure, axes = plt.subplots(*shape, figsize=(1.9 * shape[1], 1.9 * shape[0]), squeeze=False)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=11)
    for axis_row, row in zip(axes, rows):
        for axis, array in zip(axis_row, row):
            picture = array if array.ndim == 3 else PALETTE[array]
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_color("0.8")
    figure.tight_layout(pad=0.3)
    figures.write(figure, path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line."""
    running.main("skips", run, __doc__, argv)


if __name__ == "__main__":
    main()
