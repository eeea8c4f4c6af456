"""Fifty iterations of a small FCN with each solver, in the Caffe that `import caffe` gives.

    fifty.py FOLDER seeds
    fifty.py FOLDER NAME [OTHER]

The first form, under BVLC Caffe, writes FOLDER/seeds.json (see below). The second form writes the
weights and losses of every iteration to FOLDER/NAME/fifty.npz, and the snapshots of the 25th
iteration to FOLDER/NAME/RUN/. With OTHER, training continues from FOLDER/OTHER/RUN to the fiftieth
iteration instead, and the final weights go to FOLDER/NAME/continued.npz. Log lines go to standard
error.

ReLU and max pooling have ties: one engine lets a gradient through at an input within a rounding of
zero, the other engine does not, and the weights then differ by that gradient. Therefore the initial
weights of a run are drawn such that BVLC Caffe stays MARGIN away from every tie. `seeds` searches
for the draws.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any, Dict, List

import caffe
import numpy as np

from oracle.cases.case import Case, Numbers, RandomState, copy, fill_params, record
from oracle.cases.training import SOLVER, TRAIN_NET, record_iteration, start

ITERATIONS, SNAPSHOT = 50, 25
# Where a solver divides a gradient by its own size, or where L1 reads the sign of a weight that has
# reached zero, a rounding becomes a step. So the deltas are large, and L1's decay is small.
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
#: Run -> solver prototxt: every solver with every variant.
RUNS: Dict[str, str] = {
    f"{solver.lower()}_{variant}": f"{HEAD} net: 'train.prototxt' type: '{solver}' {fields} {more}"
    for solver, fields in FIELDS.items()
    for variant, more in VARIANTS.items()
}
#: The least distance from a tie, as a share of the largest value.
MARGIN = 2e-6
SEEDS = "seeds.json"


def start_run(case: Case, seed: int) -> Any:
    """Return the case's solver with the initial weights of a seed."""
    solver = start(case)
    fill_params(solver.net, RandomState(case.seed + seed))
    return solver


def margin(case: Case, seed: int) -> float:
    """Return the least distance from a tie in any pass of a run, as a share of the largest value.

    A tie is a ReLU's input of zero, two equal maxima of a pooling window, or with L1 a weight of
    zero. Values that are equal to the bit, such as zeros behind a ReLU, are no ties, because both
    engines have them equal.
    """
    solver = start_run(case, seed)
    net, names = solver.net, list(solver.net.layer_dict)
    distances: List[float] = []

    def add_distance_from_zero(values: np.ndarray) -> None:
        distances.append(float(np.abs(values).min() / np.abs(values).max()))

    def measure(layer: int) -> None:
        name = names[layer]
        if name == "data" and "'L1'" in case.solver:
            for with_weights in ("conv1", "conv2", "score_fr"):
                add_distance_from_zero(copy(net.params[with_weights][0].data))
        if "relu_" + name in names:
            add_distance_from_zero(copy(net.blobs[name].data))
        if name == "relu_conv1":
            values = copy(net.blobs["conv1"].data)
            distances.append(float(leads(values).min() / values.max()))

    net.after_forward(measure)
    solver.step(ITERATIONS)
    return min(distances)


def leads(values: np.ndarray) -> np.ndarray:
    """Return the difference of the two largest values of each 2 x 2 window, where not zero."""
    height, width = values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), "constant")
    corners = [padded[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    ordered = np.sort(np.stack(corners), axis=0)
    lead = ordered[-1] - ordered[-2]
    return lead[lead > 0]


def write_seeds(folder: str) -> None:
    """Search the first seed of every run that keeps MARGIN, and write folder/seeds.json."""
    seeds: Dict[str, List[float]] = {}
    os.chdir(folder)
    for run, text in RUNS.items():
        case, seed = Case(run, TRAIN_NET, solver=text), 0
        while (distance := margin(case, seed)) < MARGIN:
            seed += 1
        seeds[run] = [seed, distance]
    with open(SEEDS, "w") as file:
        json.dump(seeds, file)


def run_all_iterations(case: Case, numbers: Numbers, seed: int) -> None:
    """Train from the start, record every iteration, and write the snapshot in the middle."""
    solver = start_run(case, seed)
    steps: List[Numbers] = []
    for i in range(1, ITERATIONS + 1):
        solver.step(1)
        steps.append({})
        record_iteration(solver, steps[-1], case.name + "/")
        if i == SNAPSHOT:
            solver.snapshot()
    numbers.update({key: np.stack([step[key] for step in steps]) for key in steps[0]})


def run_second_half(case: Case, numbers: Numbers) -> None:
    """Train from the snapshot in the working directory to the end.

    Data layers first give the images of the first half, so that the second half sees the images
    that an uninterrupted run sees.
    """
    solver = start(case)
    for _ in range(SNAPSHOT * (2 if "iter_size" in case.solver else 1)):
        solver.net.forward(end="data")
    (state,) = (name for name in os.listdir(".") if ".solverstate" in name)
    solver.restore(state)
    solver.step(ITERATIONS - SNAPSHOT)
    record(solver.net, numbers, case.name + "/", "param")


def main(folder: str, name: str, other: str = "") -> None:
    """Train every run, from the start or from the snapshots of the engine `other`."""
    numbers: Any = {}
    with open(os.path.join(folder, SEEDS)) as file:
        seeds = json.load(file)
    for run, text in RUNS.items():
        run_folder = os.path.join(folder, name, other, run)
        if other:
            shutil.copytree(os.path.join(folder, other, run), run_folder)
        else:
            os.makedirs(run_folder)
        os.chdir(run_folder)
        print(f"run {run}", file=sys.stderr, flush=True)
        case = Case(run, TRAIN_NET, solver=text)
        if other:
            run_second_half(case, numbers)
        else:
            run_all_iterations(case, numbers, int(seeds[run][0]))
    np.savez(os.path.join(folder, name, "continued.npz" if other else "fifty.npz"), **numbers)


if __name__ == "__main__":
    caffe.set_mode_cpu()
    if sys.argv[2] == "seeds":
        write_seeds(os.path.abspath(sys.argv[1]))
    else:
        main(os.path.abspath(sys.argv[1]), *sys.argv[2:])
