"""Fifty iterations of a small FCN with each solver, on whatever `import caffe` gives.

    fifty.py FOLDER NAME [OTHER]

FOLDER/NAME gets the weights and losses of every iteration, FOLDER/NAME/fifty.npz, and the snapshots
of the 25th, FOLDER/NAME/RUN/. With OTHER it goes on from FOLDER/OTHER/RUN to the fiftieth instead,
and writes the weights of that, FOLDER/NAME/continued.npz. Log lines go to standard error.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, Dict, List

import caffe
import numpy as np

from oracle.cases.case import Case, Numbers, fill_params, record
from oracle.cases.training import SOLVER, TRAIN_NET, note, start

ITERATIONS, SNAPSHOT = 50, 25
# Where a solver divides a gradient by its own size, or L1 takes the sign of a weight that has come
# to zero, a rounding becomes a step. So deltas are large, and the L1 decay small, for this length.
FIELDS = {
    "SGD": "base_lr: 0.05 momentum: 0.9",
    "Nesterov": "base_lr: 0.05 momentum: 0.9",
    "AdaGrad": "base_lr: 0.02 delta: 1e-3",
    "RMSProp": "base_lr: 0.005 rms_decay: 0.95 delta: 1e-3",
    "AdaDelta": "base_lr: 1 momentum: 0.9 delta: 1e-4",
    "Adam": "base_lr: 0.005 momentum: 0.9 momentum2: 0.99 delta: 1e-3",
}
DECAY = "lr_policy: 'fixed' weight_decay: 0.02 "
L1 = "lr_policy: 'fixed' weight_decay: 0.0005 regularization_type: 'L1' "
VARIANTS = {
    "fixed": "lr_policy: 'fixed'",
    "step": "lr_policy: 'step' gamma: 0.5 stepsize: 15",
    "exp": "lr_policy: 'exp' gamma: 0.98",
    "inv": "lr_policy: 'inv' gamma: 0.05 power: 0.75",
    "multistep": "lr_policy: 'multistep' gamma: 0.5 stepvalue: 10 stepvalue: 30 stepvalue: 45",
    "poly": "lr_policy: 'poly' power: 0.9",
    "sigmoid": "lr_policy: 'sigmoid' gamma: 0.2 stepsize: 20",
    "l2": DECAY,
    "l1": L1,
    "iter_size": DECAY + "iter_size: 2",
    "clip_gradients": DECAY + "clip_gradients: 0.3",
    "together": L1 + "iter_size: 2 clip_gradients: 0.3",
    "hdf5": DECAY + "snapshot_format: HDF5",
}
HEAD = SOLVER.replace("max_iter: 10 display: 0", f"max_iter: {ITERATIONS} display: 5")
#: Every solver with every variant.
RUNS: Dict[str, str] = {
    f"{solver.lower()}_{variant}": f"{HEAD} net: 'train.prototxt' type: '{solver}' {fields} {more}"
    for solver, fields in FIELDS.items()
    for variant, more in VARIANTS.items()
}


def whole_run(case: Case, numbers: Numbers) -> None:
    solver = start(case)
    fill_params(solver.net, np.random.RandomState(case.seed))
    steps: List[Numbers] = []
    for i in range(1, ITERATIONS + 1):
        solver.step(1)
        steps.append({})
        note(solver, steps[-1], case.name + "/")
        if i == SNAPSHOT:
            solver.snapshot()
    numbers.update({key: np.stack([step[key] for step in steps]) for key in steps[0]})


def second_half(case: Case, numbers: Numbers) -> None:
    """From the snapshot in the working directory to the end, with the pictures of the whole run."""
    solver = start(case)
    for _ in range(SNAPSHOT * (2 if "iter_size" in case.solver else 1)):
        solver.net.forward(end="data")
    (state,) = (name for name in os.listdir(".") if ".solverstate" in name)
    solver.restore(state)
    solver.step(ITERATIONS - SNAPSHOT)
    record(solver.net, numbers, case.name + "/", "param")


def main(folder: str, name: str, other: str = "") -> None:
    caffe.set_mode_cpu()
    numbers: Any = {}
    for run, text in RUNS.items():
        here = os.path.join(folder, name, other, run)
        if other:
            shutil.copytree(os.path.join(folder, other, run), here)
        else:
            os.makedirs(here)
        os.chdir(here)
        print(f"run {run}", file=sys.stderr, flush=True)
        (second_half if other else whole_run)(Case(run, TRAIN_NET, solver=text), numbers)
    np.savez(os.path.join(folder, name, "continued.npz" if other else "fifty.npz"), **numbers)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), *sys.argv[2:])
