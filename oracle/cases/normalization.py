"""Golden cases of MVN and BatchNorm."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Dict, Tuple

import caffe

from oracle.cases.case import (
    CUBE,
    Case,
    Numbers,
    RandomState,
    Shape,
    add,
    add_layer,
    draw,
    draw_inputs,
    fill_top_diffs,
    layer,
    load,
    net,
    record,
)


def in_place(name: str, type_: str, fields: str, shape: Shape, **options: Any) -> None:
    """Add a case of a layer in place over a Cube layer."""
    text = layer("Python", "x", "y", CUBE, name="cube") + layer(type_, "y", "y", fields, name="n")
    add(name, net({"x": shape}, text), **options)


# MVN
for _name, _fields in (
    ("", ""),
    ("_across", "across_channels: true"),
    ("_mean", "normalize_variance: false"),
    ("_mean_across", "normalize_variance: false across_channels: true"),
    ("_eps", "eps: 0.3"),
    ("_eps_across", "eps: 0.1 across_channels: true"),
):
    _text = "mvn_param { %s }" % _fields
    add_layer("normalization.mvn" + _name, "MVN", (2, 3, 4, 5), _text)
    # With variances, BVLC Caffe overwrites the top's gradient in place before the last use.
    if "variance: false" in _fields:
        in_place("normalization.mvn%s_in_place" % _name, "MVN", _text, (2, 3, 4, 5))
    add_layer("normalization.mvn%s_vectors" % _name, "MVN", (4, 5), _text)
add_layer("normalization.mvn_volume", "MVN", (2, 3, 7))
add_layer("normalization.mvn_odd_sizes", "MVN", (1, 1, 1, 5), "mvn_param { eps: 0.01 }")
add_layer("normalization.mvn_one_value", "MVN", (1, 1, 1, 1), "mvn_param { eps: 0.01 }")
add_layer(
    "normalization.mvn_constant",
    "MVN",
    (2, 2, 3, 3),
    "mvn_param { eps: 0.25 }",
    inputs={"x": "few 0"},
)
add_layer(
    "normalization.mvn_sizes",
    "MVN",
    (2, 3, 4, 5),
    rounds=({}, {"x": (1, 2, 3, 3)}, {"x": (4, 3, 3, 1)}),
)


# BatchNorm
def moving(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run the rounds with moving sums that start at zero, and record the sums after each."""
    n = load(case)
    record(n, numbers, "start/", "param")
    for i, shapes in enumerate(case.rounds):
        for name, shape in shapes.items():
            n.blobs[name].reshape(*shape)
        draw_inputs(case, n, rs)
        n.forward()
        record(n, numbers, "%d/" % i, "data param")
        fill_top_diffs(n, rs)
        n.backward()
        record(n, numbers, "%d/" % i, "diff param param_diff")


def learned(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run the rounds with statistics that a training could give."""
    n = load(case)
    for blobs in n.params.values():
        for blob, kind in zip(blobs, ("normal", "positive", "positive")):
            blob.data[...] = draw(rs, kind, tuple(blob.data.shape)) * 3
    record(n, numbers, "", "param")
    for i, shapes in enumerate(case.rounds):
        for name, shape in shapes.items():
            n.blobs[name].reshape(*shape)
        draw_inputs(case, n, rs)
        n.forward()
        fill_top_diffs(n, rs)
        n.backward()
        record(n, numbers, "%d/" % i, "data diff param param_diff")


_THREE: Tuple[Dict[str, Shape], ...] = ({}, {}, {"x": (1, 3, 2, 5)})
for _name, _fields, _shape, _rounds in (
    ("", "", (2, 3, 4, 5), _THREE),
    ("_fraction", "moving_average_fraction: 0.5", (2, 3, 4, 5), _THREE),
    ("_eps", "eps: 0.2", (2, 3, 4, 5), _THREE),
    ("_vectors", "", (4, 3), ({}, {})),
    ("_volume", "", (2, 3, 2, 2, 3), ({}, {})),
    ("_one_image_one_value", "eps: 0.01", (1, 3, 1, 1), ({}, {})),
    ("_one_channel", "", (3, 1, 1, 2), ({}, {})),
):
    _text = "batch_norm_param { %s }" % _fields
    for _phase, _program, _word in (
        (caffe.TRAIN, moving, "_train"),
        (caffe.TEST, learned, "_test"),
    ):
        _name_ = "normalization.batch_norm" + _name + _word
        add_layer(
            _name_, "BatchNorm", _shape, _text, phase=_phase, program=_program, rounds=_rounds
        )
        in_place(
            _name_ + "_in_place",
            "BatchNorm",
            _text,
            _shape,
            phase=_phase,
            program=_program,
            rounds=_rounds,
        )
add_layer("normalization.batch_norm_untrained", "BatchNorm", (2, 3, 4), program=moving)
add_layer(
    "normalization.batch_norm_global_in_train",
    "BatchNorm",
    (2, 3, 4),
    "batch_norm_param { use_global_stats: true }",
    phase=caffe.TRAIN,
    program=learned,
)
add_layer(
    "normalization.batch_norm_batch_in_test",
    "BatchNorm",
    (2, 3, 4),
    "batch_norm_param { use_global_stats: false }",
    program=moving,
    rounds=({}, {}),
)
add_layer(
    "normalization.batch_norm_explicit_params",
    "BatchNorm",
    (2, 3, 4),
    "param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 }",
    phase=caffe.TRAIN,
    program=moving,
)
add_layer(
    "normalization.batch_norm_on_from_statistics",
    "BatchNorm",
    (2, 3, 4),
    "batch_norm_param { moving_average_fraction: 0.9 }",
    phase=caffe.TRAIN,
    program=learned,
    rounds=({}, {}),
)
add(
    "normalization.batch_norm_scale_relu",
    net(
        {"x": (2, 3, 4, 5)},
        layer("Convolution", "x", "y", "convolution_param { num_output: 4 kernel_size: 3 }")
        + layer("BatchNorm", "y", "y", name="bn")
        + layer("Scale", "y", "y", "scale_param { bias_term: true }", name="scale")
        + layer("ReLU", "y", "y", name="relu"),
    ),
    phase=caffe.TRAIN,
    fill=False,
    rounds=({}, {}),
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
    add_layer("lrn." + _name, "LRN", _shape, "lrn_param { %s }" % _fields)
add_layer(
    "lrn.sizes",
    "LRN",
    (2, 7, 3, 4),
    "lrn_param { alpha: 1 }",
    rounds=({}, {"x": (1, 4, 5, 2)}),
)
