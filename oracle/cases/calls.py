"""Golden cases of pycaffe's calls, one a case: what each returns, changes, or that it raises.

Only calls at which BVLC Caffe does not end the process are here.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import os
from typing import Any, Callable, Dict, List

import caffe
import numpy as np

from oracle.cases.case import (
    Case,
    Numbers,
    add,
    copy,
    draw,
    fill_params,
    layer,
    net,
    record,
    write,
)
from oracle.cases.nets import CUBE, fc
from oracle.cases.training import SOLVER, TRAIN_NET, start

CHAIN = net(
    {"x": (2, 4)}, fc("x", "a", 3) + layer("Python", "a", "b", CUBE) + fc("b", "c", 2), False
)
FORCED = CHAIN.replace("name: 'case'", "name: 'case' force_backward: true")
STAGED = net(
    {"x": (2, 4)},
    fc("x", "a", 3, "include { stage: 'one' }") + fc("x", "b", 2, "include { min_level: 2 }"),
    False,
)
MEMORY = (
    "layer { name: 'm' type: 'MemoryData' top: 'x' top: 'y'"
    " memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }"
) + fc("x", "a", 3)
SHARED = net(
    {"x": (2, 3)},
    fc("x", "f", 3, "param { name: 'w' }") + fc("f", "g", 3, "param { name: 'w' }"),
    False,
)
VAL = "test_iter: 1 test_interval: 100 test_initialization: false "
RULE = SOLVER + "net: 'train.prototxt' base_lr: 0.05 momentum: 0.9 lr_policy: 'fixed' "


def call(name: str) -> Callable:
    """Makes a function of numbers and a random state the case of this call."""

    def keep(run: Callable[[Numbers, np.random.RandomState], Any]) -> None:
        def program(case: Case, rs: np.random.RandomState, numbers: Numbers) -> None:
            # What either Caffe tells of an error differs; that there is one does not.
            ended = "returned"
            try:
                run(numbers, rs)
            except Exception:
                ended = "raised"
            numbers["ended"] = np.array(ended)

        add("calls." + name, "", program=program)

    return keep


def words(values: Any) -> np.ndarray:
    return np.array(repr(values))


def build(text: str = CHAIN, phase: int = caffe.TEST, **options: Any) -> Any:
    made = caffe.Net(write(".", "net.prototxt", text), phase, **options)
    fill_params(made, np.random.RandomState(7))
    for blob in made.inputs:
        shape = tuple(made.blobs[blob].data.shape)
        made.blobs[blob].data[...] = draw(np.random.RandomState(8), "normal", shape)
    return made


def keep_all(numbers: Numbers, arrays: Dict[str, np.ndarray]) -> None:
    numbers.update({name: copy(array) for name, array in sorted(arrays.items())})


def train(rule: str = RULE, text: str = TRAIN_NET) -> Any:
    solver = start(Case("calls", text, solver=rule))
    fill_params(solver.net, np.random.RandomState(9))
    return solver


# ---- Net -----------------------------------------------------------------------------------------


@call("Net(file, phase)")
def _(numbers, rs):
    made = caffe.Net(write(".", "n.prototxt", CHAIN), caffe.TEST)
    record(made, numbers, "", "data diff param_diff")


@call("Net(file, weights, phase)")
def _(numbers, rs):
    build().save("w.caffemodel")
    record(caffe.Net("net.prototxt", "w.caffemodel", caffe.TEST), numbers, "", "param")


@call("Net(file, phase, weights=)")
def _(numbers, rs):
    build().save("w.caffemodel")
    made = caffe.Net("net.prototxt", caffe.TEST, weights="w.caffemodel")
    record(made, numbers, "", "param")
    made = caffe.Net(network_file="net.prototxt", phase=caffe.TEST, weights="w.caffemodel")
    record(made, numbers, "by name/", "param")


@call("Net(file, phase, level, stages, weights)")
def _(numbers, rs):
    path = write(".", "staged.prototxt", STAGED)
    for name, arguments in (("level", (2,)), ("stage", (0, ["one"])), ("both", (2, ["one"]))):
        numbers[name] = words(list(caffe.Net(path, caffe.TEST, *arguments)._layer_names))
    build().save("w.caffemodel")
    made = caffe.Net("net.prototxt", caffe.TEST, 0, None, "w.caffemodel")
    record(made, numbers, "", "param")


@call("Net(file, phase, level=, stages=)")
def _(numbers, rs):
    path = write(".", "staged.prototxt", STAGED)
    for options in ({}, {"level": 2}, {"stages": ["one"]}, {"level": 2, "stages": ["one", "x"]}):
        numbers[repr(sorted(options))] = words(
            list(caffe.Net(path, caffe.TEST, **options)._layer_names)
        )


for _name, _arguments in (
    ("Net() of a file that is not there", ("none.prototxt", 1)),
    ("Net() without a phase", ("n.prototxt",)),
    ("Net() without weights that are there", ("n.prototxt", "none.caffemodel", 1)),
    ("Net() with too many arguments", ("n.prototxt", 1, 0, None, None, 1)),
):
    call(_name)(lambda numbers, rs, given=_arguments: built_of(*given))


def built_of(*arguments: Any) -> None:
    write(".", "n.prototxt", CHAIN)
    caffe.Net(*arguments)


for _attribute in ("blobs", "params", "layer_dict", "top_names", "bottom_names", "inputs"):

    @call("Net." + _attribute)
    def _(numbers, rs, what=_attribute):
        value = getattr(build(), what)
        numbers["value"] = words((type(value).__name__, list(value)))


@call("Net.outputs")
def _(numbers, rs):
    text = CHAIN + layer("ReLU", "a", "z") + layer("TanH", "a", "d")
    numbers["value"] = words((build().outputs, build(text).outputs))


@call("Net.layers")
def _(numbers, rs):
    made = build()
    numbers["value"] = words([(one.type, len(one.blobs)) for one in made.layers])
    made.layers[1].blobs[0].data[...] = 3
    record(made, numbers, "", "param")


@call("Net.blob_loss_weights")
def _(numbers, rs):
    made = build(CHAIN + layer("SoftmaxWithLoss", "c x", "l", "loss_weight: 2")[:0])
    numbers["value"] = words(list(made.blob_loss_weights.items()))
    text = CHAIN.replace("name: 'c'", "name: 'c' loss_weight: 0.5")
    numbers["weighted"] = words(list(build(text).blob_loss_weights.items()))


@call("Net.forward()")
def _(numbers, rs):
    made = build()
    keep_all(numbers, made.forward())
    record(made, numbers, "", "data")


@call("Net.forward(blobs=)")
def _(numbers, rs):
    keep_all(numbers, build().forward(blobs=["a", "b"]))
    keep_all(numbers, build().forward(["a"]))


@call("Net.forward(start=, end=)")
def _(numbers, rs):
    made = build()
    keep_all(numbers, made.forward(end="a"))
    made.blobs["b"].data[...] = 2
    for name, array in sorted(made.forward(["a"], "c", "c").items()):
        numbers["c/" + name] = copy(array)


@call("Net.forward(**inputs)")
def _(numbers, rs):
    made = build()
    keep_all(numbers, made.forward(x=draw(rs, "normal", (2, 4)), blobs=["x"]))
    numbers["double"] = copy(made.forward(x=np.arange(8.0).reshape(2, 4))["c"])
    numbers["whole"] = copy(made.forward(x=np.arange(8).reshape(2, 4))["c"])


for _name, _kwargs in (
    ("Net.forward() with an input that is not there", {"z": np.zeros((2, 4))}),
    ("Net.forward() with another batch size", {"x": np.zeros((3, 4))}),
    ("Net.forward() with another shape", {"x": np.zeros((2, 5))}),
):
    call(_name)(lambda numbers, rs, kwargs=_kwargs: build().forward(**kwargs))
call("Net.forward() from a layer that is not there")(
    lambda numbers, rs: build().forward(start="nothing")
)


@call("Net.forward() returns arrays of the blobs")
def _(numbers, rs):
    made = build()
    returned = made.forward()["c"]
    numbers["value"] = words(bool(np.shares_memory(returned, made.blobs["c"].data)))


@call("Net.backward()")
def _(numbers, rs):
    made = build(FORCED)
    made.forward()
    made.blobs["c"].diff[...] = draw(rs, "normal", (2, 2))
    keep_all(numbers, made.backward())
    record(made, numbers, "", "diff param_diff")


@call("Net.backward(diffs=, start=, end=, **tops)")
def _(numbers, rs):
    made = build(FORCED)
    made.forward()
    keep_all(numbers, made.backward(diffs=["a"], c=draw(rs, "normal", (2, 2))))
    made.clear_param_diffs()
    keep_all(numbers, made.backward(end="c", c=draw(rs, "normal", (2, 2))))
    made.blobs["b"].diff[...] = 1
    for name, array in sorted(made.backward(["b"], "b", "a").items()):
        numbers["from b/" + name] = copy(array)
    record(made, numbers, "", "param_diff")


@call("Net.backward() with a top that is not there")
def _(numbers, rs):
    build(FORCED).backward(z=np.zeros((2, 2)))


@call("Net.forward_all(blobs=, **inputs)")
def _(numbers, rs):
    for count in (2, 5):
        out = build().forward_all(["b"], x=draw(rs, "normal", (count, 4)))
        numbers.update({"%d/%s" % (count, k): copy(v) for k, v in sorted(out.items())})
        numbers["%d/type" % count] = words([type(v).__name__ for v in out.values()])


@call("Net.forward_backward_all(blobs=, diffs=, **inputs and tops)")
def _(numbers, rs):
    made = build(FORCED)
    given = {"x": draw(rs, "normal", (5, 4)), "c": draw(rs, "normal", (5, 2))}
    outs, diffs = made.forward_backward_all(blobs=["a"], diffs=["b"], **given)
    numbers.update({"data/" + k: copy(v) for k, v in sorted(outs.items())})
    numbers.update({"diff/" + k: copy(v) for k, v in sorted(diffs.items())})


@call("Net.set_input_arrays(data, labels)")
def _(numbers, rs):
    made = build(MEMORY)
    made.set_input_arrays(draw(rs, "normal", (4, 1, 2, 3)), np.arange(4, dtype=np.float32))
    for i in range(3):
        made.forward()
        record(made, numbers, "%d/" % i, "data")


for _name, _data, _labels in (
    ("another batch size", np.zeros((3, 1, 2, 3), np.float32), np.zeros(3, np.float32)),
    ("doubles", np.zeros((2, 1, 2, 3)), np.zeros(2)),
    ("other counts", np.zeros((2, 1, 2, 3), np.float32), np.zeros(4, np.float32)),
    ("another shape", np.zeros((2, 1, 3, 3), np.float32), np.zeros(2, np.float32)),
):

    @call("Net.set_input_arrays() of " + _name)
    def _(numbers, rs, data=_data, labels=_labels):
        build(MEMORY).set_input_arrays(data, labels)


@call("Net.set_input_arrays() without MemoryData")
def _(numbers, rs):
    build().set_input_arrays(np.zeros((2, 4), np.float32), np.zeros(2, np.float32))


@call("Net.reshape()")
def _(numbers, rs):
    made = build()
    made.blobs["x"].reshape(5, 4)
    made.reshape()
    numbers["shapes"] = words([tuple(blob.data.shape) for blob in made.blobs.values()])
    made.blobs["x"].data[...] = 1
    keep_all(numbers, made.forward())


@call("Net.save(path)")
def _(numbers, rs):
    build().save("saved.caffemodel")
    with open("saved.caffemodel", "rb") as file:
        numbers["bytes"] = np.frombuffer(file.read(), np.uint8)


@call("Net.save_hdf5(path)")
def _(numbers, rs):
    for name, text in (("plain", CHAIN), ("shared", SHARED)):
        build(text).save_hdf5(name + ".h5")
        keep_hdf5(numbers, name)


def keep_hdf5(numbers: Numbers, name: str) -> None:
    """The groups and datasets of NAME.h5, by the library that each engine has."""
    build_list: List[str] = []
    try:
        import h5py
    except ImportError:
        return
    with h5py.File(name + ".h5", "r") as file:
        file.visit(build_list.append)
    numbers[name] = words(sorted(build_list))


@call("Net.load_hdf5(path)")
def _(numbers, rs):
    for name, text in (("plain", CHAIN), ("shared", SHARED)):
        build(text).save_hdf5(name + ".h5")
        made = caffe.Net("net.prototxt", caffe.TEST)
        made.load_hdf5(name + ".h5")
        record(made, numbers, name + "/", "param")


@call("Net.copy_from(path)")
def _(numbers, rs):
    made = build()
    made.save("w.caffemodel")
    made.save_hdf5("w.h5")
    for path in ("w.caffemodel", "w.h5"):
        other = caffe.Net(write(".", "more.prototxt", CHAIN + fc("c", "d", 3)), caffe.TEST)
        other.copy_from(path)
        record(other, numbers, path + "/", "param")


@call("Net.share_with(net)")
def _(numbers, rs):
    made, other = build(), caffe.Net("net.prototxt", caffe.TEST)
    other.share_with(made)
    made.params["a"][0].data[...] = 5
    record(other, numbers, "", "param")
    other.params["a"][0].diff[...] = 3
    record(made, numbers, "own gradient/", "param_diff")


@call("Net.clear_param_diffs()")
def _(numbers, rs):
    made = build(FORCED)
    for _i in range(2):
        made.forward()
        made.backward(c=np.ones((2, 2)))
    record(made, numbers, "added/", "param_diff")
    made.clear_param_diffs()
    record(made, numbers, "cleared/", "param_diff diff")


@call("Net.before_forward(f), after_forward, before_backward, after_backward")
def _(numbers, rs):
    made, seen = build(FORCED), []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(made, when)(lambda i, when=when: seen.append((when, i)))
    made.after_forward(lambda i: made.blobs["a"].data.fill(1) if i == 1 else None)
    made.forward()
    made.backward()
    made.forward(start="b", end="b")
    numbers["order"] = words(seen)
    record(made, numbers, "", "data")


# ---- Blob, Layer ---------------------------------------------------------------------------------


@call("Blob.data, Blob.diff")
def _(numbers, rs):
    made = build()
    made.forward()
    said = []
    for blob in [*made.blobs.values(), made.params["a"][0]]:
        for array in (blob.data, blob.diff):
            flags = array.flags
            said.append((str(array.dtype), array.shape, flags.writeable, flags.c_contiguous))
    numbers["arrays"] = words(said)
    made.params["a"][0].data[1] = 4
    made.params["a"][1].data[...] += 1
    weights = made.params["c"][0].data
    weights *= 2
    keep_all(numbers, made.forward())


@call("Blob.data = array")
def _(numbers, rs):
    build().blobs["x"].data = np.zeros((2, 4), np.float32)


@call("Blob.shape, num, channels, height, width, count")
def _(numbers, rs):
    for shape in ((2, 3, 4, 5), (2, 3), (7,)):
        blob = build(net({"x": shape}, layer("ReLU", "x", "y"), False)).blobs["y"]
        said = (list(blob.shape), blob.num, blob.channels, blob.height, blob.width, blob.count)
        numbers[repr(shape)] = words(said)


@call("Blob.reshape(*shape)")
def _(numbers, rs):
    made = build()
    for shape in ((3, 4), (1, 2, 2), (6, 4), ()):
        made.blobs["x"].reshape(*shape)
        numbers[repr(shape)] = words((made.blobs["x"].data.shape, made.blobs["x"].count))
    made = build()
    made.blobs["x"].reshape(1, 4)
    numbers["kept"] = copy(made.blobs["x"].data)


@call("Blob.reshape() of a parameter")
def _(numbers, rs):
    made = build()
    made.params["a"][0].reshape(1, 1, 3, 4)
    numbers["shape"] = words(made.params["a"][0].data.shape)


@call("Layer.type, Layer.blobs")
def _(numbers, rs):
    made = build()
    numbers["value"] = words([(one.type, [b.data.shape for b in one.blobs]) for one in made.layers])


# ---- solvers -------------------------------------------------------------------------------------


@call("get_solver(file)")
def _(numbers, rs):
    for kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        plain = "net: 'train.prototxt' base_lr: 0.1 lr_policy: 'fixed' rms_decay: 0.9 "
        solver = train(SOLVER + plain + "type: '%s'" % kind)
        numbers[kind] = words((type(solver).__name__, isinstance(solver, caffe.SGDSolver)))
        solver.step(1)
        record(solver.net, numbers, kind + "/", "param")


for _kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):

    @call(_kind + "Solver(file)")
    def _(numbers, rs, kind=_kind):
        write(".", "train.prototxt", TRAIN_NET)
        path = write(".", "s.prototxt", RULE.replace("momentum: 0.9", ""))
        numbers["iter"] = words(getattr(caffe, kind + "Solver")(path).iter)


@call("Solver.net, test_nets, iter, param, lr")
def _(numbers, rs):
    solver = train(RULE + VAL)
    numbers["nets"] = words((list(solver.net.blobs), [list(n.blobs) for n in solver.test_nets]))
    param = solver.param
    numbers["param"] = words((param.max_iter, param.display, param.layer_wise_reduce))
    numbers["rates"] = np.array([param.base_lr], np.float32)
    solver.step(3)
    numbers["iter"] = words(solver.iter)


@call("Solver.param.base_lr = rate")
def _(numbers, rs):
    solver = train()
    numbers["before"] = np.array(solver.param.base_lr, np.float32)
    solver.param.base_lr = 0.2
    solver.step(1)
    record(solver.net, numbers, "", "param")


@call("Solver.step(n)")
def _(numbers, rs):
    solver = train()
    for i in (1, 2):
        solver.step(i)
        record(solver.net, numbers, "%d/" % i, "param param_diff")


@call("Solver.solve(), solve(state)")
def _(numbers, rs):
    solver = train(RULE + "snapshot: 4")
    solver.solve()
    record(solver.net, numbers, "", "param")
    numbers["iter"] = words(solver.iter)
    again = train(RULE + "snapshot: 4")
    for _i in range(4):
        again.net.forward(end="data")
    again.solve("snap_iter_4.solverstate")
    record(again.net, numbers, "resumed/", "param")


@call("Solver.snapshot(), restore(state)")
def _(numbers, rs):
    solver = train()
    solver.step(3)
    solver.snapshot()
    numbers["files"] = words(sorted(f for f in os.listdir(".") if f.startswith("snap")))
    other = train()
    other.restore("snap_iter_3.solverstate")
    numbers["iter"] = words(other.iter)
    other.step(2)
    record(other.net, numbers, "", "param")


@call("Solver.apply_update()")
def _(numbers, rs):
    solver = train()
    for _i in range(3):
        solver.net.clear_param_diffs()
        solver.net.forward()
        solver.net.backward()
        solver.apply_update()
    record(solver.net, numbers, "", "param")
    numbers["iter"] = words(solver.iter)


@call("Solver.add_callback(on_start, on_gradients_ready)")
def _(numbers, rs):
    solver, seen = train(), []

    def gradients_are_there() -> None:
        seen.append("gradients")
        solver.net.params["conv1"][0].diff[...] = 0

    solver.add_callback(lambda: seen.append("start"), gradients_are_there)
    solver.step(2)
    numbers["order"] = words(seen)
    record(solver.net, numbers, "", "param")


@call("Solver.share_weights(net)")
def _(numbers, rs):
    solver = train()
    other = caffe.Net("train.prototxt", caffe.TEST)
    solver.share_weights(other)
    solver.step(2)
    record(other, numbers, "", "param")


# ---- the module ----------------------------------------------------------------------------------


#: BVLC Caffe's layer types. An engine may have those of forks besides.
BVLC_TYPES = [
    "AbsVal",
    "Accuracy",
    "ArgMax",
    "BNLL",
    "BatchNorm",
    "BatchReindex",
    "Bias",
    "Clip",
    "Concat",
    "ContrastiveLoss",
    "Convolution",
    "Crop",
    "Data",
    "Deconvolution",
    "Dropout",
    "DummyData",
    "ELU",
    "Eltwise",
    "Embed",
    "EuclideanLoss",
    "Exp",
    "Filter",
    "Flatten",
    "HDF5Data",
    "HDF5Output",
    "HingeLoss",
    "Im2col",
    "ImageData",
    "InfogainLoss",
    "InnerProduct",
    "Input",
    "LRN",
    "LSTM",
    "LSTMUnit",
    "Log",
    "MVN",
    "MemoryData",
    "MultinomialLogisticLoss",
    "PReLU",
    "Parameter",
    "Pooling",
    "Power",
    "Python",
    "RNN",
    "ReLU",
    "Reduction",
    "Reshape",
    "SPP",
    "Scale",
    "Sigmoid",
    "SigmoidCrossEntropyLoss",
    "Silence",
    "Slice",
    "Softmax",
    "SoftmaxWithLoss",
    "Split",
    "Swish",
    "TanH",
    "Threshold",
    "Tile",
    "WindowData",
]


@call("layer_type_list()")
def _(numbers, rs):
    numbers["value"] = words(sorted(set(caffe.layer_type_list()) & set(BVLC_TYPES)))


@call("set_random_seed(seed)")
def _(numbers, rs):
    filler = "inner_product_param { num_output: 4 weight_filler { type: 'gaussian' } }"
    text = net({"x": (2, 3)}, layer("InnerProduct", "x", "y", filler), False)
    drawn = []
    for seed in (3, 3, 4):
        caffe.set_random_seed(seed)
        made = caffe.Net(write(".", "net.prototxt", text), caffe.TEST)
        drawn.append(copy(made.params["y"][0].data))
    same = [bool(np.array_equal(drawn[0], other)) for other in drawn]
    numbers["same"] = words(same)


@call("solver_count(), solver_rank(), set_solver_count, set_solver_rank, set_multiprocess")
def _(numbers, rs):
    said = [(caffe.solver_count(), caffe.solver_rank())]
    caffe.set_solver_count(2)
    caffe.set_solver_rank(1)
    caffe.set_multiprocess(True)
    said.append((caffe.solver_count(), caffe.solver_rank()))
    caffe.set_multiprocess(False)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    numbers["value"] = words(said)


@call("has_nccl()")
def _(numbers, rs):
    numbers["value"] = words(caffe.has_nccl())


@call("Timer.start(), stop(), ms")
def _(numbers, rs):
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    numbers["value"] = words((type(timer.ms).__name__, 0 <= timer.ms < 1000))


@call("TRAIN, TEST")
def _(numbers, rs):
    numbers["value"] = words((int(caffe.TRAIN), int(caffe.TEST)))


@call("init_log(), log(text)")
def _(numbers, rs):
    caffe.log("a line")
