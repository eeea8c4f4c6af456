"""Golden cases of the losses other than SoftmaxWithLoss."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Mapping

import caffe

from oracle.cases.case import (
    Case,
    Numbers,
    RandomState,
    Shape,
    add,
    add_layer,
    draw,
    draw_inputs,
    fill_params,
    fill_top_diffs,
    layer,
    load,
    net,
    record,
)

NORMALIZATIONS = ("FULL", "VALID", "BATCH_SIZE", "NONE")


def loss(
    name: str,
    type_: str,
    shapes: Mapping[str, Shape],
    fields: str = "",
    tops: str = "loss",
    **options: Any,
) -> None:
    """Add a case of a loss; shapes: bottom -> shape."""
    add_layer("loss." + name, type_, shapes, fields, tops, **options)


# EuclideanLoss
loss("euclidean", "EuclideanLoss", {"a": (4, 3), "b": (4, 3)})
loss("euclidean_images", "EuclideanLoss", {"a": (2, 3, 4, 5), "b": (2, 3, 4, 5)})
loss("euclidean_other_shape", "EuclideanLoss", {"a": (2, 3, 4), "b": (2, 12)})
loss("euclidean_weight", "EuclideanLoss", {"a": (4, 3), "b": (4, 3)}, "loss_weight: 0.3")
loss("euclidean_no_weight", "EuclideanLoss", {"a": (4, 3), "b": (4, 3)}, "loss_weight: 0")
loss("euclidean_one_value", "EuclideanLoss", {"a": (1,), "b": (1,)})
loss(
    "euclidean_one_side",
    "EuclideanLoss",
    {"a": (4, 3), "b": (4, 3)},
    "propagate_down: false propagate_down: true",
)
loss(
    "euclidean_sizes",
    "EuclideanLoss",
    {"a": (4, 3), "b": (4, 3)},
    rounds=({}, {"a": (2, 5), "b": (2, 5)}),
)

# HingeLoss, MultinomialLogisticLoss
for _name, _type, _values, _rests in (
    ("hinge", "HingeLoss", "normal", ("", "hinge_loss_param { norm: L2 }")),
    ("multinomial", "MultinomialLogisticLoss", "positive", ("",)),
):
    for _i, _rest in enumerate(_rests):
        for _shape_name, _shape, _labels in (
            ("", (6, 5), (6,)),
            ("_images", (4, 5, 1, 1), (4, 1, 1, 1)),
            ("_one_class", (3, 1), (3,)),
            ("_one_row", (1, 4), (1,)),
        ):
            loss(
                "%s%s%s" % (_name, "_l2" if _i else "", _shape_name),
                _type,
                {"x": _shape, "label": _labels},
                _rest,
                inputs={"x": _values, "label": "label %d" % _shape[1]},
            )
        loss(
            "%s%s_weight_sizes" % (_name, "_l2" if _i else ""),
            _type,
            {"x": (6, 5), "label": (6,)},
            _rest + " loss_weight: 2.5",
            inputs={"x": _values, "label": "label 3"},
            rounds=({}, {"x": (2, 3), "label": (2,)}),
        )
loss(
    "hinge_ties",
    "HingeLoss",
    {"x": (9, 4), "label": (9,)},
    inputs={"x": "few 1", "label": "label 4"},
)
loss(
    "multinomial_zeros",
    "MultinomialLogisticLoss",
    {"x": (9, 4), "label": (9,)},
    inputs={"x": "label 2", "label": "label 4"},
)

# SigmoidCrossEntropyLoss: targets between 0 and 1, and labels with one that is ignored
_PAIR = {"x": (3, 4, 2), "target": (3, 4, 2)}
for _name, _rest in (
    ("", ""),
    ("_weight", "loss_weight: 0.2"),
    ("_normalize", "loss_param { normalize: true }"),
    ("_no_normalize", "loss_param { normalize: false }"),
    ("_ignore", "loss_param { ignore_label: 2 }"),
    ("_ignore_normalize", "loss_param { ignore_label: 2 normalize: true }"),
    ("_ignore_minus_one", "loss_param { ignore_label: -1 }"),
):
    for _kind, _word in (("label 3", ""), ("positive", "_soft")):
        loss(
            "sigmoid%s%s" % (_name, _word),
            "SigmoidCrossEntropyLoss",
            _PAIR,
            _rest,
            inputs={"target": _kind},
        )
for _normalization in NORMALIZATIONS:
    for _rest, _word in (("", ""), ("ignore_label: 1", "_ignore"), ("normalize: true", "_too")):
        loss(
            "sigmoid_%s%s" % (_normalization.lower(), _word),
            "SigmoidCrossEntropyLoss",
            _PAIR,
            "loss_param { normalization: %s %s }" % (_normalization, _rest),
            inputs={"target": "label 2"},
        )
    loss(
        "sigmoid_all_ignored_%s" % _normalization.lower(),
        "SigmoidCrossEntropyLoss",
        _PAIR,
        "loss_param { normalization: %s ignore_label: 0 }" % _normalization,
        inputs={"target": "label 1"},
    )
loss(
    "sigmoid_other_shape",
    "SigmoidCrossEntropyLoss",
    {"x": (3, 4, 2), "target": (3, 8)},
    inputs={"target": "label 2"},
)
loss(
    "sigmoid_large",
    "SigmoidCrossEntropyLoss",
    {"x": (5, 20), "target": (5, 20)},
    inputs={"x": "few 120", "target": "label 2"},
)
loss(
    "sigmoid_sizes",
    "SigmoidCrossEntropyLoss",
    {"x": (3, 4), "target": (3, 4)},
    inputs={"target": "label 2"},
    rounds=({}, {"x": (1, 2), "target": (1, 2)}),
)

# ContrastiveLoss
for _name, _shape, _fields in (
    ("", (6, 4), ""),
    ("_margin", (6, 4), "margin: 3"),
    ("_legacy", (6, 4), "margin: 9 legacy_version: true"),
    ("_images", (6, 4, 1, 1), "margin: 3"),
    ("_one_value", (2, 1), "margin: 2"),
):
    loss(
        "contrastive" + _name,
        "ContrastiveLoss",
        {"a": _shape, "b": _shape, "similar": _shape[:1]},
        "contrastive_loss_param { %s }" % _fields,
        inputs={"similar": "label 2"},
        rounds=({}, {}),
    )
for _name, _fields in (("", "margin: 1.5"), ("_legacy", "margin: 1.5 legacy_version: true")):
    loss(
        "contrastive_equal_rows" + _name,
        "ContrastiveLoss",
        {"a": (12, 2), "b": (12, 2), "similar": (12, 1)},
        "loss_weight: 2 contrastive_loss_param { %s }" % _fields,
        inputs={"a": "few 1", "b": "few 1", "similar": "label 2"},
    )


# InfogainLoss: the matrix H is a third bottom, or comes from a file
def infogain(
    name: str,
    shapes: Mapping[str, Shape],
    fields: str = "",
    label: str = "label 4",
    tops: str = "loss",
    **options: Any,
) -> None:
    """Add a case of an InfogainLoss behind a PReLU; H itself can have no gradient."""
    text = layer("PReLU", "x", "s") + layer("InfogainLoss", "s label H", tops, fields)
    add(
        "loss.infogain_" + name,
        net(shapes, text, force_backward=False),
        phase=caffe.TRAIN,
        inputs={"label": label},
        **options,
    )


_ROWS = {"x": (6, 4), "label": (6,), "H": (1, 1, 4, 4)}
_IMAGES = {"x": (2, 4, 3, 2), "label": (2, 1, 3, 2), "H": (1, 1, 4, 4)}
infogain("rows", _ROWS)
infogain("images", _IMAGES)
infogain("weight", _ROWS, "loss_weight: 0.4")
infogain("softmax_top", _IMAGES, "loss_weight: 1 loss_weight: 0", tops="loss prob")
infogain(
    "axis",
    {"x": (2, 3, 4), "label": (2, 3), "H": (1, 1, 4, 4)},
    "infogain_loss_param { axis: 2 }",
)
infogain(
    "negative_axis",
    {"x": (2, 3, 4), "label": (2, 3), "H": (1, 1, 4, 4)},
    "infogain_loss_param { axis: -1 }",
)
infogain("ignore", _IMAGES, "loss_param { ignore_label: 2 }")
infogain("ignore_other", _IMAGES, "loss_param { ignore_label: 255 }", "label 4 255")
for _normalization in NORMALIZATIONS:
    infogain(
        _normalization.lower(),
        _IMAGES,
        "loss_param { ignore_label: 2 normalization: %s }" % _normalization,
    )
    infogain(
        "all_ignored_%s" % _normalization.lower(),
        _IMAGES,
        "loss_param { ignore_label: 0 normalization: %s }" % _normalization,
        "label 1",
    )
infogain("sizes", _IMAGES, rounds=({}, {"x": (1, 4, 2, 2), "label": (1, 1, 2, 2)}))


def from_file(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Write the matrix H to a file and run the net that reads the file."""
    matrix = draw(rs, "normal", (1, 1, 4, 4))
    with open("H.binaryproto", "wb") as f:
        f.write(caffe.io.array_to_blobproto(matrix).SerializeToString())
    n = load(case)
    fill_params(n, rs)
    draw_inputs(case, n, rs)
    n.forward()
    fill_top_diffs(n, rs)
    n.backward()
    record(n, numbers, "")


loss(
    "infogain_file",
    "InfogainLoss",
    {"x": (6, 4), "label": (6,)},
    "infogain_loss_param { source: 'H.binaryproto' }",
    inputs={"label": "label 4"},
    program=from_file,
)
