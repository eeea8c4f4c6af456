"""Golden cases of MVN and BatchNorm."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Dict, Tuple

import caffe

from oracle.cases.case import (
    Shape,
    add,
    draw,
    draw_inputs,
    fill_top_diffs,
    layer,
    load,
    net,
    record,
)
from oracle.cases.layers import CUBE, one


def in_place(name, type_, fields, shape, **kwargs):
    text = layer("Python", "x", "y", CUBE, name="cube") + layer(type_, "y", "y", fields, name="n")
    add(name, net({"x": shape}, text), **kwargs)


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
    one("normalization.mvn" + _name, "MVN", (2, 3, 4, 5), _text)
    # With variances, BVLC Caffe overwrites the top's gradient in place before it has used it.
    if "variance: false" in _fields:
        in_place("normalization.mvn%s_in_place" % _name, "MVN", _text, (2, 3, 4, 5))
    one("normalization.mvn%s_vectors" % _name, "MVN", (4, 5), _text)
one("normalization.mvn_volume", "MVN", (2, 3, 7))
one("normalization.mvn_odd_sizes", "MVN", (1, 1, 1, 5), "mvn_param { eps: 0.01 }")
one("normalization.mvn_one_value", "MVN", (1, 1, 1, 1), "mvn_param { eps: 0.01 }")
one(
    "normalization.mvn_constant",
    "MVN",
    (2, 2, 3, 3),
    "mvn_param { eps: 0.25 }",
    inputs={"x": "few 0"},
)
one(
    "normalization.mvn_sizes",
    "MVN",
    (2, 3, 4, 5),
    rounds=({}, {"x": (1, 2, 3, 3)}, {"x": (4, 3, 3, 1)}),
)


# BatchNorm: the moving sums after each of three forwards
def moving(case, rs, numbers):
    """Rounds forward and backward, with the moving sums after each, which start at their zeros."""
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


def learned(case, rs, numbers):
    """Rounds with statistics as they are after training."""
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
        one(_name_, "BatchNorm", _shape, _text, phase=_phase, program=_program, rounds=_rounds)
        in_place(
            _name_ + "_in_place",
            "BatchNorm",
            _text,
            _shape,
            phase=_phase,
            program=_program,
            rounds=_rounds,
        )
one("normalization.batch_norm_untrained", "BatchNorm", (2, 3, 4), program=moving)
one(
    "normalization.batch_norm_global_in_train",
    "BatchNorm",
    (2, 3, 4),
    "batch_norm_param { use_global_stats: true }",
    phase=caffe.TRAIN,
    program=learned,
)
one(
    "normalization.batch_norm_batch_in_test",
    "BatchNorm",
    (2, 3, 4),
    "batch_norm_param { use_global_stats: false }",
    program=moving,
    rounds=({}, {}),
)
one(
    "normalization.batch_norm_explicit_params",
    "BatchNorm",
    (2, 3, 4),
    "param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 }",
    phase=caffe.TRAIN,
    program=moving,
)
one(
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
