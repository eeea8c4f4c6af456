"""The golden numbers are what BVLC Caffe gives now, on this machine."""

from __future__ import annotations

import json
import os

import pytest

from oracle.cases import CASES
from oracle.cases.case import groups
from oracle.compare import GOLDEN, disagreements, golden

pytestmark = pytest.mark.oracle
# Other processors have other kernels, which add up in another order.
OTHER_KERNELS = 2e-6


@pytest.fixture(scope="module")
def recorded_now(bvlc_caffe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    result = bvlc_caffe("oracle/record.py", "--out", folder, cwd=os.path.dirname(GOLDEN) + "/..")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("group", groups(CASES.values()))
def test_golden_numbers_are_those_of_live_bvlc_caffe(group, recorded_now):
    with (
        open(os.path.join(GOLDEN, "recorded_on.json")) as then,
        open(recorded_now / "recorded_on.json") as now,
    ):
        same_kernels = json.load(then) == json.load(now)
    tolerance = 0.0 if same_kernels else OTHER_KERNELS
    assert not disagreements(golden(group, str(recorded_now)), golden(group), tolerance)
