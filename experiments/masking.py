"""Nets that see only the objects of an image, or only the background.

The masking of Shelhamer et al. (arXiv 1605.06211, section 6): the hidden pixels are replaced by the
mean, in training, in testing, or in both. Architecture and training are those of FCN-32s.

The nets' Python data layers are in this module: those of voc_layers, with a part of the image
hidden.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from experiments import demo_run, report, running, training
from fcn_common.voc import CLASSES, MEAN, PALETTE
from solvers import figures
from solvers.device import Gpu
from voc_layers import SBDDSegDataLayer, VOCSegDataLayer

#: The demo's stage that is the reference, and whose recipe the other nets have.
VARIANT = "voc-fcn32s"
#: The parts of an image that a net sees.
PARTS = ("everything", "foreground", "background")
#: The number of scenes in the figure.
SHOWN = 3

#: part in training -> part in testing -> scores
ScoreTable = Mapping[str, Mapping[str, Any]]


def foreground(data: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the objects of an image; background and ignored pixels become the mean.

    data: 3 x H x W, less the mean. label: H x W.
    """
    return data * ((label > 0) & (label < 255))


def background(data: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the background of an image; objects and ignored pixels become the mean."""
    return data * (label == 0)


MASKS: Dict[str, Callable[..., np.ndarray]] = {"foreground": foreground, "background": background}


class Masked:
    """Hides all of an image but `part`; comes before a data layer among the bases of a class."""

    part = ""

    def forward(self, bottom: Any, top: Any) -> None:
        """Load an image and hide its other part."""
        super().forward(bottom, top)  # type: ignore[misc]
        data, label = np.array(top[0].data[0]), np.array(top[1].data[0, 0])
        top[0].data[0] = MASKS[self.part](data, label)


class SBDDForeground(Masked, SBDDSegDataLayer):
    """SBD's training images with the objects only."""

    part = "foreground"


class SBDDBackground(Masked, SBDDSegDataLayer):
    """SBD's training images with the background only."""

    part = "background"


class VOCForeground(Masked, VOCSegDataLayer):
    """VOC's images with the objects only."""

    part = "foreground"


class VOCBackground(Masked, VOCSegDataLayer):
    """VOC's images with the background only."""

    part = "background"


def masked(net: Any, part: str) -> Any:
    """Return the NetParameter with a data layer that shows only a part, one of PARTS."""
    result = type(net)()
    result.CopyFrom(net)
    for layer in result.layer:
        if layer.type == "Python" and part != "everything":
            python = layer.python_param
            python.layer = python.layer.replace("SegDataLayer", part.capitalize())
            python.module = "experiments.masking"
    return result


def run(out: str, demo: str, gpu: Gpu = None) -> report.Result:
    """Train a net on each part, and test each net on each part."""
    finished = demo_run.open_demo(demo)
    folder = os.path.join(out, "masking")
    fields = finished.solver(VARIANT)
    folders = {"everything": finished.stage(VARIANT)}
    for part in PARTS[1:]:
        folders[part] = os.path.join(folder, part)
        net = _nets(folders[part], finished, part)
        training.train(folders[part], net, fields, finished.start, finished.seed, gpu)
    scores = {
        trained: {part: _score(folder, trained, part, folders[trained], finished) for part in PARTS}
        for trained in PARTS
    }
    _draw(finished, os.path.join(folder, "masks.png"))
    caption = "The images that the nets see: everything, the foreground, the background."
    return report.Result(
        "masking",
        "Foreground and background masked",
        _text(scores, fields),
        [_table(scores)],
        [report.Figure("masks.png", caption)],
    )


def _table(scores: ScoreTable) -> report.Table:
    rows: List[List[report.Cell]] = []
    for trained in PARTS:
        ius = [report.percent(scores[trained][part]["mean_iu"]) for part in PARTS]
        objects = [report.percent(object_iu(scores[trained][part])) for part in PARTS]
        rows.append([trained, *ius, *objects])
    head = ["trained on", *(f"tested on {part}" for part in PARTS),
            *(f"{part}, objects" for part in PARTS)]  # fmt: skip
    return report.Table(
        "Mean IU on the split `test`, in percent; `objects` leaves out the class background",
        head,
        rows,
    )


def _text(scores: ScoreTable, fields: Mapping[str, Any]) -> List[str]:
    iu = {t: {part: 100 * object_iu(row[part]) for part in row} for t, row in scores.items()}
    reference = iu["everything"]
    background_iu = scores["background"]["background"]["iu"]
    learned = [k for k, value in enumerate(background_iu) if k and value]
    best = max(learned, key=lambda k: background_iu[k], default=None)
    text = [
        "Does a net recognise a class by the object, or by the background around the object? Here "
        "a part of each image is replaced by the mean, in training, in testing, or in both. Every "
        "net has the architecture, the initial weights and the training of the demo's FCN-32s "
        f"({fields['max_iter']:,} iterations). The ignored pixels around objects are always "
        "hidden with the other part.",
        "A mask shows where the objects are, so a net that is trained on masked images only has to "
        "name the outlined objects. On VOC the papers find that the foreground alone gives most of "
        "the accuracy, and that a net which sees only the background still learns some classes by "
        "their context.",
        "The following values are means over the object classes. The reference net has "
        f"{reference['everything']:.1f}, and {reference['foreground']:.1f} when tested on the "
        f"foreground alone, and {reference['background']:.1f} when tested on the background alone. "
        "A net that is trained and tested on the foreground has "
        f"{iu['foreground']['foreground']:.1f}, a net that is trained and tested on the background "
        f"has {iu['background']['background']:.1f}.",
        "The demo's scenes put objects of any class on any ground, so the background has no "
        "context. A net can learn only the outline of the hidden object from the background. "
        "Therefore the experiment does not test the papers' finding about context in photographs.",
    ]
    if best is not None:
        value = 100 * background_iu[best]
        text[-1] += f" The class with the best outline is {CLASSES[best]}, IU {value:.1f}."
    return text


def object_iu(scores: Mapping[str, Any]) -> float:
    """Return the mean IU over the classes that occur, without the background; NaN if none does."""
    ius = [iu for iu in scores["iu"][1:] if iu is not None]
    return sum(ius) / len(ius) if ius else float("nan")


def _nets(folder: str, demo: demo_run.Demo, part: str) -> training.Net:
    net = training.fcn(VARIANT, folder, demo)
    return lambda split: masked(net(split), part)


def _score(
    folder: str, trained: str, part: str, weights: str, demo: demo_run.Demo
) -> Dict[str, Any]:
    """Return the scores on a part of a net that was trained on another part."""
    place = os.path.join(folder, "tests", f"{trained}-on-{part}")
    return training.score(place, _nets(place, demo, part), weights)


def _draw(demo: demo_run.Demo, path: str) -> None:
    names, titles = demo.test_images()[:SHOWN], [*PARTS, "truth"]
    size = (2.1 * len(titles), 2.0 * len(names))
    plt = figures.pyplot()
    figure, axes = plt.subplots(len(names), len(titles), figsize=size, squeeze=False)
    mean = np.array(MEAN[::-1], np.float32)[:, None, None]
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=11)
    for row, name in zip(axes, names):
        photo, truth = demo.photo(name), demo.truth(name)
        data = photo.transpose(2, 0, 1) - mean
        parts = [_picture(MASKS[part](data, truth) + mean) for part in PARTS[1:]]
        for axis, picture in zip(row, [photo, *parts, PALETTE[truth]]):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    figures.write(figure, path)


def _picture(data: np.ndarray) -> np.ndarray:
    return np.clip(data.transpose(1, 2, 0), 0, 255).astype(np.uint8)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line."""
    running.main("masking", run, __doc__, argv)


if __name__ == "__main__":
    main()
