"""The training that the zoo's small detectors share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import caffe


def train(
    path: str, field: str, rate: float, decay: float, iterations: int, losses: Sequence[str]
) -> caffe.Net:
    """Train with Adam, with a tenth of the rate after 7 and 9 tenths; return the trained net.

    path: the prototxt, beside which solver.prototxt is written. field: the solver's field that
    names it. decay: of the weights. losses: the blobs that each 100 iterations print.
    """
    steps = "".join(f"stepvalue: {iterations * part // 10}\n" for part in (7, 9))
    solver_path = os.path.join(os.path.dirname(path), "solver.prototxt")
    Path(solver_path).write_text(
        f'{field}: "{path}"\nbase_lr: {rate}\nlr_policy: "multistep"\ngamma: 0.1\n{steps}'
        f'momentum: 0.9\nmomentum2: 0.999\nweight_decay: {decay}\ntype: "Adam"\n'
        f"max_iter: {iterations}\nsnapshot_after_train: false\nrandom_seed: 1\ndisplay: 0\n"
    )
    solver = caffe.get_solver(solver_path)
    for done in range(0, iterations, 100):
        solver.step(min(100, iterations - done))
        values = ", ".join(f"{name} {float(solver.net.blobs[name].data):.3f}" for name in losses)
        print(f"iteration {solver.iter}: {values}")
    return solver.net
