"""Nets that BVLC Caffe and the engine once treated differently; random nets showed most of them.

Each table maps a name to a net, as oracle/run_nets.py reads nets.
"""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from oracle.cases.case import layer, net

#: Nets that BVLC Caffe refuses, when it builds them, in forward or in backward.
REFUSED: Dict[str, dict] = {}
#: Nets whose numbers agree.
AGREED: Dict[str, dict] = {}
#: Nets whose numbers agree as far as roundings allow.
ROUNDED: Dict[str, dict] = {}
#: Nets for the entries of oracle/deliberate.py, by the name of the entry.
DIFFERENT: Dict[str, dict] = {}


def add(
    name: str,
    text: str,
    inputs: Optional[Dict[str, str]] = None,
    rounds: Sequence[dict] = ({},),
    table: Dict[str, dict] = AGREED,
    phase: int = 1,
    backward: bool = True,
) -> None:
    """Add a net to a table; the other arguments are those of oracle.cases.case.Case."""
    table[name] = {
        "name": name,
        "text": text,
        "inputs": inputs or {},
        "phase": phase,
        "rounds": list(rounds),
        "backward": backward,
    }


_X = {"x": (2, 3, 4)}
add(
    "convolution_of_padding_with_a_loss_weight",
    net(
        {"x": (1, 3, 2, 6)},
        layer(
            "Convolution",
            "x",
            "y",
            "convolution_param { num_output: 3 kernel_size: 1 stride_h: 3 stride_w: 2 pad: 1 } "
            "loss_weight: 0.5",
        ),
    ),
)
add(
    "slice_into_one_top_of_a_growing_batch",
    net(
        {"x": (1, 1, 3, 3)},
        layer(
            "Reshape", "x", "r", "reshape_param { shape { dim: -1 dim: 0 dim: 1 dim: 1 dim: 3 } }"
        )
        + layer("Slice", "r", "y")
        + layer("Concat", "r", "z"),
    ),
    rounds=({}, {"x": (3, 1, 3, 3)}, {"x": (2, 1, 3, 3)}),
)
add(
    "dummy_data_with_sizes_for_some_tops",
    net(
        _X,
        layer(
            "DummyData",
            "",
            "y z",
            "dummy_data_param { num: 2 num: 3 channels: 1 height: 2 height: 4 width: 5 }",
        )
        + layer("ReLU", "x", "x"),
    ),
)
add(
    "sigmoid_loss_at_zero",
    net(
        {"x": (2, 3, 4), "t": (2, 3, 4)},
        layer("ReLU", "x", "r") + layer("SigmoidCrossEntropyLoss", "r t", "loss"),
    ),
    inputs={"t": "label 2"},
)
for _type in ("Convolution", "Im2col"):
    add(
        f"{_type.lower()}_a_little_larger_than_its_bottom",
        net(
            {"x": (2, 3, 9, 12)},
            layer(
                _type,
                "x",
                "y",
                "convolution_param { num_output: 2 kernel_size: 11 stride: 4 "
                'weight_filler { type: "gaussian" std: 1 } }',
            ),
        ),
        rounds=({}, {"x": (1, 3, 8, 11)}),
    )
add(
    "pooling_a_little_larger_than_its_bottom",
    net(
        {"x": (1, 2, 2, 3)},
        layer("Pooling", "x", "y", "pooling_param { kernel_size: 3 stride: 2 }"),
    ),
)
add("concat_of_one", net(_X, layer("Concat", "x", "y"), force_backward=False))
add("slice_into_one", net(_X, layer("Slice", "x", "y"), force_backward=False))
add("flatten_without_backward", net(_X, layer("Flatten", "x", "y"), force_backward=False))
add("flatten_twice", net(_X, layer("Flatten", "x", "y")), rounds=({}, {"x": (1, 3, 2)}))
add(
    "batch_norm_below_a_loss_weight",
    net(
        {"x": (2, 3, 4)},
        layer("BatchNorm", "x", "b", "loss_weight: 3") + layer("ReLU", "b", "y"),
        force_backward=False,
    ),
)
add(
    "batch_norm_in_place_gradient",
    net(_X, layer("BatchNorm", "x", "x", "loss_weight: 3", name="bn"), force_backward=False),
)
add(
    "scale_from_the_first_axis_twice",
    net(
        {"x": (3, 4)},
        layer("Scale", "x", "y", "scale_param { axis: 0 num_axes: 1 bias_term: true }"),
    ),
    rounds=({}, {}),
)
add(
    "scale_by_one_value_twice",
    net({"x": (1, 4)}, layer("Scale", "x", "y", "scale_param { axis: 0 num_axes: 1 }")),
    rounds=({}, {}),
)

