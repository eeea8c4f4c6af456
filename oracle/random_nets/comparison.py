"""Runs nets in the engine and in BVLC Caffe."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Sequence

from oracle.places import CAFFE_PYTHON, CHECKOUT
from oracle.random_nets.engine import read_outcome, run_engine
from oracle.random_nets.tally import Tally


def compare_nets(nets: Sequence[dict], tally: Tally) -> None:
    """Run the nets in both engines and count the verdicts.

    Raises RuntimeError where BVLC Caffe cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        bvlc = start_bvlc(nets, folder)
        outcomes = [run_engine(net, folder) for net in nets]
        finish_bvlc(bvlc)
        for net, outcome in zip(nets, outcomes):
            tally.judge(net, outcome, read_outcome(os.path.join(folder, net["name"])), folder)


def start_bvlc(nets: Sequence[dict], folder: str) -> subprocess.Popen:
    """Start BVLC Caffe, which writes the outcomes of the nets into the folder."""
    file = os.path.join(folder, "nets.json")
    with open(file, "w") as f:
        json.dump(list(nets), f)
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    command = [CAFFE_PYTHON, "oracle/run_nets.py", file, folder]
    return subprocess.Popen(command, env=environment, cwd=CHECKOUT)


def finish_bvlc(process: subprocess.Popen) -> None:
    """Wait for BVLC Caffe. Raises RuntimeError where BVLC Caffe cannot be run."""
    if process.wait():
        raise RuntimeError(
            f"oracle/run_nets.py ended with status {process.returncode} under BVLC Caffe; its own "
            "lines above say why"
        )
