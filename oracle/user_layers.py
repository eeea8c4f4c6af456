"""Python layers whose attribute or method has a name of the engine's layers, in either Caffe.

    oracle/caffe-python oracle/user_layers.py NAME ...

The script prints a JSON object. For "Scaled", and for each "attribute:NAME" and "method:NAME", it
has the numbers of a net with such a layer, or the type of the exception that the net raises.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, Dict, List

import caffe
import numpy as np

NET = """
force_backward: true
layer { name: "data" type: "Input" top: "x" top: "target" top: "u"
  input_param { shape { dim: 1 dim: 2 } } }
layer { name: "user" type: "Python" bottom: "x" top: "y"
  python_param { module: "oracle.user_layers" layer: "LAYER" param_str: "3" } }
layer { name: "unread" type: "Python" bottom: "u" top: "v"
  python_param { module: "oracle.user_layers" layer: "LAYER" param_str: "3" } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "target" top: "loss" }
"""
#: The value of a user's attribute. As a condition, an array of two values raises ValueError.
ATTRIBUTE = np.array([5.0, 6.0])
#: The result of a user's method.
RESULT = 17


class Scaled(caffe.Layer):
    """y = a x; the scalar a is a parameter of the layer, whose value param_str sets."""

    def setup(self, bottom: Any, top: Any) -> None:
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = float(self.param_str)

    def reshape(self, bottom: Any, top: Any) -> None:
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom: Any, top: Any) -> None:
        top[0].data[...] = self.blobs[0].data[0] * bottom[0].data

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        self.blobs[0].diff[...] += np.sum(top[0].diff * bottom[0].data)
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data[0] * top[0].diff


def __getattr__(layer: str) -> Any:
    """Return the layer class with this name: "attribute:NAME" or "method:NAME"."""
    use, _, name = layer.partition(":")

    def setup(self: Any, bottom: Any, top: Any) -> None:
        Scaled.setup(self, bottom, top)
        setattr(self, name, ATTRIBUTE)

    def method(self: Any, *arguments: Any) -> int:
        return RESULT

    if use == "attribute":
        return type("Attribute", (Scaled,), {"setup": setup})
    if use == "method":
        return type("Method", (Scaled,), {name: method})
    raise AttributeError(layer)


def run_layer(layer: str) -> Any:
    """Return the numbers of the net with this layer class, or the name of an exception type."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.prototxt")
        with open(path, "w") as file:
            file.write(NET.replace("LAYER", layer))
        try:
            return _run_pass(caffe.Net(path, caffe.TRAIN))
        except Exception as error:
            return type(error).__name__


def _run_pass(net: Any) -> Dict[str, Any]:
    """Return values and gradients after forward and backward, and the loss weights."""
    net.blobs["x"].data[...] = [[1, 2]]
    net.blobs["u"].data[...] = [[1, 2]]
    net.blobs["target"].data[...] = [[2, 2]]
    net.forward()
    net.backward()
    return {
        "blobs": {name: blob.data.tolist() for name, blob in net.blobs.items()},
        "gradients": {name: blob.diff.tolist() for name, blob in net.blobs.items()},
        "parameters": [net.params[name][0].diff.tolist() for name in ("user", "unread")],
        "loss weights": dict(net.blob_loss_weights),
    }


def results(names: List[str]) -> Dict[str, Any]:
    """Return the numbers of the layer Scaled, and of each name as an attribute and as a method."""
    layers = ["Scaled", *(f"{use}:{name}" for name in names for use in ("attribute", "method"))]
    return {layer: run_layer(layer) for layer in layers}


if __name__ == "__main__":
    json.dump(results(sys.argv[1:]), sys.stdout)
