"""Golden cases of pycaffe's Classifier and Detector."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Dict, List, Tuple
from unittest import mock

import caffe
import numpy as np

from oracle.cases.case import (
    Case,
    Numbers,
    RandomState,
    Shape,
    add,
    fill_params,
    layer,
    net,
    write,
)

MEAN = np.array([104.0, 117.0, 123.0])


class Image(np.ndarray):
    """An array whose slices may have integral floats, as in the NumPy of BVLC Caffe's time."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(with_integers(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(with_integers(key), value)


def with_integers(key: Any) -> Any:
    """Return an index with every slice's bounds as integers."""
    if isinstance(key, tuple):
        return tuple(with_integers(k) for k in key)
    if isinstance(key, slice):
        return slice(*[k if k is None else int(k) for k in (key.start, key.stop, key.step)])
    return key


def write_weights(case: Case, rs: RandomState) -> None:
    """Write net.prototxt and net.caffemodel."""
    filled = caffe.Net(write(".", "net.prototxt", case.text), caffe.TEST)
    fill_params(filled, rs)
    filled.save("net.caffemodel")


def draw_images(rs: RandomState, count: int) -> List[np.ndarray]:
    """Return images, 13 x 12 x 3, with values from 0 to 1."""
    return [rs.random_sample((13, 12, 3)).astype(np.float32) for _ in range(count)]


def run_classifier(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Record predictions of a Classifier with several settings."""
    write_weights(case, rs)
    images = draw_images(rs, 3)
    scaled = {"mean": MEAN, "raw_scale": 255, "channel_swap": (2, 1, 0), "input_scale": 0.25}
    for name, options in (
        ("plain", {}),
        ("dims", {"image_dims": (10, 11)}),
        ("scaled", dict(scaled, image_dims=(9, 12))),
        ("image", {"mean": rs.random_sample((3, 8, 6)), "image_dims": (8, 7)}),
    ):
        classifier = caffe.Classifier("net.prototxt", "net.caffemodel", **options)
        numbers[name + "/crops"] = np.array(classifier.predict(images))
        numbers[name + "/centre"] = np.array(classifier.predict(images, oversample=False))


def run_detector(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Record predictions, windows and files of a Detector with several settings."""
    write_weights(case, rs)
    images: Dict[str, np.ndarray] = dict(zip(("a.jpg", "b.jpg"), draw_images(rs, 2)))
    loading = mock.patch.object(caffe.io, "load_image", lambda path: images[path].view(Image))
    corners = [(1, 2, 9, 10), (0, 0, 13, 12), (2, 3, 6, 5), (9, 8, 13, 12)]
    windows = [np.array(corner) for corner in corners]
    scaled = {"raw_scale": 255, "channel_swap": (2, 1, 0), "input_scale": 0.25}
    with loading:
        for name, options in (
            ("plain", {}),
            ("scaled", dict(scaled, mean=MEAN)),
            ("context", {"context_pad": 2}),
            ("both", dict(scaled, context_pad=1, mean=255 * rs.random_sample((3, 9, 9)))),
        ):
            detector = caffe.Detector("net.prototxt", "net.caffemodel", **options)
            if "context_pad" in options:
                detector.crop_mean = np.asarray(detector.crop_mean).view(Image)
            detections = detector.detect_windows([("a.jpg", windows), ("b.jpg", windows[:2])])
            numbers[name] = np.array([d["prediction"] for d in detections])
            numbers[name + "/windows"] = np.array([d["window"] for d in detections], np.float32)
            numbers[name + "/files"] = np.array(" ".join(d["filename"] for d in detections))


def scorer(shape: Shape, kernel: Tuple[int, int]) -> str:
    """Return a net of one convolution whose kernel is the whole image."""
    fields = "convolution_param { num_output: 5 kernel_h: %d kernel_w: %d }" % kernel
    return net({"data": shape}, layer("Convolution", "data", "score", fields), False)


add("pycaffe.classifier", scorer((4, 3, 8, 6), (8, 6)), program=run_classifier)
add("pycaffe.detector", scorer((4, 3, 9, 9), (9, 9)), program=run_detector)
