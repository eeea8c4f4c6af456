"""The experiment: it proves, draws and times, and writes the result's text and tables."""

from __future__ import annotations

import os
from typing import List, Sequence

import numpy as np
from skimage import data

from experiments import demo_run, report
from experiments.casting import pairs, settings
from experiments.casting.drawings import draw_borders, draw_heat_maps
from experiments.casting.heat_maps import (
    Accuracy,
    Scene,
    class_row,
    measure_accuracy,
    photo_row,
    scene_row,
)
from experiments.casting.pairs import Pair
from experiments.casting.proofs import Proof, prove
from experiments.casting.timing import Time, is_cpu, time_nets
from experiments.report import Cell, Figure, Number, Table, percent
from fcn_common.places import make_folder
from fcn_common.progress import track
from fcn_common.voc import CLASSES
from solvers import available, device
from solvers.device import Gpu


def demo_pair(demo: demo_run.Demo) -> Pair:
    """Return the demo's trained classifier, cast."""
    folder = os.path.join(demo.folder, "classifier")
    message = pairs.read_net(os.path.join(folder, "deploy.prototxt"))
    return pairs.cast_pair("the demo's VGG16", message, available.weights_of(folder), "trained")


def read_scenes(demo: demo_run.Demo) -> List[Scene]:
    """Return the first SCENES of the demo's split `test`."""
    return [(demo.photo(name), demo.truth(name)) for name in demo.test_images()[: settings.SCENES]]


