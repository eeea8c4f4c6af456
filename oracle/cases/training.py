"""Golden cases of training: the weights after every iteration, and the snapshots."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import os
from typing import Any

import caffe

from oracle.cases.blocks import SEEDED, conv, conv_relu, crop, fc, pool, up
from oracle.cases.case import (
    Case,
    Numbers,
    Program,
    RandomState,
    add,
    copy,
    file_bytes,
    files_of_both,
    fill_params,
    layer,
    record,
    write,
)

ITERATIONS = 10


def data(options: str, fields: str = "") -> str:
    """Return the text of a data layer; options: a dict literal (see python_layers.SeededData)."""
    return layer("Python", "", "data label", SEEDED % options + fields, name="data")


IMAGES = "{'seed': 11, 'classes': 3, 'shapes': [(10, 12), (12, 9)]}"
NET = (
    conv_relu("data", "conv1", 4, pad=3)
    + pool("conv1", "pool1")
    + conv_relu("pool1", "conv2", 5)
    + conv("conv2", "score_fr", 3, 1, 0)
    + up("score_fr", "upscore", 3, 4, 2)
    + crop("upscore", "data", "score", 3)
    + layer("SoftmaxWithLoss", "score label", "loss", "loss_param { ignore_label: 255 }")
)
TRAIN_NET = data(IMAGES) + NET
SOLVER = "snapshot_prefix: 'snap' random_seed: 1 max_iter: 10 display: 0 "


def record_iteration(solver: Any, numbers: Numbers, prefix: str, kinds: str = "param") -> None:
    """Record the solver's iteration, loss and parameters."""
    numbers[prefix + "iter"] = copy(solver.iter)
    numbers[prefix + "loss"] = copy(solver.net.blobs["loss"].data)
    record(solver.net, numbers, prefix, kinds)


def start(case: Case) -> Any:
    """Return the solver of a case."""
    write(".", "train.prototxt", case.text)
    return caffe.get_solver(write(".", "solver.prototxt", case.solver))


