"""Golden cases of the layers that move, join, select and sum values."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Mapping

import caffe

from oracle.cases.case import CUBE, Shape, add, add_layer, layer, net

# Loops assign shapes of different lengths.
_shape: Any

FC = "inner_product_param { num_output: %d axis: -1 }"


def behind(
    name: str,
    type_: str,
    shapes: Mapping[str, Shape],
    fields: str = "",
    tops: str = "y",
    **options: Any,
) -> None:
    """Add a case of a layer after a Scale, so that only its first bottom has a gradient."""
    text = layer("Scale", "x", "s", "scale_param { axis: 0 num_axes: -1 }")
    bottoms = " ".join(["s"] + [b for b in shapes if b != "x"])
    fields += " loss_weight: 1" * len(tops.split())
    add(
        "utility." + name,
        net(shapes, text + layer(type_, bottoms, tops, fields), force_backward=False),
        **options,
    )


# Embed
for _name, _shape, _fields in (
    ("", (5,), ""),
    ("_no_bias", (5,), "bias_term: false"),
    ("_matrix", (2, 3), ""),
    ("_images", (2, 1, 2, 2), ""),
    ("_one_word", (1,), ""),
):
    add(
        "utility.embed" + _name,
        net(
            {"x": _shape},
            layer(
                "Embed",
                "x",
                "y",
                "loss_weight: 1 embed_param { input_dim: 4 num_output: 3 %s }" % _fields,
            ),
            force_backward=False,
        ),
        inputs={"x": "label 4"},
        rounds=({}, {}),
    )
add(
    "utility.embed_one_row",
    net(
        {"x": (3,)},
        layer("Embed", "x", "y", "loss_weight: 1 embed_param { input_dim: 1 num_output: 1 }"),
        force_backward=False,
    ),
    inputs={"x": "label 1"},
)

# Bias
for _name, _shape, _fields in (
    ("", (2, 3, 4, 5), ""),
    ("_axis_zero", (2, 3, 4), "axis: 0"),
    ("_two_axes", (2, 3, 4, 5), "num_axes: 2"),
    ("_all_axes", (2, 3, 4), "axis: 0 num_axes: -1"),
    ("_negative_axis", (2, 3, 4), "axis: -1"),
    ("_scalar", (2, 3, 4), "num_axes: 0"),
    ("_scalar_at_the_end", (2, 3), "axis: 1 num_axes: 0"),
    ("_one_value", (1, 1), ""),
):
    _text = "bias_param { %s }" % _fields
    add_layer("utility.bias" + _name, "Bias", _shape, _text, rounds=({}, {}))
    add(
        "utility.bias%s_in_place" % _name,
        net(
            {"x": _shape},
            layer("Python", "x", "y", CUBE, name="cube")
            + layer("Bias", "y", "y", _text, name="bias"),
        ),
    )
for _name, _shapes, _fields in (
    ("", {"x": (2, 3, 4), "b": (3,)}, ""),
    ("_axis", {"x": (2, 3, 4), "b": (2, 3)}, "axis: 0"),
    ("_same_shape", {"x": (2, 3), "b": (2, 3)}, "axis: 0"),
    ("_scalar", {"x": (2, 3), "b": ()}, "axis: 0"),
    ("_num_axes_unused", {"x": (2, 3, 4), "b": (3, 4)}, "num_axes: 7"),
):
    add_layer("utility.bias_bottom" + _name, "Bias", _shapes, "bias_param { %s }" % _fields)
add_layer("utility.bias_sizes", "Bias", (2, 3, 4), rounds=({}, {"x": (1, 3, 5)}, {"x": (3, 3)}))
add_layer(
    "utility.bias_filler",
    "Bias",
    (2, 3),
    "bias_param { filler { type: 'constant' value: 2 } }",
    fill=False,
)

# Flatten
for _name, _fields in (
    ("", ""),
    ("_axis", "axis: 2"),
    ("_end_axis", "axis: 0 end_axis: 1"),
    ("_negative", "axis: -3 end_axis: -2"),
    ("_one_axis", "axis: 1 end_axis: 1"),
    ("_all", "axis: 0"),
    ("_nothing", "axis: 2 end_axis: 1"),
):
    add_layer("utility.flatten" + _name, "Flatten", (2, 3, 4, 5), "flatten_param { %s }" % _fields)
add_layer("utility.flatten_vectors", "Flatten", (2, 3))
add_layer("utility.flatten_sizes", "Flatten", (2, 3, 4), rounds=({}, {"x": (1, 2, 3, 4)}))
add(
    "utility.flatten_behind_in_place",
    net(
        {"x": (2, 3, 4)},
        layer("Flatten", "x", "f") + layer("ReLU", "f", "f", name="relu") + layer("TanH", "f"),
    ),
)
add(
    "utility.flatten_read_twice",
    net(
        {"x": (2, 3, 4)},
        layer("Flatten", "x", "f") + layer("Python", "x", "c", CUBE) + layer("TanH", "f"),
    ),
)

# Reshape
for _name, _dims, _fields in (
    ("", (6, 20), ""),
    ("_copied", (0, 12, 5), ""),
    ("_inferred", (0, -1), ""),
    ("_inferred_first", (-1, 5), ""),
    ("_copied_and_inferred", (0, 0, -1), ""),
    ("_more_axes", (2, 3, 2, 2, 5), ""),
    ("_axis", (12, 5), "axis: 1"),
    ("_axis_inferred", (-1,), "axis: 1"),
    ("_num_axes", (12,), "axis: 1 num_axes: 2"),
    ("_insert", (1,), "axis: 1 num_axes: 0"),
    ("_insert_at_the_end", (1,), "axis: -1 num_axes: 0"),
    ("_negative_axis", (2, 2, 5), "axis: -3"),
    ("_axis_copied", (0, -1), "axis: 2"),
    ("_remove_nothing", (), "axis: 1 num_axes: 0"),
):
    _shape = "shape { %s }" % " ".join("dim: %d" % d for d in _dims)
    add_layer(
        "utility.reshape" + _name,
        "Reshape",
        (2, 3, 4, 5),
        "reshape_param { %s %s }" % (_shape, _fields),
    )
add_layer("utility.reshape_to_scalar", "Reshape", (1, 1), "reshape_param { shape { } }")
add_layer(
    "utility.reshape_squeeze", "Reshape", (2, 1, 3), "reshape_param { axis: 1 num_axes: 1 shape {}}"
)
add_layer(
    "utility.reshape_sizes",
    "Reshape",
    (2, 3, 4),
    "reshape_param { shape { dim: 0 dim: -1 dim: 2 } }",
    rounds=({}, {"x": (1, 2, 5)}, {"x": (3, 4)}),
)

# Slice
for _name, _shape, _fields, _tops in (
    ("", (2, 6, 3), "", "a b c"),
    ("_points", (2, 6, 3), "slice_point: 1 slice_point: 5", "a b c"),
    ("_axis", (6, 2), "axis: 0", "a b"),
    ("_last_axis", (2, 3, 4), "axis: -1 slice_point: 3", "a b"),
    ("_slice_dim", (4, 3), "slice_dim: 0", "a b"),
    ("_one_top", (2, 3), "", "a"),
    ("_single_values", (2, 3), "", "a b c"),
):
    add_layer("utility.slice" + _name, "Slice", _shape, "slice_param { %s }" % _fields, _tops)
add_layer("utility.slice_sizes", "Slice", (2, 6), "", "a b", rounds=({}, {"x": (1, 2, 3)}))
add_layer(
    "utility.slice_points_sizes",
    "Slice",
    (2, 6),
    "slice_param { slice_point: 2 }",
    "a b",
    rounds=({}, {"x": (1, 3, 3)}),
)

# Tile
for _name, _shape, _fields in (
    ("", (2, 3, 4), "tiles: 3"),
    ("_axis_zero", (2, 3), "axis: 0 tiles: 2"),
    ("_last_axis", (2, 3, 4), "axis: -1 tiles: 2"),
    ("_once", (2, 3), "tiles: 1"),
    ("_one_value", (1, 1), "tiles: 4"),
):
    add_layer("utility.tile" + _name, "Tile", _shape, "tile_param { %s }" % _fields)
add_layer(
    "utility.tile_sizes", "Tile", (2, 3), "tile_param { tiles: 2 }", rounds=({}, {"x": (1, 2, 3)})
)

# Reduction
for _operation in ("SUM", "ASUM", "SUMSQ", "MEAN"):
    for _name, _shape, _fields in (
        ("", (2, 3, 4), ""),
        ("_axis", (2, 3, 4), "axis: 1 coeff: 2.5"),
        ("_last_axis", (2, 3, 4), "axis: -1 coeff: -0.5"),
        ("_one_value", (1,), ""),
        ("_one_each", (3, 1), "axis: 1"),
    ):
        add_layer(
            "utility.reduction_%s%s" % (_operation.lower(), _name),
            "Reduction",
            _shape,
            "reduction_param { operation: %s %s }" % (_operation, _fields),
        )
add_layer(
    "utility.reduction_zeros",
    "Reduction",
    (3, 8),
    "reduction_param { operation: ASUM axis: 1 }",
    inputs={"x": "few 1"},
)
add_layer(
    "utility.reduction_loss",
    "Reduction",
    (3, 8),
    "loss_weight: 0.5 reduction_param { operation: SUMSQ }",
    "loss",
)
add_layer("utility.reduction_sizes", "Reduction", (3, 8), rounds=({}, {"x": (2, 2, 2)}))

# ArgMax
for _name, _shape, _fields in (
    ("", (3, 7), ""),
    ("_images", (2, 5, 3, 4), ""),
    ("_volume", (2, 3, 2, 2, 2), ""),
    ("_one_axis", (5,), ""),
    ("_top_k", (3, 7), "top_k: 4"),
    ("_top_k_images", (2, 3, 2, 2), "top_k: 12"),
    ("_axis", (2, 5, 3, 4), "axis: 1"),
    ("_axis_top_k", (2, 5, 3, 4), "axis: 1 top_k: 3"),
    ("_last_axis", (2, 5, 4), "axis: -1 top_k: 2"),
    ("_axis_zero", (5, 2), "axis: 0"),
    ("_one_class", (3, 1, 1, 1), ""),
):
    for _values in ("", "_values"):
        for _kind, _ties in (("normal", ""), ("few 1", "_ties")):
            add_layer(
                "utility.argmax" + _name + _values + _ties,
                "ArgMax",
                _shape,
                "argmax_param { %s out_max_val: %s }" % (_fields, "true" if _values else "false"),
                inputs={"x": _kind},
                backward=False,
            )

# BatchReindex
for _name, _rows in (("", 6), ("_fewer", 2), ("_one", 1)):
    behind(
        "batch_reindex" + _name,
        "BatchReindex",
        {"x": (4, 2, 3), "index": (_rows,)},
        inputs={"index": "label 4"},
        rounds=({}, {}),
    )
behind(
    "batch_reindex_sizes",
    "BatchReindex",
    {"x": (4, 2), "index": (3,)},
    inputs={"index": "label 4"},
    rounds=({}, {"index": (5,)}),
)

# Filter: at the first reshape, before there is a selection, all items pass
for _name, _inputs, _tops, _kind in (
    ("", {"x": (7, 2, 3), "keep": (7,)}, "y", "label 2"),
    ("_column", {"x": (7, 3), "keep": (7, 1)}, "y", "label 2"),
    ("_all", {"x": (4, 3), "keep": (4,)}, "y", "positive"),
    ("_two", {"x": (6, 2), "b": (6,), "keep": (6, 1, 1, 1)}, "y z", "label 2"),
):
    behind("filter" + _name, "Filter", _inputs, tops=_tops, inputs={"keep": _kind}, rounds=({}, {}))

# Parameter, Silence
add(
    "utility.parameter",
    net(
        {"x": (2, 3)},
        layer("Parameter", "", "w", "parameter_param { shape { dim: 2 dim: 3 } }")
        + layer("Eltwise", "x w", "y", "eltwise_param { operation: PROD }"),
    ),
    rounds=({}, {}),
)
add_layer("utility.parameter_alone", "Parameter", {}, "parameter_param { shape { dim: 4 } }")
add(
    "utility.silence",
    net(
        {"x": (2, 3), "z": (4,)},
        layer("Python", "x", "y", CUBE) + layer("Silence", "y z", "", name="quiet"),
    ),
)
add(
    "utility.silence_of_one_use",
    net(
        {"x": (2, 3)},
        layer("Python", "x", "c", CUBE) + layer("Silence", "c", "", name="s") + layer("TanH", "c"),
    ),
    phase=caffe.TRAIN,
)
