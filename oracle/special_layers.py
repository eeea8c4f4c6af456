"""The layers that oracle/special_values.py and oracle/edge_cases.py compare."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from oracle.cases.case import layer

Shape = Tuple[int, ...]
MAP, ROWS = (2, 3, 5, 6), (4, 5)


class Layer(NamedTuple):
    """A layer, or a few, over inputs.

    text: the layers. bottoms: input -> shape. labels: input -> distribution, of inputs without
    special values. tops: the outputs that get gradients. phase: 0 TRAIN, 1 TEST. backward: whether
    the layers have gradients. weights: whether the layers have weights. share: the share of special
    values.
    """

    text: str
    bottoms: Mapping[str, Shape]
    labels: Mapping[str, str]
    tops: Sequence[str]
    phase: int
    backward: bool
    weights: bool
    share: float


LAYERS: Dict[str, Layer] = {}


def add(
    name: str,
    text: str,
    bottoms: Optional[Mapping[str, Shape]] = None,
    labels: Optional[Mapping[str, str]] = None,
    tops: str = "y",
    phase: int = 1,
    backward: bool = True,
    weights: bool = False,
    share: float = 0.2,
) -> None:
    """Add layers to the table."""
    bottoms = bottoms or {"x": MAP}
    LAYERS[name] = Layer(text, bottoms, labels or {}, tops.split(), phase, backward, weights, share)


def add_layer(
    name: str, type_: str, fields: str = "", shape: Shape = MAP, tops: str = "y", **options: object
) -> None:
    """Add a layer of one bottom."""
    add(name, layer(type_, "x", tops, fields), {"x": shape}, tops=tops, **options)  # type: ignore[arg-type]


def add_activations() -> None:
    """Add the layers of single values."""
    for type_ in ("ReLU", "ELU", "Sigmoid", "TanH", "Swish", "BNLL"):
        add_layer(type_, type_)
        add("%s in place" % type_, layer("Power", "x", "y") + layer(type_, "y", "y", name="z"))
    add_layer("AbsVal", "AbsVal")
    add_layer("Clip", "Clip", "clip_param { min: -0.5 max: 0.5 }")
    add_layer("Threshold", "Threshold", "threshold_param { threshold: 0 }", backward=False)
    for slope in ("0.1", "-0.2", "1"):
        fields = "relu_param { negative_slope: %s }" % slope
        add_layer("ReLU, negative_slope %s" % slope, "ReLU", fields)
    add_layer("PReLU", "PReLU", weights=True)
    add_layer(
        "PReLU, channel_shared", "PReLU", "prelu_param { channel_shared: true }", weights=True
    )
    add_layer("ELU, alpha 0.5", "ELU", "elu_param { alpha: 0.5 }")
    add_layer("Swish, beta 2", "Swish", "swish_param { beta: 2 }")
    for power, scale, shift in (
        (2, 1, 0),
        (0.5, 1, 0),
        (-1, 1, 0),
        (0, 1, 0),
        (1, 0, 2),
        (3, 2, 1),
    ):
        fields = "power_param { power: %g scale: %g shift: %g }" % (power, scale, shift)
        add_layer("Power, power %g scale %g shift %g" % (power, scale, shift), "Power", fields)
    for base, scale, shift in ((-1, 1, 0), (2, 1, 0), (0.5, -1, 1), (2, 0, 1)):
        fields = "{ base: %g scale: %g shift: %g }" % (base, scale, shift)
        add_layer(
            "Exp, base %g scale %g shift %g" % (base, scale, shift), "Exp", "exp_param" + fields
        )
        add_layer(
            "Log, base %g scale %g shift %g" % (base, scale, shift), "Log", "log_param" + fields
        )
    add_layer("Dropout, TEST", "Dropout")
    add_layer("Dropout, TRAIN", "Dropout", phase=0)


def add_windows() -> None:
    """Add poolings, normalizations and convolutions."""
    for pool in ("MAX", "AVE"):
        for fields in ("kernel_size: 2 stride: 2", "kernel_size: 3 pad: 1", "global_pooling: true"):
            text = "pooling_param { pool: %s %s }" % (pool, fields)
            add_layer("Pooling, %s %s" % (pool, fields), "Pooling", text)
    add_layer(
        "Pooling, MAX mask", "Pooling", "pooling_param { kernel_size: 2 stride: 2 }", tops="y m"
    )
    for pool in ("MAX", "AVE"):
        fields = "spp_param { pyramid_height: 2 pool: %s }" % pool
        add_layer("SPP, %s" % pool, "SPP", fields, (2, 3, 4, 4))
    for region in ("ACROSS_CHANNELS", "WITHIN_CHANNEL"):
        fields = "lrn_param { local_size: 3 alpha: 0.5 norm_region: %s }" % region
        add_layer("LRN, %s" % region, "LRN", fields)
    add_layer("Im2col", "Im2col", "convolution_param { kernel_size: 2 stride: 2 }")
    for type_ in ("Convolution", "Deconvolution"):
        for fields in ("kernel_size: 3", "kernel_size: 1", "kernel_size: 3 pad: 1 stride: 2"):
            text = "convolution_param { num_output: 2 %s }" % fields
            add_layer("%s, %s" % (type_, fields), type_, text, weights=True, share=0.02)
    fields = "convolution_param { num_output: 4 group: 4 bias_term: false kernel_size: 2 }"
    for type_ in ("Convolution", "Deconvolution"):
        add_layer("%s, group 4" % type_, type_, fields, (2, 4, 5, 5), weights=True, share=0.02)


def add_fast_paths() -> None:
    """Add layers for which the engine has faster ways than one layer after the other."""
    fields = "convolution_param { num_output: 128 kernel_size: 3 pad: 1 }"
    add_layer("Winograd", "Convolution", fields, (1, 64, 18, 21), weights=True, share=2e-4)
    conv = "convolution_param { num_output: 4 kernel_size: 3 pad: %d }"
    chain = layer("Convolution", "x", "c", conv % 1) + layer("BatchNorm", "c", "c", name="bn")
    chain += layer("Scale", "c", "c", "scale_param { bias_term: true }", name="scale")
    chain += layer("ReLU", "c", "c", name="relu")
    chain += layer("Pooling", "c", "y", "pooling_param { kernel_size: 2 stride: 2 }")
    shape = {"x": (2, 3, 8, 9)}
    add("BatchNorm after Convolution, TEST", chain, shape, backward=False, weights=True, share=0.01)
    add("BatchNorm after Convolution, TRAIN", chain, shape, phase=0, share=0.005)
    region = layer("Convolution", "x", "a", conv % 12) + layer("ReLU", "a", "a", name="r")
    region += layer("Pooling", "a", "b", "pooling_param { kernel_size: 2 stride: 2 }")
    region += layer("Convolution", "b", "y", conv % 1)
    add("Convolution, pad 12", region, shape, backward=False, weights=True, share=0.01)
    add("Convolution, pad 12, learning", region, shape, weights=True, share=0.01)
    join = layer("Convolution", "x", "a", conv % 1) + layer("Convolution", "x", "b", conv % 1)
    join += layer("Eltwise", "a b", "y") + layer("ReLU", "y", "y", name="relu")
    add("Eltwise after Convolution", join, shape, backward=False, weights=True, share=0.01)


def add_products() -> None:
    """Add inner products, statistics, and layers of a weight a channel."""
    fields = "inner_product_param { num_output: 3 %s }"
    add_layer("InnerProduct", "InnerProduct", fields % "", ROWS, weights=True)
    add_layer(
        "InnerProduct, transpose", "InnerProduct", fields % "transpose: true", ROWS, weights=True
    )
    for phase, name in enumerate(("TRAIN", "TEST")):
        add_layer("BatchNorm, %s" % name, "BatchNorm", phase=phase, weights=phase == 1)
    for fields in ("", "scale_param { bias_term: true }", "scale_param { axis: 0 num_axes: -1 }"):
        add_layer("Scale %s" % fields[13:-2], "Scale", fields, weights=True)
    add(
        "Scale of two bottoms",
        layer("Scale", "x z", "y", "scale_param { axis: 1 }"),
        {"x": MAP, "z": (3,)},
    )
    add_layer("Bias", "Bias", weights=True)
    add(
        "Bias of two bottoms",
        layer("Bias", "x z", "y", "bias_param { axis: 1 }"),
        {"x": MAP, "z": (3,)},
    )
    for fields in ("", "normalize_variance: false", "across_channels: true"):
        add_layer("MVN %s" % fields, "MVN", "mvn_param { %s }" % fields)
    fields = "embed_param { input_dim: 6 num_output: 3 }"
    add(
        "Embed",
        layer("Embed", "x", "y", fields),
        {"x": (5,)},
        {"x": "label 6"},
        backward=False,
        weights=True,
    )
    recurrent = "recurrent_param { num_output: 3 }"
    for type_ in ("LSTM", "RNN"):
        text = layer(type_, "x c", "y", recurrent)
        add(type_, text, {"x": (3, 2, 4), "c": (3, 2)}, {"c": "label 2"}, weights=True)
    add(
        "LSTMUnit",
        layer("LSTMUnit", "a b c", "d y"),
        {"a": (1, 2, 3), "b": (1, 2, 12), "c": (1, 2)},
        {"c": "label 2"},
        tops="d y",
    )


def add_joins_and_views() -> None:
    """Add layers of several bottoms, and those that move values."""
    two = {"x": MAP, "z": MAP}
    for operation in (
        "PROD",
        "SUM",
        "MAX",
        "SUM coeff: 2 coeff: -1",
        "SUM coeff: 0 coeff: 1",
        "PROD stable_prod_grad: false",
    ):
        fields = "eltwise_param { operation: %s }" % operation
        add("Eltwise, %s" % operation, layer("Eltwise", "x z", "y", fields), two)
    for operation in ("PROD", "MAX", "SUM"):
        fields = "eltwise_param { operation: %s }" % operation
        add(
            "Eltwise of three, %s" % operation,
            layer("Eltwise", "x z w", "y", fields),
            {**two, "w": MAP},
        )
    for operation in ("SUM", "ASUM", "SUMSQ", "MEAN"):
        for more in ("", " axis: 1", " coeff: 0"):
            fields = "reduction_param { operation: %s%s }" % (operation, more)
            add_layer("Reduction, %s%s" % (operation, more), "Reduction", fields)
    add("Concat", layer("Concat", "x z", "y"), two)
    add_layer("Slice", "Slice", "slice_param { axis: 2 slice_point: 2 }", tops="a b")
    add_layer("Split", "Split", tops="a b")
    add_layer("Flatten", "Flatten")
    add_layer("Reshape", "Reshape", "reshape_param { shape { dim: 0 dim: -1 } }")
    add_layer("Tile", "Tile", "tile_param { axis: 1 tiles: 2 }")
    add(
        "Crop", layer("Crop", "x z", "y", "crop_param { offset: 1 }"), {"x": MAP, "z": (2, 3, 3, 4)}
    )
    add("BatchReindex", layer("BatchReindex", "x i", "y"), {"x": MAP, "i": (3,)}, {"i": "label 2"})
    add(
        "Filter", layer("Filter", "x i", "y"), {"x": MAP, "i": (2,)}, {"i": "few 1"}, backward=False
    )
    for fields in (
        "",
        "top_k: 3",
        "axis: 1",
        "axis: 1 top_k: 2",
        "axis: 2 out_max_val: true",
        "out_max_val: true top_k: 2",
    ):
        add_layer("ArgMax %s" % fields, "ArgMax", "argmax_param { %s }" % fields, backward=False)
    for axis in (0, 1, 2):
        add_layer("Softmax, axis %d" % axis, "Softmax", "softmax_param { axis: %d }" % axis)


def add_losses() -> None:
    """Add losses and Accuracy."""
    rows, label = {"x": ROWS, "l": (4,)}, {"l": "label 5"}
    for k in (1, 2):
        fields = "accuracy_param { top_k: %d }" % k
        add(
            "Accuracy, top_k %d" % k,
            layer("Accuracy", "x l", "y", fields),
            rows,
            label,
            backward=False,
        )
    add("Accuracy of classes", layer("Accuracy", "x l", "y c"), rows, label, backward=False)
    for type_, more in (
        ("SoftmaxWithLoss", ""),
        ("SoftmaxWithLoss", "loss_param { ignore_label: 2 }"),
        ("MultinomialLogisticLoss", ""),
        ("HingeLoss", ""),
        ("HingeLoss", "hinge_loss_param { norm: L2 }"),
    ):
        add("%s %s" % (type_, more), layer(type_, "x l", "loss", more), rows, label)
    maps = {"x": MAP, "l": (2, 1, 5, 6)}
    add("SoftmaxWithLoss of maps", layer("SoftmaxWithLoss", "x l", "loss"), maps, {"l": "label 3"})
    add(
        "InfogainLoss",
        layer("InfogainLoss", "x l h", "loss"),
        {**rows, "h": (1, 1, 5, 5)},
        {**label, "h": "normal"},
    )
    add("EuclideanLoss", layer("EuclideanLoss", "x z", "loss"), {"x": ROWS, "z": ROWS})
    for legacy in ("false", "true"):
        fields = "contrastive_loss_param { legacy_version: %s margin: 3 }" % legacy
        text = layer("ContrastiveLoss", "x z l", "loss", fields)
        add(
            "ContrastiveLoss, legacy %s" % legacy,
            text,
            {"x": ROWS, "z": ROWS, "l": (4,)},
            {"l": "label 2"},
        )
    text = layer("SigmoidCrossEntropyLoss", "x z", "loss")
    add("SigmoidCrossEntropyLoss", text, {"x": ROWS, "z": ROWS}, {"z": "label 2"})
    add("SigmoidCrossEntropyLoss of any target", text, {"x": ROWS, "z": ROWS})
    fields = "loss_param { ignore_label: 1 }"
    text = layer("SigmoidCrossEntropyLoss", "x z", "loss", fields)
    add("SigmoidCrossEntropyLoss, ignore_label", text, {"x": ROWS, "z": ROWS}, {"z": "label 3"})


for _add in (
    add_activations,
    add_windows,
    add_fast_paths,
    add_products,
    add_joins_and_views,
    add_losses,
):
    _add()
