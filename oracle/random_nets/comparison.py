"""Runs nets in the engine and in BVLC Caffe."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import List, Sequence, Tuple

from oracle.places import CAFFE_PYTHON, CHECKOUT
from oracle.random_nets.engine import Outcome, read_outcome, run_engine
from oracle.random_nets.tally import Tally


def compare_nets(nets: Sequence[dict], tally: Tally) -> None:
    """Run the nets in both engines and count the verdicts.

    Raises RuntimeError where BVLC Caffe cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        for net, (engine, bvlc) in zip(nets, run_both(nets, folder)):
            tally.judge(net, engine, bvlc, folder)


def run_both(nets: Sequence[dict], folder: str) -> List[Tuple[Outcome, Outcome]]:
    """Return the outcome of each net in the engine and in BVLC Caffe; folder: for their files.

    Raises RuntimeError where BVLC Caffe cannot be run.
    """
    file = os.path.join(folder, "nets.json")
    with open(file, "w") as f:
        json.dump(list(nets), f)
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    command = [CAFFE_PYTHON, "oracle/run_nets.py", file, folder]
    bvlc = subprocess.Popen(command, env=environment, cwd=CHECKOUT)
    outcomes = [run_engine(net, folder) for net in nets]
    if bvlc.wait():
        raise RuntimeError(
            f"oracle/run_nets.py ended with status {bvlc.returncode} under BVLC Caffe; its own "
            "lines above say why"
        )
    return [
        (outcome, read_outcome(os.path.join(folder, net["name"])))
        for net, outcome in zip(nets, outcomes)
    ]
