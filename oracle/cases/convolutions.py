"""Golden cases of Convolution and Deconvolution."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from oracle.cases.case import add, add_layer, layer, net

# Convolution
CONVOLUTIONS = {
    "basic": ((2, 3, 9, 8), "num_output: 4 kernel_size: 3"),
    "one_by_one": ((2, 5, 4, 6), "num_output: 7 kernel_size: 1"),
    "no_bias": ((1, 3, 7, 7), "num_output: 4 kernel_size: 3 bias_term: false"),
    "stride_pad": ((2, 3, 11, 10), "num_output: 4 kernel_size: 3 stride: 2 pad: 1"),
    "stride_over_kernel": ((1, 2, 11, 12), "num_output: 3 kernel_size: 2 stride: 3"),
    "pad_over_kernel": ((1, 2, 5, 4), "num_output: 3 kernel_size: 3 pad: 5"),
    "non_square": (
        (2, 3, 9, 10),
        "num_output: 4 kernel_h: 2 kernel_w: 5 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 3",
    ),
    "repeated_kernel": (
        (2, 3, 9, 10),
        "num_output: 4 kernel_size: 2 kernel_size: 5 stride: 1 stride: 2 pad: 0 pad: 3",
    ),
    "dilation": ((1, 3, 12, 11), "num_output: 4 kernel_size: 3 dilation: 2 pad: 2"),
    "dilation_per_axis": (
        (1, 2, 12, 11),
        "num_output: 3 kernel_size: 3 dilation: 1 dilation: 3 stride: 2",
    ),
    "group": ((2, 6, 7, 8), "num_output: 4 kernel_size: 3 group: 2 pad: 1"),
    "depthwise": ((2, 4, 6, 6), "num_output: 4 kernel_size: 3 group: 4 bias_term: false"),
    "group_stride_dilation": (
        (1, 6, 13, 12),
        "num_output: 9 kernel_size: 3 group: 3 stride: 2 dilation: 2 pad: 1",
    ),
    "whole_window": ((3, 2, 5, 4), "num_output: 6 kernel_h: 5 kernel_w: 4"),
    "one_axis": ((2, 3, 10), "num_output: 4 kernel_size: 3 stride: 2 pad: 1"),
    "three_axes": (
        (1, 2, 5, 6, 7),
        "num_output: 3 kernel_size: 2 kernel_size: 3 kernel_size: 3 stride: 1 stride: 2 stride: 1"
        " pad: 0 pad: 1 pad: 1",
    ),
    "axis_two": ((2, 3, 4, 9), "num_output: 5 kernel_size: 3 axis: 2"),
    "negative_axis": ((2, 3, 7, 6), "num_output: 5 kernel_size: 3 axis: -3"),
    "nd_im2col": ((1, 3, 7, 6), "num_output: 2 kernel_size: 3 pad: 1 force_nd_im2col: true"),
}
for _name, (_shape, _fields) in CONVOLUTIONS.items():
    add_layer("convolution." + _name, "Convolution", _shape, "convolution_param { %s }" % _fields)
add_layer(
    "convolution.two_bottoms",
    "Convolution",
    {"a": (2, 3, 7, 6), "b": (2, 3, 7, 6)},
    "convolution_param { num_output: 4 kernel_size: 3 }",
    "y z",
)
add_layer(
    "convolution.zero_lr_mult",
    "Convolution",
    (2, 3, 7, 6),
    "param { lr_mult: 0 } param { lr_mult: 2 } convolution_param { num_output: 4 kernel_size: 3 }",
)
add(
    "convolution.frozen_without_force",
    net(
        {"x": (2, 3, 7, 6)},
        layer(
            "Convolution",
            "x",
            "y",
            "param { lr_mult: 0 } param { lr_mult: 2 }"
            " convolution_param { num_output: 4 kernel_size: 3 }",
        ),
        force_backward=False,
    ),
)
add_layer(
    "convolution.sizes",
    "Convolution",
    (2, 3, 7, 6),
    "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 }",
    rounds=({}, {"x": (1, 3, 12, 5)}, {"x": (3, 3, 4, 4)}),
)

# Deconvolution
DECONVOLUTIONS = {
    "basic": ((2, 3, 5, 4), "num_output: 4 kernel_size: 3"),
    "stride": ((2, 3, 5, 4), "num_output: 4 kernel_size: 4 stride: 2"),
    "stride_pad": ((1, 3, 5, 4), "num_output: 4 kernel_size: 4 stride: 2 pad: 1"),
    "stride_over_kernel": ((1, 2, 4, 3), "num_output: 3 kernel_size: 2 stride: 3"),
    "no_bias": ((1, 3, 5, 4), "num_output: 3 kernel_size: 4 stride: 2 bias_term: false"),
    "group": ((2, 4, 4, 5), "num_output: 6 kernel_size: 3 stride: 2 group: 2"),
    "depthwise": (
        (1, 4, 4, 5),
        "num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false",
    ),
    "non_square": (
        (2, 3, 5, 4),
        "num_output: 2 kernel_h: 3 kernel_w: 4 stride_h: 1 stride_w: 3 pad_h: 2 pad_w: 0",
    ),
    "dilation": ((1, 2, 5, 4), "num_output: 3 kernel_size: 3 dilation: 2 pad: 1"),
    "one_axis": ((2, 3, 6), "num_output: 4 kernel_size: 3 stride: 2"),
    "three_axes": ((1, 2, 3, 4, 3), "num_output: 3 kernel_size: 3 stride: 2 pad: 1"),
}
for _name, (_shape, _fields) in DECONVOLUTIONS.items():
    add_layer(
        "deconvolution." + _name, "Deconvolution", _shape, "convolution_param { %s }" % _fields
    )
for _kernel, _stride in ((4, 2), (3, 2), (16, 8), (5, 3)):
    add_layer(
        "deconvolution.bilinear_%d" % _kernel,
        "Deconvolution",
        (1, 3, 4, 5),
        "param { lr_mult: 0 } convolution_param { num_output: 3 kernel_size: %d stride: %d group: 3"
        " bias_term: false weight_filler { type: 'bilinear' } }" % (_kernel, _stride),
        fill=False,
    )
add_layer(
    "deconvolution.sizes",
    "Deconvolution",
    (2, 3, 4, 5),
    "convolution_param { num_output: 2 kernel_size: 4 stride: 2 }",
    rounds=({}, {"x": (1, 3, 7, 2)}),
)
