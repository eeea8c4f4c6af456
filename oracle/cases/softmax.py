"""Golden cases of Softmax, SoftmaxWithLoss and Accuracy."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Dict, Mapping

from oracle.cases.case import Shape, add_layer

# Softmax
for _name, _shape, _axis in (
    ("images", (2, 5, 3, 4), ""),
    ("vectors", (4, 6), ""),
    ("axis_zero", (4, 3), "axis: 0"),
    ("axis_two", (2, 3, 5, 2), "axis: 2"),
    ("negative_axis", (2, 3, 5), "axis: -1"),
):
    add_layer("softmax." + _name, "Softmax", _shape, "softmax_param { %s }" % _axis)

# SoftmaxWithLoss
_SCORES: Dict[str, Shape] = {"x": (2, 5, 3, 4), "label": (2, 1, 3, 4)}


def softmax_loss(
    name: str,
    fields: str = "",
    shapes: Mapping[str, Shape] = _SCORES,
    tops: str = "loss",
    label: str = "label 5",
    **options: Any,
) -> None:
    """Add a case of SoftmaxWithLoss; label: the distribution of the labels."""
    name = "softmax_loss." + name
    add_layer(name, "SoftmaxWithLoss", shapes, fields, tops, inputs={"label": label}, **options)


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
        add_layer(
            "accuracy.%s%s" % (_name, "_per_class" if " " in _tops else ""),
            "Accuracy",
            _scores,
            "accuracy_param { %s }" % _fields,
            _tops,
            inputs={"label": _label},
            backward=False,
        )
for _k in (1, 2):
    add_layer(
        "accuracy.ties_top_%d" % _k,
        "Accuracy",
        {"x": (30, 4), "label": (30,)},
        "accuracy_param { top_k: %d }" % _k,
        "accuracy per_class",
        inputs={"x": "few 1", "label": "label 4"},
        backward=False,
    )
