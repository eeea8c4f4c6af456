"""The whole chain of training, under BVLC Caffe and under the engine."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from tests import tiny
from tests.solvers import whole_chain


@pytest.mark.oracle
def test_both_caffes_train_the_chain_to_the_same_scores(bvlc_caffe, tmp_path):
    script = os.path.join(os.path.dirname(whole_chain.__file__), "whole_chain.py")
    start = tmp_path / "start"
    tiny.data(str(start))
    tiny.start(str(start), str(start))
    scores = []
    for name, run in (("bvlc", bvlc_caffe), ("engine", None)):
        folder = tmp_path / name
        shutil.copytree(start, folder)
        if run:
            result = run(script, folder)
            assert result.returncode == 0, result.stderr
            scores.append(json.loads(result.stdout.splitlines()[-1]))
        else:
            scores.append(whole_chain.run(str(folder)))
    for variant, bvlc in scores[0].items():
        assert scores[1][variant]["loss"] == pytest.approx(bvlc["loss"], rel=1e-3)
        assert scores[1][variant]["mean_iu"] == pytest.approx(bvlc["mean_iu"], abs=1e-2)
