"""The experiment: it trains and measures, and writes the result's text, tables and figure."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from experiments import demo_run, report
from experiments.upsampling import settings
from experiments.upsampling.measurement import measure
from experiments.upsampling.methods import Method, all_methods, train, write_nets
from fcn_common.places import make_folder
from solvers import figures
from solvers.device import Gpu
from solvers.metrics import metrics

METRICS = ("pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc")


class Measured(NamedTuple):
    """All measurements, by the name of the method.

    measurements, arrays: see `measurement.measure`. reference: the scores of the demo's FCN-32s.
    trained: the scores of the nets that were trained on. images: the number of scored images.
    """

    methods: Mapping[str, Method]
    measurements: Mapping[str, Dict[str, Any]]
    arrays: Mapping[str, Dict[str, np.ndarray]]
    reference: Dict[str, Any]
    trained: Mapping[str, Dict[str, Any]]
    images: int

    def seconds(self, name: str) -> float:
        """Return the median seconds of an image."""
        return float(np.median(self.measurements[name]["seconds"]))

    def megabytes(self, name: str) -> float:
        """Return the peak memory of a method's process."""
        return self.measurements[name]["megabytes"]

    def compare(self, a: str, b: str) -> Tuple[float, int]:
        """Return how two methods differ on the first scene.

        The first value is the largest difference of scores, as a share of the largest score. The
        second value is the number of labels that differ.
        """
        x, y = self.arrays[a]["first"], self.arrays[b]["first"]
        labels = int((x.argmax(0) != y.argmax(0)).sum())
        return float(np.abs(x - y).max() / np.abs(y).max()), labels


