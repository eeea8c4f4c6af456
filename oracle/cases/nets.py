"""Golden cases of small nets, and of what a net does with its layers."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import os

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from oracle.cases.case import (
    add,
    copy,
    draw,
    draw_inputs,
    fill_params,
    fill_top_diffs,
    layer,
    load,
    meta,
    net,
    record,
    write,
)

CUBE = "python_param { module: 'oracle.python_layers' layer: 'Cube' }"
SEEDED = "python_param { module: 'oracle.python_layers' layer: 'SeededData' param_str: \"%s\" }"
TWO_PARAMS = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 } "


def conv(bottom, top, outputs, kernel=3, pad=1, rest=""):
    fields = "num_output: %d kernel_size: %d pad: %d %s" % (outputs, kernel, pad, rest)
    return layer("Convolution", bottom, top, TWO_PARAMS + "convolution_param { %s }" % fields)


def conv_relu(bottom, top, outputs, kernel=3, pad=1):
    relu = layer("ReLU", top, top, name="relu_" + top)
    return conv(bottom, top, outputs, kernel, pad) + relu


def pool(bottom, top):
    return layer("Pooling", bottom, top, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")


def up(bottom, top, outputs, kernel, stride):
    return layer(
        "Deconvolution",
        bottom,
        top,
        "param { lr_mult: 0 } convolution_param { num_output: %d bias_term: false kernel_size: %d"
        " stride: %d }" % (outputs, kernel, stride),
    )


def crop(bottom, like, top, offset):
    return layer("Crop", bottom + " " + like, top, "crop_param { axis: 2 offset: %d }" % offset)


def fc(bottom, top, outputs, rest=""):
    return layer(
        "InnerProduct", bottom, top, rest + " inner_product_param { num_output: %d }" % outputs
    )


# A fully convolutional net with two skips, strides 8, 4, 2.
FCN = (
    conv_relu("data", "conv1", 3, pad=4)
    + pool("conv1", "pool1")
    + conv_relu("pool1", "conv2", 4)
    + pool("conv2", "pool2")
    + conv_relu("pool2", "conv3", 5)
    + pool("conv3", "pool3")
    + conv_relu("pool3", "fc6", 8, pad=0)
    + layer("Dropout", "fc6", "fc6", name="drop6")
    + conv("fc6", "score_fr", 3, 1, 0)
    + up("score_fr", "upscore2", 3, 4, 2)
    + conv("pool2", "score_pool2", 3, 1, 0)
    + crop("score_pool2", "upscore2", "score_pool2c", 1)
    + layer("Eltwise", "upscore2 score_pool2c", "fuse_pool2", "eltwise_param { operation: SUM }")
    + up("fuse_pool2", "upscore_pool2", 3, 4, 2)
    + layer("Scale", "pool1", "scale_pool1", "param { lr_mult: 0 }")
    + conv("scale_pool1", "score_pool1", 3, 1, 0)
    + crop("score_pool1", "upscore_pool2", "score_pool1c", 1)
    + layer(
        "Eltwise", "upscore_pool2 score_pool1c", "fuse_pool1", "eltwise_param { operation: SUM }"
    )
    + up("fuse_pool1", "upscore", 3, 4, 2)
    + crop("upscore", "data", "score", 3)
)
FCN_LOSS = layer(
    "SoftmaxWithLoss", "score label", "loss", "loss_param { ignore_label: 255 normalize: false }"
)
SIZES = {"data": (1, 3, 24, 32), "label": (1, 1, 24, 32)}
OTHER_SIZES = {"data": (1, 3, 32, 24), "label": (1, 1, 32, 24)}

for _name, _force in (("train", False), ("train_force_backward", True)):
    add(
        "fcn." + _name,
        net(SIZES, FCN + FCN_LOSS, force_backward=_force),
        inputs={"label": "label 3 255"},
        rounds=({},) if _force else ({}, OTHER_SIZES),
    )
add("fcn.deploy", net({"data": (1, 3, 24, 32)}, FCN, force_backward=False), backward=False)

# A VGG-like classifier, with LRN and a grouped convolution as in AlexNet.
CLASSIFIER = (
    conv_relu("data", "conv1_1", 4)
    + conv_relu("conv1_1", "conv1_2", 4)
    + pool("conv1_2", "pool1")
    + layer("LRN", "pool1", "norm1", "lrn_param { local_size: 3 alpha: 0.5 }")
    + layer(
        "Convolution",
        "norm1",
        "conv2",
        "convolution_param { num_output: 6 kernel_size: 3 group: 2 }",
    )
    + layer("ReLU", "conv2", "conv2", name="relu2")
    + layer("Pooling", "conv2", "pool2", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    + fc("pool2", "fc6", 10)
    + layer("ReLU", "fc6", "fc6", name="relu6")
    + layer("Dropout", "fc6", "fc6", name="drop6")
    + fc("fc6", "fc7", 8)
    + layer("ReLU", "fc7", "fc7", name="relu7")
    + fc("fc7", "fc8", 5)
)
IMAGES = {"data": (3, 3, 12, 12)}
add(
    "classifier.deploy",
    net(IMAGES, CLASSIFIER + layer("Softmax", "fc8", "prob"), force_backward=False),
    backward=False,
    rounds=({}, {"data": (1, 3, 12, 12)}),
)
add("classifier.saliency", net(IMAGES, CLASSIFIER), rounds=({}, {"data": (2, 3, 12, 12)}))
add(
    "classifier.train_with_accuracy",
    net(
        dict(IMAGES, label=(3,)),
        CLASSIFIER
        + layer("SoftmaxWithLoss", "fc8 label", "loss")
        + layer("Accuracy", "fc8 label", "accuracy"),
        force_backward=False,
    ),
    inputs={"label": "label 5"},
)

# What needs a gradient
_SMALL = {"x": (2, 2, 5, 5), "label": (2,)}
add(
    "net.without_force_backward",
    net(
        _SMALL,
        conv("x", "c", 3) + fc("c", "f", 4) + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.nothing_learns_below",
    net(
        _SMALL,
        layer(
            "Convolution",
            "x",
            "c",
            "param { lr_mult: 0 } param { lr_mult: 0 }"
            " convolution_param { num_output: 3 kernel_size: 3 }",
        )
        + fc("c", "f", 4)
        + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.propagate_down_false",
    net(
        _SMALL,
        conv("x", "c", 3)
        + fc("c", "f", 4, "propagate_down: false")
        + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.propagate_down_false_on_one_branch",
    net(
        {"x": (2, 4), "label": (2,)},
        fc("x", "f", 4)
        + fc("f", "g", 4, "propagate_down: false")
        + fc("f", "h", 4)
        + layer("Eltwise", "g h", "s")
        + layer("SoftmaxWithLoss", "s label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.propagate_down_to_data",
    net(
        {"x": (2, 4), "label": (2,)},
        fc("x", "f", 4, "propagate_down: true")
        + layer("SoftmaxWithLoss", "f label", "loss", "propagate_down: true propagate_down: false"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.branch_without_loss",
    net(
        {"x": (2, 4), "label": (2,)},
        fc("x", "f", 4) + fc("f", "unused", 3) + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)

# Losses
add(
    "net.two_losses",
    net(
        {"x": (3, 4), "a": (3,), "b": (3,)},
        fc("x", "f", 4)
        + layer("SoftmaxWithLoss", "f a", "loss_a", "loss_weight: 0.3")
        + fc("f", "g", 5)
        + layer("SoftmaxWithLoss", "g b", "loss_b", "loss_weight: 2"),
        force_backward=False,
    ),
    inputs={"a": "label 4", "b": "label 5"},
)
add(
    "net.loss_weight_on_any_layer",
    net(
        {"x": (3, 4)},
        fc("x", "f", 4) + layer("ReLU", "f", "loss_r", "loss_weight: 0.25"),
        force_backward=False,
    ),
)
add(
    "net.loss_weight_inside",
    net(
        {"x": (3, 4), "label": (3,)},
        fc("x", "f", 4, "loss_weight: 0.1") + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.python_loss",
    net(
        {"x": (3, 4), "t": (3, 2)},
        fc("x", "f", 2)
        + layer(
            "Python",
            "f t",
            "loss",
            "loss_weight: 1 python_param { module: 'oracle.python_layers' layer: 'EuclideanLoss' }",
        ),
        force_backward=False,
    ),
)

# Parameters shared by name
add(
    "net.shared_params",
    net(
        {"a": (2, 3), "b": (2, 3)},
        fc("a", "f", 4, "param { name: 'w' } param { name: 'c' }")
        + fc("b", "g", 4, "param { name: 'w' } param { name: 'c' }")
        + layer("Eltwise", "f g", "y", "eltwise_param { operation: PROD }"),
    ),
)
add(
    "net.shared_weights_own_biases",
    net(
        {"a": (2, 3)},
        fc("a", "f", 3, "param { name: 'w' lr_mult: 2 }")
        + fc("f", "g", 3, "param { name: 'w' }")
        + fc("g", "y", 3, "param { name: 'w' }"),
    ),
)
add(
    "net.shared_permissive",
    net(
        {"a": (2, 6), "b": (2, 3)},
        fc("a", "f", 4, "param { name: 'w' }")
        + fc("b", "g", 8, "param { name: 'w' share_mode: PERMISSIVE }"),
    ),
)

# Old formats
add(
    "net.v1_layers",
    """
    name: 'old' force_backward: true
    input: 'data' input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
    layers { name: 'conv' type: CONVOLUTION bottom: 'data' top: 'conv'
             blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
             convolution_param { num_output: 4 kernel_size: 3 } }
    layers { name: 'relu' type: RELU bottom: 'conv' top: 'conv' }
    layers { name: 'pool' type: POOLING bottom: 'conv' top: 'pool'
             pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
    layers { name: 'drop' type: DROPOUT bottom: 'pool' top: 'pool' }
    layers { name: 'fc' type: INNER_PRODUCT bottom: 'pool' top: 'fc'
             inner_product_param { num_output: 5 } }
    layers { name: 'prob' type: SOFTMAX bottom: 'fc' top: 'prob' }
    """,
)

# Phase, level and stage
_RULES = net(
    {"x": (2, 3)},
    fc("x", "train_only", 2, "include { phase: TRAIN }")
    + fc("x", "test_only", 3, "include { phase: TEST }")
    + fc("x", "not_in_train", 4, "exclude { phase: TRAIN }")
    + fc("x", "deploy_stage", 5, "include { stage: 'deploy' }")
    + fc("x", "not_deploy", 6, "include { not_stage: 'deploy' }")
    + fc("x", "deploy_and_small", 7, "include { stage: 'deploy' stage: 'small' }")
    + fc("x", "either", 8, "include { phase: TRAIN } include { stage: 'deploy' }")
    + fc("x", "level_one", 9, "include { min_level: 1 }")
    + fc("x", "level_at_most_one", 10, "include { max_level: 1 }"),
)
for _name, _phase, _args in (
    ("train", caffe.TRAIN, {}),
    ("test", caffe.TEST, {}),
    ("deploy", caffe.TEST, {"stages": ["deploy"]}),
    ("deploy_small", caffe.TRAIN, {"stages": ["small", "deploy"]}),
    ("level_two", caffe.TEST, {"level": 2}),
):
    add("net.rules_" + _name, _RULES, phase=_phase, net_args=_args)


# What a program does with a net
def accumulate(case, rs, numbers):
    """Parameter gradients add up until they are cleared; blob gradients do not."""
    n = load(case)
    fill_params(n, rs)
    for i in range(2):
        draw_inputs(case, n, rs)
        n.forward()
        fill_top_diffs(n, rs)
        n.backward()
        record(n, numbers, "%d/" % i, "diff param_diff")
    n.clear_param_diffs()
    record(n, numbers, "cleared/", "param_diff")


_CHAIN = net(
    {"x": (2, 4)},
    fc("x", "a", 3) + layer("Python", "a", "b", CUBE) + fc("b", "c", 5) + fc("c", "d", 2),
)
add("program.accumulate", _CHAIN, program=accumulate)


def partial(case, rs, numbers):
    """forward and backward from one layer to another, inclusive."""
    n = load(case)
    fill_params(n, rs)
    draw_inputs(case, n, rs)
    for name, array in sorted(n.forward(end="b").items()):
        numbers["end_b/" + name] = copy(array)
    record(n, numbers, "end_b/", "data")
    n.blobs["b"].data[...] = draw(rs, "normal", (2, 3))
    for name, array in sorted(n.forward(start="c", blobs=["b"]).items()):
        numbers["start_c/" + name] = copy(array)
    record(n, numbers, "start_c/", "data")
    fill_top_diffs(n, rs)
    for name, array in sorted(n.backward(end="c").items()):
        numbers["to_c/" + name] = copy(array)
    record(n, numbers, "to_c/", "diff param_diff")
    n.blobs["b"].diff[...] = draw(rs, "normal", (2, 3))
    for name, array in sorted(n.backward(start="b", diffs=["a"]).items()):
        numbers["from_b/" + name] = copy(array)
    record(n, numbers, "from_b/", "diff param_diff")


add("program.partial", _CHAIN, program=partial)


def arguments(case, rs, numbers):
    """forward(x=...) and backward(d=...) and what they return."""
    n = load(case)
    fill_params(n, rs)
    for name, array in sorted(n.forward(x=draw(rs, "normal", (2, 4)), blobs=["b"]).items()):
        numbers["forward/" + name] = copy(array)
    for name, array in sorted(n.backward(d=draw(rs, "normal", (2, 2)), diffs=["c"]).items()):
        numbers["backward/" + name] = copy(array)


add("program.arguments", _CHAIN, program=arguments)


def batches(case, rs, numbers):
    """forward_all cuts what it is given into batches of the net's size, the last one padded."""
    n = load(case)
    fill_params(n, rs)
    for name, array in sorted(n.forward_all(x=draw(rs, "normal", (5, 4)), blobs=["b"]).items()):
        numbers["forward_all/" + name] = copy(array)


add("program.batches", _CHAIN, program=batches)


def views(case, rs, numbers):
    """An array taken from a blob shows later results, and what is written in it counts."""
    n = load(case)
    fill_params(n, rs)
    x, b, weights = n.blobs["x"].data, n.blobs["b"].data, n.params["a"][0].data
    x[...] = draw(rs, "normal", (2, 4))
    n.forward()
    numbers["first/b"] = copy(b)
    weights *= 2
    x[0] = 1
    n.forward()
    numbers["second/b"] = copy(b)
    n.blobs["d"].diff[...] = 1
    gradient = n.params["a"][0].diff
    n.backward()
    numbers["gradient"] = copy(gradient)


add("program.views", _CHAIN, program=views)


def reshape(case, rs, numbers):
    """Shapes follow after net.reshape(), before any forward."""
    n = load(case)
    fill_params(n, rs)
    for i, size in enumerate(((1, 3, 32, 24), (1, 3, 24, 32))):
        n.blobs["data"].reshape(*size)
        n.reshape()
        for name, blob in n.blobs.items():
            numbers["%d/shape/%s" % (i, name)] = np.array(blob.data.shape, np.float32)
        draw_inputs(case, n, rs)
        n.forward()
        numbers["%d/score" % i] = copy(n.blobs["score"].data)


add("program.reshape", net({"data": (1, 3, 24, 24)}, FCN, force_backward=False), program=reshape)


def python_data(case, rs, numbers):
    """A Python data layer gives images of another size in every forward."""
    n = load(case)
    numbers["meta"] = meta(n)
    fill_params(n, rs)
    for i in range(3):
        n.forward()
        record(n, numbers, "%d/" % i, "data")
        n.backward()
        record(n, numbers, "%d/" % i, "diff")
    record(n, numbers, "last/", "param_diff")


add(
    "program.python_data",
    layer(
        "Python",
        "",
        "data label",
        SEEDED % "{'seed': 5, 'classes': 3, 'shapes': [(6, 7), (8, 5), (6, 7)]}",
        name="input",
    )
    + conv_relu("data", "c", 4)
    + conv("c", "score", 3, 1, 0)
    + layer("SoftmaxWithLoss", "score label", "loss", "loss_param { ignore_label: 255 }"),
    phase=caffe.TRAIN,
    program=python_data,
)

_BIGGER = net(
    {"x": (2, 4)},
    fc("x", "a", 3) + fc("a", "new", 3) + fc("new", "c", 5),
)


def copy_from(case, rs, numbers):
    """Weights go by layer name; layers that the file or the net lacks are passed over."""
    n = load(case)
    fill_params(n, rs)
    n.save("small.caffemodel")
    path = write(".", "bigger.prototxt", _BIGGER)
    other = caffe.Net(path, caffe.TEST)
    for blob in other.params["new"]:
        blob.data[...] = 7
    other.copy_from("small.caffemodel")
    record(other, numbers, "copy_from/", "param")
    again = caffe.Net(case_path(), "small.caffemodel", caffe.TEST)
    record(again, numbers, "constructor/", "param")
    again = caffe.Net(case_path(), caffe.TEST, weights="small.caffemodel")
    record(again, numbers, "keyword/", "param")
    draw_inputs(case, again, rs)
    again.forward()
    record(again, numbers, "keyword/", "data")


def case_path():
    return os.path.join(".", "net.prototxt")


add("program.copy_from", _CHAIN, program=copy_from)


def share_with(case, rs, numbers):
    """After share_with two nets have one set of weights."""
    n = load(case)
    fill_params(n, rs)
    other = caffe.Net(case_path(), caffe.TEST)
    other.share_with(n)
    n.params["a"][0].data[...] = draw(rs, "normal", (3, 4))
    draw_inputs(case, other, rs)
    other.forward()
    record(other, numbers, "", "param data")


add("program.share_with", _CHAIN, program=share_with)


def old_weights(case, rs, numbers):
    """A file of the old format: `layers`, blob sizes as num, channels, height, width."""
    old = caffe_pb2.NetParameter(name="old")
    for name, kind, shapes in (
        ("conv", "CONVOLUTION", ((4, 3, 3, 3), (1, 1, 1, 4))),
        ("fc", "INNER_PRODUCT", ((1, 1, 5, 16), (1, 1, 1, 5))),
    ):
        one = old.layers.add(name=name, type=caffe_pb2.V1LayerParameter.LayerType.Value(kind))
        for shape in shapes:
            blob = one.blobs.add(num=shape[0], channels=shape[1], height=shape[2], width=shape[3])
            blob.data.extend(float(v) for v in draw(rs, "normal", shape).ravel())
    with open("old.caffemodel", "wb") as f:
        f.write(old.SerializeToString())
    n = load(case)
    n.copy_from("old.caffemodel")
    draw_inputs(case, n, rs)
    n.forward()
    record(n, numbers, "", "param data")


add(
    "program.old_weights",
    net(
        {"data": (2, 3, 6, 6)},
        layer("Convolution", "data", "conv", "convolution_param { num_output: 4 kernel_size: 3 }")
        + pool("conv", "pool")
        + fc("pool", "fc", 5),
    ),
    program=old_weights,
)


def save(case, rs, numbers):
    """The file that net.save writes."""
    n = load(case)
    fill_params(n, rs)
    n.save("net.caffemodel")
    numbers["file/net.caffemodel"] = file_bytes("net.caffemodel")


def file_bytes(path):
    return np.fromfile(path, np.uint8)


add("program.save", _CHAIN, program=save)
add(
    "program.save_splits_and_shared",
    net(
        {"x": (2, 3), "label": (2,)},
        fc("x", "f", 3, "param { name: 'w' lr_mult: 0.1 } param { decay_mult: 0 }")
        + layer("ReLU", "f", "f", "relu_param { negative_slope: 0.1 }", name="relu")
        + layer("Dropout", "f", "f", "dropout_param { dropout_ratio: 0.25 }", name="drop")
        + fc("f", "g", 3, "param { name: 'w' }")
        + layer("Eltwise", "f g", "y", "eltwise_param { operation: SUM coeff: 1 coeff: -0.1 }")
        + layer("SoftmaxWithLoss", "y label", "loss", "loss_param { normalize: false }"),
        force_backward=False,
    ),
    program=save,
    phase=caffe.TRAIN,
)
add(
    "program.save_v1",
    """
    name: 'old' input: 'data' input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
    layers { name: 'conv' type: CONVOLUTION bottom: 'data' top: 'conv' blobs_lr: 1 blobs_lr: 2
             convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
    layers { name: 'fc' type: INNER_PRODUCT bottom: 'conv' top: 'fc'
             inner_product_param { num_output: 5 weight_filler { type: 'xavier' } } }
    """,
    program=save,
)
