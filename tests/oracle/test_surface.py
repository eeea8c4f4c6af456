"""Every name of pycaffe exists, with the same parameters in the same order."""

from __future__ import annotations

import json
from pathlib import Path

import caffe
import pytest

from oracle.surface import differences

SCRIPT = Path(__file__).resolve().parents[2] / "oracle" / "surface.py"


@pytest.fixture(scope="module")
def bvlc(bvlc_caffe):
    result = bvlc_caffe(SCRIPT)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.oracle
def test_every_name_of_pycaffe_exists_with_its_parameters(bvlc):
    assert sum(map(len, bvlc.values())) > 2700
    assert bvlc["Net"]["share_with"] == [2, 2] and bvlc["Solver"]["solve"] == [1, 2]
    assert bvlc["Net"]["forward"] == ["self", "blobs=None", "start=None", "end=None", "kwargs"]
    assert {"resize", "zoom", "skimage"} <= bvlc["caffe.io"].keys()
    assert {"np", "caffe", "_Net_get_id_name"} <= bvlc["caffe.pycaffe"].keys()
    assert differences(bvlc) == {}
    assert caffe.__version__.startswith("1.0.0")


def test_a_missing_name_and_other_parameters_are_found():
    expected = {"nothing": None, "save": [2, 3], "share_with": [2, 2], "forward": ["self"]}
    assert differences({"Net": expected}) == {
        "Net": ["nothing is missing", "save takes other arguments", "forward takes other arguments"]
    }
