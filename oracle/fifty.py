"""Fifty iterations of a small FCN with each solver, on whatever `import caffe` gives.

    fifty.py FOLDER seeds
    fifty.py FOLDER NAME [OTHER]

FOLDER/NAME gets the weights and losses of every iteration, FOLDER/NAME/fifty.npz, and the snapshots
of the 25th, FOLDER/NAME/RUN/. With OTHER it goes on from FOLDER/OTHER/RUN to the fiftieth instead,
and writes the weights of that, FOLDER/NAME/continued.npz. Log lines go to standard error.

ReLU and max pooling have ties: an input within a rounding of zero lets a gradient through in one
engine and not in the other, and the weights part by the whole of that gradient. So the weights that
a run starts from are drawn such that BVLC Caffe alone stays MARGIN away from every tie: `seeds`,
under BVLC Caffe, finds how and writes FOLDER/seeds.json.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any, Dict, List

import caffe
import numpy as np

from oracle.cases.case import Case, Numbers, copy, fill_params, record
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
#: The least distance from a tie, as a share of the largest value.
MARGIN = 2e-6
SEEDS = "seeds.json"


def begin(case: Case, seed: int) -> Any:
    """The case's solver with the weights that its run starts from."""
    solver = start(case)
    fill_params(solver.net, np.random.RandomState(case.seed + seed))
    return solver


def margin(case: Case, seed: int) -> float:
    """How near a ReLU's input came to zero, or the two largest of a pooling window to each other.

    As a share of the blob's largest value, over all passes of the run; with L1, how near a weight
    came to zero too. Values equal to the bit, the bias in the padding or zeros that a ReLU made,
    are no tie: both engines have them equal.
    """
    solver = begin(case, seed)
    net, names = solver.net, list(solver.net._layer_names)
    found: List[float] = []

    def nearest(values: np.ndarray) -> None:
        found.append(float(np.abs(values).min() / np.abs(values).max()))

    def look(layer: int) -> None:
        name = names[layer]
        if name == "data" and "'L1'" in case.solver:
            for learned in ("conv1", "conv2", "score_fr"):
                nearest(copy(net.params[learned][0].data))
        if "relu_" + name in names:
            nearest(copy(net.blobs[name].data))
        if name == "relu_conv1":
            values = copy(net.blobs["conv1"].data)
            found.append(float(pairs_apart(values).min() / values.max()))

    net.after_forward(look)
    solver.step(ITERATIONS)
    return min(found)


def pairs_apart(values: np.ndarray) -> np.ndarray:
    """By how much the largest of each 2 x 2 window is above the second, where it is."""
    height, width = values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), "constant")
    rows = [padded[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    ordered = np.sort(np.stack(rows), axis=0)
    apart = ordered[-1] - ordered[-2]
    return apart[apart > 0]


def seeds(folder: str) -> None:
    """Finds the first seed of every run that keeps MARGIN, and writes folder/seeds.json."""
    found: Dict[str, List[float]] = {}
    os.chdir(folder)
    for run, text in RUNS.items():
        case, seed = Case(run, TRAIN_NET, solver=text), 0
        while (apart := margin(case, seed)) < MARGIN:
            seed += 1
        found[run] = [seed, apart]
    with open(SEEDS, "w") as file:
        json.dump(found, file)


def whole_run(case: Case, numbers: Numbers, seed: int) -> None:
    solver = begin(case, seed)
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
    numbers: Any = {}
    with open(os.path.join(folder, SEEDS)) as file:
        drawn = json.load(file)
    for run, text in RUNS.items():
        here = os.path.join(folder, name, other, run)
        if other:
            shutil.copytree(os.path.join(folder, other, run), here)
        else:
            os.makedirs(here)
        os.chdir(here)
        print(f"run {run}", file=sys.stderr, flush=True)
        case = Case(run, TRAIN_NET, solver=text)
        if other:
            second_half(case, numbers)
        else:
            whole_run(case, numbers, int(drawn[run][0]))
    np.savez(os.path.join(folder, name, "continued.npz" if other else "fifty.npz"), **numbers)


if __name__ == "__main__":
    caffe.set_mode_cpu()
    if sys.argv[2] == "seeds":
        seeds(os.path.abspath(sys.argv[1]))
    else:
        main(os.path.abspath(sys.argv[1]), *sys.argv[2:])
