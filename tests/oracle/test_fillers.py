"""Random fillers draw from BVLC Caffe's distributions, for every variance norm and shape."""

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
# In standard deviations of the distribution; the standard errors of 120,000 draws are 0.003 for a
# mean and 0.007 for a quantile.
TOLERANCE = 0.03


@pytest.fixture(scope="module")
def descriptions(bvlc_caffe):
    bvlc = bvlc_caffe(SCRIPT)
    assert bvlc.returncode == 0, bvlc.stderr
    engine = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(engine.stdout), json.loads(bvlc.stdout)


@pytest.mark.parametrize("filler", FILLERS)
def test_a_filler_draws_from_bvlc_caffes_distribution(filler, descriptions):
    engine, bvlc = (side[filler] for side in descriptions)
    assert len(engine) == len(bvlc) == len(SHAPES)
    for actual, expected, shape in zip(engine, bvlc, SHAPES):
        assert actual["zeros"] == pytest.approx(expected["zeros"], abs=0.01), shape
        if expected["zeros"] > 0.99:
            # A handful of values has no spread to compare.
            continue
        spread = expected["std"]
        for key in ("mean", "std", *(name for name in expected if name.startswith("quantile"))):
            assert actual[key] == pytest.approx(expected[key], abs=TOLERANCE * spread), (shape, key)
        if "gaussian" not in filler and "msra" not in filler and "ball" not in filler:
            for end in ("min", "max"):
                assert actual[end] == pytest.approx(expected[end], abs=TOLERANCE * spread), (
                    shape,
                    end,
                )
        if "ball" in filler:
            assert actual["row sum"] == pytest.approx(1, abs=1e-5) == expected["row sum"]
            assert max(actual["row sum std"], expected["row sum std"]) < 1e-5
