"""The best mean IU that a score map of low resolution allows.

python -m experiments.bounds [--voc-dir DIR --split NAME]

Label maps are downsampled, brought back to full size, and scored against themselves: the upper
bounds of Long et al. (arXiv 1411.4038, section 5), on any data set in VOC's layout.
"""

from __future__ import annotations

import argparse
import os
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from experiments import demo_run, report, running
from fcn_common.progress import track
from fcn_common.voc import CLASSES as CLASS_NAMES
from fcn_common.voc import IGNORE_LABEL
from fcn_data.demo import draw_scene
from solvers import figures
from solvers.device import Gpu
from solvers.metrics import fast_hist, metrics

#: Cells have this many pixels on a side.
FACTORS = (128, 64, 32, 16, 8, 4)
#: Mean IU on VOC in percent, from the paper, in the order of FACTORS.
PUBLISHED = (50.9, 73.3, 86.1, 92.8, 96.4, 98.5)
#: The demo's split.
SPLIT = "test"
CLASSES = len(CLASS_NAMES)
#: The factors and the number of images in the figure.
SHOWN, ROWS = (32, 16, 8), 2
#: The size of larger scenes, relative to the demo's: 504 pixels at most, as VOC's photographs have.
SCALE = 2.1
#: The number of larger scenes, and the seed of their draws.
SCENES, SEED = 40, 1

Method = Callable[[np.ndarray, int], np.ndarray]


