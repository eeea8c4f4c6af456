"""Golden cases of the calls of Net, Blob and Layer, one case for each call."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Dict, List, Sequence

import caffe
import h5py
import numpy as np

from oracle.cases.blocks import fc
from oracle.cases.calls import CHAIN, build_net, call, record_arrays, text_of
from oracle.cases.case import Numbers, RandomState, copy, draw, layer, record, write
from oracle.cases.case import net as net_text

FORCED = CHAIN.replace("name: 'case'", "name: 'case' force_backward: true")
STAGED = net_text(
    {"x": (2, 4)},
    fc("x", "a", 3, "include { stage: 'one' }") + fc("x", "b", 2, "include { min_level: 2 }"),
    False,
)
MEMORY = (
    "layer { name: 'm' type: 'MemoryData' top: 'x' top: 'y'"
    " memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }"
) + fc("x", "a", 3)
SHARED = net_text(
    {"x": (2, 3)},
    fc("x", "f", 3, "param { name: 'w' }") + fc("f", "g", 3, "param { name: 'w' }"),
    False,
)


# Net


@call("Net(file, phase)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = caffe.Net(write(".", "n.prototxt", CHAIN), caffe.TEST)
    record(net, numbers, "", "data diff param_diff")


@call("Net(file, weights, phase)")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net().save("w.caffemodel")
    record(caffe.Net("net.prototxt", "w.caffemodel", caffe.TEST), numbers, "", "param")


@call("Net(file, phase, weights=)")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net().save("w.caffemodel")
    net = caffe.Net("net.prototxt", caffe.TEST, weights="w.caffemodel")
    record(net, numbers, "", "param")
    net = caffe.Net(network_file="net.prototxt", phase=caffe.TEST, weights="w.caffemodel")
    record(net, numbers, "by name/", "param")


@call("Net(file, phase, level, stages, weights)")
def _(numbers: Numbers, rs: RandomState) -> None:
    path = write(".", "staged.prototxt", STAGED)
    for name, arguments in (("level", (2,)), ("stage", (0, ["one"])), ("both", (2, ["one"]))):
        numbers[name] = text_of(list(caffe.Net(path, caffe.TEST, *arguments).layer_dict))
    build_net().save("w.caffemodel")
    net = caffe.Net("net.prototxt", caffe.TEST, 0, None, "w.caffemodel")
    record(net, numbers, "", "param")


@call("Net(file, phase, level=, stages=)")
def _(numbers: Numbers, rs: RandomState) -> None:
    path = write(".", "staged.prototxt", STAGED)
    for options in ({}, {"level": 2}, {"stages": ["one"]}, {"level": 2, "stages": ["one", "x"]}):
        numbers[repr(sorted(options))] = text_of(
            list(caffe.Net(path, caffe.TEST, **options).layer_dict)
        )


for _name, _arguments in (
    ("Net() of a file that is not there", ("none.prototxt", 1)),
    ("Net() without a phase", ("n.prototxt",)),
    ("Net() without weights that are there", ("n.prototxt", "none.caffemodel", 1)),
    ("Net() with too many arguments", ("n.prototxt", 1, 0, None, None, 1)),
):

    @call(_name)
    def _(numbers: Numbers, rs: RandomState, arguments: Sequence[Any] = _arguments) -> None:
        write(".", "n.prototxt", CHAIN)
        caffe.Net(*arguments)


for _attribute in ("blobs", "params", "layer_dict", "top_names", "bottom_names", "inputs"):

    @call("Net." + _attribute)
    def _(numbers: Numbers, rs: RandomState, attribute: str = _attribute) -> None:
        value = getattr(build_net(), attribute)
        numbers["value"] = text_of((type(value).__name__, list(value)))


@call("Net.outputs")
def _(numbers: Numbers, rs: RandomState) -> None:
    text = CHAIN + layer("ReLU", "a", "z") + layer("TanH", "a", "d")
    numbers["value"] = text_of((build_net().outputs, build_net(text).outputs))


@call("Net.layers")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    numbers["value"] = text_of([(layer.type, len(layer.blobs)) for layer in net.layers])
    net.layers[1].blobs[0].data[...] = 3
    record(net, numbers, "", "param")


@call("Net.blob_loss_weights")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net(CHAIN + layer("SoftmaxWithLoss", "c x", "l", "loss_weight: 2")[:0])
    numbers["value"] = text_of(list(net.blob_loss_weights.items()))
    text = CHAIN.replace("name: 'c'", "name: 'c' loss_weight: 0.5")
    numbers["weighted"] = text_of(list(build_net(text).blob_loss_weights.items()))


@call("Net.forward()")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    record_arrays(numbers, net.forward())
    record(net, numbers, "", "data")


@call("Net.forward(blobs=)")
def _(numbers: Numbers, rs: RandomState) -> None:
    record_arrays(numbers, build_net().forward(blobs=["a", "b"]))
    record_arrays(numbers, build_net().forward(["a"]))


@call("Net.forward(start=, end=)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    record_arrays(numbers, net.forward(end="a"))
    net.blobs["b"].data[...] = 2
    record_arrays(numbers, net.forward(["a"], "c", "c"), "c/")


@call("Net.forward(**inputs)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    record_arrays(numbers, net.forward(x=draw(rs, "normal", (2, 4)), blobs=["x"]))
    numbers["double"] = copy(net.forward(x=np.arange(8.0).reshape(2, 4))["c"])
    numbers["whole"] = copy(net.forward(x=np.arange(8).reshape(2, 4))["c"])


for _name, _kwargs in (
    ("Net.forward() with an input that is not there", {"z": np.zeros((2, 4))}),
    ("Net.forward() with another batch size", {"x": np.zeros((3, 4))}),
    ("Net.forward() with another shape", {"x": np.zeros((2, 5))}),
):

    @call(_name)
    def _(numbers: Numbers, rs: RandomState, kwargs: Dict[str, np.ndarray] = _kwargs) -> None:
        build_net().forward(**kwargs)


@call("Net.forward() from a layer that is not there")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net().forward(start="nothing")


@call("Net.forward() returns arrays of the blobs")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    array = net.forward()["c"]
    numbers["value"] = text_of(bool(np.shares_memory(array, net.blobs["c"].data)))


@call("Net.backward()")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net(FORCED)
    net.forward()
    net.blobs["c"].diff[...] = draw(rs, "normal", (2, 2))
    record_arrays(numbers, net.backward())
    record(net, numbers, "", "diff param_diff")


@call("Net.backward(diffs=, start=, end=, **tops)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net(FORCED)
    net.forward()
    record_arrays(numbers, net.backward(diffs=["a"], c=draw(rs, "normal", (2, 2))))
    net.clear_param_diffs()
    record_arrays(numbers, net.backward(end="c", c=draw(rs, "normal", (2, 2))))
    net.blobs["b"].diff[...] = 1
    record_arrays(numbers, net.backward(["b"], "b", "a"), "from b/")
    record(net, numbers, "", "param_diff")


@call("Net.backward() with a top that is not there")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net(FORCED).backward(z=np.zeros((2, 2)))


@call("Net.forward_all(blobs=, **inputs)")
def _(numbers: Numbers, rs: RandomState) -> None:
    for count in (2, 5):
        out = build_net().forward_all(["b"], x=draw(rs, "normal", (count, 4)))
        record_arrays(numbers, out, "%d/" % count)
        numbers["%d/type" % count] = text_of([type(v).__name__ for v in out.values()])


@call("Net.forward_backward_all(blobs=, diffs=, **inputs and tops)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net(FORCED)
    arrays = {"x": draw(rs, "normal", (5, 4)), "c": draw(rs, "normal", (5, 2))}
    outs, diffs = net.forward_backward_all(blobs=["a"], diffs=["b"], **arrays)
    record_arrays(numbers, outs, "data/")
    record_arrays(numbers, diffs, "diff/")


@call("Net.set_input_arrays(data, labels)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net(MEMORY)
    net.set_input_arrays(draw(rs, "normal", (4, 1, 2, 3)), np.arange(4, dtype=np.float32))
    for i in range(3):
        net.forward()
        record(net, numbers, "%d/" % i, "data")


for _name, _data, _labels in (
    ("another batch size", np.zeros((3, 1, 2, 3), np.float32), np.zeros(3, np.float32)),
    ("doubles", np.zeros((2, 1, 2, 3)), np.zeros(2)),
    ("other counts", np.zeros((2, 1, 2, 3), np.float32), np.zeros(4, np.float32)),
    ("another shape", np.zeros((2, 1, 3, 3), np.float32), np.zeros(2, np.float32)),
):

    @call("Net.set_input_arrays() of " + _name)
    def _(
        numbers: Numbers,
        rs: RandomState,
        data: np.ndarray = _data,
        labels: np.ndarray = _labels,
    ) -> None:
        build_net(MEMORY).set_input_arrays(data, labels)


@call("Net.set_input_arrays() without MemoryData")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net().set_input_arrays(np.zeros((2, 4), np.float32), np.zeros(2, np.float32))


@call("Net.reshape()")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    net.blobs["x"].reshape(5, 4)
    net.reshape()
    numbers["shapes"] = text_of([tuple(blob.data.shape) for blob in net.blobs.values()])
    net.blobs["x"].data[...] = 1
    record_arrays(numbers, net.forward())


@call("Net.save(path)")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net().save("saved.caffemodel")
    with open("saved.caffemodel", "rb") as file:
        numbers["bytes"] = np.frombuffer(file.read(), np.uint8)


@call("Net.save_hdf5(path)")
def _(numbers: Numbers, rs: RandomState) -> None:
    for name, text in (("plain", CHAIN), ("shared", SHARED)):
        build_net(text).save_hdf5(name + ".h5")
        record_hdf5(numbers, name)


def record_hdf5(numbers: Numbers, name: str) -> None:
    """Record the paths of the groups and datasets of NAME.h5."""
    paths: List[str] = []
    with h5py.File(name + ".h5", "r") as file:
        file.visit(paths.append)
    numbers[name] = text_of(sorted(paths))


@call("Net.load_hdf5(path)")
def _(numbers: Numbers, rs: RandomState) -> None:
    for name, text in (("plain", CHAIN), ("shared", SHARED)):
        build_net(text).save_hdf5(name + ".h5")
        net = caffe.Net("net.prototxt", caffe.TEST)
        net.load_hdf5(name + ".h5")
        record(net, numbers, name + "/", "param")


@call("Net.copy_from(path)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    net.save("w.caffemodel")
    net.save_hdf5("w.h5")
    for path in ("w.caffemodel", "w.h5"):
        other = caffe.Net(write(".", "more.prototxt", CHAIN + fc("c", "d", 3)), caffe.TEST)
        other.copy_from(path)
        record(other, numbers, path + "/", "param")


@call("Net.share_with(net)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net, other = build_net(), caffe.Net("net.prototxt", caffe.TEST)
    other.share_with(net)
    net.params["a"][0].data[...] = 5
    record(other, numbers, "", "param")
    other.params["a"][0].diff[...] = 3
    record(net, numbers, "own gradient/", "param_diff")


@call("Net.clear_param_diffs()")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net(FORCED)
    for _i in range(2):
        net.forward()
        net.backward(c=np.ones((2, 2)))
    record(net, numbers, "added/", "param_diff")
    net.clear_param_diffs()
    record(net, numbers, "cleared/", "param_diff diff")


@call("Net.before_forward(f), after_forward, before_backward, after_backward")
def _(numbers: Numbers, rs: RandomState) -> None:
    net, order = build_net(FORCED), []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, when)(lambda i, when=when: order.append((when, i)))
    net.after_forward(lambda i: net.blobs["a"].data.fill(1) if i == 1 else None)
    net.forward()
    net.backward()
    net.forward(start="b", end="b")
    numbers["order"] = text_of(order)
    record(net, numbers, "", "data")


# Blob, Layer


@call("Blob.data, Blob.diff")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    net.forward()
    properties = []
    for blob in [*net.blobs.values(), net.params["a"][0]]:
        for array in (blob.data, blob.diff):
            flags = array.flags
            properties.append((str(array.dtype), array.shape, flags.writeable, flags.c_contiguous))
    numbers["arrays"] = text_of(properties)
    net.params["a"][0].data[1] = 4
    net.params["a"][1].data[...] += 1
    weights = net.params["c"][0].data
    weights *= 2
    record_arrays(numbers, net.forward())


@call("Blob.data = array")
def _(numbers: Numbers, rs: RandomState) -> None:
    build_net().blobs["x"].data = np.zeros((2, 4), np.float32)


@call("Blob.shape, num, channels, height, width, count")
def _(numbers: Numbers, rs: RandomState) -> None:
    for shape in ((2, 3, 4, 5), (2, 3), (7,)):
        blob = build_net(net_text({"x": shape}, layer("ReLU", "x", "y"), False)).blobs["y"]
        properties = (
            list(blob.shape),
            blob.num,
            blob.channels,
            blob.height,
            blob.width,
            blob.count,
        )
        numbers[repr(shape)] = text_of(properties)


@call("Blob.reshape(*shape)")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    for shape in ((3, 4), (1, 2, 2), (6, 4), ()):
        net.blobs["x"].reshape(*shape)
        numbers[repr(shape)] = text_of((net.blobs["x"].data.shape, net.blobs["x"].count))
    net = build_net()
    net.blobs["x"].reshape(1, 4)
    numbers["kept"] = copy(net.blobs["x"].data)


@call("Blob.reshape() of a parameter")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    net.params["a"][0].reshape(1, 1, 3, 4)
    numbers["shape"] = text_of(net.params["a"][0].data.shape)


@call("Layer.type, Layer.blobs")
def _(numbers: Numbers, rs: RandomState) -> None:
    net = build_net()
    numbers["value"] = text_of(
        [(layer.type, [b.data.shape for b in layer.blobs]) for layer in net.layers]
    )
