"""Classifiers cast into fully convolutional nets: the same scores, heat maps, and the time.

Long et al., arXiv 1411.4038, section 3.1: an InnerProduct layer is a convolution that covers its
whole input, so a classifier runs on an image of any size and scores a grid of windows at once.

    python -m experiments.casting [--out DIR] [--demo DIR] [--gpu N|cpu]
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np

from experiments import pairs, report, training
from experiments.pairs import Pair
from experiments.report import Cell, Figure, Number, Table, percent
from fcn_common.progress import track
from fcn_common.voc import CLASSES
from solvers import available, device, figures, infer
from solvers.device import Gpu

NETS = ("alexnet", "caffenet", "vgg16", "googlenet")
WIDTH = 1.0  # of every channel count of these
GRID = 3  # crops along each side, compared one by one
BARE_GRID = 2  # the same without padding, where a crop is the whole receptive field
SIZES = (1.0, 1.5, 2.0, 3.0)  # of the input of a heat map, as multiples of the image's
SCENES, SHOWN = 60, 4  # of the demo's split `test`: looked at, and drawn
PHOTO_CLASS = "cat"
TIMED_GRID, TIMED_BATCH, TIMED_REPEATS = 10, 10, 5
# Long et al., section 3.1, milliseconds: a 10 x 10 grid of AlexNet's outputs, and a single one.
PAPER_GRID, PAPER_ONE = 22.0, 1.2


class Proof(NamedTuple):
    """Relative errors of a cast net, each the largest over all classes and positions looked at.

    own: on the classifier's own input size. bare: without padding, on every crop. inside: where no
    padding reaches, against the classifier without padding. borders: with the zeros at a crop's
    border put back. padded: GRID x GRID, as published, against the classifier on the crop; same:
    the share of these that name the same class. differences: what `pairs.border_differences` gives.
    """

    whole: Pair
    bare_view: pairs.View
    own: float
    bare: float
    inside: float
    borders: float
    padded: np.ndarray
    same: float
    differences: List[Tuple[str, np.ndarray]]


def prove(whole: Pair) -> Proof:
    """Compare a cast net with its classifier, crop by crop, on drawn scenes."""
    bare, middle = pairs.unpadded(whole), GRID // 2
    image = pairs.scene(*[pairs.larger(whole, GRID)] * 2)
    found, wanted = pairs.on_crops(whole, image, GRID)
    again = np.stack([pairs.with_borders(whole, image, i, i) for i in range(GRID)], 1)
    diagonal = np.stack([wanted[:, i, i] for i in range(GRID)], 1)
    every, inside = pairs.bare_errors(whole, bare, BARE_GRID)
    return Proof(
        whole,
        bare.view,
        own=pairs.own_size_error(whole),
        bare=every,
        inside=inside,
        borders=float(pairs.error(again, diagonal).max()),
        padded=pairs.error(found, wanted),
        same=float((found.argmax(0) == wanted.argmax(0)).mean()),
        differences=pairs.border_differences(whole, image, middle, middle),
    )


def demo_pair(demo: training.Demo) -> Pair:
    """The demo's trained classifier, cast."""
    folder = os.path.join(demo.folder, "classifier")
    message = pairs.read(os.path.join(folder, "deploy.prototxt"))
    return pairs.pair("the demo's VGG16", message, available.weights_of(folder), "trained")


class Heat(NamedTuple):
    """The class scores of a cast net on an image, and where they lie.

    scores: K x h x w. centres: of the outputs along each side, in pixels of the image before it was
    resized by `factor`. half: half the distance between them.
    """

    scores: np.ndarray
    centres: Tuple[np.ndarray, np.ndarray]
    half: float

    def extent(self) -> Tuple[float, float, float, float]:
        """left, right, bottom, top, as Matplotlib's imshow takes them."""
        y, x = self.centres
        return x[0] - self.half, x[-1] + self.half, y[-1] + self.half, y[0] - self.half

    def truth(self, label: np.ndarray) -> np.ndarray:
        """The label (H x W) at the outputs' centres, h x w; 255 where they are off the image."""
        rows, columns = (np.rint(c).astype(int) for c in self.centres)
        padded = np.full((rows.max() + 1, columns.max() + 1), 255, label.dtype)
        height, width = (min(a, b) for a, b in zip(padded.shape, label.shape))
        padded[:height, :width] = label[:height, :width]
        return padded[np.ix_(rows, columns)]


