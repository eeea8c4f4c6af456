"""The experiments' nets and data layers, trained under BVLC Caffe and under the engine."""

from __future__ import annotations

import json
import os

import pytest

from tests.experiments import both, small_demo


@pytest.mark.oracle
def test_both_caffes_train_the_experiments_nets_to_the_same_scores(bvlc_caffe, tmp_path):
    demo = small_demo.make(str(tmp_path))
    script = os.path.join(os.path.dirname(both.__file__), "both.py")
    result = bvlc_caffe(script, demo, tmp_path / "bvlc")
    assert result.returncode == 0, result.stderr
    bvlc = json.loads(result.stdout.splitlines()[-1])
    engine = both.run(demo, str(tmp_path / "engine"))
    assert list(engine) == list(bvlc)
    for name, (loss, accuracy) in bvlc.items():
        assert engine[name] == [pytest.approx(loss, rel=1e-3), pytest.approx(accuracy, abs=1e-2)]