def centre(label: np.ndarray, factor: int) -> np.ndarray:
    """Return a label map in which every cell has the class of its middle pixel.

    label: H x W, uint8. A cell whose middle pixel is ignored is background.
    """
    height, width = label.shape
    rows = np.minimum(np.arange(0, height, factor) + factor // 2, height - 1)
    columns = np.minimum(np.arange(0, width, factor) + factor // 2, width - 1)
    small = label[rows][:, columns]
    small = np.where(small == IGNORE_LABEL, 0, small)
    return small.repeat(factor, 0).repeat(factor, 1)[:height, :width]


def majority(label: np.ndarray, factor: int) -> np.ndarray:
    """Return a label map in which every cell has its most frequent class.

    Ignored pixels are not counted.
    """
    height, width = label.shape
    small = class_counts(label, factor).argmax(2).astype(np.uint8)
    return small.repeat(factor, 0).repeat(factor, 1)[:height, :width]


def bilinear(label: np.ndarray, factor: int) -> np.ndarray:
    """Return a label map of the largest interpolated class counts.

    The counts of each cell are upsampled by bilinear interpolation, as the nets upsample scores.
    """
    height, width = label.shape
    counts = class_counts(label, factor)
    down = interpolation(counts.shape[0], height, factor)
    right = interpolation(counts.shape[1], width, factor)
    return np.einsum("yi,ijk,xj->yxk", down, counts, right, optimize=True).argmax(2)


METHODS: Dict[str, Method] = {"centre": centre, "majority": majority, "bilinear": bilinear}


def class_counts(label: np.ndarray, factor: int) -> np.ndarray:
    """Return the number of pixels of each class in every cell: h x w x classes."""
    height, width = -(-label.shape[0] // factor), -(-label.shape[1] // factor)
    y, x = np.indices(label.shape) // factor
    labelled = label < CLASSES
    index = ((y * width + x) * CLASSES + label)[labelled]
    return np.bincount(index, minlength=height * width * CLASSES).reshape(height, width, CLASSES)


def interpolation(cells: int, pixels: int, factor: int) -> np.ndarray:
    """Return the weights of linear interpolation between the cells' middles: pixels x cells."""
    position = np.clip((np.arange(pixels) + 0.5) / factor - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))


def bounds(labels: Iterator[np.ndarray], count: int, title: str) -> Dict[str, List[float]]:
    """Return the mean IU of each method over `count` label maps, in the order of FACTORS."""
    hists = {(m, f): np.zeros((CLASSES, CLASSES), np.int64) for m in METHODS for f in FACTORS}
    for label in track(labels, count, title):
        for (method, factor), hist in hists.items():
            hist += fast_hist(label, METHODS[method](label, factor), CLASSES)
    return {m: [metrics(hists[m, f])["mean_iu"] for f in FACTORS] for m in METHODS}


def read_split(voc_dir: str, split: str) -> Tuple[List[str], Iterator[np.ndarray]]:
    """Return the ids of a split in VOC's layout, and an iterator of its label maps (H x W, uint8).

    Raises OSError for a file that does not exist, ValueError for a label that is not a class.
    """
    path = os.path.join(voc_dir, "ImageSets", "Segmentation", split + ".txt")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such split file, needs one image id a line")
    with open(path) as file:
        ids = file.read().split()
    if not ids:
        raise ValueError(f"{path}: is empty, needs one image id a line")
    return ids, (read_label_map(voc_dir, name) for name in ids)


def read_label_map(voc_dir: str, name: str) -> np.ndarray:
    """Return a label map, H x W, uint8. Raises ValueError for a label that is not a class."""
    label = demo_run.read_truth(voc_dir, name)
    wrong = label[(label >= CLASSES) & (label != IGNORE_LABEL)]
    if label.ndim != 2 or wrong.size:
        path = os.path.join(voc_dir, "SegmentationClass", name + ".png")
        raise ValueError(
            f"{path}: has shape {label.shape} and labels up to {label.max()}, needs H x W and "
            f"0..{CLASSES - 1} or {IGNORE_LABEL}"
        )
    return label


def run(
    out: str,
    demo: str,
    gpu: Gpu = None,
    voc_dir: Optional[str] = None,
    split: Optional[str] = None,
) -> report.Result:
    """Return the bounds on the demo's split `test`, or on a split of a data set in VOC's layout."""
    folder = os.path.join(out, "bounds")
    split = split or SPLIT
    finished = demo_run.open_demo(demo) if voc_dir is None else None
    data = finished.voc if finished else str(voc_dir)
    ids, labels = read_split(data, split)
    values = bounds(labels, len(ids), "upper bounds")
    name = "the demo's scenes" if finished else f"`{voc_dir}`"
    side = mean_side(data, ids)
    title = f"{name}, split `{split}`: {len(ids)} label maps, longer side {side:.0f} on average"
    sets = [(title, values)]
    if finished:
        count = finished.iters(SCENES)
        values = bounds(draw_label_maps(count), count, "upper bounds at VOC's size")
        title = (
            f"{count} scenes drawn {SCALE:g} times as large, about the size of VOC's photographs"
        )
        sets.append((title, values))
    draw(data, ids[:ROWS], os.path.join(folder, "bounds.png"))
    caption = "Label maps, and the label maps that `bilinear` gives at the strides of the nets."
    return report.Result(
        "bounds",
        "Upper bounds on mean IU",
        _text(sets, finished),
        [_table(title, values) for title, values in sets],
        [report.Figure("bounds.png", caption)],
    )


def _text(
    sets: Sequence[Tuple[str, Dict[str, List[float]]]], demo: Optional[demo_run.Demo]
) -> List[str]:
    title, values = sets[-1]
    distances = {
        method: sum(abs(100 * iu - p) for iu, p in zip(ius, PUBLISHED)) / len(FACTORS)
        for method, ius in values.items()
    }
    order = sorted(distances, key=lambda method: distances[method])
    points = ", ".join(f"`{method}` {distances[method]:.1f}" for method in order)
    text = [
        "How much accuracy does a low resolution cost, if there is no other error? Label maps are "
        "downsampled by a factor, brought back to full size, and scored against themselves.",
        "The papers do not say how label maps are downsampled, so three methods are compared. "
        "`centre`: a cell has the class of its middle pixel. `majority`: a cell has its most "
        "frequent class. `bilinear`: the share of each class is interpolated between the cells as "
        "the nets interpolate scores, and a pixel has the class with the largest share. Ignored "
        "pixels are neither counted nor scored.",
        "The last column has the paper's values for VOC. The mean distances of the methods from "
        f"the paper's values over all factors are, in points: {points} ({title}). `{order[0]}` is "
        "the nearest method. As the images differ, this only suggests which method the paper "
        "used.",
    ]
    if demo:
        bound = [100 * sets[0][1][order[0]][FACTORS.index(factor)] for factor in SHOWN]
        reached = [100 * demo.scores(f"voc-fcn{factor}s")["mean_iu"] for factor in SHOWN]
        text.append(
            f"On the demo's scenes the bounds at strides {_list(SHOWN, 'd')} are {_list(bound)}; "
            f"the demo's nets with these strides reach {_list(reached)}. So coarse output alone "
            "does not explain the errors of the nets."
        )
    return text


def _list(numbers: Sequence[float], form: str = ".1f") -> str:
    texts = [format(number, form) for number in numbers]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _table(title: str, values: Dict[str, List[float]]) -> report.Table:
    rows = [
        [
            report.Number(factor, "d"),
            *(report.percent(values[method][i]) for method in METHODS),
            report.Number(PUBLISHED[i], ".1f"),
        ]
        for i, factor in enumerate(FACTORS)
    ]
    head = ["downsampled by", *METHODS, "paper, VOC"]
    return report.Table(f"Mean IU in percent; {title}", head, rows)


def draw_label_maps(count: int) -> Iterator[np.ndarray]:
    """Yield the label maps of `count` scenes, drawn SCALE times as large as the demo's."""
    for i in range(count):
        yield draw_scene(np.random.RandomState([SEED, i]), scale=SCALE)[1]


def draw(voc_dir: str, names: Sequence[str], path: str) -> None:
    """Draw images, their label maps, and the label maps at the factors of SHOWN."""
    rows = []
    for name in names:
        photo, truth = demo_run.read_photo(voc_dir, name), demo_run.read_truth(voc_dir, name)
        rows.append((photo, [truth, *(bilinear(truth, factor) for factor in reversed(SHOWN))]))
    titles = ["truth", *(f"by {factor}" for factor in reversed(SHOWN))]
    figures.side_by_side(rows, titles, path)


def mean_side(voc_dir: str, ids: Sequence[str]) -> float:
    """Return the mean of the label maps' longer sides, in pixels."""
    return sum(max(demo_run.read_truth(voc_dir, name).shape) for name in ids) / len(ids)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.add_argument("--voc-dir", help="a data set in VOC's layout (default: the demo's)")
    parser.add_argument("--split", help=f"a split of the data set (default: {SPLIT})")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line."""
    running.main("bounds", run, __doc__, argv, add_arguments)


if __name__ == "__main__":
    main()
