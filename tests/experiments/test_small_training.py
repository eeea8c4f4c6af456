from __future__ import annotations

import json
import os

import pytest

import net_gen
from experiments import demo_run, training
from solvers import score, stage


@pytest.fixture
def demo(demo_folder):
    return demo_run.open_demo(demo_folder)


def test_a_demo_run_has_its_settings_scores_and_scenes(demo, demo_folder):
    assert os.path.isfile(os.path.join(demo.voc, "ImageSets", "Segmentation", "test.txt"))
    assert (demo.folder, demo.seed, demo.scale) == (demo_folder, 1, 0.001)
    assert float(demo.width) == 1 / 64
    with open(os.path.join(demo_folder, "voc-fcn16s", "test.json")) as file:
        assert demo.scores("voc-fcn16s") == json.load(file)
    assert demo.solver("voc-fcn16s")["base_lr"] == 1e-12
    assert demo.truth(demo.test_images()[0]).shape == demo.photo(demo.test_images()[0]).shape[:2]


def test_a_folder_without_a_demo_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no finished demo run there; run `make demo` first"):
        demo_run.open_demo(str(tmp_path))


def test_a_net_of_the_recipe_is_the_demos_net(demo, tmp_path):
    """Without other arguments, all fields are equal, also the paths relative to the folder."""
    folder = os.path.join(demo.folder, "voc-fcn16s")
    net = training.fcn("voc-fcn16s", folder, demo)
    for split in ("train", "val", "test", "deploy"):
        with open(os.path.join(folder, split + ".prototxt")) as file:
            assert net_gen.to_text(net(split)) == file.read()


def test_a_training_runs_once_and_is_scored_on_the_held_out_split(demo, tmp_path, monkeypatch):
    folder = str(tmp_path / "net")
    net = training.fcn("voc-fcn32s", folder, demo)
    fields = dict(demo.solver("voc-fcn32s"), max_iter=2, snapshot=1)
    scores = training.train(folder, net, fields, demo.start, demo.seed, "cpu", score=True)
    assert scores["images"] == len(demo.test_images()) == 3
    assert [row["at"] for row in training.snapshot_scores(folder, 10)] == [10, 20]
    assert (
        training.loss_curve(folder, 100, 2) and training.loss_curve(folder, 100, 2)[0]["at"] == 100
    )
    monkeypatch.setattr(stage, "make_solver", None)
    assert training.train(folder, net, fields, demo.start, demo.seed, "cpu", score=True) == scores


def test_trained_weights_are_scored_on_another_net_once(demo, tmp_path, monkeypatch):
    folder = str(tmp_path / "other")
    net = training.fcn("voc-fcn16s", folder, demo)
    scores = training.score(folder, net, demo.stage("voc-fcn16s"))
    assert scores["mean_iu"] == demo.scores("voc-fcn16s")["mean_iu"]
    monkeypatch.setattr(score, "score_files", None)
    assert training.score(folder, net, demo.stage("voc-fcn16s")) == scores


def test_weights_of_another_width_are_refused(demo, tmp_path):
    folder = str(tmp_path / "net")
    net = training.fcn("voc-fcn16s", folder, demo, width=2 * demo.width)
    with pytest.raises((ValueError, RuntimeError), match="conv1_1"):
        training.train(folder, net, demo.solver("voc-fcn16s"), demo.weights("voc-fcn32s"), 1, "cpu")