def heat(whole: Pair, image: np.ndarray, factor: float) -> Heat:
    """The cast net on an RGB image H x W x 3 that is resized by `factor` first."""
    blob = pairs.as_blob(pairs.resized(image, factor))
    scores = pairs.forward(whole.cast_net, blob, whole.scores)[0]
    at = (whole.view.stride * np.arange(n) + whole.view.centre for n in scores.shape[1:])
    y, x = ((pixel + 0.5) / factor - 0.5 for pixel in at)
    return Heat(scores, (y, x), whole.view.stride / factor / 2)


class Found(NamedTuple):
    """How well heat maps tell where things are, at one input size.

    outputs: the mean number of a scene. hit: the share of (scene, class in it) whose hottest output
    is centred on the class. chance: the mean share of the outputs that are. above: the chance that
    an output on the class scores it higher than one off it does. right: the share of outputs that
    score the class at their centre highest.
    """

    factor: float
    outputs: float
    hit: float
    chance: float
    above: float
    right: float


def find(whole: Pair, scenes: Sequence[Tuple[np.ndarray, np.ndarray]]) -> List[Found]:
    """Look for the classes of demo scenes, (image, label) each, at every one of SIZES."""
    found = []
    for factor in SIZES:
        outputs, hits, chances, aboves, right = [], [], [], [], []
        for image, label in track(scenes, len(scenes), f"heat maps, input x {factor:g}"):
            seen = heat(whole, image, factor)
            truth = seen.truth(label)
            outputs.append(truth.size)
            right.extend((seen.scores.argmax(0) == truth)[truth != 255])
            for k in np.setdiff1d(truth, (0, 255)):
                on = truth == k
                hits.append(on[np.unravel_index(seen.scores[k].argmax(), on.shape)])
                chances.append(on.mean())
                aboves.append(above(seen.scores[k][on], seen.scores[k][~on]))
        values = (outputs, hits, chances, aboves, right)
        found.append(Found(factor, *(float(np.nanmean(v)) for v in values)))
    return found


def above(these: np.ndarray, those: np.ndarray) -> float:
    """The share of pairs in which one of `these` is larger than one of `those`; NaN without any."""
    if not these.size or not those.size:
        return float("nan")
    return float((these[:, None] > those[None, :]).mean())


def read_scenes(demo: training.Demo) -> List[Tuple[np.ndarray, np.ndarray]]:
    """The first SCENES of the demo's split `test`: RGB images and their labels."""
    from PIL import Image

    scenes = []
    for name in demo.test_images()[:SCENES]:
        label = Image.open(os.path.join(demo.voc, "SegmentationClass", name + ".png"))
        image = infer.read(os.path.join(demo.voc, "JPEGImages", name + ".jpg"))
        scenes.append((image, np.asarray(label)))
    return scenes


def photograph() -> np.ndarray:
    """Chelsea the cat, in scikit-image's package; CC0 by the photographer, Stefan van der Walt."""
    from skimage import data

    return data.chelsea()


class Row(NamedTuple):
    """A row of the figure of heat maps: an image, and the scores of one class, 1 x h x w each.

    mask: H x W, where the class is, if that is known.
    """

    name: str
    image: np.ndarray
    maps: List[Heat]
    mask: Any = None


def row(whole: Pair, image: np.ndarray, k: int, name: str, mask: Any = None) -> Row:
    """An RGB image seen at every one of SIZES for class `k`."""
    maps = [heat(whole, image, factor) for factor in SIZES]
    maps = [seen._replace(scores=seen.scores[k : k + 1]) for seen in maps]
    return Row(f"{name}, {whole.name}", image, maps, mask)


def scene_row(whole: Pair, image: np.ndarray, label: np.ndarray) -> Row:
    """A demo scene and the class that covers most of it."""
    k = int(np.bincount(label.ravel(), minlength=256)[1:255].argmax()) + 1
    return row(whole, image, k, CLASSES[k], label == k)


