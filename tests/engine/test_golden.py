"""The engine against numbers recorded from BVLC Caffe (tests/golden, written by `make golden`).

An array agrees when it has the same shape and max |a - b| <= 1e-5 * max |b|, with a the engine's
numbers, b BVLC Caffe's, and both maxima over the array. So an array that is zero there is exactly
zero here. Values of b that are not finite, or the -FLT_MAX of an empty window, are met exactly.
Files agree when their messages do, with the arrays in them compared as above; and what BVLC Caffe
wrote, read by the engine and written again, is the same bytes.
"""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
from caffe.proto import caffe_pb2

from oracle.cases import CASES, run
from oracle.cases.case import load
from oracle.cases.training import rewrite

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden")
TOLERANCE = 1e-5


@functools.cache
def golden(group):
    with np.load(os.path.join(GOLDEN, group + ".npz")) as numbers:
        return {key: numbers[key] for key in numbers.files}


def disagreement(ours, theirs):
    """What is wrong with `ours`, in words; None where it agrees with `theirs`."""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, BVLC Caffe has {theirs.shape}"
    if theirs.dtype.kind in "US":
        return None if str(ours) == str(theirs) else f"{ours}, BVLC Caffe has {theirs}"
    odd = ~np.isfinite(theirs) | (np.abs(theirs) > 1e30)
    if not np.array_equal(ours[odd], theirs[odd], equal_nan=True):
        return f"{ours[odd]} where BVLC Caffe has {theirs[odd]}"
    ours, theirs = ours[~odd].astype(np.float64), theirs[~odd].astype(np.float64)
    if not theirs.size:
        return None
    error, scale = np.abs(ours - theirs).max(), np.abs(theirs).max()
    if error <= TOLERANCE * scale:
        return None
    return (
        f"off by {error:.3g}, {error / scale if scale else np.inf:.1e} of the largest {scale:.3g}"
    )


def parse(name, content):
    """The message in a .caffemodel or .solverstate without its arrays, and the arrays."""
    if name.endswith(".solverstate"):
        message = caffe_pb2.SolverState()
        message.ParseFromString(content)
        blobs = list(message.history)
    else:
        message = caffe_pb2.NetParameter()
        message.ParseFromString(content)
        blobs = [blob for layer in [*message.layer, *message.layers] for blob in layer.blobs]
    arrays = [np.array(blob.data, np.float32) for blob in blobs]
    for blob in blobs:
        del blob.data[:]
    return message, arrays


def file_disagreement(name, ours, theirs):
    ours, our_arrays = parse(name, ours)
    theirs, their_arrays = parse(name, theirs)
    if ours != theirs:
        return f"says\n{ours}\nBVLC Caffe's says\n{theirs}"
    words = [disagreement(a, b) for a, b in zip(our_arrays, their_arrays, strict=True)]
    return next(filter(None, words), None)


def disagreements(ours, theirs):
    missing = [f"{key}: missing" for key in theirs if key not in ours]
    extra = [f"{key}: BVLC Caffe has none" for key in ours if key not in theirs]
    wrong = [
        f"{key}: {words}"
        for key in theirs
        if key in ours
        and (
            words := file_disagreement(key, ours[key].tobytes(), theirs[key].tobytes())
            if "/file/" in key
            else disagreement(np.asarray(ours[key]), theirs[key])
        )
    ]
    return missing + extra + wrong


@pytest.mark.parametrize("name", list(CASES))
def test_the_engine_gives_the_numbers_of_bvlc_caffe(name, tmp_path):
    case = CASES[name]
    recorded = {k: v for k, v in golden(case.group).items() if k.startswith(name + "/")}
    assert recorded, f"{name} was never recorded; run 'make golden'"
    assert not disagreements(run(case, str(tmp_path)), recorded)


TRAINED = [name for name in CASES if f"{name}/file/snap_iter_5.solverstate" in golden("train")]


@pytest.mark.parametrize("name", TRAINED)
def test_files_of_bvlc_caffe_read_and_written_again_are_the_same_bytes(name, tmp_path):
    start = f"{name}/file/"
    files = {
        k[len(start) :]: v.tobytes() for k, v in golden("train").items() if k.startswith(start)
    }
    assert rewrite(CASES[name], str(tmp_path), files) == files


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
    recorded = {key.split("/")[0] for group in groups for key in golden(group)}
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
def test_the_comparison_sees_a_difference(ours, theirs):
    assert disagreement(ours, theirs)


def test_the_comparison_sees_a_difference_in_a_file():
    theirs = golden("train")["train.fixed/file/snap_iter_5.caffemodel"].tobytes()
    message = caffe_pb2.NetParameter.FromString(theirs)
    assert file_disagreement("a.caffemodel", theirs, theirs) is None
    message.layer[1].blobs[0].data[0] += 0.1
    assert file_disagreement("a.caffemodel", message.SerializeToString(), theirs)
    message = caffe_pb2.NetParameter.FromString(theirs)
    message.layer[1].convolution_param.num_output += 1
    assert file_disagreement("a.caffemodel", message.SerializeToString(), theirs)


def test_the_comparison_allows_what_rounding_does():
    theirs = np.array([1000.0, 1.0, np.nan, -np.finfo(np.float32).max])
    assert disagreement(theirs + np.array([0.009, 0.009, 0, 0]), theirs) is None
