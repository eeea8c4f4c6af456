"""Every name of pycaffe is there, with the same parameters in the same order."""

from __future__ import annotations

import json
from pathlib import Path

import caffe
import pytest

from oracle.surface import differences

SCRIPT = Path(__file__).resolve().parents[2] / "oracle" / "surface.py"


@pytest.fixture(scope="module")
def theirs(bvlc_caffe):
    printed = bvlc_caffe(SCRIPT)
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


@pytest.mark.oracle
def test_pycaffes_names_and_parameters_are_here(theirs):
    assert sum(map(len, theirs.values())) > 300
    assert theirs["Net"]["share_with"] == [2, 2] and theirs["Solver"]["solve"] == [1, 2]
    assert theirs["Net"]["forward"] == ["self", "blobs=None", "start=None", "end=None", "kwargs"]
    assert {"resize", "zoom", "skimage"} <= theirs["caffe.io"].keys()
    assert {"np", "caffe", "_Net_get_id_name"} <= theirs["caffe.pycaffe"].keys()
    assert differences(theirs) == {}
    assert caffe.__version__.startswith("1.0.0")


def test_a_name_or_an_argument_that_differs_is_seen():
    wanted = {"nothing": None, "save": [2, 3], "share_with": [2, 2], "forward": ["self"]}
    assert differences({"Net": wanted}) == {
        "Net": ["nothing is missing", "save takes other arguments", "forward takes other arguments"]
    }
