"""Seeds draw the same weights, dropout masks and trainings under BVLC Caffe and the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oracle.seeds import draw

SCRIPT = Path(__file__).resolve().parents[2] / "oracle" / "seeds.py"


@pytest.mark.oracle
def test_seeds_draw_bvlc_caffes_numbers(bvlc_caffe, tmp_path):
    result = bvlc_caffe(SCRIPT, tmp_path / "theirs.npz")
    assert result.returncode == 0, result.stderr
    theirs, ours = np.load(tmp_path / "theirs.npz"), draw(str(tmp_path))
    assert ours.keys() == set(theirs.files) and len(ours) == 35
    np.testing.assert_allclose(ours.pop("losses"), theirs["losses"], rtol=1e-5)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