add(
    "dropout_with_ratio_0",
    net(_X, layer("Dropout", "x", "y", "dropout_param { dropout_ratio: 0 }")),
    phase=0,
)
add(
    "deconvolution_of_a_long_axis",
    net(
        {"x": (1, 1, 2, 15)},
        layer("Deconvolution", "x", "y", "convolution_param { num_output: 1 kernel_size: 1 }"),
    ),
)
add("clip_with_an_empty_range", net(_X, layer("Clip", "x", "y", "clip_param { min: 3 max: 1 }")))
add(
    "convolution_of_one_column",
    net(
        {"x": (4, 3, 6, 1)},
        layer(
            "Convolution",
            "x",
            "y",
            "convolution_param { num_output: 9 kernel_h: 4 kernel_w: 1 stride: 2 pad: 1 "
            "dilation: 2 group: 3 }",
        ),
    ),
)
add(
    "deconvolution_of_one_column",
    net(
        {"x": (3, 48, 3, 1)},
        layer(
            "Deconvolution",
            "x",
            "y",
            "convolution_param { num_output: 1 kernel_h: 4 kernel_w: 3 stride_h: 1 stride_w: 2 }",
        ),
    ),
)
_RECURRENT = net(
    {"x": (2, 2, 3), "cont": (2, 2), "s": (2, 1)},
    layer("RNN", "x cont s", "y", "recurrent_param { num_output: 1 }"),
)
add(
    "recurrent_batch_grows",
    _RECURRENT,
    inputs={"cont": "label 2"},
    rounds=({}, {"x": (2, 3, 3), "cont": (2, 3), "s": (3, 1)}),
)
add(
    "channel_sums_after_a_large_value",
    net(
        {"x": (3, 2, 3, 3)},
        layer("Power", "x", "p", "power_param { power: 5 scale: 2 }")
        + layer("LRN", "p", "y", "lrn_param { local_size: 1 alpha: 0.1 beta: 1 k: 2 }"),
        force_backward=False,
    ),
    table=ROUNDED,
)

_INDEX = {"x": (2, 3), "i": (2,)}
for _name, _text in {
    "embed_gradient": net(
        {"x": (2,)}, layer("Embed", "x", "y", "embed_param { input_dim: 2 num_output: 3 }")
    ),
    "batch_reindex_gradient": net(_INDEX, layer("BatchReindex", "x i", "y")),
    "infogain_gradient": net(
        {"x": (2, 3), "label": (2,), "H": (1, 1, 3, 3)},
        layer("InfogainLoss", "x label H", "loss"),
    ),
    "loss_with_other_first_axis": net(
        {"x": (2, 3), "label": (3,)},
        layer("SoftmaxWithLoss", "x label", "loss", "softmax_param { axis: 0 }"),
    ),
    "sigmoid_loss_with_other_first_axis": net(
        {"x": (2, 3), "t": (3, 2)}, layer("SigmoidCrossEntropyLoss", "x t", "loss")
    ),
    "euclidean_of_five_axes": net(
        {"a": (1, 2, 1, 2, 2), "b": (1, 2, 1, 2, 2)}, layer("EuclideanLoss", "a b", "loss")
    ),
    "parameter_of_negative_size": net(
        {}, layer("Parameter", "", "y", "parameter_param { shape { dim: -2 } }")
    ),
}.items():
    add(_name, _text, inputs={"label": "label 2", "i": "label 2"}, table=REFUSED)
