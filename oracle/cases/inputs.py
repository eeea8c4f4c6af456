"""Golden cases of the Input and Python layers."""

from __future__ import annotations

import caffe

from oracle.cases.case import CUBE, PYTHON, add, add_layer, layer, net

AFFINE = (
    "python_param { module: 'oracle.python_layers' layer: 'Affine' "
    "param_str: \"{'a': 2, 'b': -1}\" }"
)
EUCLIDEAN = PYTHON % "EuclideanLoss"

# Input
add("input.one", net({"x": (2, 3, 4, 5)}, ""))
add("input.vector", net({"x": (7,)}, ""))
add(
    "input.shared_shape",
    "layer { name: 'in' type: 'Input' top: 'a' top: 'b' input_param { shape { dim: 2 dim: 3 } } }",
)
add(
    "input.own_shapes",
    "layer { name: 'in' type: 'Input' top: 'a' top: 'b'"
    " input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } } }",
)
add(
    "input.net_shape_field",
    "force_backward: true input: 'a' input_shape { dim: 2 dim: 3 } "
    "input: 'b' input_shape { dim: 2 dim: 3 } " + layer("Eltwise", "a b"),
)
add(
    "input.net_dim_field",
    "force_backward: true input: 'a' input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5 "
    + layer("ReLU", "a"),
)

# Python
add_layer("python.cube", "Python", (2, 3, 4), CUBE)
add_layer("python.two_bottoms", "Python", {"a": (2, 3), "b": (4,)}, CUBE, "y z")
add_layer(
    "python.propagate_down",
    "Python",
    {"a": (2, 3), "b": (4,)},
    CUBE + " propagate_down: false propagate_down: true",
    "y z",
)
add_layer("python.own_params", "Python", (2, 3, 4), AFFINE, fill=False)
add_layer("python.reshape", "Python", (2, 3, 4), CUBE, rounds=({}, {"x": (5, 2)}, {"x": (1,)}))
add_layer(
    "python.loss", "Python", {"a": (3, 4), "b": (3, 4)}, EUCLIDEAN + " loss_weight: 2", "loss"
)

for _name, _phase in (("train", caffe.TRAIN), ("test", caffe.TEST)):
    _fields = PYTHON[: -len(" }")] % "PhaseAndLength" + " param_str: 'abc' }"
    add("python.told_" + _name, net({}, layer("Python", "", "phase length", _fields)), phase=_phase)
