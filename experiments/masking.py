"""Nets that see only the objects, or only what is around them.

The masking of Shelhamer et al. 2016, section 6: the hidden pixels are the mean, in training, in
testing, or both; architecture and training are those of FCN-32s.

The Python data layers of the nets are here too: those of voc_layers with a part hidden.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from experiments import report, training
from solvers.device import Gpu
from voc_layers import SBDDSegDataLayer, VOCSegDataLayer

# ------------------------------------------------------------------- knobs
VARIANT = "voc-fcn32s"  # of the demo: the reference, and the recipe of the others
SEEN = ("everything", "foreground", "background")  # in training, in testing
SHOWN = 3  # test scenes in the figure
# --------------------------------------------------------------------------


def foreground(data: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The objects of an image (3 x H x W, mean subtracted) with a label (H x W); the rest, the
    ignored rims too, is the mean."""
    return data * ((label > 0) & (label < 255))


def background(data: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What is not an object; the objects and their ignored rims are the mean."""
    return data * (label == 0)


MASKS: Dict[str, Callable[..., np.ndarray]] = {"foreground": foreground, "background": background}


class Masked:
    """Hides a part of every image; stands before a data layer among the bases of a class."""

    seen = ""

    def forward(self, bottom: Any, top: Any) -> None:
        super().forward(bottom, top)  # type: ignore[misc]
        data, label = np.array(top[0].data[0]), np.array(top[1].data[0, 0])
        top[0].data[0] = MASKS[self.seen](data, label)


class SBDDForeground(Masked, SBDDSegDataLayer):
    seen = "foreground"


class SBDDBackground(Masked, SBDDSegDataLayer):
    seen = "background"


class VOCForeground(Masked, VOCSegDataLayer):
    seen = "foreground"


class VOCBackground(Masked, VOCSegDataLayer):
    seen = "background"


def masked(net: Any, seen: str) -> Any:
    """The NetParameter with its data layer seeing only a part: `everything` leaves it as it is,
    else `foreground` or `background`."""
    changed = type(net)()
    changed.CopyFrom(net)
    for layer in changed.layer:
        if layer.type == "Python" and seen != "everything":
            python = layer.python_param
            python.layer = python.layer.replace("SegDataLayer", seen.capitalize())
            python.module = "experiments.masking"
    return changed


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    found = training.finished(demo)
    folder = os.path.join(out, "masking")
    fields = found.solver(VARIANT)
    folders = {"everything": found.stage(VARIANT)}
    for seen in SEEN[1:]:
        folders[seen] = os.path.join(folder, seen)
        training.train(
            folders[seen], _nets(folders[seen], found, seen), fields, found.start, found.seed, gpu
        )
    scores = {
        trained: {seen: _score(folder, trained, seen, folders[trained], found) for seen in SEEN}
        for trained in SEEN
    }
    _draw(found, os.path.join(folder, "masks.png"))
    rows: List[List[report.Cell]] = []
    for trained in SEEN:
        cells = [report.percent(scores[trained][seen]["mean_iu"]) for seen in SEEN]
        objects = [report.percent(_objects(scores[trained][seen])) for seen in SEEN]
        rows.append([trained, *cells, *objects])
    head = ["trained on", *(f"tested on {seen}" for seen in SEEN),
            *(f"{seen}, objects" for seen in SEEN)]  # fmt: skip
    table = report.Table(
        "Mean IU on the split `test`, percent; `objects`: without the class background", head, rows
    )
    caption = "What the nets see: everything, the foreground, the background."
    return report.Result(
        "masking",
        "Foreground and background masked",
        _text(scores, fields),
        [table],
        [report.Figure("masks.png", caption)],
    )


Table = Mapping[str, Mapping[str, Any]]


def _text(scores: Table, fields: Mapping[str, Any]) -> List[str]:
    iu = {t: {s: 100 * _objects(row[s]) for s in row} for t, row in scores.items()}
    everything = iu["everything"]
    alone = [k for k, v in enumerate(scores["background"]["background"]["iu"]) if k and v]
    best = max(alone, key=lambda k: scores["background"]["background"]["iu"][k], default=None)
    text = [
        "Does a net know a class by the object, or by what is around it? Where a part of the image "
        "is masked, its pixels are the mean, in training, in testing, or both. Every net has the "
        f"architecture, start and training of the demo's FCN-32s ({fields['max_iter']:,} "
        "iterations). The ignored rims of the objects are hidden with either part.",
        "A mask shows where the objects are: a net trained on masked images has only to name what "
        "it sees the outline of. On VOC the papers find that the foreground alone goes most of "
        "the way, and that a net which sees the background alone still learns some classes by "
        "their context.",
        "Measured, mean over the object classes: the reference goes from "
        f"{everything['everything']:.1f} to {everything['foreground']:.1f} when tested on the "
        f"foreground alone and to {everything['background']:.1f} on the background alone. Trained "
        f"and tested on the foreground a net has {iu['foreground']['foreground']:.1f}, on the "
        f"background {iu['background']['background']:.1f}.",
        "The demo's scenes place objects of any class on any ground, so the background holds no "
        "context: what a net learns from it can only be the outline that was cut out. It does not "
        "test the papers' finding about context in photographs.",
    ]
    if best is not None:
        from fcn_common.voc import CLASSES

        value = 100 * scores["background"]["background"]["iu"][best]
        text[-1] += f" The class best known by its cut-out is {CLASSES[best]}, IU {value:.1f}."
    return text


def _objects(scores: Mapping[str, Any]) -> float:
    """Mean IU over the classes that are present, but for the background."""
    found = [iu for iu in scores["iu"][1:] if iu is not None]
    return sum(found) / len(found) if found else float("nan")


def _nets(folder: str, demo: training.Demo, seen: str) -> training.Net:
    plain = training.fcn(VARIANT, folder, demo)
    return lambda split: masked(plain(split), seen)


def _score(
    folder: str, trained: str, seen: str, weights: str, demo: training.Demo
) -> Dict[str, Any]:
    """What a net trained on one part scores on another, worked out once."""
    place = os.path.join(folder, "tests", f"{trained}-on-{seen}")
    return training.score(place, _nets(place, demo, seen), weights)


def _draw(demo: training.Demo, path: str) -> None:
    from fcn_common.voc import PALETTE
    from solvers import figures
    from solvers.infer import MEAN

    names, titles = demo.test_images()[:SHOWN], [*SEEN, "truth"]
    size = (2.1 * len(titles), 2.0 * len(names))
    plt = figures.pyplot()
    figure, axes = plt.subplots(len(names), len(titles), figsize=size, squeeze=False)
    mean = np.array(MEAN[::-1], np.float32)[:, None, None]
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=11)
    for row, name in zip(axes, names):
        photo, truth = demo.photo(name), demo.truth(name)
        data = photo.transpose(2, 0, 1) - mean
        parts = [_picture(MASKS[seen](data, truth) + mean) for seen in SEEN[1:]]
        for axis, picture in zip(row, [photo, *parts, PALETTE[truth]]):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    figures.write(figure, path)


def _picture(data: np.ndarray) -> np.ndarray:
    return np.clip(data.transpose(1, 2, 0), 0, 255).astype(np.uint8)


def main(argv: Optional[Sequence[str]] = None) -> None:
    report.main(run, __doc__, argv)


if __name__ == "__main__":
    main()
