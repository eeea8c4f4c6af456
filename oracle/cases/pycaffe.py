"""Golden cases of pycaffe's Classifier and Detector."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from unittest import mock

import caffe
import numpy as np

from oracle.cases.case import add, fill_params, layer, net, write

MEAN = np.array([104.0, 117.0, 123.0])


class Image(np.ndarray):
    """An array that takes whole floats in slices, as the NumPy of BVLC Caffe's Detector did."""

    def __getitem__(self, key):
        return super().__getitem__(whole(key))

    def __setitem__(self, key, value):
        super().__setitem__(whole(key), value)


def whole(key):
    if isinstance(key, tuple):
        return tuple(whole(k) for k in key)
    if isinstance(key, slice):
        return slice(*[k if k is None else int(k) for k in (key.start, key.stop, key.step)])
    return key


def save(case, rs):
    start = caffe.Net(write(".", "net.prototxt", case.text), caffe.TEST)
    fill_params(start, rs)
    start.save("net.caffemodel")


def images(rs, count):
    return [rs.random_sample((13, 12, 3)).astype(np.float32) for _ in range(count)]


def run_classifier(case, rs, numbers):
    save(case, rs)
    given = images(rs, 3)
    scaled = {"mean": MEAN, "raw_scale": 255, "channel_swap": (2, 1, 0), "input_scale": 0.25}
    for name, options in (
        ("plain", {}),
        ("dims", {"image_dims": (10, 11)}),
        ("scaled", dict(scaled, image_dims=(9, 12))),
        ("image", {"mean": rs.random_sample((3, 8, 6)), "image_dims": (8, 7)}),
    ):
        classifier = caffe.Classifier("net.prototxt", "net.caffemodel", **options)
        numbers[name + "/crops"] = np.array(classifier.predict(given))
        numbers[name + "/centre"] = np.array(classifier.predict(given, oversample=False))


def run_detector(case, rs, numbers):
    save(case, rs)
    given = dict(zip(("a.jpg", "b.jpg"), images(rs, 2)))
    loading = mock.patch.object(caffe.io, "load_image", lambda path: given[path].view(Image))
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
            found = detector.detect_windows([("a.jpg", windows), ("b.jpg", windows[:2])])
            numbers[name] = np.array([one["prediction"] for one in found])
            numbers[name + "/windows"] = np.array([one["window"] for one in found], np.float32)
            numbers[name + "/files"] = np.array(" ".join(one["filename"] for one in found))


def scorer(shape, kernel):
    text = "convolution_param { num_output: 5 kernel_h: %d kernel_w: %d }" % kernel
    return net({"data": shape}, layer("Convolution", "data", "score", text), False)


add("pycaffe.classifier", scorer((4, 3, 8, 6), (8, 6)), program=run_classifier)
add("pycaffe.detector", scorer((4, 3, 9, 9), (9, 9)), program=run_detector)
