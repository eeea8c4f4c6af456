"""Golden cases of the six solvers: twenty iterations, and a run that continues from a snapshot."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import List

import numpy as np

from oracle.cases.blocks import fc
from oracle.cases.case import Case, Numbers, RandomState, add, fill_params, layer
from oracle.cases.training import (
    SOLVER,
    TRAIN_NET,
    data,
    proceed,
    record_iteration,
    record_snapshot,
    start,
)

#: A net of 89 parameters, with several factors for rates and decays.
SMALL = (
    data("{'seed': 8, 'classes': 4, 'batch': 3}")
    + layer("Pooling", "data", "p", "pooling_param { pool: AVE kernel_size: 6 stride: 6 }")
    + fc("p", "a", 5, "param { lr_mult: 1 decay_mult: 2 } param { lr_mult: 2 decay_mult: 0 }")
    + layer("TanH", "a", "t")
    + fc("t", "c", 4)
    + layer("SoftmaxWithLoss", "c label", "loss")
)
SOLVERS = {
    "SGD": "base_lr: 0.05 momentum: 0.9",
    "Nesterov": "base_lr: 0.05 momentum: 0.9",
    "AdaGrad": "base_lr: 0.05 delta: 1e-7",
    "RMSProp": "base_lr: 0.01 rms_decay: 0.95 delta: 1e-6",
    "AdaDelta": "base_lr: 1 momentum: 0.9 delta: 1e-5",
    "Adam": "base_lr: 0.01 momentum: 0.9 momentum2: 0.99 delta: 1e-6",
}
VARIANTS = {
    "plain": "lr_policy: 'fixed'",
    "l2": "lr_policy: 'fixed' weight_decay: 0.02 regularization_type: 'L2'",
    "l1": "lr_policy: 'fixed' weight_decay: 0.01 regularization_type: 'L1'",
    "iter_size": "lr_policy: 'fixed' weight_decay: 0.02 iter_size: 2",
    "clip": "lr_policy: 'fixed' weight_decay: 0.02 clip_gradients: 0.3",
    "all": "lr_policy: 'multistep' gamma: 0.5 stepvalue: 3 stepvalue: 7 stepvalue: 15"
    " weight_decay: 0.01 regularization_type: 'L1' iter_size: 2 clip_gradients: 0.2",
    "poly": "lr_policy: 'poly' power: 0.9 weight_decay: 0.02",
    "inv": "lr_policy: 'inv' gamma: 0.1 power: 0.75",
    "hdf5": "lr_policy: 'step' gamma: 0.5 stepsize: 2 weight_decay: 0.02 snapshot_format: HDF5",
}
HEAD = SOLVER.replace("max_iter: 10", "max_iter: 20") + "net: 'train.prototxt' "


def run_twenty(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run twenty iterations with a snapshot at the fifth, from which a second solver continues.

    Updates are not recorded: where a gradient is the small sum of large values, Adam divides the
    gradient by its own size, and the rounding becomes as large as the update.
    """
    solver = start(case)
    fill_params(solver.net, rs)
    steps: List[Numbers] = []
    for i in range(1, 21):
        solver.step(1)
        steps.append({})
        record_iteration(solver, steps[-1], "")
        if i == 5:
            solver.snapshot()
    for key in steps[0]:
        numbers["each/" + key] = np.stack([step[key] for step in steps])
    record_snapshot(numbers)
    proceed(case, numbers)


for _type, _fields in SOLVERS.items():
    _solver = HEAD + "type: '%s' %s " % (_type, _fields)
    _name = "solver." + _type.lower()
    add(_name + "_fcn", TRAIN_NET, program=run_twenty, solver=_solver + VARIANTS["l2"])
    for _variant, _more in VARIANTS.items():
        add("%s_%s" % (_name, _variant), SMALL, program=run_twenty, solver=_solver + _more)
# The field `solver_type` of the old form, and default values.
for _number, _type in enumerate(SOLVERS):
    add(
        "solver.old_type_%s" % _type.lower(),
        SMALL,
        program=run_twenty,
        solver=SOLVER
        + "net: 'train.prototxt' base_lr: 0.01 lr_policy: 'fixed' solver_type: %d" % _number,
    )
