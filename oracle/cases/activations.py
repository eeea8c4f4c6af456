"""Golden cases of the activation layers, out of place and in place."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from oracle.cases.case import add, layer, net
from oracle.cases.layers import CUBE, one

_SHAPE = (2, 3, 4, 5)


def pointwise(name, type_, fields="", shape=_SHAPE, in_place=True, **kwargs):
    """A case of the layer out of place, and one in place behind another layer.

    Power and Log in place are left out: BVLC Caffe loses the top's gradient there.
    """
    one("activation." + name, type_, shape, fields, **kwargs)
    if in_place and type_ not in ("Power", "Log"):
        text = layer("Python", "x", "y", CUBE, name="cube")
        text += layer(type_, "y", "y", fields, name="in_place")
        add("activation.%s_in_place" % name, net({"x": shape}, text), **kwargs)


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
# Values at which a branch turns: zeros and the ends of a range.
for _name in ("prelu", "elu_alpha", "swish", "bnll", "power_square", "power_cube_line"):
    pointwise(_name + "_zeros", *POINTWISE[_name], inputs={"x": "few 1"})
pointwise("clip_ends", "Clip", "clip_param { min: -1 max: 1 }", inputs={"x": "few 2"})
pointwise("clip_point", "Clip", "clip_param { min: 1 max: 1 }", inputs={"x": "few 2"})
# Inputs so large that exp overflows if it is taken of them.
for _name, _type in (("sigmoid", "Sigmoid"), ("tanh", "TanH"), ("bnll", "BNLL"), ("elu", "ELU")):
    pointwise(_name + "_large", _type, "", (5, 20), inputs={"x": "few 120"})
pointwise("swish_large", "Swish", "", (5, 20), in_place=False, inputs={"x": "few 120"})

# In place, BVLC Caffe takes the sign of ELU's outcome for that of its input.
one("activation.elu_negative_alpha", "ELU", _SHAPE, "elu_param { alpha: -0.6 }")
one("activation.absval", "AbsVal", _SHAPE)
one("activation.absval_zeros", "AbsVal", _SHAPE, inputs={"x": "few 1"})
one("activation.absval_one_value", "AbsVal", (1,))
one("activation.prelu_vectors", "PReLU", (4, 3))
one("activation.prelu_frozen", "PReLU", _SHAPE, "param { lr_mult: 0 }")
one("activation.prelu_filler", "PReLU", _SHAPE, "", fill=False)
one(
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
