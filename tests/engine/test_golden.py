"""The engine against numbers recorded from BVLC Caffe (tests/golden, written by `make golden`).

Arrays agree within 1e-5 of the largest value of each (oracle/compare.py). A file of BVLC Caffe that
the engine reads and writes again has the same bytes.
"""

from __future__ import annotations

import os

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from oracle.cases import CASES, run
from oracle.cases.case import load
from oracle.cases.training import proceed, rewrite
from oracle.compare import disagreement, disagreements, file_disagreement, golden, golden_keys
from oracle.places import GOLDEN


@pytest.mark.parametrize("name", list(CASES))
def test_the_engine_gives_the_numbers_of_bvlc_caffe(name, tmp_path):
    case = CASES[name]
    recorded = {k: v for k, v in golden(case.group).items() if k.startswith(name + "/")}
    assert recorded, f"{name} was never recorded; run 'make golden'"
    assert not disagreements(run(case, str(tmp_path)), recorded)


#: Cases whose numbers hold for the CPU alone. On a device, as with SyncedMemory, an array that a
#: script keeps does not change until the script reads it from the blob again; and a CUDA build of
#: Caffe has NCCL.
OF_THE_CPU = ("program.views", "calls.has_nccl()")


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in CASES if name not in OF_THE_CPU])
def test_the_engine_gives_the_numbers_of_bvlc_caffe_on_a_gpu(name, tmp_path):
    case = CASES[name]
    recorded = {k: v for k, v in golden(case.group).items() if k.startswith(name + "/")}
    assert not disagreements(run(case, str(tmp_path), gpu=0), recorded)


CONTINUED = [name for name in CASES if f"{name}/continued/iter" in golden_keys(CASES[name].group)]


def snapshots(name):
    """The bytes of the files that BVLC Caffe wrote in a training case, by file name."""
    start = f"{name}/file/"
    numbers = golden(CASES[name].group)
    return {k[len(start) :]: v.tobytes() for k, v in numbers.items() if k.startswith(start)}


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Enters a folder; the function writes the snapshots of a case there."""
    monkeypatch.chdir(tmp_path)
    return lambda name: [(tmp_path / k).write_bytes(v) for k, v in snapshots(name).items()]


@pytest.mark.parametrize("name", CONTINUED)
def test_a_file_of_bvlc_caffe_that_is_written_again_has_the_same_bytes(name, beside, tmp_path):
    beside(name)
    rewrite(CASES[name])
    for file, theirs in snapshots(name).items():
        ours = (tmp_path / file).read_bytes()
        # The bytes of an HDF5 file depend on the library that wrote it.
        if file.endswith(".h5"):
            assert not file_disagreement(file, ours, theirs, 0)
        else:
            assert ours == theirs, file


@pytest.mark.parametrize("name", CONTINUED)
def test_training_continues_from_a_snapshot_of_bvlc_caffe(name, beside):
    beside(name)
    numbers = {}
    proceed(CASES[name], numbers)
    recorded = {
        k[len(name) + 1 :]: v
        for k, v in golden(CASES[name].group).items()
        if k.startswith((f"{name}/restored/", f"{name}/continued/"))
    }
    assert not disagreements(numbers, recorded)


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("program.save")])
def test_a_net_loaded_from_bvlc_caffes_file_saves_the_same_bytes(name, tmp_path):
    theirs = golden("program")[f"{name}/file/net.caffemodel"].tobytes()
    (tmp_path / "theirs.caffemodel").write_bytes(theirs)
    net = load(CASES[name], str(tmp_path))
    net.copy_from(str(tmp_path / "theirs.caffemodel"))
    net.save(str(tmp_path / "ours.caffemodel"))
    assert (tmp_path / "ours.caffemodel").read_bytes() == theirs


def test_every_recorded_case_is_compared():
    groups = {case.group for case in CASES.values()}
    assert {f[:-4] for f in os.listdir(GOLDEN) if f.endswith(".npz")} == groups
    recorded = {key.split("/")[0] for group in groups for key in golden_keys(group)}
    assert recorded == set(CASES)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (np.zeros(3), np.zeros(4)),
        (np.array([1.0, 2.0]), np.array([1.0, 2.0001])),
        (np.array([1e-30]), np.array([0.0])),
        (np.array([np.nan]), np.array([1.0])),
        (np.array([0.0, 1.0]), np.array([np.nan, 1.0])),
        (np.array([1.0, -1.0]), np.array([1.0, -np.finfo(np.float32).max])),
        (np.array("a"), np.array("b")),
    ],
)
def test_the_comparison_reports_a_difference(ours, theirs):
    assert disagreement(ours, theirs)


def test_the_comparison_reports_a_difference_in_a_file():
    theirs = golden("train")["train.fixed/file/snap_iter_5.caffemodel"].tobytes()
    message = caffe_pb2.NetParameter.FromString(theirs)
    assert file_disagreement("a.caffemodel", theirs, theirs) is None
    conv1 = next(layer for layer in message.layer if layer.name == "conv1")
    conv1.blobs[0].data[0] += 0.1
    assert file_disagreement("a.caffemodel", message.SerializeToString(), theirs)
    message = caffe_pb2.NetParameter.FromString(theirs)
    next(layer for layer in message.layer if layer.name == "conv1").phase = caffe.TEST
    assert file_disagreement("a.caffemodel", message.SerializeToString(), theirs)


def test_the_comparison_allows_for_rounding():
    theirs = np.array([1000.0, 1.0, np.nan, -np.finfo(np.float32).max])
    assert disagreement(theirs + np.array([0.009, 0.009, 0, 0]), theirs) is None
