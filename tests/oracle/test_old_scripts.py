"""Scripts of 2014 to 2018 print the same text, and compute the same numbers, under both Caffes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oracle import scripts
from oracle.compare import disagreements
from oracle.run import load_arrays

pytestmark = pytest.mark.oracle
FOLDER = Path(scripts.__file__).parent
CHECKOUT = FOLDER.parent.parent
#: Gradients of an image, and errors that ten iterations of training add up.
TOLERANCE = 1e-5


def run_engine(script, folder):
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT), PATH=paths, GLOG_minloglevel="2")
    command = [sys.executable, str(script)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("[a-z]*.py")))
def test_a_script_gives_the_same_text_and_numbers(name, bvlc_caffe, tmp_path):
    script, outputs = FOLDER / f"{name}.py", []
    for side in ("engine", "bvlc"):
        folder = tmp_path / side
        folder.mkdir()
        bvlc = side == "bvlc"
        result = bvlc_caffe(script, cwd=folder) if bvlc else run_engine(script, folder)
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)
    assert len(outputs[1].splitlines()) >= 2
    assert outputs[0] == outputs[1]
    engine, bvlc = (load_arrays(tmp_path, side, "out.npz") for side in ("engine", "bvlc"))
    assert not disagreements(engine, bvlc, TOLERANCE)
