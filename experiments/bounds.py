"""The best mean IU that a score map of low resolution allows: truth downsampled and brought back.

python -m experiments.bounds [--voc-dir DIR --split NAME]

The upper bounds of Long et al. 2015, section 5, on any data set in VOC's layout.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from experiments import report, training
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
FACTORS = (128, 64, 32, 16, 8, 4)
PUBLISHED = (50.9, 73.3, 86.1, 92.8, 96.4, 98.5)  # percent, on VOC, in the order of FACTORS
SPLIT = "test"  # of the demo set
CLASSES = 21
IGNORE = 255
SHOWN = (32, 16, 8)  # factors in the figure
ROWS = 2  # images in it
SCALE = 2.1  # of scenes drawn anew, as large as VOC's photographs: up to 504 pixels
SCENES = 40  # of those
SEED = 1
# --------------------------------------------------------------------------

Way = Callable[[np.ndarray, int], np.ndarray]


def centre(label: np.ndarray, factor: int) -> np.ndarray:
    """Every cell of factor x factor pixels takes the class of its middle pixel.

    label: H x W; so is what comes back. A middle pixel that is ignored counts as background.
    """
    height, width = label.shape
    rows = np.minimum(np.arange(0, height, factor) + factor // 2, height - 1)
    columns = np.minimum(np.arange(0, width, factor) + factor // 2, width - 1)
    small = label[rows][:, columns]
    small = np.where(small == IGNORE, 0, small)
    return small.repeat(factor, 0).repeat(factor, 1)[:height, :width]


def majority(label: np.ndarray, factor: int) -> np.ndarray:
    """Every cell takes its most frequent class; ignored pixels have no vote."""
    height, width = label.shape
    small = shares(label, factor).argmax(2).astype(np.uint8)
    return small.repeat(factor, 0).repeat(factor, 1)[:height, :width]


def bilinear(label: np.ndarray, factor: int) -> np.ndarray:
    """The shares of the classes in every cell are upsampled as the nets upsample scores, by
    bilinear interpolation, and each pixel takes the largest."""
    height, width = label.shape
    found = shares(label, factor)
    down = interpolation(found.shape[0], height, factor)
    right = interpolation(found.shape[1], width, factor)
    return np.einsum("yi,ijk,xj->yxk", down, found, right, optimize=True).argmax(2)


WAYS: Dict[str, Way] = {"centre": centre, "majority": majority, "bilinear": bilinear}


def shares(label: np.ndarray, factor: int) -> np.ndarray:
    """How many pixels of each class lie in every cell of factor x factor: h x w x classes."""
    height, width = -(-label.shape[0] // factor), -(-label.shape[1] // factor)
    y, x = np.indices(label.shape) // factor
    known = label < CLASSES
    index = ((y * width + x) * CLASSES + label)[known]
    return np.bincount(index, minlength=height * width * CLASSES).reshape(height, width, CLASSES)


def interpolation(cells: int, pixels: int, factor: int) -> np.ndarray:
    """The weights (pixels x cells) of linear interpolation between the cells' middles."""
    position = np.clip((np.arange(pixels) + 0.5) / factor - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))


def bounds(labels: Iterator[np.ndarray], count: int, title: str) -> Dict[str, List[float]]:
    """The mean IU of each way of `WAYS`, in the order of `FACTORS`, over `count` label maps."""
    from fcn_common.progress import track
    from solvers.score import fast_hist, metrics

    hist = {(way, f): np.zeros((CLASSES, CLASSES), np.int64) for way in WAYS for f in FACTORS}
    for label in track(labels, count, title):
        for (way, factor), found in hist.items():
            found += fast_hist(label, WAYS[way](label, factor), CLASSES)
    return {way: [metrics(hist[way, f])["mean_iu"] for f in FACTORS] for way in WAYS}


def read(voc_dir: str, split: str) -> Tuple[List[str], Iterator[np.ndarray]]:
    """The ids of a split in VOC's layout, and their label maps (H x W, uint8), one at a time.

    Raises OSError for a file that is not there, ValueError for a label that is no class.
    """
    from PIL import Image

    path = os.path.join(voc_dir, "ImageSets", "Segmentation", split + ".txt")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such split file, needs one image id a line")
    with open(path) as file:
        ids = file.read().split()
    if not ids:
        raise ValueError(f"{path}: is empty, needs one image id a line")

    def labels() -> Iterator[np.ndarray]:
        for name in ids:
            place = os.path.join(voc_dir, "SegmentationClass", name + ".png")
            with Image.open(place) as image:
                label = np.asarray(image)
            wrong = label[(label >= CLASSES) & (label != IGNORE)]
            if label.ndim != 2 or wrong.size:
                raise ValueError(
                    f"{place}: has shape {label.shape} and labels up to {label.max()}, needs H x W "
                    f"and 0..{CLASSES - 1} or {IGNORE}"
                )
            yield label

    return ids, labels()


