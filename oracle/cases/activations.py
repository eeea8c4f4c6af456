"""Golden cases of the activation layers, out of place and in place."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any

from oracle.cases.case import CUBE, Shape, add, add_layer, layer, net

_SHAPE = (2, 3, 4, 5)


def pointwise(
    name: str,
    type_: str,
    fields: str = "",
    shape: Shape = _SHAPE,
    in_place: bool = True,
    **options: Any,
) -> None:
    """Add a case of a layer out of place, and one in place over a Cube layer.

    Power and Log in place are no cases, because BVLC Caffe loses the top's gradient there.
    """
    add_layer("activation." + name, type_, shape, fields, **options)
    if in_place and type_ not in ("Power", "Log"):
        text = layer("Python", "x", "y", CUBE, name="cube")
        text += layer(type_, "y", "y", fields, name="in_place")
        add("activation.%s_in_place" % name, net({"x": shape}, text), **options)


POINTWISE = {
    "prelu": ("PReLU", ""),
    "prelu_shared": ("PReLU", "prelu_param { channel_shared: true }"),
    "elu": ("ELU", ""),
    "elu_alpha": ("ELU", "elu_param { alpha: 0.4 }"),
    "elu_zero_alpha": ("ELU", "elu_param { alpha: 0 }"),
    "sigmoid": ("Sigmoid", ""),
    "tanh": ("TanH", ""),
    "swish": ("Swish", ""),
    "swish_beta": ("Swish", "swish_param { beta: 1.7 }"),
    "swish_negative_beta": ("Swish", "swish_param { beta: -0.5 }"),
    "swish_zero_beta": ("Swish", "swish_param { beta: 0 }"),
    "bnll": ("BNLL", ""),
    "exp": ("Exp", ""),
    "exp_base": ("Exp", "exp_param { base: 2 scale: 0.5 shift: -1 }"),
    "exp_small_base": ("Exp", "exp_param { base: 0.5 shift: 2 }"),
    "exp_base_one": ("Exp", "exp_param { base: 1 scale: 3 }"),
    "exp_scale": ("Exp", "exp_param { scale: -0.3 shift: 0.7 }"),
    "clip": ("Clip", "clip_param { min: -0.5 max: 0.8 }"),
    "clip_positive": ("Clip", "clip_param { min: 0.1 max: 0.2 }"),
    "power": ("Power", ""),
    "power_line": ("Power", "power_param { scale: -2 shift: 0.5 }"),
    "power_zero": ("Power", "power_param { power: 0 scale: 3 shift: 1 }"),
    "power_zero_scale": ("Power", "power_param { power: 3 scale: 0 shift: 2 }"),
    "power_square": ("Power", "power_param { power: 2 }"),
    "power_square_line": ("Power", "power_param { power: 2 scale: 0.5 shift: -1 }"),
    "power_cube": ("Power", "power_param { power: 3 }"),
    "power_cube_line": ("Power", "power_param { power: 3 scale: 2 shift: 0.3 }"),
    "power_inverse": ("Power", "power_param { power: -1 scale: 2 }"),
}
for _name, (_type, _fields) in POINTWISE.items():
    pointwise(_name, _type, _fields)
    if "_" not in _name:
        _least = (1, 1) if _name == "prelu" else (1,)
        pointwise(
            _name + "_sizes",
            _type,
            _fields,
            in_place=False,
            rounds=({}, {"x": (1, 3, 7)}, {"x": (1, 3, 1, 1)}),
        )
        pointwise(_name + "_one_value", _type, _fields, _least)
for _name, (_type, _fields) in {
    "log": ("Log", ""),
    "log_base": ("Log", "log_param { base: 2 scale: 3 shift: 5 }"),
    "log_small_base": ("Log", "log_param { base: 0.5 }"),
    "log_scale": ("Log", "log_param { scale: 0.5 shift: 8 }"),
    "power_root": ("Power", "power_param { power: 0.5 }"),
    "power_root_line": ("Power", "power_param { power: 0.5 scale: 2 shift: 1.5 }"),
    "power_inverse_line": ("Power", "power_param { power: -1.5 scale: 2 shift: 0.5 }"),
}.items():
    pointwise(_name, _type, _fields, inputs={"x": "positive"})
# Values at which a function changes its branch: zeros and the limits of a range.
for _name in ("prelu", "elu_alpha", "swish", "bnll", "power_square", "power_cube_line"):
    pointwise(_name + "_zeros", *POINTWISE[_name], inputs={"x": "few 1"})
pointwise("clip_ends", "Clip", "clip_param { min: -1 max: 1 }", inputs={"x": "few 2"})
pointwise("clip_point", "Clip", "clip_param { min: 1 max: 1 }", inputs={"x": "few 2"})
# Inputs whose exponential overflows.
for _name, _type in (("sigmoid", "Sigmoid"), ("tanh", "TanH"), ("bnll", "BNLL"), ("elu", "ELU")):
    pointwise(_name + "_large", _type, "", (5, 20), inputs={"x": "few 120"})
pointwise("swish_large", "Swish", "", (5, 20), in_place=False, inputs={"x": "few 120"})

# Not in place, where BVLC Caffe reads the sign of ELU's result instead of its input's.
add_layer("activation.elu_negative_alpha", "ELU", _SHAPE, "elu_param { alpha: -0.6 }")
add_layer("activation.absval", "AbsVal", _SHAPE)
add_layer("activation.absval_zeros", "AbsVal", _SHAPE, inputs={"x": "few 1"})
add_layer("activation.absval_one_value", "AbsVal", (1,))
add_layer("activation.prelu_vectors", "PReLU", (4, 3))
add_layer("activation.prelu_frozen", "PReLU", _SHAPE, "param { lr_mult: 0 }")
add_layer("activation.prelu_filler", "PReLU", _SHAPE, "", fill=False)
add_layer(
    "activation.prelu_filler_value",
    "PReLU",
    _SHAPE,
    "prelu_param { filler { type: 'constant' value: -0.3 } }",
    fill=False,
)
for _name, _fields, _kind in (
    ("threshold", "", "normal"),
    ("threshold_value", "threshold_param { threshold: 0.7 }", "normal"),
    ("threshold_ties", "threshold_param { threshold: 1 }", "few 2"),
):
    pointwise(_name, "Threshold", _fields, inputs={"x": _kind}, backward=False)

# ReLU
add_layer("relu.basic", "ReLU", (2, 3, 4, 5))
add_layer("relu.at_zero", "ReLU", (2, 3, 4, 5), inputs={"x": "few 1"})
add_layer("relu.negative_slope", "ReLU", (2, 3, 4), "relu_param { negative_slope: 0.1 }")
add_layer(
    "relu.negative_slope_at_zero",
    "ReLU",
    (2, 3, 4),
    "relu_param { negative_slope: 0.25 }",
    inputs={"x": "few 1"},
)
add(
    "relu.in_place",
    net({"x": (2, 3, 4)}, layer("Python", "x", "y", CUBE) + layer("ReLU", "y", "y", name="relu")),
)
add(
    "relu.in_place_negative_slope",
    net(
        {"x": (2, 3, 4)},
        layer("Python", "x", "y", CUBE)
        + layer("ReLU", "y", "y", "relu_param { negative_slope: 0.1 }", name="relu")
        + layer("ReLU", "y", "y", "relu_param { negative_slope: 0.5 }", name="again"),
    ),
)

# Dropout (in TEST phase it copies)
add_layer("dropout.test", "Dropout", (2, 3, 4), "dropout_param { dropout_ratio: 0.7 }")
add(
    "dropout.test_in_place",
    net({"x": (2, 3, 4)}, layer("Python", "x", "y", CUBE) + layer("Dropout", "y", "y", name="d")),
)
