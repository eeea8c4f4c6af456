"""What the random fillers draw has BVLC Caffe's distribution, for every variance norm and shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.fillers import FILLERS, SHAPES

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = str(CHECKOUT / "oracle" / "fillers.py")
# Standard errors of 120,000 draws, in standard deviations: 0.003 of a mean, 0.007 of a quantile.
NEAR = 0.03


@pytest.fixture(scope="module")
def both(bvlc_caffe):
    theirs = bvlc_caffe(SCRIPT)
    assert theirs.returncode == 0, theirs.stderr
    ours = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(ours.stdout), json.loads(theirs.stdout)


@pytest.mark.parametrize("filler", FILLERS)
def test_a_filler_draws_from_bvlc_caffes_distribution(filler, both):
    ours, theirs = (side[filler] for side in both)
    assert len(ours) == len(theirs) == len(SHAPES)
    for mine, yours, shape in zip(ours, theirs, SHAPES):
        assert mine["zeros"] == pytest.approx(yours["zeros"], abs=0.01), shape
        if yours["zeros"] > 0.99:
            continue  # a handful of values has no spread to compare
        spread = yours["std"]
        for what in ("mean", "std", *(name for name in yours if name.startswith("quantile"))):
            assert mine[what] == pytest.approx(yours[what], abs=NEAR * spread), (shape, what)
        if "gaussian" not in filler and "msra" not in filler and "ball" not in filler:
            for end in ("min", "max"):
                assert mine[end] == pytest.approx(yours[end], abs=NEAR * spread), (shape, end)
        if "ball" in filler:
            assert mine["row sum"] == pytest.approx(1, abs=1e-5) == yours["row sum"]
            assert max(mine["row sum std"], yours["row sum std"]) < 1e-5