def photograph() -> np.ndarray:
    """Return Chelsea the cat, from scikit-image; CC0 by the photographer, Stefan van der Walt."""
    return data.chelsea()


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    """Prove, draw and time. Raises ValueError if there is no finished demo run in `demo`."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(os.path.abspath(out), "casting")
    make_folder(folder)
    processor = device.use(gpu)
    demo_net = demo_pair(finished)
    scenes = read_scenes(finished)
    accuracies = measure_accuracy(demo_net, scenes)
    photo = photograph()
    k = CLASSES.index(settings.PHOTO_CLASS)
    photo_rows = [class_row(demo_net, photo, k, settings.PHOTO_CLASS)]
    proofs = []
    for name in track(settings.NETS, len(settings.NETS), "cast nets against classifiers"):
        pair = pairs.published_pair(name, settings.WIDTH)
        proof = prove(pair)
        if pair.weights == "published":
            photo_rows.append(photo_row(pair, photo))
        # A pair of nets holds half a gigabyte or more.
        proofs.append(proof._replace(pair=pair._replace(net=None, cast_net=None)))
        del pair, proof
    proofs.append(prove(demo_net))
    draw_borders(proofs, os.path.join(folder, "borders.png"))
    scene_rows = [scene_row(demo_net, *scene) for scene in scenes[: settings.SHOWN]]
    draw_heat_maps(scene_rows, os.path.join(folder, "scenes.png"))
    draw_heat_maps(photo_rows, os.path.join(folder, "photograph.png"))
    times = time_nets(settings.NETS, gpu)
    return report.Result(
        "casting",
        "Casting a classifier",
        text(proofs, published=len(photo_rows) > 1),
        [
            equal_table(proofs),
            padded_table(proofs),
            accuracy_table(accuracies),
            time_table(times, processor),
        ],
        result_figures(),
    )


def result_figures() -> List[Figure]:
    """Return the figures with their captions."""
    return [
        Figure(
            "borders.png",
            "Where the maps of a padded cast net differ from those of the classifier on the crop. "
            "Each picture shows the last map of a stride: the absolute difference, averaged over "
            "channels, as a share of the map's mean absolute value. Black is less than 0.0001.",
        ),
        Figure(
            "scenes.png",
            "The scores of the outlined class, which covers most of the scene, by the demo's cast "
            f"classifier at {len(settings.SIZES)} sizes of the input, for the first "
            f"{settings.SHOWN} scenes of the split `test`. A cell is an output, drawn around its "
            "centre. Dark is the lowest score of a map, bright is the highest.",
        ),
        Figure(
            "photograph.png",
            "The same for a photograph (Chelsea the cat, CC0, Stefan van der Walt; from "
            "scikit-image).",
        ),
    ]


def error_cell(value: float) -> Number:
    """Return an error with an exponent, or 0."""
    return Number(value, ".1e" if value else ".0f")


def equal_table(proofs: Sequence[Proof]) -> Table:
    """Return the table of the errors that are roundings."""
    rows: List[List[Cell]] = [
        [
            proof.pair.name,
            proof.pair.weights,
            Number(proof.pair.size, "d"),
            error_cell(proof.own_size),
            Number(proof.bare_view.field, "d"),
            error_cell(proof.bare),
            error_cell(proof.inside),
            error_cell(proof.borders),
        ]
        for proof in proofs
    ]
    head = ["net", "weights", "input, px", "on its own input", "field, px", "pads 0, every crop",
            "padded, inside", "border restored"]  # fmt: skip
    return Table("Equal: the largest relative difference; 0 means equal to the bit", head, rows)


def padded_table(proofs: Sequence[Proof]) -> Table:
    """Return the table of the differences that padding makes."""
    rows: List[List[Cell]] = [
        [
            proof.pair.name,
            proof.pair.weights,
            Number(proof.pair.size, "d"),
            Number(proof.pair.view.stride, "d"),
            Number(proof.padded.size, "d"),
            percent(float(np.median(proof.padded))),
            percent(float(proof.padded.max())),
            percent(proof.same),
        ]
        for proof in proofs
    ]
    head = ["net", "weights", "crop, px", "stride, px", "crops", "median, %", "largest, %",
            "same class, %"]  # fmt: skip
    return Table(
        "Different: padded nets, the cast net against the classifier on the crop", head, rows
    )


def accuracy_table(accuracies: Sequence[Accuracy]) -> Table:
    """Return the table of how well heat maps locate classes."""
    rows = [
        [
            Number(a.factor, "g"),
            Number(a.outputs, ".0f"),
            percent(a.hit),
            percent(a.chance),
            percent(a.above),
            percent(a.right),
        ]
        for a in accuracies
    ]
    head = ["input, times", "outputs", "hottest on the class, %", "by chance, %",
            "on above off, %", "right class, %"]  # fmt: skip
    return Table(f"The demo's classifier, cast, on {settings.SCENES} scenes", head, rows)


def time_table(times: Sequence[Time], processor: str) -> Table:
    """Return the table of times; processor: the text of `solvers.device.use`."""
    rows: List[List[Cell]] = [
        [
            t.net,
            Number(t.extent, "d"),
            Number(1000 * t.grid, ",.0f"),
            Number(1000 * t.crop, ",.1f"),
            Number(1000 * t.crops, ",.0f"),
            Number(t.crops / t.grid, ".1f"),
            Number(t.crops_work / t.grid_work, ".1f"),
        ]
        for t in times
    ]
    grid, crop = settings.PAPER_GRID, settings.PAPER_CROP
    crops = crop * settings.TIMED_GRID**2
    rows.append(
        ["AlexNet, paper", Number(500, "d"), Number(grid, ",.0f"), Number(crop, ",.1f"),
         Number(crops, ",.0f"), Number(crops / grid, ".1f"), Number(None)]
    )  # fmt: skip
    head = ["net", "image, px", "cast pass, ms", "one crop, ms", "all crops, ms", "times faster",
            "times less work"]  # fmt: skip
    clock = "processor time of one thread" if is_cpu(processor) else processor
    return Table(
        f"{settings.TIMED_GRID} x {settings.TIMED_GRID} outputs: median of "
        f"{settings.TIMED_REPEATS} passes in turns, {clock}; crops in batches of "
        f"{settings.TIMED_BATCH}",
        head,
        rows,
    )


def text(proofs: Sequence[Proof], published: bool) -> List[str]:
    """Return the paragraphs of the result; published: whether any of the weights are published."""
    fields = ", ".join(f"{p.pair.name} {p.bare_view.field}" for p in proofs)
    return [
        "An `InnerProduct` layer over a C x S x S map is a convolution with an S x S kernel. "
        "`surgery.convolutional` rewrites a classifier in this way, and `surgery.transplant` "
        "copies the weights. The cast net accepts images of any size and gives a map of class "
        f"scores, one every {proofs[0].pair.view.stride} pixels. On an image of the classifier's "
        "own size, the map has one position with the classifier's scores.",
        "On a larger image, a position of the map belongs to the crop that begins that many "
        "strides into the image. Only in a net without padding are the classifier's scores on the "
        "crop equal to the map's. All of these nets pad. On a crop, the convolutions see zeros "
        "around every map, where the cast net sees values of the image. A pooling whose last "
        "window reaches over the edge has one row less (Caffe rounds up; GoogLeNet's poolings do "
        "this). The difference moves inwards layer by layer, and little or nothing of the last "
        "maps stays the same. The first figure shows the differences.",
        "Three statements are exact, and the first table has their errors in float32. First, with "
        "every pad at 0 and the same weights (GoogLeNet's branches are cropped to each other), the "
        "classifier of one receptive field and the cast net agree at every position whose field "
        "lies inside the image. (Rounding up may add a last row and column whose fields reach "
        f"beyond the image.) The fields are, in pixels: {fields}. Second, the padded cast net "
        "agrees with that unpadded classifier at every such position too. Third, the border is the "
        "whole difference: if the values outside the crop's own maps are set to zero before each "
        "layer that pads or reaches over the edge, the padded cast net gives the padded "
        "classifier's scores. The second table has the difference without this correction. LRN "
        "reads one place, across channels, and max pooling ignores its padding, which behind a "
        "ReLU has the same effect as zeros.",
        "Random weights are drawn, and so are the biases: the equalities hold for any values. "
        "Published weights are read from `ilsvrc-nets/` if the files exist: `python -m fcn_data "
        "fetch alexnet caffenet vgg16 googlenet`.",
        "The third table and the second figure show the demo's classifier, trained on crops of "
        f"drawn objects, on {settings.SCENES} drawn scenes of the split `test`. The columns are: "
        "how often, for a class in a scene, the hottest output is centred on the class; how often "
        "an output on the class scores the class above an output that is not, where guessing "
        "gives 50; and the share of outputs that score the class at their centre highest. A window "
        "contains more than the object at its centre, and larger inputs show objects larger than "
        "the net has learned them. " + (PUBLISHED_PHOTO if published else UNPUBLISHED_PHOTO),
        "A cast pass computes each map once for all positions; crops compute the same values again "
        "wherever the crops overlap. `times less work` counts multiplications by weights. The "
        "paper's row is the paper's own measurement, on a GPU.",
    ]


PUBLISHED_PHOTO = (
    "The published nets see a photograph, for the class that each net scores highest in the middle."
)
UNPUBLISHED_PHOTO = (
    "The papers' heat map of a cat comes from a net trained on ImageNet. These weights are not on "
    "this machine, so the demo's net sees the photograph. The demo's net has never seen a "
    "photograph: the map shows that the net runs, not that it recognises cats."
)
