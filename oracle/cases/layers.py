"""Golden cases of single layers."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import caffe

from oracle.cases.case import add, layer, net

CUBE = "python_param { module: 'oracle.python_layers' layer: 'Cube' }"
AFFINE = (
    "python_param { module: 'oracle.python_layers' layer: 'Affine' "
    "param_str: \"{'a': 2, 'b': -1}\" }"
)
EUCLIDEAN = "python_param { module: 'oracle.python_layers' layer: 'EuclideanLoss' }"


def one(name, type_, shapes, rest="", tops="y", **kwargs):
    """A case of one layer over Input blobs; `shapes` is one shape, or one a bottom."""
    if not isinstance(shapes, dict):
        shapes = {"x": shapes}
    add(name, net(shapes, layer(type_, " ".join(shapes), tops, rest)), **kwargs)


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
one("python.cube", "Python", (2, 3, 4), CUBE)
one("python.two_bottoms", "Python", {"a": (2, 3), "b": (4,)}, CUBE, "y z")
one(
    "python.propagate_down",
    "Python",
    {"a": (2, 3), "b": (4,)},
    CUBE + " propagate_down: false propagate_down: true",
    "y z",
)
one("python.own_params", "Python", (2, 3, 4), AFFINE, fill=False)
one("python.reshape", "Python", (2, 3, 4), CUBE, rounds=({}, {"x": (5, 2)}, {"x": (1,)}))
one("python.loss", "Python", {"a": (3, 4), "b": (3, 4)}, EUCLIDEAN + " loss_weight: 2", "loss")

for _phase in (caffe.TRAIN, caffe.TEST):
    add(
        "python.told_%s" % ("train" if _phase == caffe.TRAIN else "test"),
        net(
            {},
            layer(
                "Python",
                "",
                "phase length",
                "python_param { module: 'oracle.python_layers' layer: 'Told' param_str: 'abc' }",
            ),
        ),
        phase=_phase,
    )

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
    one("convolution." + _name, "Convolution", _shape, "convolution_param { %s }" % _fields)
one(
    "convolution.two_bottoms",
    "Convolution",
    {"a": (2, 3, 7, 6), "b": (2, 3, 7, 6)},
    "convolution_param { num_output: 4 kernel_size: 3 }",
    "y z",
)
one(
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
one(
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
    one("deconvolution." + _name, "Deconvolution", _shape, "convolution_param { %s }" % _fields)
for _kernel, _stride in ((4, 2), (3, 2), (16, 8), (5, 3)):
    one(
        "deconvolution.bilinear_%d" % _kernel,
        "Deconvolution",
        (1, 3, 4, 5),
        "param { lr_mult: 0 } convolution_param { num_output: 3 kernel_size: %d stride: %d group: 3"
        " bias_term: false weight_filler { type: 'bilinear' } }" % (_kernel, _stride),
        fill=False,
    )
one(
    "deconvolution.sizes",
    "Deconvolution",
    (2, 3, 4, 5),
    "convolution_param { num_output: 2 kernel_size: 4 stride: 2 }",
    rounds=({}, {"x": (1, 3, 7, 2)}),
)

# ReLU
one("relu.basic", "ReLU", (2, 3, 4, 5))
one("relu.at_zero", "ReLU", (2, 3, 4, 5), inputs={"x": "few 1"})
one("relu.negative_slope", "ReLU", (2, 3, 4), "relu_param { negative_slope: 0.1 }")
one(
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
        one(
            "pooling.%s_%s" % (_method.lower(), _name),
            "Pooling",
            _shape,
            "pooling_param { pool: %s %s }" % (_method, _fields),
        )
# Windows that start past the end hold nothing. BVLC Caffe's backward writes out of bounds there.
for _method in ("MAX", "AVE"):
    one(
        "pooling.%s_empty_windows" % _method.lower(),
        "Pooling",
        (1, 2, 9, 5),
        "pooling_param { pool: %s kernel_size: 2 stride: 3 }" % _method,
        backward=False,
    )
one(
    "pooling.max_ties",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
    inputs={"x": "few 1"},
)
one(
    "pooling.max_mask",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }",
    "y mask",
    inputs={"x": "few 2"},
)
one(
    "pooling.sizes",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
    rounds=({}, {"x": (1, 3, 5, 11)}),
)
one(
    "pooling.global_sizes",
    "Pooling",
    (2, 3, 8, 7),
    "pooling_param { pool: AVE global_pooling: true }",
    rounds=({}, {"x": (1, 3, 5, 11)}),
)

# Dropout (in TEST phase it copies)
one("dropout.test", "Dropout", (2, 3, 4), "dropout_param { dropout_ratio: 0.7 }")
add(
    "dropout.test_in_place",
    net({"x": (2, 3, 4)}, layer("Python", "x", "y", CUBE) + layer("Dropout", "y", "y", name="d")),
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
    one(
        "crop." + _name,
        "Crop",
        {"x": _shape, "like": _like},
        "crop_param { %s }" % _fields,
    )
one(
    "crop.sizes",
    "Crop",
    {"x": (1, 2, 9, 9), "like": (1, 1, 5, 4)},
    "crop_param { axis: 2 offset: 2 }",
    rounds=({}, {"x": (1, 2, 12, 7), "like": (1, 1, 8, 3)}),
)

# Eltwise
_TWO = {"a": (2, 3, 4), "b": (2, 3, 4)}
_THREE = {"a": (2, 3, 4), "b": (2, 3, 4), "c": (2, 3, 4)}
_FEW = {"a": "few 1", "b": "few 1", "c": "few 1"}
_NONZERO = {"a": "nonzero", "b": "nonzero", "c": "nonzero"}
for _count, _shapes in (("two", _TWO), ("three", _THREE)):
    _coeffs = "coeff: 0.5 coeff: -2 coeff: 3" if _count == "three" else "coeff: 0.5 coeff: -2"
    one("eltwise.default_" + _count, "Eltwise", _shapes)
    one(
        "eltwise.sum_" + _count, "Eltwise", _shapes, "eltwise_param { operation: SUM %s }" % _coeffs
    )
    one("eltwise.max_" + _count, "Eltwise", _shapes, "eltwise_param { operation: MAX }")
    one(
        "eltwise.max_ties_" + _count,
        "Eltwise",
        _shapes,
        "eltwise_param { operation: MAX }",
        inputs=_FEW,
    )
    one("eltwise.prod_" + _count, "Eltwise", _shapes, "eltwise_param { operation: PROD }")
    one(
        "eltwise.prod_zeros_" + _count,
        "Eltwise",
        _shapes,
        "eltwise_param { operation: PROD }",
        inputs=_FEW,
    )
    one(
        "eltwise.prod_quotient_" + _count,
        "Eltwise",
        _shapes,
        "eltwise_param { operation: PROD stable_prod_grad: false }",
        inputs=_NONZERO,
    )
add("eltwise.same_blob_twice", net({"x": (2, 3)}, layer("Eltwise", "x x")))

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
    one("scale." + _name, "Scale", _shape, "scale_param { %s }" % _fields)
one(
    "scale.constant_filler",
    "Scale",
    (2, 3, 4, 5),
    "param { lr_mult: 0 } scale_param { filler { type: 'constant' value: 0.01 } }",
    fill=False,
)
one(
    "scale.default_fillers",
    "Scale",
    (2, 3, 4, 5),
    "scale_param { bias_term: true bias_filler { type: 'constant' value: -2 } }",
    fill=False,
)
one("scale.two_bottoms", "Scale", {"x": (2, 3, 4, 5), "s": (3, 4)})
one("scale.two_bottoms_axis_zero", "Scale", {"x": (2, 3, 4), "s": (2,)}, "scale_param { axis: 0 }")
one("scale.two_bottoms_whole", "Scale", {"x": (2, 3, 4), "s": (2, 3, 4)}, "scale_param { axis: 0 }")
one(
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
    one(
        "inner_product." + _name,
        "InnerProduct",
        _shape,
        "inner_product_param { %s }" % _fields,
    )
one(
    "inner_product.sizes",
    "InnerProduct",
    (3, 2, 4),
    "inner_product_param { num_output: 6 }",
    rounds=({}, {"x": (5, 4, 2)}),
)

# Softmax
for _name, _shape, _axis in (
    ("images", (2, 5, 3, 4), ""),
    ("vectors", (4, 6), ""),
    ("axis_zero", (4, 3), "axis: 0"),
    ("axis_two", (2, 3, 5, 2), "axis: 2"),
    ("negative_axis", (2, 3, 5), "axis: -1"),
):
    one("softmax." + _name, "Softmax", _shape, "softmax_param { %s }" % _axis)

# SoftmaxWithLoss
_SCORES = {"x": (2, 5, 3, 4), "label": (2, 1, 3, 4)}
_WITH_IGNORED = {"label": "label 5 255"}


def softmax_loss(name, rest="", shapes=None, tops="loss", label="label 5", **kwargs):
    """A SoftmaxWithLoss case: no gradient can be asked for the label."""
    shapes = shapes or _SCORES
    text = net(shapes, layer("SoftmaxWithLoss", " ".join(shapes), tops, rest))
    add("softmax_loss." + name, text, inputs={"label": label}, **kwargs)


softmax_loss("images")
softmax_loss("vectors", shapes={"x": (6, 5), "label": (6,)})
softmax_loss("vectors_column", shapes={"x": (6, 5), "label": (6, 1)})
softmax_loss("ignore", "loss_param { ignore_label: 255 }", label="label 5 255")
softmax_loss("ignore_class", "loss_param { ignore_label: 2 }")
softmax_loss("ignore_negative", "loss_param { ignore_label: -1 }", label="label 5 -1")
for _normalization in ("FULL", "VALID", "BATCH_SIZE", "NONE"):
    softmax_loss(
        "normalization_" + _normalization.lower(),
        "loss_param { ignore_label: 255 normalization: %s }" % _normalization,
        label="label 5 255",
    )
    softmax_loss(
        "no_ignore_normalization_" + _normalization.lower(),
        "loss_param { normalization: %s }" % _normalization,
    )
for _normalize in ("true", "false"):
    softmax_loss(
        "normalize_" + _normalize,
        "loss_param { ignore_label: 255 normalize: %s }" % _normalize,
        label="label 5 255",
    )
softmax_loss(
    "normalization_over_normalize",
    "loss_param { ignore_label: 255 normalization: FULL normalize: false }",
    label="label 5 255",
)
for _normalization in ("VALID", "FULL", "NONE"):
    softmax_loss(
        "all_ignored_" + _normalization.lower(),
        "loss_param { ignore_label: 0 normalization: %s }" % _normalization,
        label="label 1",
    )
softmax_loss("loss_weight", "loss_weight: 2.5 loss_param { normalization: NONE }")
softmax_loss("loss_weight_zero", "loss_weight: 0")
softmax_loss("axis_two", "softmax_param { axis: 2 }", {"x": (2, 3, 5, 4), "label": (2, 3, 4)})
softmax_loss("negative_axis", "softmax_param { axis: -1 }", {"x": (2, 3, 5), "label": (2, 3)})
softmax_loss(
    "sizes",
    "loss_param { ignore_label: 255 normalize: false }",
    label="label 5 255",
    rounds=({}, {"x": (1, 5, 6, 2), "label": (1, 1, 6, 2)}),
)

# Accuracy
for _name, _scores, _fields, _label in (
    ("vectors", {"x": (8, 5), "label": (8,)}, "", "label 5"),
    ("images", {"x": (2, 5, 3, 4), "label": (2, 1, 3, 4)}, "", "label 5"),
    ("top_k", {"x": (8, 5), "label": (8,)}, "top_k: 3", "label 5"),
    ("top_k_images", {"x": (2, 5, 3, 4), "label": (2, 1, 3, 4)}, "top_k: 2", "label 5"),
    ("axis", {"x": (2, 3, 5, 4), "label": (2, 3, 4)}, "axis: 2", "label 5"),
    ("negative_axis", {"x": (2, 6, 5), "label": (2, 6)}, "axis: -1", "label 5"),
    ("ignore", {"x": (9, 5), "label": (9,)}, "ignore_label: 255", "label 5 255"),
    ("ignore_all", {"x": (9, 5), "label": (9,)}, "ignore_label: 0", "label 1"),
):
    for _tops in ("accuracy", "accuracy per_class"):
        one(
            "accuracy.%s%s" % (_name, "_per_class" if " " in _tops else ""),
            "Accuracy",
            _scores,
            "accuracy_param { %s }" % _fields,
            _tops,
            inputs={"label": _label},
            backward=False,
        )
for _k in (1, 2):
    one(
        "accuracy.ties_top_%d" % _k,
        "Accuracy",
        {"x": (30, 4), "label": (30,)},
        "accuracy_param { top_k: %d }" % _k,
        "accuracy per_class",
        inputs={"x": "few 1", "label": "label 4"},
        backward=False,
    )

# LRN
for _name, _shape, _fields in (
    ("across_default", (2, 7, 3, 4), ""),
    ("across_strong", (2, 7, 3, 4), "local_size: 3 alpha: 2 beta: 0.6"),
    ("across_k", (1, 6, 3, 3), "local_size: 5 alpha: 0.5 beta: 0.75 k: 2"),
    ("across_wide", (1, 3, 3, 3), "local_size: 9 alpha: 1"),
    ("within_default", (2, 3, 6, 7), "norm_region: WITHIN_CHANNEL"),
    ("within_strong", (2, 3, 6, 7), "norm_region: WITHIN_CHANNEL local_size: 3 alpha: 2 beta: 0.6"),
):
    one("lrn." + _name, "LRN", _shape, "lrn_param { %s }" % _fields)
one(
    "lrn.sizes",
    "LRN",
    (2, 7, 3, 4),
    "lrn_param { alpha: 1 }",
    rounds=({}, {"x": (1, 4, 5, 2)}),
)

# Concat
for _name, _parts, _fields in (
    ("default", {"a": (2, 3, 4), "b": (2, 1, 4), "c": (2, 5, 4)}, ""),
    ("axis_zero", {"a": (2, 3), "b": (4, 3)}, "axis: 0"),
    ("axis_two", {"a": (2, 3, 4), "b": (2, 3, 1)}, "axis: 2"),
    ("negative_axis", {"a": (2, 3, 4), "b": (2, 3, 1)}, "axis: -1"),
    ("concat_dim", {"a": (2, 3), "b": (4, 3)}, "concat_dim: 0"),
    ("one_bottom", {"a": (2, 3, 4)}, ""),
):
    one("concat." + _name, "Concat", _parts, "concat_param { %s }" % _fields)
one(
    "concat.propagate_down",
    "Concat",
    {"a": (2, 3), "b": (2, 2)},
    "propagate_down: false propagate_down: true",
)

# Split: made by the net where a blob is used more than once, or written out
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
one("split.explicit", "Split", (2, 3), tops="y z")
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
