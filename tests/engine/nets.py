"""Small nets for the engine's tests."""

from __future__ import annotations

import os

import caffe
import numpy as np

SCORER = """
name: "scorer"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1
    weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 0.2 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "score" type: "Convolution" bottom: "pool" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
"""

TRAINED = """
name: "trained"
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 5 } shape { dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def write(folder, text, name="net.prototxt"):
    """The path of a file with this text."""
    path = os.path.join(str(folder), name)
    with open(path, "w") as file:
        file.write(text)
    return path


def build(folder, text, phase=caffe.TEST, **options):
    """The net of this prototxt text."""
    return caffe.Net(write(folder, text), phase, **options)


def solver(folder, text="", net=TRAINED, cls=caffe.SGDSolver):
    """The solver of this solver text over `net`, snapshots in `folder`."""
    path = write(folder, net, "train.prototxt")
    head = f'net: "{path}" snapshot_prefix: "{folder}/snap" random_seed: 1\n'
    base = "" if "base_lr" in text else 'base_lr: 0.1 lr_policy: "fixed" momentum: 0.9\n'
    return cls(write(folder, head + base + text, "solver.prototxt"))


def same_weights(a, b):
    """Whether the parameters of two nets are equal, bit for bit."""
    return all(
        np.array_equal(x.data, y.data) for n in a.params for x, y in zip(a.params[n], b.params[n])
    )
