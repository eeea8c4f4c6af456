"""Golden cases of Pooling, Crop, Im2col and spatial pyramid pooling."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any

from oracle.cases.case import add_layer

# Loops assign shapes of different lengths.
_shape: Any

# Pooling
POOLINGS = {
    "basic": ((2, 3, 8, 6), "kernel_size: 2 stride: 2"),
    "ceil": ((2, 3, 7, 8), "kernel_size: 3 stride: 2"),
    "ceil_floor": ((2, 3, 8, 8), "kernel_size: 3 stride: 2 round_mode: FLOOR"),
    "stride_one": ((1, 2, 5, 6), "kernel_size: 3"),
    "pad": ((1, 2, 6, 7), "kernel_size: 3 stride: 2 pad: 1"),
    "pad_clipped": ((1, 2, 5, 5), "kernel_size: 2 stride: 2 pad: 1"),
    "pad_clipped_even": ((1, 2, 6, 4), "kernel_size: 3 stride: 3 pad: 2"),
    "clipped_on_both_axes": (
        (1, 2, 4, 3),
        "kernel_h: 1 kernel_w: 2 stride: 2 pad_h: 0 pad_w: 1",
    ),
    "stride_over_kernel": ((1, 2, 8, 10), "kernel_size: 2 stride: 3"),
    "one_by_one_stride": ((1, 2, 7, 10), "kernel_size: 1 stride: 3"),
    "non_square": (
        (2, 2, 9, 8),
        "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0",
    ),
    "global": ((2, 3, 5, 4), "global_pooling: true"),
    "whole_window": ((2, 3, 5, 5), "kernel_size: 5"),
}
for _method in ("MAX", "AVE"):
    for _name, (_shape, _fields) in POOLINGS.items():
        add_layer(
            "pooling.%s_%s" % (_method.lower(), _name),
            "Pooling",
            _shape,
            "pooling_param { pool: %s %s }" % (_method, _fields),
        )
# Windows past the end are empty. BVLC Caffe's backward writes out of bounds there.
for _method in ("MAX", "AVE"):
    add_layer(
        "pooling.%s_empty_windows" % _method.lower(),
        "Pooling",
        (1, 2, 9, 5),
        "pooling_param { pool: %s kernel_size: 2 stride: 3 }" % _method,
        backward=False,
    )
add_layer(
    "pooling.max_ties",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
    inputs={"x": "few 1"},
)
add_layer(
    "pooling.max_mask",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }",
    "y mask",
    inputs={"x": "few 2"},
)
add_layer(
    "pooling.sizes",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
    rounds=({}, {"x": (1, 3, 5, 11)}),
)
add_layer(
    "pooling.global_sizes",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: AVE global_pooling: true }",
    rounds=({}, {"x": (1, 3, 5, 11)}),
)

# Crop
CROPS = {
    "default": ((2, 3, 7, 8), (2, 3, 4, 5), ""),
    "offset": ((2, 3, 7, 8), (2, 3, 4, 5), "axis: 2 offset: 2"),
    "offset_per_axis": ((2, 3, 7, 8), (2, 3, 4, 5), "axis: 2 offset: 3 offset: 1"),
    "axis_one": ((2, 5, 7, 8), (2, 3, 4, 5), "axis: 1 offset: 1 offset: 2 offset: 3"),
    "axis_zero": ((4, 5, 6), (2, 3, 4), "axis: 0 offset: 2 offset: 1 offset: 0"),
    "axis_zero_one_offset": ((4, 5, 6), (2, 3, 4), "axis: 0 offset: 1"),
    "axis_three": ((2, 3, 7, 8), (5, 1, 2, 5), "axis: 3 offset: 3"),
    "negative_axis": ((2, 3, 7, 8), (2, 3, 4, 5), "axis: -1 offset: 2"),
    "other_batch": ((2, 3, 7, 8), (1, 1, 4, 5), "axis: 2 offset: 1"),
    "same_size": ((2, 3, 4), (2, 3, 4), "axis: 1"),
}
for _name, (_shape, _like, _fields) in CROPS.items():
    add_layer(
        "crop." + _name,
        "Crop",
        {"x": _shape, "like": _like},
        "crop_param { %s }" % _fields,
    )
add_layer(
    "crop.sizes",
    "Crop",
    {"x": (1, 2, 9, 9), "like": (1, 1, 5, 4)},
    "crop_param { axis: 2 offset: 2 }",
    rounds=({}, {"x": (1, 2, 12, 7), "like": (1, 1, 8, 3)}),
)

# Im2col
for _name, _shape, _fields in (
    ("", (2, 3, 5, 6), "kernel_size: 3"),
    ("_stride_pad", (1, 2, 7, 6), "kernel_size: 3 stride: 2 pad: 1"),
    (
        "_non_square",
        (1, 2, 5, 6),
        "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_w: 2 pad_h: 0",
    ),
    ("_dilation", (1, 2, 7, 8), "kernel_size: 2 dilation: 2 dilation: 3 pad: 1"),
    ("_force_nd", (1, 2, 5, 6), "kernel_size: 3 pad: 1 force_nd_im2col: true"),
    ("_one_axis", (2, 3, 7), "kernel_size: 3 stride: 2 pad: 1"),
    (
        "_three_axes",
        (1, 2, 4, 3, 5),
        "kernel_size: 2 kernel_size: 1 kernel_size: 3 stride: 1 pad: 1 pad: 0 pad: 1",
    ),
    ("_axis_two", (2, 2, 2, 5), "kernel_size: 2 axis: 2"),
    ("_negative_axis", (2, 2, 4, 3), "kernel_size: 2 axis: -3"),
    ("_one_value", (1, 1, 1, 1), "kernel_size: 1"),
):
    add_layer("vision.im2col" + _name, "Im2col", _shape, "convolution_param { %s }" % _fields)
add_layer(
    "vision.im2col_sizes",
    "Im2col",
    (1, 2, 4, 5),
    "convolution_param { kernel_size: 2 }",
    rounds=({}, {"x": (2, 2, 3, 3)}),
)

for _pool in ("MAX", "AVE"):
    for _name, _shape, _height in (
        ("", (2, 3, 8, 8), 3),
        ("_one_level", (2, 3, 5, 4), 1),
        ("_two_levels", (1, 2, 5, 7), 2),
        ("_odd", (1, 2, 7, 10), 3),
        ("_uneven", (1, 2, 3, 8), 2),
        ("_one_value", (1, 2, 1, 1), 1),
        ("_four_levels", (1, 1, 15, 16), 4),
    ):
        add_layer(
            "vision.spp_%s%s" % (_pool.lower(), _name),
            "SPP",
            _shape,
            "spp_param { pyramid_height: %d pool: %s }" % (_height, _pool),
        )
    add_layer(
        "vision.spp_%s_sizes" % _pool.lower(),
        "SPP",
        (2, 3, 8, 8),
        "spp_param { pyramid_height: 2 pool: %s }" % _pool,
        rounds=({}, {"x": (1, 3, 5, 6)}, {"x": (2, 3, 2, 2)}),
    )
    add_layer(
        "vision.spp_%s_one_level_sizes" % _pool.lower(),
        "SPP",
        (2, 3, 4, 4),
        "spp_param { pyramid_height: 1 pool: %s }" % _pool,
        rounds=({}, {"x": (1, 3, 5, 6)}),
    )
add_layer(
    "vision.spp_default_pool",
    "SPP",
    (2, 3, 6, 6),
    "spp_param { pyramid_height: 2 }",
    inputs={"x": "few 2"},
)
