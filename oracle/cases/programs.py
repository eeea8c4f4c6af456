"""Golden cases of programs that use a net through pycaffe."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import os

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from oracle.cases.blocks import FCN, SEEDED, conv, conv_relu, fc, pool
from oracle.cases.case import (
    CUBE,
    Case,
    Numbers,
    RandomState,
    add,
    copy,
    draw,
    draw_inputs,
    file_bytes,
    fill_params,
    fill_top_diffs,
    layer,
    load,
    meta,
    net,
    record,
    write,
)

#: The prototxt that `load` writes.
CASE_PATH = os.path.join(".", "net.prototxt")


def accumulate(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run backward twice: parameter gradients add up until they are cleared, others do not."""
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


def partial(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run forward and backward from one layer to another."""
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


def arguments(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run forward(x=...) and backward(d=...), and record the returned arrays."""
    n = load(case)
    fill_params(n, rs)
    for name, array in sorted(n.forward(x=draw(rs, "normal", (2, 4)), blobs=["b"]).items()):
        numbers["forward/" + name] = copy(array)
    for name, array in sorted(n.backward(d=draw(rs, "normal", (2, 2)), diffs=["c"]).items()):
        numbers["backward/" + name] = copy(array)


add("program.arguments", _CHAIN, program=arguments)


def batches(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run forward_all, which pads the last batch to the net's size."""
    n = load(case)
    fill_params(n, rs)
    for name, array in sorted(n.forward_all(x=draw(rs, "normal", (5, 4)), blobs=["b"]).items()):
        numbers["forward_all/" + name] = copy(array)


add("program.batches", _CHAIN, program=batches)


def views(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Keep arrays of blobs: they show later results, and writing into them changes the blobs."""
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


def reshape(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Record the shapes after net.reshape(), before any forward."""
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


def python_data(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run a net whose Python data layer gives another image size in every forward."""
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


def copy_from(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Read weights by layer name into a net that has other layers too."""
    n = load(case)
    fill_params(n, rs)
    n.save("small.caffemodel")
    path = write(".", "bigger.prototxt", _BIGGER)
    other = caffe.Net(path, caffe.TEST)
    for blob in other.params["new"]:
        blob.data[...] = 7
    other.copy_from("small.caffemodel")
    record(other, numbers, "copy_from/", "param")
    again = caffe.Net(CASE_PATH, "small.caffemodel", caffe.TEST)
    record(again, numbers, "constructor/", "param")
    again = caffe.Net(CASE_PATH, caffe.TEST, weights="small.caffemodel")
    record(again, numbers, "keyword/", "param")
    draw_inputs(case, again, rs)
    again.forward()
    record(again, numbers, "keyword/", "data")


add("program.copy_from", _CHAIN, program=copy_from)


def share_with(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Change the weights of a net that shares them with another one."""
    n = load(case)
    fill_params(n, rs)
    other = caffe.Net(CASE_PATH, caffe.TEST)
    other.share_with(n)
    n.params["a"][0].data[...] = draw(rs, "normal", (3, 4))
    draw_inputs(case, other, rs)
    other.forward()
    record(other, numbers, "", "param data")


add("program.share_with", _CHAIN, program=share_with)


def old_weights(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Read a file of the V1 format, with blob sizes as num, channels, height and width."""
    old = caffe_pb2.NetParameter(name="old")
    for name, kind, shapes in (
        ("conv", "CONVOLUTION", ((4, 3, 3, 3), (1, 1, 1, 4))),
        ("fc", "INNER_PRODUCT", ((1, 1, 5, 16), (1, 1, 1, 5))),
    ):
        layer_message = old.layers.add(
            name=name, type=caffe_pb2.V1LayerParameter.LayerType.Value(kind)
        )
        for shape in shapes:
            blob = layer_message.blobs.add(
                num=shape[0], channels=shape[1], height=shape[2], width=shape[3]
            )
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


def save(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Record the file that net.save writes."""
    n = load(case)
    fill_params(n, rs)
    n.save("net.caffemodel")
    numbers["file/net.caffemodel"] = file_bytes("net.caffemodel")


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
