"""Golden cases of Scale and InnerProduct."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from oracle.cases.case import CUBE, add, add_layer, layer, net

# Scale
SCALES = {
    "default": ((2, 3, 4, 5), ""),
    "bias": ((2, 3, 4, 5), "bias_term: true"),
    "axis_zero": ((2, 3, 4), "axis: 0"),
    "negative_axis": ((2, 3, 4), "axis: -1 bias_term: true"),
    "two_axes": ((2, 3, 4, 5), "axis: 1 num_axes: 2 bias_term: true"),
    "all_axes": ((2, 3, 4), "axis: 0 num_axes: -1"),
    "rest_axes": ((2, 3, 4), "axis: 1 num_axes: -1 bias_term: true"),
    "scalar": ((2, 3, 4), "axis: 0 num_axes: 0"),
    "scalar_bias": ((2, 3, 4), "num_axes: 0 bias_term: true"),
}
for _name, (_shape, _fields) in SCALES.items():
    add_layer("scale." + _name, "Scale", _shape, "scale_param { %s }" % _fields)
add_layer(
    "scale.constant_filler",
    "Scale",
    (2, 3, 4, 5),
    "param { lr_mult: 0 } scale_param { filler { type: 'constant' value: 0.01 } }",
    fill=False,
)
add_layer(
    "scale.default_fillers",
    "Scale",
    (2, 3, 4, 5),
    "scale_param { bias_term: true bias_filler { type: 'constant' value: -2 } }",
    fill=False,
)
add_layer("scale.two_bottoms", "Scale", {"x": (2, 3, 4, 5), "s": (3, 4)})
add_layer(
    "scale.two_bottoms_axis_zero", "Scale", {"x": (2, 3, 4), "s": (2,)}, "scale_param { axis: 0 }"
)
add_layer(
    "scale.two_bottoms_whole", "Scale", {"x": (2, 3, 4), "s": (2, 3, 4)}, "scale_param { axis: 0 }"
)
add_layer(
    "scale.two_bottoms_bias",
    "Scale",
    {"x": (2, 3, 4, 5), "s": (4,)},
    "scale_param { axis: 2 bias_term: true }",
)
for _name, _fields in (("in_place", ""), ("in_place_bias", "bias_term: true")):
    add(
        "scale." + _name,
        net(
            {"x": (2, 3, 4)},
            layer("Python", "x", "y", CUBE)
            + layer("Scale", "y", "y", "scale_param { %s }" % _fields, name="scale"),
        ),
    )

# InnerProduct
INNER_PRODUCTS = {
    "basic": ((3, 2, 4, 5), "num_output: 6"),
    "no_bias": ((3, 7), "num_output: 6 bias_term: false"),
    "axis_two": ((2, 3, 4, 5), "num_output: 6 axis: 2"),
    "axis_zero": ((3, 4), "num_output: 5 axis: 0"),
    "negative_axis": ((2, 3, 4), "num_output: 5 axis: -1"),
    "transpose": ((3, 2, 4), "num_output: 6 transpose: true"),
    "transpose_axis_no_bias": ((2, 3, 4), "num_output: 5 transpose: true axis: 2 bias_term: false"),
    "one_row": ((1, 40), "num_output: 30"),
}
for _name, (_shape, _fields) in INNER_PRODUCTS.items():
    add_layer(
        "inner_product." + _name,
        "InnerProduct",
        _shape,
        "inner_product_param { %s }" % _fields,
    )
add_layer(
    "inner_product.sizes",
    "InnerProduct",
    (3, 2, 4),
    "inner_product_param { num_output: 6 }",
    rounds=({}, {"x": (5, 4, 2)}),
)
