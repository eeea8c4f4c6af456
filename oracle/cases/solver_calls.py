"""Golden cases of the calls of solvers and of the module `caffe`, one case for each call."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import caffe
import numpy as np

from oracle.cases.bvlc import LAYER_TYPES
from oracle.cases.calls import RULE, build_solver, call, text_of
from oracle.cases.case import Numbers, RandomState, copy, files_of_both, layer, record, write
from oracle.cases.case import net as net_text
from oracle.cases.training import SOLVER, TRAIN_NET

VAL = "test_iter: 1 test_interval: 100 test_initialization: false "


# Solver


@call("get_solver(file)")
def _(numbers: Numbers, rs: RandomState) -> None:
    for kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        plain = "net: 'train.prototxt' base_lr: 0.1 lr_policy: 'fixed' rms_decay: 0.9 "
        solver = build_solver(SOLVER + plain + "type: '%s'" % kind)
        numbers[kind] = text_of((type(solver).__name__, isinstance(solver, caffe.SGDSolver)))
        solver.step(1)
        record(solver.net, numbers, kind + "/", "param")


for _kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):

    @call(_kind + "Solver(file)")
    def _(numbers: Numbers, rs: RandomState, kind: str = _kind) -> None:
        write(".", "train.prototxt", TRAIN_NET)
        path = write(".", "s.prototxt", RULE.replace("momentum: 0.9", ""))
        numbers["iter"] = text_of(getattr(caffe, kind + "Solver")(path).iter)


@call("Solver.net, test_nets, iter, param, lr")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver(RULE + VAL)
    numbers["nets"] = text_of((list(solver.net.blobs), [list(n.blobs) for n in solver.test_nets]))
    param = solver.param
    numbers["param"] = text_of((param.max_iter, param.display, param.layer_wise_reduce))
    numbers["rates"] = np.array([param.base_lr], np.float32)
    solver.step(3)
    numbers["iter"] = text_of(solver.iter)


@call("Solver.param.base_lr = rate")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver()
    numbers["before"] = np.array(solver.param.base_lr, np.float32)
    solver.param.base_lr = 0.2
    solver.step(1)
    record(solver.net, numbers, "", "param")


@call("Solver.step(n)")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver()
    for i in (1, 2):
        solver.step(i)
        record(solver.net, numbers, "%d/" % i, "param param_diff")


@call("Solver.solve(), solve(state)")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver(RULE + "snapshot: 4")
    solver.solve()
    record(solver.net, numbers, "", "param")
    numbers["iter"] = text_of(solver.iter)
    again = build_solver(RULE + "snapshot: 4")
    for _i in range(4):
        again.net.forward(end="data")
    again.solve("snap_iter_4.solverstate")
    record(again.net, numbers, "resumed/", "param")


@call("Solver.snapshot(), restore(state)")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver()
    solver.step(3)
    solver.snapshot()
    numbers["files"] = text_of([f for f in files_of_both() if f.startswith("snap")])
    other = build_solver()
    other.restore("snap_iter_3.solverstate")
    numbers["iter"] = text_of(other.iter)
    other.step(2)
    record(other.net, numbers, "", "param")


@call("Solver.apply_update()")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver()
    for _i in range(3):
        solver.net.clear_param_diffs()
        solver.net.forward()
        solver.net.backward()
        solver.apply_update()
    record(solver.net, numbers, "", "param")
    numbers["iter"] = text_of(solver.iter)


@call("Solver.add_callback(on_start, on_gradients_ready)")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver, order = build_solver(), []

    def on_gradients_ready() -> None:
        order.append("gradients")
        solver.net.params["conv1"][0].diff[...] = 0

    solver.add_callback(lambda: order.append("start"), on_gradients_ready)
    solver.step(2)
    numbers["order"] = text_of(order)
    record(solver.net, numbers, "", "param")


@call("Solver.share_weights(net)")
def _(numbers: Numbers, rs: RandomState) -> None:
    solver = build_solver()
    other = caffe.Net("train.prototxt", caffe.TEST)
    solver.share_weights(other)
    solver.step(2)
    record(other, numbers, "", "param")


# The module


@call("layer_type_list()")
def _(numbers: Numbers, rs: RandomState) -> None:
    # The engine also lists types of forks.
    numbers["value"] = text_of(sorted({*caffe.layer_type_list()} & {*LAYER_TYPES}))


@call("set_random_seed(seed)")
def _(numbers: Numbers, rs: RandomState) -> None:
    filler = "inner_product_param { num_output: 4 weight_filler { type: 'gaussian' } }"
    text = net_text({"x": (2, 3)}, layer("InnerProduct", "x", "y", filler), False)
    weights = []
    for seed in (3, 3, 4):
        caffe.set_random_seed(seed)
        net = caffe.Net(write(".", "net.prototxt", text), caffe.TEST)
        weights.append(copy(net.params["y"][0].data))
    same = [bool(np.array_equal(weights[0], other)) for other in weights]
    numbers["same"] = text_of(same)


@call("solver_count(), solver_rank(), set_solver_count, set_solver_rank, set_multiprocess")
def _(numbers: Numbers, rs: RandomState) -> None:
    values = [(caffe.solver_count(), caffe.solver_rank())]
    caffe.set_solver_count(2)
    caffe.set_solver_rank(1)
    caffe.set_multiprocess(True)
    values.append((caffe.solver_count(), caffe.solver_rank()))
    caffe.set_multiprocess(False)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    numbers["value"] = text_of(values)


@call("has_nccl()")
def _(numbers: Numbers, rs: RandomState) -> None:
    numbers["value"] = text_of(caffe.has_nccl())


@call("Timer.start(), stop(), ms")
def _(numbers: Numbers, rs: RandomState) -> None:
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    numbers["value"] = text_of((type(timer.ms).__name__, 0 <= timer.ms < 1000))


@call("TRAIN, TEST")
def _(numbers: Numbers, rs: RandomState) -> None:
    numbers["value"] = text_of((int(caffe.TRAIN), int(caffe.TEST)))


@call("init_log(), log(text)")
def _(numbers: Numbers, rs: RandomState) -> None:
    caffe.log("a line")