_STATIC = {"cont": "label 2"}
_LARGER_BATCH = {"x": (2, 3, 3), "cont": (2, 3)}
add("static_input_stays", _RECURRENT, _STATIC, ({}, _LARGER_BATCH), REFUSED)
add("cont_stays", _RECURRENT, _STATIC, ({}, {"x": (2, 3, 3), "s": (3, 1)}), REFUSED)
add(
    "convolution_of_two_sizes",
    net(
        {"a": (1, 2, 3, 3), "b": (1, 2, 3, 3)},
        layer("Convolution", "a b", "y z", "convolution_param { num_output: 1 kernel_size: 2 }"),
    ),
    rounds=({}, {"a": (1, 2, 4, 3)}),
    table=REFUSED,
)
add(
    "threshold_over_a_learning_layer",
    net(
        {"x": (2, 3)},
        layer("InnerProduct", "x", "i", "inner_product_param { num_output: 2 }")
        + layer("Threshold", "i", "loss", "loss_weight: 1 propagate_down: false"),
        force_backward=False,
    ),
    table=REFUSED,
)
_LONGER = {"x": (3, 2, 3), "cont": (3, 2)}
add("wider_static_input", _RECURRENT, _STATIC, ({}, {"s": (2, 3)}), REFUSED)
add("more_steps", _RECURRENT, _STATIC, ({}, _LONGER), REFUSED)
add("wider_step", _RECURRENT, _STATIC, ({}, {"x": (2, 2, 4)}), REFUSED)


def _pooling(fields: str, tops: str = "y") -> str:
    return net({"x": (1, 1, 5, 5)}, layer("Pooling", "x", tops, f"pooling_param {{ {fields} }}"))


add("mean_with_indices", _pooling("pool: AVE kernel_size: 2", "y m"), table=REFUSED)
add("stochastic_with_indices", _pooling("pool: STOCHASTIC kernel_size: 2", "y m"), table=REFUSED)
add("stochastic_padded", _pooling("pool: STOCHASTIC kernel_size: 2 pad: 1"), table=REFUSED)

add(
    "more than four axes",
    net({"x": (1, 2, 1, 2, 2)}, layer("PReLU", "x", "y")),
    table=DIFFERENT,
)
add("stochastic pooling on the CPU", _pooling("pool: STOCHASTIC kernel_size: 2"), table=DIFFERENT)
add(
    "label out of range",
    net({"x": (6, 3), "l": (6,)}, layer("SoftmaxWithLoss", "x l", "loss")),
    inputs={"l": "label 9"},
    table=DIFFERENT,
)
add(
    "index out of range",
    net(
        {"i": (4,)},
        layer("Embed", "i", "y", "embed_param { input_dim: 1 num_output: 1 }"),
        force_backward=False,
    ),
    inputs={"i": "label 2"},
    table=DIFFERENT,
)
add(
    "sizes after a reshape",
    net(
        {"a": (2, 3), "b": (2, 3), "s": (2,)},
        layer("ContrastiveLoss", "a b s", "loss"),
    ),
    inputs={"s": "label 2"},
    rounds=({}, {"s": (3,)}),
    table=DIFFERENT,
)
add(
    "maps without values",
    net(
        {"x": (1, 1, 3, 3)},
        layer("Convolution", "x", "y", "convolution_param { num_output: 1 kernel_size: 3 }"),
    ),
    rounds=({}, {"x": (1, 1, 2, 3)}),
    table=DIFFERENT,
    backward=False,
)
add(
    "an array without values",
    net({"x": (2, 3), "i": (0,)}, layer("BatchReindex", "x i", "y")),
    table=DIFFERENT,
    backward=False,
)
add(
    "in place",
    net({"x": (2, 3)}, layer("Tile", "x", "x", "tile_param { tiles: 1 }", "t")),
    table=DIFFERENT,
)
add(
    "random ranges",
    net(
        {"x": (2, 3)},
        layer(
            "InnerProduct",
            "x",
            "y",
            "inner_product_param { num_output: 2 weight_filler { type: 'uniform' min: -3e38 "
            "max: 3e38 } }",
        ),
    ),
    table=DIFFERENT,
)
add(
    "dropout_ratio",
    net({"x": (2, 3)}, layer("Dropout", "x", "y", "dropout_param { dropout_ratio: -0.5 }")),
    table=DIFFERENT,
)
