"""Golden cases of RNN, LSTM and LSTMUnit; the bottom `cont` is 0 where a sequence starts."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Mapping

import caffe

from oracle.cases.case import Shape, add, layer, net

#: Type -> the names of its hidden states as bottoms and as tops.
STATES = {"RNN": (("h0",), ("h",)), "LSTM": (("h0", "c0"), ("h", "c"))}


def recurrent(
    name: str,
    type_: str,
    shapes: Mapping[str, Shape],
    fields: str = "",
    tops: str = "y",
    params: str = "",
    cont: str = "label 2",
    **options: Any,
) -> None:
    """Add a case of a recurrent layer; fields: of its recurrent_param, params: its `param`s."""
    fields = "recurrent_param { num_output: 3 %s }" % fields
    add(
        "recurrent.%s_%s" % (type_.lower(), name),
        net(shapes, layer(type_, " ".join(shapes), tops, params + fields)),
        inputs={"cont": cont},
        **options,
    )


for _type, (_before, _after) in STATES.items():
    _in = {"x": (4, 2, 5), "cont": (4, 2)}
    _exposed = {state: (1, 2, 3) for state in _before}
    _tops = " ".join(("y", *_after))
    recurrent("rounds", _type, _in, rounds=({}, {}, {}))
    recurrent("train", _type, _in, rounds=({}, {}), phase=caffe.TRAIN)
    recurrent("never_cut", _type, _in, cont="label 1", rounds=({}, {}))
    recurrent("images", _type, {"x": (3, 2, 2, 2, 3), "cont": (3, 2)}, rounds=({}, {}))
    recurrent("one_step", _type, {"x": (1, 2, 5), "cont": (1, 2)}, rounds=({}, {}, {}))
    recurrent("one_value", _type, {"x": (1, 1, 1), "cont": (1, 1)}, rounds=({}, {}))
    recurrent("static", _type, dict(_in, s=(2, 4)), rounds=({}, {}))
    recurrent("static_images", _type, dict(_in, s=(2, 2, 2)))
    recurrent(
        "exposed", _type, dict(_in, **_exposed), "expose_hidden: true", _tops, rounds=({}, {})
    )
    recurrent(
        "exposed_static",
        _type,
        dict(_in, s=(2, 4), **_exposed),
        "expose_hidden: true",
        _tops,
    )
    recurrent(
        "batches",
        _type,
        {"x": (3, 4, 2), "cont": (3, 4)},
        rounds=[{"x": (3, n, 2), "cont": (3, n)} for n in (4, 2, 2, 4, 3, 5, 4)],
    )
    recurrent(
        "fillers",
        _type,
        _in,
        "weight_filler { type: 'constant' value: 0.2 }"
        " bias_filler { type: 'constant' value: -0.1 }",
        fill=False,
    )
    recurrent(
        "frozen", _type, _in, params="param { lr_mult: 0 } param { lr_mult: 0 } ", rounds=({}, {})
    )
    add(
        "recurrent.%s_two_layers" % _type.lower(),
        net(
            {"x": (4, 2, 5), "cont": (4, 2), "label": (4, 2)},
            layer(_type, "x cont", "a", "recurrent_param { num_output: 4 }")
            + layer(_type, "a cont", "b", "recurrent_param { num_output: 3 }")
            + layer("SoftmaxWithLoss", "b label", "loss", "softmax_param { axis: 2 }"),
            force_backward=False,
        ),
        inputs={"cont": "label 2", "label": "label 3"},
        phase=caffe.TRAIN,
        rounds=({}, {}),
    )

for _name, _shapes, _kind in (
    ("", {"c": (1, 3, 4), "gates": (1, 3, 16), "cont": (1, 3)}, "label 2"),
    ("_fractions", {"c": (1, 3, 4), "gates": (1, 3, 16), "cont": (1, 3)}, "positive"),
    ("_one_value", {"c": (1, 1, 1), "gates": (1, 1, 4), "cont": (1, 1)}, "positive"),
):
    add(
        "recurrent.lstm_unit" + _name,
        net(_shapes, layer("LSTMUnit", " ".join(_shapes), "next h")),
        inputs={"cont": _kind},
        rounds=({}, {}),
    )
