"""Nets that were different when random nets (oracle/random_nets.py) found them."""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from oracle.cases.case import layer, net

#: Nets that BVLC Caffe refuses, in building, forward or backward: name -> prototxt.
REFUSED: Dict[str, str] = {}
#: Nets whose numbers agree now, as oracle/run_nets.py takes them.
AGREED: Dict[str, dict] = {}


def found(
    name: str, text: str, inputs: Optional[Dict[str, str]] = None, rounds: Sequence[dict] = ({},)
) -> None:
    AGREED[name] = {
        "name": name,
        "text": text,
        "inputs": inputs or {},
        "phase": 1,
        "rounds": list(rounds),
        "backward": True,
    }


_X = {"x": (2, 3, 4)}
found(
    "sigmoid_loss_at_zero",
    net(
        {"x": (2, 3, 4), "t": (2, 3, 4)},
        layer("ReLU", "x", "r") + layer("SigmoidCrossEntropyLoss", "r t", "loss"),
    ),
    inputs={"t": "label 2"},
)
found("concat_of_one", net(_X, layer("Concat", "x", "y"), force_backward=False))
found("slice_into_one", net(_X, layer("Slice", "x", "y"), force_backward=False))
found("flatten_without_backward", net(_X, layer("Flatten", "x", "y"), force_backward=False))
found("flatten_twice", net(_X, layer("Flatten", "x", "y")), rounds=({}, {"x": (1, 3, 2)}))
found(
    "batch_norm_learns_for_need",
    net(
        {"x": (2, 3, 4)},
        layer("BatchNorm", "x", "b", "loss_weight: 3") + layer("ReLU", "b", "y"),
        force_backward=False,
    ),
)
found(
    "batch_norm_in_place_gradient",
    net(_X, layer("BatchNorm", "x", "x", "loss_weight: 3", name="bn"), force_backward=False),
)
found(
    "scale_from_the_first_axis_twice",
    net(
        {"x": (3, 4)},
        layer("Scale", "x", "y", "scale_param { axis: 0 num_axes: 1 bias_term: true }"),
    ),
    rounds=({}, {}),
)
found(
    "scale_by_one_value_twice",
    net({"x": (1, 4)}, layer("Scale", "x", "y", "scale_param { axis: 0 num_axes: 1 }")),
    rounds=({}, {}),
)

_INDEX = {"x": (2, 3), "i": (2,)}
REFUSED.update(
    embed_gradient=net(
        {"x": (2,)}, layer("Embed", "x", "y", "embed_param { input_dim: 2 num_output: 3 }")
    ),
    batch_reindex_gradient=net(_INDEX, layer("BatchReindex", "x i", "y")),
    infogain_gradient=net(
        {"x": (2, 3), "label": (2,), "H": (1, 1, 3, 3)},
        layer("InfogainLoss", "x label H", "loss"),
    ),
    loss_with_other_first_axis=net(
        {"x": (2, 3), "label": (3,)},
        layer("SoftmaxWithLoss", "x label", "loss", "softmax_param { axis: 0 }"),
    ),
    sigmoid_loss_with_other_first_axis=net(
        {"x": (2, 3), "t": (3, 2)}, layer("SigmoidCrossEntropyLoss", "x t", "loss")
    ),
    euclidean_of_five_axes=net(
        {"a": (1, 2, 1, 2, 2), "b": (1, 2, 1, 2, 2)}, layer("EuclideanLoss", "a b", "loss")
    ),
    parameter_of_negative_size=net(
        {}, layer("Parameter", "", "y", "parameter_param { shape { dim: -2 } }")
    ),
    prelu_of_five_axes=net({"x": (1, 2, 1, 2, 2)}, layer("PReLU", "x", "y")),
)