def run(
    out: str,
    demo: str,
    gpu: Gpu = None,
    voc_dir: Optional[str] = None,
    split: Optional[str] = None,
) -> report.Result:
    """The bounds on the demo's split `test`, or on a split of a data set in VOC's layout."""
    folder = os.path.join(out, "bounds")
    own = voc_dir is None
    if own:
        voc_dir = training.finished(demo).voc
    split = split or SPLIT
    ids, labels = read(str(voc_dir), split)
    found = bounds(labels, len(ids), "upper bounds")
    where = "the demo's scenes" if own else f"`{voc_dir}`"
    pixels = _side(str(voc_dir), ids)
    title = f"{where}, split `{split}`: {len(ids)} label maps, longer side {pixels:.0f} on average"
    sets = [(title, found)]
    if own:
        count = training.finished(demo).iters(SCENES)
        large = bounds(drawn(count), count, "upper bounds at VOC's size")
        title = f"{count} scenes drawn {SCALE:g} times as large, as VOC's photographs are"
        sets.append((title, large))
    draw(str(voc_dir), ids[:ROWS], os.path.join(folder, "bounds.png"))
    caption = "Label maps, and what is left of them at the strides of the nets, by `bilinear`."
    return report.Result(
        "bounds",
        "Upper bounds on mean IU",
        _text(sets, demo if own else None),
        [_table(title, values) for title, values in sets],
        [report.Figure("bounds.png", caption)],
    )


def _text(sets: Sequence[Tuple[str, Dict[str, List[float]]]], demo: Optional[str]) -> List[str]:
    title, found = sets[-1]
    away = {
        way: sum(abs(100 * iu - p) for iu, p in zip(values, PUBLISHED)) / len(FACTORS)
        for way, values in found.items()
    }
    order = sorted(away, key=lambda way: away[way])
    points = ", ".join(f"`{way}` {away[way]:.1f}" for way in order)
    text = [
        "How much is lost by predicting at a low resolution, if nothing else is wrong? The truth "
        "itself is downsampled by a factor, brought back to full size, and scored against itself.",
        "The papers do not say how the truth is downsampled, so three ways are compared. `centre`: "
        "a cell takes the class of its middle pixel. `majority`: its most frequent class. "
        "`bilinear`: the share of each class, interpolated between the cells as the nets "
        "interpolate scores, and the largest wins. Ignored pixels have no vote and are not scored.",
        f"The last column is what the paper reports for VOC. Its distance from each way, averaged "
        f"over the factors, in points: {points} ({title}). `{order[0]}` comes nearest; the "
        "pictures are not the same, so that is a hint at the papers' way and no more.",
    ]
    if demo:
        first = sets[0][1]
        bound = [100 * first[order[0]][FACTORS.index(factor)] for factor in SHOWN]
        nets = training.finished(demo)
        reached = [100 * nets.scores(f"voc-fcn{factor}s")["mean_iu"] for factor in SHOWN]
        text.append(
            f"On the demo's own scenes the bounds at strides {_listed(SHOWN, 'd')} are "
            f"{_listed(bound)}; the demo's nets of these strides reach {_listed(reached)}. So "
            "coarse output alone does not explain their errors."
        )
    return text


def _listed(numbers: Sequence[float], form: str = ".1f") -> str:
    words = [format(number, form) for number in numbers]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _table(title: str, found: Dict[str, List[float]]) -> report.Table:
    rows = [
        [
            report.Number(factor, "d"),
            *(report.percent(found[way][i]) for way in WAYS),
            report.Number(PUBLISHED[i], ".1f"),
        ]
        for i, factor in enumerate(FACTORS)
    ]
    head = ["downsampled by", *WAYS, "paper, VOC"]
    return report.Table(f"Mean IU, percent; {title}", head, rows)


def drawn(count: int) -> Iterator[np.ndarray]:
    """The label maps of `count` scenes as the demo draws them, `SCALE` times as large."""
    from fcn_data.demo import draw_scene

    for i in range(count):
        yield draw_scene(np.random.RandomState([SEED, i]), scale=SCALE)[1]


def draw(voc_dir: str, names: Sequence[str], path: str) -> None:
    """The photographs, their truth, and the truth at the factors of `SHOWN`."""
    from PIL import Image

    from solvers import figures, infer

    rows = []
    for name in names:
        photo = infer.read(os.path.join(voc_dir, "JPEGImages", name + ".jpg"))
        with Image.open(os.path.join(voc_dir, "SegmentationClass", name + ".png")) as image:
            truth = np.asarray(image)
        rows.append((photo, [truth, *(bilinear(truth, factor) for factor in reversed(SHOWN))]))
    titles = ["truth", *(f"by {factor}" for factor in reversed(SHOWN))]
    figures.side_by_side(rows, titles, path)


def _side(voc_dir: str, ids: Sequence[str]) -> float:
    """The longer side of the label maps in pixels, on average."""
    from PIL import Image

    sides = []
    for name in ids:
        with Image.open(os.path.join(voc_dir, "SegmentationClass", name + ".png")) as image:
            sides.append(max(image.size))
    return sum(sides) / len(sides)


def main(argv: Optional[Sequence[str]] = None) -> None:
    def add(parser: Any) -> None:
        parser.add_argument("--voc-dir", help="a data set in VOC's layout (the demo's)")
        parser.add_argument("--split", help=f"of it ({SPLIT})")

    report.main(run, __doc__, argv, add)


if __name__ == "__main__":
    main()
