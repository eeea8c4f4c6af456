"""BVLC Caffe goes on with runs that the engine starts; test_golden has the other way round."""

from __future__ import annotations

import os

import numpy as np
import pytest

from oracle.cases import CASES, run
from oracle.compare import disagreements, file_disagreement, golden

pytestmark = pytest.mark.oracle
CONTINUED = [name for name in CASES if f"{name}/continued/iter" in golden(CASES[name].group)]


def without(name, numbers, start):
    """The numbers whose keys begin with `start`, by the rest of the key after the case's name."""
    return {
        key[len(name) + 1 :]: value
        for key, value in numbers.items()
        if key.startswith(tuple(f"{name}/{word}/" for word in start))
    }


@pytest.fixture(scope="module")
def ran(bvlc_caffe, tmp_path_factory):
    """The engine's numbers of each case, and the folder where BVLC Caffe has gone on from them."""
    folder, scratch = tmp_path_factory.mktemp("snapshots"), tmp_path_factory.mktemp("run")
    ours = {}
    for name in CONTINUED:
        ours[name] = run(CASES[name], str(scratch))
        (folder / name).mkdir()
        for file, content in without(name, ours[name], ["file"]).items():
            (folder / name / file.split("/")[1]).write_bytes(content.tobytes())
        for file in scratch.iterdir():
            file.unlink()
    result = bvlc_caffe("oracle/proceed.py", folder, cwd=os.path.dirname(__file__) + "/../..")
    assert result.returncode == 0, result.stderr
    return ours, folder


@pytest.mark.parametrize("name", CONTINUED)
def test_bvlc_caffe_goes_on_from_the_engines_snapshot(name, ran):
    ours, folder = ran
    with np.load(folder / f"{name}.npz") as theirs:
        assert not disagreements(
            without(name, ours[name], ["restored", "continued"]), dict(theirs.items())
        )


@pytest.mark.parametrize("name", CONTINUED)
def test_bvlc_caffe_reads_and_writes_the_engines_files_the_same(name, ran):
    ours, folder = ran
    for key, content in without(name, ours[name], ["file"]).items():
        theirs = (folder / name / key.split("/")[1]).read_bytes()
        if key.endswith(".h5"):
            assert not file_disagreement(key, content.tobytes(), theirs, 0)
        else:
            assert content.tobytes() == theirs, key