def train(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run ten iterations with a snapshot at the fifth, from which a second solver continues."""
    solver = start(case)
    fill_params(solver.net, rs)
    record(solver.net, numbers, "start/", "param")
    for i in range(1, ITERATIONS + 1):
        solver.step(1)
        record_iteration(solver, numbers, "%d/" % i, "param param_diff" if i == 1 else "param")
        if i == 5:
            solver.snapshot()
    record_snapshot(numbers)
    proceed(case, numbers)


def record_snapshot(numbers: Numbers) -> None:
    """Record the files of the fifth iteration's snapshot."""
    for name in files_of_both():
        if name.startswith("snap_iter_5"):
            numbers["file/" + name] = file_bytes(name)


def proceed(case: Case, numbers: Numbers) -> None:
    """Run two iterations of a solver that starts from the snapshot in the working directory."""
    solver = start(case)
    (state,) = (name for name in os.listdir(".") if ".solverstate" in name)
    solver.restore(state)
    record(solver.net, numbers, "restored/", "param")
    solver.step(2)
    record_iteration(solver, numbers, "continued/")


def rewrite(case: Case) -> None:
    """Read the snapshot in the working directory into a solver, and write the snapshot again."""
    solver = start(case)
    (state,) = (name for name in os.listdir(".") if ".solverstate" in name)
    solver.restore(state)
    for name in os.listdir("."):
        if name.startswith("snap"):
            os.remove(name)
    solver.snapshot()


def add_training(name: str, solver: str, text: str = TRAIN_NET, program: Program = train) -> None:
    """Add a case of a solver; text: the train net."""
    add("train." + name, text, program=program, solver=solver)


_BASE = SOLVER + "net: 'train.prototxt' base_lr: 0.05 "
_USUAL = "momentum: 0.9 weight_decay: 0.02 "
for _name, _fields in (
    ("fixed_plain", "lr_policy: 'fixed'"),
    ("fixed", _USUAL + "lr_policy: 'fixed'"),
    ("step", _USUAL + "lr_policy: 'step' gamma: 0.5 stepsize: 3"),
    ("poly", _USUAL + "lr_policy: 'poly' power: 0.9"),
    ("inv", _USUAL + "lr_policy: 'inv' gamma: 0.1 power: 0.75"),
    ("exp", _USUAL + "lr_policy: 'exp' gamma: 0.9"),
    ("multistep", _USUAL + "lr_policy: 'multistep' gamma: 0.3 stepvalue: 2 stepvalue: 6"),
    ("sigmoid", _USUAL + "lr_policy: 'sigmoid' gamma: 0.5 stepsize: 5"),
    ("iter_size", _USUAL + "lr_policy: 'fixed' iter_size: 2"),
    ("clip_gradients", _USUAL + "lr_policy: 'fixed' clip_gradients: 0.3"),
    ("clip_gradients_iter_size", _USUAL + "lr_policy: 'fixed' iter_size: 3 clip_gradients: 0.3"),
    ("l1", _USUAL + "lr_policy: 'fixed' regularization_type: 'L1'"),
):
    add_training(_name, _BASE + _fields)
add_training(
    "mults",
    _BASE + _USUAL + "lr_policy: 'fixed'",
    data("{'seed': 3, 'classes': 4, 'batch': 3}")
    + fc("data", "a", 5, "param { lr_mult: 0.5 decay_mult: 3 } param { lr_mult: 2 decay_mult: 0 }")
    + layer("Scale", "a", "b", "param { lr_mult: 0 decay_mult: 1 } scale_param { bias_term: true }")
    + fc("b", "c", 4)
    + layer("SoftmaxWithLoss", "c label", "loss"),
)
add_training(
    "shared_params",
    _BASE + _USUAL + "lr_policy: 'fixed'",
    data("{'seed': 4, 'classes': 4, 'batch': 3}")
    + fc("data", "a", 4)
    + fc("a", "b", 4, "param { name: 'w' lr_mult: 2 } param { name: 'c' }")
    + fc("b", "d", 4, "param { name: 'w' } param { name: 'c' }")
    + layer("SoftmaxWithLoss", "d label", "loss"),
)


def with_test_net(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run five iterations, and the test net after each, which shares the trained weights."""
    write(".", "val.prototxt", data("{'seed': 99, 'classes': 3, 'shapes': [(9, 9)]}") + NET)
    solver = start(case)
    fill_params(solver.net, rs)
    for i in range(1, 6):
        solver.step(1)
        record_iteration(solver, numbers, "%d/" % i)
        test = solver.test_nets[0]
        test.forward()
        numbers["%d/test_loss" % i] = copy(test.blobs["loss"].data)
        record(test, numbers, "%d/test_" % i, "param")


add_training(
    "train_and_test_nets",
    SOLVER + "train_net: 'train.prototxt' test_net: 'val.prototxt' test_iter: 2 test_interval: 2 "
    "test_initialization: true base_lr: 0.05 lr_policy: 'fixed' " + _USUAL,
    program=with_test_net,
)
add_training(
    "one_net_two_phases",
    _BASE
    + "lr_policy: 'fixed' test_iter: 1 test_interval: 100 test_initialization: false "
    + _USUAL,
    data(IMAGES, " include { phase: TRAIN }")
    + data("{'seed': 99, 'classes': 3, 'shapes': [(9, 9)]}", " include { phase: TEST }")
    + NET,
    program=with_test_net,
)


def solve(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run solve(), which writes snapshots on the way and at the end."""
    write(".", "train.prototxt", case.text)
    solver = caffe.get_solver(write(".", "solver.prototxt", case.solver))
    fill_params(solver.net, rs)
    solver.solve()
    record_iteration(solver, numbers, "end/")
    for name in files_of_both():
        if name.startswith("snap"):
            numbers["file/" + name] = file_bytes(name)


add_training("solve", _BASE + "lr_policy: 'fixed' snapshot: 4 " + _USUAL, program=solve)
add_training(
    "solve_no_snapshot_after",
    _BASE + "lr_policy: 'fixed' snapshot: 4 snapshot_after_train: false type: 'SGD' " + _USUAL,
    program=solve,
)
