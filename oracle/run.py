"""Runs Python files of this checkout under the engine or under BVLC Caffe."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Dict

import numpy as np

from oracle.places import CAFFE_PYTHON, CHECKOUT

PATHS = os.pathsep.join([CHECKOUT, os.path.join(CHECKOUT, "engine")])
#: Name of an engine -> the start of its command line.
COMMANDS = {"engine": [sys.executable], "bvlc": [CAFFE_PYTHON]}


def run(engine: str, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a file of oracle/ under an engine in COMMANDS; the result has stdout and stderr.

    Raises RuntimeError with the last lines of stderr if the script fails.
    """
    result = subprocess.run(
        [*COMMANDS[engine], os.path.join("oracle", script), *map(str, arguments)],
        cwd=CHECKOUT,
        env=dict(os.environ, PYTHONPATH=PATHS, GLOG_minloglevel="2"),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"{script} under {engine} failed:\n{result.stderr[-2000:]}")
    return result


def load_arrays(*path: str) -> Dict[str, np.ndarray]:
    """Return the arrays of an .npz file, whose path is given in parts."""
    with np.load(os.path.join(*path)) as arrays:
        return {key: arrays[key] for key in arrays.files}
