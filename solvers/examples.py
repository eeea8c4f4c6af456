"""What a scoring keeps of its images: some samples, and the best and the worst predictions.

Pictures are kept small, so that a page can hold them: examples.json beside the scores.
"""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fcn_common.files import write_json
from fcn_data import Labels
from fcn_data.readers import COLOURS
from solvers.label_map import overlay
from solvers.metrics import metrics

FILE = "examples.json"
VERSION = 1
#: The longest side of a kept picture, in pixels, and the quality of its JPEG.
SIDE, QUALITY = 320, 85
#: Pillow moved its filters; BVLC Caffe's Python may have an older one.
FILTERS = getattr(Image, "Resampling", Image)
#: Images that every scoring shows, and how many of the best and of the worst.
SAMPLES, EXTREMES = 3, 3
#: Fraction of an image's pixels from which on a class is named below the image.
SMALLEST = 0.005


class Example(NamedTuple):
    """An image of a scoring.

    name: its id. mean_iu: of this image alone. photo: h x w x 3, uint8, RGB, and truth and
    prediction: h x w class indices, all reduced alike. kinds: of "sample", "best" and "worst".
    """

    name: str
    mean_iu: float
    photo: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    kinds: Tuple[str, ...] = ()


class Examples:
    """Collects the images of one scoring.

    labels: the record of the labels that are scored. mean: of each channel of the net's input, in
    its order; None if it is unknown.
    """

    def __init__(self, labels: Labels, mean: Optional[Sequence[float]] = None) -> None:
        self.labels, self._mean = labels, mean
        self._samples: List[Example] = []
        self._ranked: List[Example] = []
        self._hist: Any = 0
        self.images = 0

    def add(self, net: Any, name: str, hist: np.ndarray, prediction: np.ndarray) -> None:
        """Add the image of the present pass: its histogram and prediction (h x w)."""
        self.images += 1
        self._hist = self._hist + hist
        mean_iu = metrics(hist)["mean_iu"]
        if "data" not in net.blobs or self.labels.name not in net.blobs:
            return
        ranks = not np.isnan(mean_iu) and self._ranks(mean_iu)
        if len(self._samples) >= SAMPLES and not ranks:
            return
        truth = np.asarray(net.blobs[self.labels.name].data)[0, 0].astype(np.int64)
        step = max(1, -(-max(truth.shape) // SIDE))
        photo = photograph(np.asarray(net.blobs["data"].data)[0], self._mean)
        example = Example(
            name or f"image {self.images}",
            float(mean_iu),
            _reduced(photo, step),
            truth[::step, ::step],
            prediction[::step, ::step].astype(np.int64),
        )
        if len(self._samples) < SAMPLES:
            self._samples.append(example)
        if ranks:
            ranked = sorted([*self._ranked, example], key=lambda e: -e.mean_iu)
            middle = len(ranked) - EXTREMES
            self._ranked = [e for i, e in enumerate(ranked) if i < EXTREMES or i >= middle]

    def _ranks(self, mean_iu: float) -> bool:
        """Return whether an image is among the best or the worst so far."""
        if len(self._ranked) < 2 * EXTREMES:
            return True
        values = [example.mean_iu for example in self._ranked]
        return mean_iu > values[EXTREMES - 1] or mean_iu < values[-EXTREMES]

    @property
    def chosen(self) -> List[Example]:
        """The examples with their kinds: the best first, then the worst, then the samples."""
        half = min(EXTREMES, -(-len(self._ranked) // 2))
        best, worst = self._ranked[:half], self._ranked[half:][::-1]
        kinds: Dict[str, List[str]] = {}
        ordered: Dict[str, Example] = {}
        groups = (("best", best), ("worst", worst), ("sample", self._samples))
        for kind, group in groups:
            for example in group:
                ordered.setdefault(example.name, example)
                kinds.setdefault(example.name, []).append(kind)
        return [e._replace(kinds=tuple(kinds[name])) for name, e in ordered.items()]

    def strips(self) -> Dict[str, np.ndarray]:
        """Return photograph, truth and prediction of each sample side by side, by name."""
        strips = {}
        for example in self._samples:
            parts = [example.photo, *self._overlays(example)]
            strips[example.name] = np.concatenate(parts, axis=1)
        return strips

    def _overlays(self, example: Example) -> List[np.ndarray]:
        palette = np.asarray(self.labels.palette, np.uint8)
        ignored = self.labels.ignore_label
        truth = np.where(example.truth == ignored, 0, example.truth)
        return [
            overlay(example.photo, label, ignore_label=None, palette=palette)
            for label in (truth, example.prediction)
        ]

    def write(self, folder: str, iteration: int) -> str:
        """Write the examples and the histogram into a folder; return the path."""
        rows = []
        for example in self.chosen:
            truth, prediction = self._overlays(example)
            pictures = {"photo": example.photo, "truth": truth, "prediction": prediction}
            rows.append(
                {
                    "name": example.name,
                    "mean_iu": None if np.isnan(example.mean_iu) else example.mean_iu,
                    "kinds": list(example.kinds),
                    "classes": {
                        "truth": _present(example.truth, self.labels),
                        "prediction": _present(example.prediction, self.labels),
                    },
                    "size": list(example.truth.shape),
                    **{key: data_address(picture) for key, picture in pictures.items()},
                }
            )
        path = os.path.join(folder, FILE)
        hist = np.asarray(self._hist)
        values = {
            "version": VERSION,
            "iteration": iteration,
            "images": self.images,
            "classes": list(self.labels.classes),
            "palette": np.asarray(self.labels.palette)[: len(self.labels.classes)].tolist(),
            "hist": hist.tolist() if hist.ndim == 2 else [],
            "examples": rows,
        }
        write_json(path, values)
        return path


def read_examples(folder: str) -> Dict[str, Any]:
    """Return what `Examples.write` wrote into a folder; {} if there is nothing that can be read."""
    try:
        with open(os.path.join(folder, FILE), encoding="utf-8") as file:
            values = json.load(file)
        return values if values["version"] == VERSION else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def input_mean(net: Any) -> Optional[Sequence[float]]:
    """Return the mean that the data layer of a net subtracts from its first input, or None."""
    for layer in net.layers:
        means = getattr(layer, "means", None)
        if isinstance(means, dict) and means:
            return list(next(iter(means.values())))
    return None


def photograph(data: np.ndarray, mean: Optional[Sequence[float]]) -> np.ndarray:
    """Return what a net reads (C x H x W) as a picture, H x W x 3, uint8, RGB.

    Three channels are B, G, R; of more channels the first three are shown, of fewer the first, in
    grey. mean: is added; without it, the values are stretched to the range of a picture.
    """
    data = np.asarray(data, np.float64)
    if mean is not None and len(mean) == len(data):
        data = data + np.asarray(mean)[:, None, None]
    else:
        low, high = data.min(), data.max()
        data = (data - low) * (255.0 / (high - low) if high > low else 0)
    planes = data[2::-1] if len(data) >= COLOURS else np.repeat(data[:1], 3, axis=0)
    return np.clip(np.round(planes), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def data_address(picture: np.ndarray) -> str:
    """Return a picture as the address of an image inside a page."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _reduced(photo: np.ndarray, step: int) -> np.ndarray:
    """Return every `step`-th pixel's neighbourhood as its mean, at the size of `x[::step]`."""
    if step == 1:
        return photo
    height, width = photo[::step, ::step].shape[:2]
    image = Image.fromarray(photo).resize((width, height), FILTERS.BILINEAR)
    return np.asarray(image)


def _present(label: np.ndarray, labels: Labels) -> List[int]:
    """Return the classes in a label map, the most frequent first."""
    inside = label[(label >= 0) & (label < len(labels.classes)) & (label != labels.ignore_label)]
    counts = np.bincount(inside.ravel(), minlength=1)
    least = max(1, SMALLEST * label.size)
    return [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] >= least]
