"""Golden cases of Im2col and spatial pyramid pooling."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from oracle.cases.layers import one

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
    one("vision.im2col" + _name, "Im2col", _shape, "convolution_param { %s }" % _fields)
one(
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
        one(
            "vision.spp_%s%s" % (_pool.lower(), _name),
            "SPP",
            _shape,
            "spp_param { pyramid_height: %d pool: %s }" % (_height, _pool),
        )
    one(
        "vision.spp_%s_sizes" % _pool.lower(),
        "SPP",
        (2, 3, 8, 8),
        "spp_param { pyramid_height: 2 pool: %s }" % _pool,
        rounds=({}, {"x": (1, 3, 5, 6)}, {"x": (2, 3, 2, 2)}),
    )
    one(
        "vision.spp_%s_one_level_sizes" % _pool.lower(),
        "SPP",
        (2, 3, 4, 4),
        "spp_param { pyramid_height: 1 pool: %s }" % _pool,
        rounds=({}, {"x": (1, 3, 5, 6)}),
    )
one(
    "vision.spp_default_pool",
    "SPP",
    (2, 3, 6, 6),
    "spp_param { pyramid_height: 2 }",
    inputs={"x": "few 2"},
)
