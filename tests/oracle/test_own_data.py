"""BVLC Caffe trains on own pictures as the engine does, with weights, changes and batches."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fcn_data.class_weights import MATRIX
from tests.fcn_data import own_folders

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]
OPTIONS = (
    "--variant fcn32s --single --width 1/32 --iters 4 --gpu cpu --class-weights balanced "
    "--mirror --crop 36 --batch 2"
)


def losses(out):
    with open(os.path.join(out, "fcn32s", "snapshot", "loss.csv"), newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_bvlc_caffe_trains_with_class_weights_changes_and_batches(bvlc_caffe, tmp_path):
    data = own_folders.write(tmp_path / "set", "cvat", 6)
    command = ["-m", "solvers.train", data, *OPTIONS.split(), "--out"]
    engine, bvlc = str(tmp_path / "engine"), str(tmp_path / "bvlc")
    result = bvlc_caffe(*command, bvlc, cwd=CHECKOUT)
    assert result.returncode == 0, result.stderr
    subprocess.run([sys.executable, *command, engine], cwd=CHECKOUT, check=True)
    for name in ("train", "val", "deploy", "solver"):
        paths = [Path(out, "fcn32s", f"{name}.prototxt") for out in (engine, bvlc)]
        assert paths[0].read_text() == paths[1].read_text()
    assert Path(engine, MATRIX).read_bytes() == Path(bvlc, MATRIX).read_bytes()
    assert len(losses(bvlc)) == 4
    assert np.allclose(losses(engine), losses(bvlc), rtol=1e-4)
