"""Golden cases of Eltwise, Concat and Split."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import caffe

from oracle.cases.case import CUBE, add, add_layer, layer, net

# Eltwise
_TWO = {"a": (2, 3, 4), "b": (2, 3, 4)}
_THREE = {"a": (2, 3, 4), "b": (2, 3, 4), "c": (2, 3, 4)}
_FEW = {"a": "few 1", "b": "few 1", "c": "few 1"}
_NONZERO = {"a": "nonzero", "b": "nonzero", "c": "nonzero"}
for _count, _shapes in (("two", _TWO), ("three", _THREE)):
    _coeffs = "coeff: 0.5 coeff: -2 coeff: 3" if _count == "three" else "coeff: 0.5 coeff: -2"
    add_layer("eltwise.default_" + _count, "Eltwise", _shapes)
    add_layer(
        "eltwise.sum_" + _count, "Eltwise", _shapes, "eltwise_param { operation: SUM %s }" % _coeffs
    )
    add_layer("eltwise.max_" + _count, "Eltwise", _shapes, "eltwise_param { operation: MAX }")
    add_layer(
        "eltwise.max_ties_" + _count,
        "Eltwise",
        _shapes,
        "eltwise_param { operation: MAX }",
        inputs=_FEW,
    )
    add_layer("eltwise.prod_" + _count, "Eltwise", _shapes, "eltwise_param { operation: PROD }")
    add_layer(
        "eltwise.prod_zeros_" + _count,
        "Eltwise",
        _shapes,
        "eltwise_param { operation: PROD }",
        inputs=_FEW,
    )
    add_layer(
        "eltwise.prod_quotient_" + _count,
        "Eltwise",
        _shapes,
        "eltwise_param { operation: PROD stable_prod_grad: false }",
        inputs=_NONZERO,
    )
add("eltwise.same_blob_twice", net({"x": (2, 3)}, layer("Eltwise", "x x")))

# Concat
for _name, _parts, _fields in (
    ("default", {"a": (2, 3, 4), "b": (2, 1, 4), "c": (2, 5, 4)}, ""),
    ("axis_zero", {"a": (2, 3), "b": (4, 3)}, "axis: 0"),
    ("axis_two", {"a": (2, 3, 4), "b": (2, 3, 1)}, "axis: 2"),
    ("negative_axis", {"a": (2, 3, 4), "b": (2, 3, 1)}, "axis: -1"),
    ("concat_dim", {"a": (2, 3), "b": (4, 3)}, "concat_dim: 0"),
    ("one_bottom", {"a": (2, 3, 4)}, ""),
):
    add_layer("concat." + _name, "Concat", _parts, "concat_param { %s }" % _fields)
add_layer(
    "concat.propagate_down",
    "Concat",
    {"a": (2, 3), "b": (2, 2)},
    "propagate_down: false propagate_down: true",
)

# Split: inserted by the net where a blob has several readers, or in the prototxt
add(
    "split.three_uses",
    net(
        {"x": (2, 3, 4)},
        layer("ReLU", "x", "a")
        + layer("Python", "x", "b", CUBE)
        + layer("Scale", "x", "c")
        + layer("Eltwise", "a b c", "y"),
    ),
)
add(
    "split.after_in_place",
    net(
        {"x": (2, 3, 4)},
        layer("Python", "x", "y", CUBE, name="cube")
        + layer("ReLU", "y", "y", name="relu")
        + layer("Scale", "y", "a")
        + layer("Scale", "y", "b"),
    ),
)
add_layer("split.explicit", "Split", (2, 3), tops="y z")
add(
    "split.used_and_loss",
    net(
        {"x": (4, 5), "label": (4,)},
        layer("InnerProduct", "x", "s", "inner_product_param { num_output: 3 }")
        + layer("SoftmaxWithLoss", "s label", "loss", "loss_weight: 0.5")
        + layer("ReLU", "loss", "positive", "relu_param { negative_slope: 0.5 }"),
    ),
    inputs={"label": "label 3"},
    phase=caffe.TRAIN,
)