def photo_row(whole: Pair, image: np.ndarray) -> Row:
    """A photograph and the class that is likeliest in its middle."""
    seen = heat(whole, image, 1.0)
    rows, columns = seen.scores.shape[1:]
    k = int(seen.scores[:, rows // 2, columns // 2].argmax())
    return row(whole, image, k, f"class {k}")


def draw_heat(rows: Sequence[Row], path: str) -> None:
    """A PNG: each row's image, then the scores of its class at every one of SIZES.

    Each map is coloured from its lowest score to its highest.
    """
    plt = figures.pyplot()
    columns = 1 + len(SIZES)
    heights = [0.3 + 2.2 * min(1.0, r.image.shape[0] / r.image.shape[1]) for r in rows]
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(2.2 * columns, sum(heights) + 0.2),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for line, drawn in zip(axes, rows):
        height, width = drawn.image.shape[:2]
        line[0].set_title(drawn.name, fontsize=9)
        line[0].imshow(drawn.image)
        for axis, factor, seen in zip(line[1:], SIZES, drawn.maps):
            shape = " x ".join(str(n) for n in seen.scores.shape[1:])
            axis.set_title(f"{factor:g}x: {shape} outputs", fontsize=9)
            axis.imshow(drawn.image.mean(2), cmap="gray", vmin=0, vmax=255)
            axis.imshow(seen.scores[0], cmap="inferno", alpha=0.65, extent=seen.extent())
        for axis in line:
            if drawn.mask is not None:
                axis.contour(drawn.mask, levels=[0.5], colors="cyan", linewidths=0.8)
            axis.set_xlim(-0.5, width - 0.5)
            axis.set_ylim(height - 0.5, -0.5)
            axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    figures.write(figure, path)


def draw_borders(proofs: Sequence[Proof], path: str) -> None:
    """A PNG with a row a net: where its maps differ from the classifier's, by stride."""
    from matplotlib.colors import LogNorm

    plt = figures.pyplot()
    columns = max(len(proof.differences) for proof in proofs)
    figure, axes = plt.subplots(
        len(proofs), columns, figsize=(1.9 * columns, 2.1 * len(proofs)), squeeze=False
    )
    colours = plt.get_cmap("viridis").with_extremes(under="black")
    for line, proof in zip(axes, proofs):
        for axis in line:
            axis.set_axis_off()
        for axis, (blob, plane) in zip(line, proof.differences):
            shown = axis.imshow(np.maximum(plane, 1e-9), cmap=colours, norm=LogNorm(1e-4, 1))
            axis.set_title(f"{blob}, {' x '.join(map(str, plane.shape))}", fontsize=7)
        line[0].text(
            -0.08, 0.5, proof.whole.name, rotation=90, fontsize=9,
            ha="right", va="center", transform=line[0].transAxes,
        )  # fmt: skip
    figure.tight_layout(rect=(0.02, 0, 0.93, 1), pad=0.4)
    bar = figure.colorbar(shown, cax=figure.add_axes((0.94, 0.2, 0.012, 0.6)), extend="min")
    bar.ax.tick_params(labelsize=7)
    figures.write(figure, path)


class Time(NamedTuple):
    """Medians in seconds: one pass of the cast net over a grid, one of a batch of crops.

    The work is in multiplications, of the pass and of all crops of the grid.
    """

    net: str
    extent: int
    grid: float
    batch: float
    grid_work: int
    crops_work: int

    @property
    def one(self) -> float:
        return self.batch / TIMED_BATCH

    @property
    def crops(self) -> float:
        return self.one * TIMED_GRID**2


def measure(name: str, gpu: Gpu = None, width: float = WIDTH) -> Time:
    """Time a net's cast pass and its crops, in turns, each with its input already in place.

    By the processor's time on the CPU, which other programs do not lengthen, else by the clock.
    """
    clock = time.process_time if on_cpu(device.use(gpu)) else time.perf_counter
    whole = pairs.published_pair(name, width)
    extent = pairs.larger(whole, TIMED_GRID)
    image = pairs.scene(extent, extent)
    crops = list(itertools.islice(pairs.crops(whole, image, TIMED_GRID), TIMED_BATCH))
    nets = (whole.cast_net, whole.net)
    for net, images in zip(nets, (image, np.concatenate(crops))):
        pairs.forward(net, images, whole.scores)
    seconds: Tuple[List[float], List[float]] = ([], [])
    for _ in range(TIMED_REPEATS):
        for net, passes in zip(nets, seconds):
            started = clock()
            net.forward()
            np.array(net.blobs[whole.scores].data)  # on a device, only this waits for the end
            passes.append(clock() - started)
    work, crop_work = map(pairs.multiply_adds, nets)
    batches = TIMED_GRID**2 // TIMED_BATCH
    grid, batch = (float(np.median(passes)) for passes in seconds)
    return Time(whole.name, extent, grid, batch, work, crop_work * batches)


def on_cpu(where: str) -> bool:
    """Whether the words of `solvers.device.use` mean the CPU."""
    return where.startswith("the CPU")


def times(names: Sequence[str], gpu: Gpu = None, width: float = WIDTH) -> List[Time]:
    """`measure` of each net, in a process of its own with one thread."""
    code = (
        "import json, sys; from experiments import casting; "
        "gpu, width, *names = json.loads(sys.argv[1]); "
        "print(json.dumps([casting.measure(name, gpu, width) for name in names]))"
    )
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    paths = [available.ROOT, *filter(None, sys.path)]
    found = subprocess.run(
        [sys.executable, "-c", code, json.dumps([gpu, width, *names])],
        env=dict(os.environ, GLOG_minloglevel="2", PYTHONPATH=os.pathsep.join(paths), **single),
        stdout=subprocess.PIPE,
        text=True,
    )
    if found.returncode:
        raise ValueError(f"timing {', '.join(names)}: the process ended with {found.returncode}")
    return [Time(*fields) for fields in json.loads(found.stdout.splitlines()[-1])]


def small(value: float) -> Number:
    return Number(value, ".1e" if value else ".0f")


def equal_table(proofs: Sequence[Proof]) -> Table:
    rows: List[List[Cell]] = []
    for proof in proofs:
        whole = proof.whole
        rows.append(
            [
                whole.name,
                whole.weights,
                Number(whole.size, "d"),
                small(proof.own),
                Number(proof.bare_view.field, "d"),
                small(proof.bare),
                small(proof.inside),
                small(proof.borders),
            ]
        )
    head = ["net", "weights", "input, px", "on its own input", "field, px", "pads 0, every crop",
            "padded, inside", "border put back"]  # fmt: skip
    return Table("Where they are equal: largest relative difference; 0 is bit for bit", head, rows)


def padded_table(proofs: Sequence[Proof]) -> Table:
    rows: List[List[Cell]] = []
    for proof in proofs:
        whole = proof.whole
        rows.append(
            [
                whole.name,
                whole.weights,
                Number(whole.size, "d"),
                Number(whole.view.stride, "d"),
                Number(proof.padded.size, "d"),
                percent(float(np.median(proof.padded))),
                percent(float(proof.padded.max())),
                percent(proof.same),
            ]
        )
    head = ["net", "weights", "crop, px", "stride, px", "crops", "median, %", "largest, %",
            "same class, %"]  # fmt: skip
    return Table(
        "Where they are not: padded nets, cast net against classifier on the crop", head, rows
    )


def found_table(found: Sequence[Found]) -> Table:
    rows = [
        [
            Number(f.factor, "g"),
            Number(f.outputs, ".0f"),
            percent(f.hit),
            percent(f.chance),
            percent(f.above),
            percent(f.right),
        ]
        for f in found
    ]
    head = ["input, times", "outputs", "hottest on the class, %", "by chance, %",
            "on above off, %", "right class, %"]  # fmt: skip
    return Table(f"The demo's classifier, cast, on {SCENES} scenes", head, rows)


def time_table(measured: Sequence[Time], where: str) -> Table:
    rows: List[List[Cell]] = [
        [
            t.net,
            Number(t.extent, "d"),
            Number(1000 * t.grid, ",.0f"),
            Number(1000 * t.one, ",.1f"),
            Number(1000 * t.crops, ",.0f"),
            Number(t.crops / t.grid, ".1f"),
            Number(t.crops_work / t.grid_work, ".1f"),
        ]
        for t in measured
    ]
    crops = PAPER_ONE * TIMED_GRID**2
    rows.append(
        ["AlexNet, paper", Number(500, "d"), Number(PAPER_GRID, ",.0f"), Number(PAPER_ONE, ",.1f"),
         Number(crops, ",.0f"), Number(crops / PAPER_GRID, ".1f"), Number(None)]
    )  # fmt: skip
    head = ["net", "image, px", "cast pass, ms", "one crop, ms", "all crops, ms", "times faster",
            "times less work"]  # fmt: skip
    return Table(
        f"{TIMED_GRID} x {TIMED_GRID} outputs: median of {TIMED_REPEATS} passes in turns, "
        f"{'one thread of the CPU, its own time' if on_cpu(where) else where}; crops in batches "
        f"of {TIMED_BATCH}",
        head,
        rows,
    )


def text(proofs: Sequence[Proof], published: bool) -> List[str]:
    """The paragraphs of the result. published: whether any of the weights are."""
    first = proofs[0].whole
    fields = ", ".join(f"{p.whole.name} {p.bare_view.field}" for p in proofs)
    return [
        "An `InnerProduct` layer over a C x S x S map is a convolution with an S x S kernel. "
        "`surgery.convolutional` rewrites a classifier so, `surgery.transplant` brings the "
        "weights over, and the cast net takes images of any size and gives a map of class scores, "
        f"one every {first.view.stride} pixels. On an image of the classifier's own size the map "
        "is one position with the classifier's scores.",
        "On a larger image a position of the map stands for the crop that begins that many strides "
        "into the image. The classifier's scores on the crop are exactly the map's only in a net "
        "without padding. All of these pad: on a crop the convolutions see zeros around every "
        "map where the cast net sees what the image has there, and a pooling whose last window "
        "reaches over the edge (Caffe rounds up; GoogLeNet's do) has a row less to look at. Layer "
        "by layer the difference moves inwards; of the last maps little or nothing is left as it "
        "was. The first figure shows it.",
        "Three statements are exact, and the first table has their errors in float32. With every "
        "pad at 0 and the same weights (GoogLeNet's branches cropped to each other), the "
        "classifier of one receptive field and the cast net agree at every position whose field "
        "lies inside the image (rounding up may add a last row and column that look beyond it); "
        f"the fields are, in pixels: {fields}. The padded cast net agrees with that unpadded "
        "classifier at every such position too. And the border is the whole difference: with what "
        "lies outside the crop's own maps set to zero before each layer that pads or reaches over, "
        "the padded cast net gives the padded classifier's scores. The "
        "second table has the difference as it is without that. LRN stays at one place, across "
        "channels, and a max pooling leaves its padding out, which behind a ReLU is the same as "
        "zeros.",
        "Weights called random are drawn, biases too: the equalities hold for any. Published ones "
        "are taken from `ilsvrc-nets/` where they are: `python -m fcn_data fetch alexnet caffenet "
        "vgg16 googlenet`.",
        "The third table and the second figure have the demo's classifier, trained on crops of "
        f"drawn objects, on {SCENES} drawn scenes of the split `test`: for each class in a scene, "
        "whether the hottest output is centred on it; how often an output that is scores the class "
        "above one that is not, where guessing gives 50; and the share of outputs that score the "
        "class at their centre highest. A window takes in more than what is at its centre, and "
        "larger inputs show the objects larger than the net has learned them. "
        + (
            "The published nets see a photograph, for the class that each finds likeliest in its "
            "middle."
            if published
            else "The papers' heat map of a cat is that of a net trained on ImageNet. No such "
            "weights are here, so the photograph is shown to the demo's net, which has never seen "
            "one: the map shows that it runs, not that it knows cats."
        ),
        "A cast pass computes each map once for all positions; crops compute it again wherever "
        "they overlap. `times less work` counts multiplications with weights. The paper's row is "
        "its own measurement, on a GPU of its time.",
    ]


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    """Prove, draw and time. Raises ValueError if there is no finished demo run in `demo`."""
    finished = training.finished(demo)
    folder = os.path.join(os.path.abspath(out), "casting")
    os.makedirs(folder, exist_ok=True)
    where = device.use(gpu)
    known = demo_pair(finished)
    scenes = read_scenes(finished)
    found = find(known, scenes)
    photo = photograph()
    k = CLASSES.index(PHOTO_CLASS)
    photos = [row(known, photo, k, PHOTO_CLASS)]
    proofs = []
    for name in track(NETS, len(NETS), "cast nets against classifiers"):
        whole = pairs.published_pair(name, WIDTH)
        proof = prove(whole)
        if whole.weights == "published":
            photos.append(photo_row(whole, photo))
        proofs.append(proof._replace(whole=whole._replace(net=None, cast_net=None)))
        del whole, proof  # half a gigabyte or more
    proofs.append(prove(known))
    draw_borders(proofs, os.path.join(folder, "borders.png"))
    drawn = [scene_row(known, *scene) for scene in scenes[:SHOWN]]
    draw_heat(drawn, os.path.join(folder, "scenes.png"))
    draw_heat(photos, os.path.join(folder, "photograph.png"))
    return report.Result(
        "casting",
        "Casting a classifier",
        text(proofs, len(photos) > 1),
        [
            equal_table(proofs),
            padded_table(proofs),
            found_table(found),
            time_table(times(NETS, gpu), where),
        ],
        [
            Figure(
                "borders.png",
                "Where the maps of a padded cast net differ from those of the classifier on the "
                "crop: the last map of each stride, mean over channels of the absolute "
                "difference, as a share of the map's mean absolute value. Black: under 0.0001.",
            ),
            Figure(
                "scenes.png",
                "Scores of the class that covers most of a scene, outlined, by the demo's cast "
                f"classifier at {len(SIZES)} sizes of the input; the first {SHOWN} scenes of the "
                "split `test`. A cell is an output, drawn around its centre; dark is the lowest "
                "score of a map, bright the highest.",
            ),
            Figure(
                "photograph.png",
                "The same on a photograph (Chelsea the cat, CC0, Stefan van der Walt; shipped "
                "with scikit-image).",
            ),
        ],
    )


if __name__ == "__main__":
    report.main(run, __doc__)
