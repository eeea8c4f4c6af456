from __future__ import annotations

import json
import math
import os

import pytest
from PIL import Image

from solvers import demo, score, stage
from solvers.log import losses

# tests/experiments/small_demo.py is the short form.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A demo run with a thousandth of the work and an eighth of the width: its folder, its scores,
    and a function that runs the demo again."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WIDTH", demo.WIDTH / 8)
        patch.setattr(demo, "SHOWN", 2)
        patch.setattr(demo, "SNAPSHOTS", 1)
        patch.setitem(demo.CLASSIFIER, "batch", 2)
        stages = {name: dict(fields, base_lr=1e-12) for name, fields in demo.STAGES.items()}
        patch.setattr(demo, "STAGES", stages)
        run = lambda: demo.run(  # noqa: E731
            str(folder / "runs"), 1, "cpu", str(folder / "data"), scale=0.001
        )
        first = run()
        yield folder / "runs", first, run


def test_the_scores_have_the_documented_keys(small):
    folder, scores, _ = small
    with open(folder / "scores.json") as file:
        reported = json.load(file)
    assert list(reported) == ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]
    for name, row in reported.items():
        keys = {"mean_iu", "pixel_accuracy", "mean_accuracy", "fwavacc", "loss"}
        assert set(row) == keys
        assert row == {key: scores[name][key] for key in keys}
        assert all(0 <= row[key] <= 1 for key in keys - {"loss"}) and row["loss"] > 0


def test_the_scores_are_those_of_the_held_out_split(small):
    folder, scores, _ = small
    text = (folder / "voc-fcn8s" / "test.prototxt").read_text()
    assert r"\'split\': \'test\'" in text
    assert scores["voc-fcn8s"]["images"] == 3
    assert "3 scenes of the held-out split `test`" in (folder / "scores.md").read_text()


def test_the_demo_writes_figures_logs_and_weights(small):
    folder, _, _ = small
    assert Image.open(folder / "figure.png").size[0] > 500
    assert Image.open(folder / "loss.png").size[0] > 500
    for name in ("classifier", "voc-fcn32s", "voc-fcn16s", "voc-fcn8s"):
        assert {"train.log", "loss.csv"} <= set(os.listdir(folder / name / "snapshot"))
        assert any(n.endswith(".caffemodel") for n in os.listdir(folder / name / "snapshot"))
    assert not [n for _, _, names in os.walk(folder) for n in names if "partial" in n]


def test_the_classifier_starts_from_the_loss_of_a_guess(small):
    folder, _, _ = small
    rows = losses(folder / "classifier" / "snapshot" / "loss.csv")
    assert rows[0]["iteration"] == 0
    assert abs(rows[0]["loss"] - math.log(demo.CLASSES)) < 0.5


def test_a_finished_demo_is_not_trained_again(small, monkeypatch):
    _, first, run = small
    monkeypatch.setattr(stage, "make_solver", None)
    monkeypatch.setattr(score, "score_files", None)
    assert run() == {name: json.loads(json.dumps(row)) for name, row in first.items()}


def test_a_run_with_another_recipe_is_refused(small, tmp_path):
    folder, _, _ = small
    with pytest.raises(ValueError, match=r"has a run with seed 1, this run has 2; remove"):
        demo.run(str(folder), 2, "cpu", str(tmp_path), scale=0.001)
