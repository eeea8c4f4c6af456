"""Deploy nets of a few layers, written with weights that tests choose."""

import os

import caffe
import numpy as np


def data(channels=3):
    """The text of an Input layer."""
    return (
        'layer { name: "data" type: "Input" top: "data" input_param { shape '
        f"{{ dim: 1 dim: {channels} dim: 8 dim: 8 }} }} }}\n"
    )


def convolution(top, outputs, bottom="data", size=1, name=None, extra=""):
    """The text of a Convolution with a square kernel that keeps height and width."""
    return (
        f'layer {{ name: "{name or top}" type: "Convolution" bottom: "{bottom}" top: "{top}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: {size} pad: {size // 2} "
        f"{extra} }} }}\n"
    )


def layer(kind, bottom, top, parameters=""):
    """The text of a layer without weights."""
    return (
        f'layer {{ name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {parameters} }}\n'
    )


def write(folder, layers, weights=None, channels=3, name="deploy", seed=None):
    """Write NAME.prototxt and NAME.caffemodel into a folder, and return their paths.

    weights: name of a layer -> its arrays. seed: draws all other weights; they are zero without.
    """
    os.makedirs(str(folder), exist_ok=True)
    prototxt, model = (
        os.path.join(str(folder), f"{name}.{suffix}") for suffix in ("prototxt", "caffemodel")
    )
    with open(prototxt, "w") as file:
        file.write(data(channels) + layers)
    net = caffe.Net(prototxt, caffe.TEST)
    rng = np.random.RandomState(seed)
    for key, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            blob.data[...] = 0 if seed is None else rng.randn(*blob.data.shape)
            if key in (weights or {}) and i < len(weights[key]):
                blob.data[...] = weights[key][i]
    net.save(model)
    return prototxt, model


def colour_scores(classes=3):
    """Weights of a 1 x 1 convolution: class 1 is red, class 2 is blue, every other one is 0."""
    kernel = np.zeros((classes, 3, 1, 1), np.float32)
    kernel[min(1, classes - 1), 2] = 1
    if classes > 2:
        kernel[2, 0] = 1
    return [kernel]


def colour_picture(height=60, width=90):
    """A dark picture with a red block and a blue block, H x W x 3, RGB, and its labels."""
    labels = np.zeros((height, width), np.uint8)
    labels[5 : height - 10, 5 : width // 2 - 5] = 1
    labels[5 : height - 10, width // 2 + 5 : width - 10] = 2
    colours = np.array([(40, 40, 40), (230, 40, 40), (40, 40, 230)], np.uint8)
    return colours[labels], labels
