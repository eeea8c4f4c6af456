"""BVLC Caffe continues runs of the engine; tests/engine/test_golden.py has the reverse."""

from __future__ import annotations

import os

import numpy as np
import pytest

from oracle.cases import CASES, run
from oracle.compare import disagreements, file_disagreement, golden_keys

pytestmark = pytest.mark.oracle
CONTINUED = [name for name in CASES if f"{name}/continued/iter" in golden_keys(CASES[name].group)]


def select(name, numbers, starts):
    """Return the numbers of a case whose keys begin so, by the key without the case's name."""
    return {
        key[len(name) + 1 :]: value
        for key, value in numbers.items()
        if key.startswith(tuple(f"{name}/{word}/" for word in starts))
    }


@pytest.fixture(scope="module")
def runs(bvlc_caffe, tmp_path_factory):
    """The engine's numbers of each case, and the folder where BVLC Caffe continued them."""
    folder, scratch = tmp_path_factory.mktemp("snapshots"), tmp_path_factory.mktemp("run")
    engine = {}
    for name in CONTINUED:
        engine[name] = run(CASES[name], str(scratch))
        (folder / name).mkdir()
        for file, content in select(name, engine[name], ["file"]).items():
            (folder / name / file.split("/")[1]).write_bytes(content.tobytes())
        for file in scratch.iterdir():
            file.unlink()
    result = bvlc_caffe("oracle/proceed.py", folder, cwd=os.path.dirname(__file__) + "/../..")
    assert result.returncode == 0, result.stderr
    return engine, folder


@pytest.mark.parametrize("name", CONTINUED)
def test_bvlc_caffe_continues_from_the_engines_snapshot(name, runs):
    engine, folder = runs
    with np.load(folder / f"{name}.npz") as bvlc:
        assert not disagreements(
            select(name, engine[name], ["restored", "continued"]), dict(bvlc.items())
        )


@pytest.mark.parametrize("name", CONTINUED)
def test_bvlc_caffe_reads_the_engines_files_and_writes_them_again_unchanged(name, runs):
    engine, folder = runs
    for key, content in select(name, engine[name], ["file"]).items():
        bvlc = (folder / name / key.split("/")[1]).read_bytes()
        if key.endswith(".h5"):
            assert not file_disagreement(key, content.tobytes(), bvlc, 0)
        else:
            assert content.tobytes() == bvlc, key