def run(
    out: str,
    demo: str,
    gpu: Gpu = None,
    scenes: Optional[int] = None,
    dense_scenes: Optional[int] = None,
    iters: Optional[int] = None,
) -> report.Result:
    """Train FCN-32s on with learned kernels, and measure every method."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(out, "upsampling")
    make_folder(folder)
    count = min(scenes or settings.SCENES, len(finished.test_images()))
    methods = all_methods(count, dense_scenes or settings.DENSE_SCENES, settings.STITCHED_SCENES)
    trained = train(folder, finished, iters or settings.ITERS, gpu)
    paths = write_nets(folder, finished)
    measurements = {
        name: measure(folder, name, method, paths[name], finished, gpu)
        for name, method in methods.items()
    }
    arrays = {}
    for name in methods:
        with np.load(os.path.join(folder, name + ".npz")) as file:
            arrays[name] = dict(file)
    measured = Measured(
        methods,
        measurements,
        arrays,
        finished.scores(settings.VARIANT),
        trained,
        len(finished.test_images()),
    )
    draw(finished, measured, os.path.join(folder, "upsampling.png"))
    return report.Result(
        "upsampling",
        "Ways to upsample",
        text(measured),
        [method_table(measured), trained_table(measured)],
        [
            report.Figure(
                "upsampling.png",
                "The same FCN-32s, upsampled in different ways. The dense map comes from filter "
                "rarefaction; shift-and-stitch gives the same map.",
            )
        ],
    )


def method_table(measured: Measured) -> report.Table:
    """Return the table of all methods."""
    methods = measured.methods
    few, many = methods["rarefied"].scenes, methods["fixed"].scenes
    rows: List[Sequence[report.Cell]] = []
    for name, method in methods.items():
        # Shift-and-stitch runs on fewer scenes; its labels are those of filter rarefaction.
        hists = measured.arrays["rarefied" if name == "stitched" else name]["hists"]
        cells: List[report.Cell] = [
            method.title,
            report.count(method.stride),
            report.count(method.passes),
            report.Number(measured.seconds(name), ",.2f"),
            report.count(measured.megabytes(name)),
        ]
        for scenes in (few, many):
            scores = metrics(hists[:scenes].sum(0)) if len(hists) >= scenes else {}
            cells += [report.percent(scores.get(m)) for m in ("pixel_accuracy", "mean_iu")]
        rows.append(cells)
    head = ["way", "stride", "passes", "s per image", "peak MB"]
    head += [f"{m}, {n} scenes" for n in (few, many) for m in ("pixel acc.", "mean IU")]
    return report.Table(f"One net, upsampled; {settings.THREADS} thread", head, rows)


def trained_table(measured: Measured) -> report.Table:
    """Return the table of FCN-32s before and after the training with fixed or learned kernels."""
    scores = {
        "FCN-32s as the demo trained it": measured.reference,
        "trained on, kernels fixed": measured.trained["control"],
        "trained on, kernels learned": measured.trained["learned"],
    }
    rows: List[Sequence[report.Cell]] = [
        [title, *(report.percent(s[m]) for m in METRICS)] for title, s in scores.items()
    ]
    head = ["Deconvolution", "pixel acc.", "mean acc.", "mean IU", "f.w. IU"]
    return report.Table(f"All {measured.images} scenes of the test split", head, rows)


def text(measured: Measured) -> List[str]:
    """Return the paragraphs of the result."""
    dense, dense_labels = measured.compare("stitched", "rarefied")
    part, part_labels = measured.compare("stitched_part", "rarefied_part")
    _, line_labels = measured.compare("bilinear", "fixed")
    stitched, rarefied = measured.seconds("stitched"), measured.seconds("rarefied")
    control, learned = (100 * measured.trained[name]["mean_iu"] for name in ("control", "learned"))
    return [
        "FCN-32s scores one position in 32 x 32 pixels. With shift-and-stitch, a trick of "
        "OverFeat, the same net sees the image 1024 times, shifted right and down by 0 to 31 "
        "pixels, and the coarse maps are interlaced. Filter rarefaction gets the same map in one "
        "pass, as in the a trous algorithm: every stride is removed, and the filters behind it are "
        "dilated to every 2nd, 4th, ... 32nd position. Caffe's max pooling has no dilation, so a "
        "pooling becomes the maximum of shifted crops. The other ways stay coarse and interpolate "
        "between the positions: by bilinear interpolation, or by a Deconvolution whose kernel is "
        "fixed to this interpolation, or starts with it and is learned.",
        f"On the scene with 1024 passes the two dense maps differ by {dense:.1e} of the largest "
        f"score, and in {dense_labels} labels. At stride {settings.PART} they differ by "
        f"{part:.1e} and in {part_labels} labels. The maps are equal only for a net that pads "
        "nothing but the image, so here the padding of all layers is moved to the first. This "
        "leaves every position in its place, but at the border the layers see values other than "
        "zero. The five poolings have even kernels and put the dense positions half-way between "
        "pixels. Each pixel reads the position half a pixel further right and down.",
        f"A dense map took {stitched:.0f} s by shifts and {rarefied:.0f} s by rarefaction, "
        f"{stitched / rarefied:.1f} times less, with {measured.megabytes('rarefied'):,.0f} MB "
        f"instead of {measured.megabytes('stitched'):,.0f} MB. The coarse net with its fixed "
        f"Deconvolution takes {measured.seconds('fixed'):.2f} s and "
        f"{measured.megabytes('fixed'):,.0f} MB. Memory is the peak of a process for one way, "
        f"times are medians over images with {settings.THREADS} thread. The accuracy of the dense "
        "map is that of the rarefied net.",
        f"Interpolation and the fixed Deconvolution differ in {line_labels} labels of the first "
        "scene. The kernel is this interpolation, except at the border, where the Deconvolution "
        "fades all scores equally.",
        f"Learning the kernels changes the mean IU on all {measured.images} scenes by "
        f"{round(learned - control, 1) + 0:+.1f} points, compared with the same number of "
        f"iterations with fixed kernels ({control:.1f} to {learned:.1f}; before both trainings "
        f"{100 * measured.reference['mean_iu']:.1f}).",
    ]


def draw(demo: demo_run.Demo, measured: Measured, path: str) -> None:
    """Draw scenes, the label map of each method, and the true label map."""
    columns = {
        "bilinear": "bilinear",
        "fixed": "fixed",
        "learned": "learned",
        "rarefied_part": f"stride {settings.PART}",
        "rarefied": "dense",
    }
    count = min(settings.SHOWN, measured.methods["rarefied"].scenes)
    rows = []
    for i, name in enumerate(list(demo.test_images())[:count]):
        labels = [measured.arrays[column][f"label{i}"] for column in columns]
        rows.append((demo.photo(name), [*labels, demo.truth(name)]))
    figures.side_by_side(rows, [*columns.values(), "truth"], path)
