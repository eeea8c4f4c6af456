"""BVLC Caffe gives the golden numbers on this machine too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oracle.cases import CASES
from oracle.cases.case import groups
from oracle.compare import disagreements, golden
from oracle.places import GOLDEN

pytestmark = pytest.mark.oracle
# The kernels of other processors add up in another order.
OTHER_KERNELS = 2e-6


@pytest.fixture(scope="module")
def recorded_folder(bvlc_caffe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    result = bvlc_caffe("oracle/record.py", "--out", folder, cwd=os.path.dirname(GOLDEN) + "/..")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("group", groups(CASES.values()))
def test_golden_numbers_are_those_of_live_bvlc_caffe(group, recorded_folder):
    platforms = [Path(folder, "recorded_on.json") for folder in (GOLDEN, recorded_folder)]
    same_kernels = len({str(json.loads(path.read_text())) for path in platforms}) == 1
    tolerance = 0.0 if same_kernels else OTHER_KERNELS
    assert not disagreements(golden(group, str(recorded_folder)), golden(group), tolerance)
