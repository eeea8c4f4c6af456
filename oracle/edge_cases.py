"""Nets and solvers at the edges of what Caffe accepts, for oracle/edges.py."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import re
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from oracle.cases.case import layer, net
from oracle.special_layers import LAYERS

Shape = Tuple[int, ...]


def without_values(shapes: Mapping[str, Shape], blob: str, axis: int) -> Dict[str, Shape]:
    """Return the shapes with 0 at an axis of a blob, and of the blobs that have its size there."""
    size = shapes[blob][axis]
    return {
        name: (
            (*shape[:axis], 0, *shape[axis + 1 :])
            if len(shape) > axis and shape[axis] == size
            else shape
        )
        for name, shape in shapes.items()
    }


def empty_nets() -> Iterator[dict]:
    """Yield nets of every layer with a bottom without values, at once and after a reshape."""
    types = set()
    for name, entry in LAYERS.items():
        type_ = name.partition(",")[0] if "Pooling" not in name else name
        if type_ in types or type_.endswith("in place"):
            continue
        types.add(type_)
        for blob in entry.bottoms:
            for axis in range(len(entry.bottoms[blob])):
                empty = without_values(entry.bottoms, blob, axis)
                if blob != next(iter(entry.bottoms)) and empty != {
                    **entry.bottoms,
                    blob: empty[blob],
                }:
                    continue
                for kind, start, rounds in (
                    ("at the start", empty, [{}, dict(entry.bottoms)]),
                    ("after a reshape", entry.bottoms, [{}, empty]),
                ):
                    yield {
                        "name": ("%s. %s axis %d %s" % (name, blob, axis, kind)).replace("/", "_"),
                        "net": net(start, entry.text, entry.backward),
                        "rounds": rounds,
                        "phase": entry.phase,
                        "labels": [*entry.labels],
                        "backward": entry.backward,
                    }


CONV = "convolution_param { num_output: 2 %s }"
#: Type of a layer -> fields that mean nothing, or nearly nothing.
FIELDS: Dict[str, Sequence[str]] = {
    "Convolution": [
        CONV % (fields if "kernel" in fields else "kernel_size: 3 " + fields)
        for fields in (
            "group: 0",
            "group: 2",
            "group: 3",
            "stride: 0",
            "dilation: 0",
            "pad: 100",
            "kernel_size: 9",
            "kernel_h: 3 kernel_w: 3",
            "axis: 0",
            "axis: -1",
            "axis: 9",
            "dilation: 9",
            "pad: 1 pad: 2 pad: 3",
            "weight_filler { type: 'none' }",
            "weight_filler { type: 'uniform' min: 2 max: 1 }",
            "weight_filler { type: 'gaussian' std: 0 }",
            "weight_filler { type: 'gaussian' std: -1 }",
            "weight_filler { type: 'constant' value: nan }",
            "pad: 4294967295",
            "stride: 4294967295",
        )
    ]
    + [
        "convolution_param { num_output: 0 kernel_size: 3 }",
        "convolution_param { num_output: 2 }",
        "convolution_param { num_output: 2 kernel_size: 0 }",
        "convolution_param { kernel_size: 3 }",
        "convolution_param { num_output: 4294967295 kernel_size: 3 }",
    ],
    "Pooling": [
        "pooling_param { %s }" % fields
        for fields in (
            "",
            "kernel_size: 0",
            "kernel_size: 2 stride: 0",
            "kernel_size: 9",
            "kernel_size: 2 pad: 2",
            "kernel_size: 2 pad: 3",
            "global_pooling: true kernel_size: 2",
            "global_pooling: true stride: 2",
            "kernel_h: 2",
            "kernel_size: 3 stride: 9",
            "kernel_size: 2 round_mode: FLOOR",
            "global_pooling: true pad: 1",
        )
    ],
    "LRN": [
        "lrn_param { %s }" % f
        for f in (
            "local_size: 0",
            "local_size: 2",
            "local_size: 99",
            "alpha: 0",
            "beta: 0",
            "k: 0",
            "k: -1",
            "local_size: 1",
        )
    ],
    "InnerProduct": [
        "inner_product_param { %s }" % f
        for f in (
            "",
            "num_output: 0",
            "num_output: 2 axis: 4",
            "num_output: 2 axis: -4",
            "num_output: 2 axis: 0",
            "num_output: 4294967295",
        )
    ],
    "Dropout": [
        "dropout_param { dropout_ratio: %s }" % f for f in ("0", "1", "1.5", "-0.5", "nan")
    ],
    "Slice": [
        "slice_param { %s }" % f
        for f in (
            "axis: 9",
            "slice_point: 1 slice_point: 2",
            "slice_point: 0",
            "slice_point: 3",
            "slice_dim: 1",
        )
    ],
    "Concat": ["concat_param { axis: 9 }", "concat_param { axis: -1 }"],
    "Tile": ["tile_param { tiles: %s }" % f for f in ("0", "-1", "2 axis: 9")],
    "Reshape": [
        "reshape_param { %s }" % f
        for f in (
            "shape { }",
            "shape { dim: 0 }",
            "shape { dim: -1 dim: -1 }",
            "shape { dim: 7 }",
            "shape { dim: -2 }",
            "shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 0 }",
            "axis: 9 shape { dim: 1 }",
            "axis: 1 num_axes: 9 shape { dim: 1 }",
            "axis: 1 num_axes: 0 shape { dim: 1 }",
            "shape { dim: -1 dim: 0 }",
            "shape { dim: 0 dim: -1 }",
        )
    ],
    "Flatten": [
        "flatten_param { %s }" % f
        for f in (
            "axis: 3 end_axis: 1",
            "axis: 9",
            "end_axis: 9",
            "axis: 0 end_axis: -1",
            "axis: 2 end_axis: 2",
        )
    ],
    "ArgMax": [
        "argmax_param { %s }" % f for f in ("top_k: 0", "top_k: 99", "axis: 9", "axis: 1 top_k: 4")
    ],
    "Softmax": ["softmax_param { axis: %s }" % f for f in ("9", "-1", "-9", "3")],
    "Reduction": [
        "reduction_param { %s }" % f
        for f in ("axis: 9", "axis: 4", "axis: -5", "coeff: nan", "axis: -4")
    ],
    "Scale": [
        "scale_param { %s }" % f
        for f in ("axis: 9", "num_axes: 9", "num_axes: 0", "num_axes: -2", "axis: 4 num_axes: 0")
    ],
    "Bias": [
        "bias_param { %s }" % f
        for f in ("axis: 9", "num_axes: 9", "num_axes: 0", "axis: 4 num_axes: 0")
    ],
    "PReLU": ["prelu_param { filler { type: 'constant' value: nan } }", "param { lr_mult: -1 }"],
    "Power": ["power_param { power: %s }" % f for f in ("nan", "inf", "-inf", "1e30")],
    "Exp": ["exp_param { base: %s }" % f for f in ("0", "-2", "1", "inf")],
    "Log": ["log_param { base: %s }" % f for f in ("0", "-2", "1", "inf")],
    "MVN": ["mvn_param { eps: %s }" % f for f in ("0", "-3", "nan")],
    "BatchNorm": [
        "batch_norm_param { %s }" % f
        for f in ("eps: 0", "moving_average_fraction: 2", "moving_average_fraction: nan")
    ]
    + ["param { lr_mult: 1 }"],
    "ReLU": ["relu_param { negative_slope: %s }" % f for f in ("nan", "inf", "-1")]
    + [
        "loss_weight: nan",
        "loss_weight: 1 loss_weight: 2",
        "loss_weight: 0",
        "propagate_down: false propagate_down: true",
        "param { }",
    ],
    "Embed": [
        "embed_param { %s }" % f
        for f in ("", "num_output: 2", "input_dim: 3", "num_output: 0 input_dim: 3")
    ],
    "SPP": [
        "spp_param { %s }" % f
        for f in ("", "pyramid_height: 0", "pyramid_height: 1", "pyramid_height: 9")
    ],
    "Clip": [
        "clip_param { min: 1 max: -1 }",
        "clip_param { min: 0 }",
        "clip_param { min: nan max: 1 }",
    ],
    "Threshold": ["threshold_param { threshold: nan }"],
    "Deconvolution": [
        CONV % ("kernel_size: 3 " + f)
        for f in ("group: 0", "stride: 0", "pad: 9", "stride: 9", "dilation: 0")
    ],
    "Im2col": ["convolution_param { kernel_size: %s }" % f for f in ("0", "9", "2 stride: 0")],
    "Silence": [""],
    "Input": [
        "input_param { shape { dim: %s } }" % f
        for f in (
            "-1",
            "0",
            "2147483647 dim: 2",
            "4294967296",
            "65536 dim: 65536",
            "1 " + "dim: 1 " * 40,
        )
    ],
    "DummyData": [
        "dummy_data_param { %s }" % f
        for f in (
            "",
            "shape { dim: -1 }",
            "shape { }",
            "num: 1",
            "shape { dim: 2 } data_filler { type: 'none' }",
            "num: 1 channels: 2 height: 3 width: 0",
            "shape { dim: 2 } shape { dim: 2 }",
        )
    ],
    "Parameter": ["parameter_param { shape { dim: %s } }" % f for f in ("-1", "2 dim: -1")] + [""],
}
#: Types without gradients, which force_backward must not reach.
WITHOUT_GRADIENT = {"ArgMax", "Threshold", "Embed", "Silence", "Input", "DummyData", "Parameter"}
#: Types without bottoms.
SOURCES = {"Input", "DummyData", "Parameter"}


def field_nets() -> Iterator[dict]:
    """Yield nets of one layer with odd fields."""
    for type_, all_fields in FIELDS.items():
        for fields in all_fields:
            backward = type_ not in WITHOUT_GRADIENT
            if type_ in SOURCES:
                text = layer(type_, "", "y", fields)
            else:
                tops = {"Slice": "y z", "Silence": ""}.get(type_, "y")
                text = net({"x": (2, 3, 5, 6)}, layer(type_, "x", tops, fields, name="y"), backward)
            yield {
                "name": ("%s %s" % (type_, fields)).replace("/", "_")[:120],
                "net": text,
                "rounds": [{}],
                "phase": 0,
                "labels": ["x"] if type_ == "Embed" else [],
                "backward": backward,
            }


#: Fields of every solver that does not set them itself.
USUAL = {
    "net": "'net.prototxt'",
    "snapshot_prefix": "'s'",
    "random_seed": "1",
    "snapshot_after_train": "false",
    "base_lr": "0.1",
    "lr_policy": "'fixed'",
    "max_iter": "9",
}


def solver_text(fields: str) -> str:
    """Return a solver prototxt with these fields, and those of USUAL that they do not set."""
    names = set(re.findall(r"\b(\w+):", fields))
    usual = ("%s: %s" % pair for pair in USUAL.items() if pair[0] not in names)
    return " ".join([*usual, fields])


TRAINED = """layer { name: 'p' type: 'Parameter' top: 'p' %s
parameter_param { shape { dim: 2 dim: 3 } } }
layer { name: 'd' type: 'DummyData' top: 'd' dummy_data_param { shape { dim: 2 dim: 3 }
data_filler { type: 'constant' value: 0.7 } } }
layer { name: 'loss' type: 'EuclideanLoss' bottom: 'p' bottom: 'd' top: 'loss' }"""
#: Name -> solver prototxt.
SOLVERS = {
    fields: solver_text(fields)
    for fields in (
        "",
        "average_loss: 0",
        "average_loss: -1",
        "average_loss: 100",
        "iter_size: 0",
        "iter_size: -1",
        "iter_size: 3",
        "display: 1 average_loss: 0",
        "display: -1",
        "display: 1",
        "test_interval: 1",
        "test_iter: 1",
        "test_iter: 1 test_interval: 1",
        "test_iter: 0 test_interval: 1",
        "max_iter: 0",
        "max_iter: -1",
        "snapshot: -1",
        "momentum: 2",
        "momentum: -1",
        "momentum: nan",
        "weight_decay: nan",
        "weight_decay: -1",
        "weight_decay: 1e30",
        "regularization_type: 'L3' weight_decay: 1",
        "regularization_type: 'L3'",
        "clip_gradients: 0",
        "clip_gradients: 1e-30",
        "clip_gradients: nan",
        "clip_gradients: -2",
        "base_lr: 0",
        "base_lr: -1",
        "base_lr: nan",
        "base_lr: inf",
        "base_lr: 1e38",
        "random_seed: -7",
        "type: 'Adam' delta: 0",
        "type: 'Adam' momentum: 0.9 momentum2: 0.999 delta: 0",
        "type: 'AdaGrad' delta: 0",
        "type: 'AdaGrad' momentum: 0.9",
        "type: 'AdaDelta' delta: 0",
        "type: 'AdaDelta' momentum: 0.9",
        "type: 'RMSProp' rms_decay: 2",
        "type: 'RMSProp' rms_decay: -1",
        "type: 'RMSProp' momentum: 0.9",
        "type: 'RMSProp' rms_decay: 0.5 delta: 0",
        "type: 'Nesterov'",
        "type: 'SGDD'",
        "type: ''",
        "train_net: 'net.prototxt'",
        "test_net: 'net.prototxt'",
        "snapshot_prefix: ''",
        "debug_info: true",
        "test_initialization: false test_iter: 2 test_interval: 1",
        "layer_wise_reduce: false",
        "train_state { level: 3 stage: 'x' }",
        "solver_type: ADAM",
        "solver_type: ADAM type: 'SGD'",
        "type: 'AdaDelta' momentum: 0.9 delta: 1e-6 weight_decay: 0.1",
    )
}
SOLVERS.update(
    (fields, solver_text(fields if "max_iter" in fields else fields + " max_iter: 2"))
    for fields in (
        "lr_policy: 'poly' power: 1",
        "lr_policy: 'poly' power: 2",
        "lr_policy: 'poly' power: 0.5",
        "lr_policy: 'poly' power: 0",
        "lr_policy: 'poly' power: -1",
        "lr_policy: 'poly' max_iter: 0",
        "lr_policy: 'step' gamma: 0.5",
        "lr_policy: 'step' gamma: 0.5 stepsize: 0",
        "lr_policy: 'step'",
        "lr_policy: 'step' gamma: 0.5 stepsize: -1",
        "lr_policy: 'step' gamma: -2 stepsize: 1",
        "lr_policy: 'exp' gamma: 0",
        "lr_policy: 'exp' gamma: 1e30",
        "lr_policy: 'exp' gamma: -1",
        "lr_policy: 'exp'",
        "lr_policy: 'inv' gamma: -1 power: 1",
        "lr_policy: 'inv' gamma: -0.5 power: 0.5",
        "lr_policy: 'inv'",
        "lr_policy: 'multistep' gamma: 0.5",
        "lr_policy: 'multistep' stepvalue: 1",
        "lr_policy: 'multistep' gamma: 0.5 stepvalue: 3 stepvalue: 1",
        "lr_policy: 'multistep' gamma: 0.5 stepvalue: 1 stepvalue: 1 stepvalue: 1",
        "lr_policy: 'multistep' gamma: 0.5 stepvalue: 0 stepvalue: -3",
        "lr_policy: 'sigmoid' gamma: 1e30 stepsize: 1",
        "lr_policy: 'sigmoid' gamma: -1 stepsize: 1",
        "lr_policy: 'sigmoid'",
        "lr_policy: ''",
        "lr_policy: 'fixxed'",
    )
)
#: Name -> the ParamSpec of the trained blob.
SPECS = {
    "lr_mult %s decay_mult %s" % pair: "param { lr_mult: %s decay_mult: %s }" % pair
    for pair in (
        ("0", "1"),
        ("-1", "1"),
        ("nan", "1"),
        ("1", "-1"),
        ("inf", "0"),
        ("1e30", "1"),
        ("1", "nan"),
    )
}


def solver_cases() -> Iterator[dict]:
    """Yield solvers with odd fields, which train further than max_iter."""
    for name, text in SOLVERS.items():
        yield {"name": "solver " + name, "net": TRAINED % "", "solver": text, "steps": 4}
    for name, spec in SPECS.items():
        text = solver_text("weight_decay: 0.1 momentum: 0.5")
        yield {"name": "spec " + name, "net": TRAINED % spec, "solver": text, "steps": 3}


def all_cases() -> List[dict]:
    """Return all cases."""
    return [*empty_nets(), *field_nets(), *solver_cases()]
