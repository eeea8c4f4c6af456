from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time

import caffe
import numpy as np
import pytest

import surgery
import voc_layers
from solvers import snapshots, stage
from solvers.folders import ROOT
from solvers.log import losses
from tests import prefork, tiny


def weights_of(path):
    folder = os.path.dirname(os.path.dirname(path))
    net = caffe.Net(os.path.join(folder, "deploy.prototxt"), path, caffe.TEST)
    return {name: [np.array(b.data) for b in blobs] for name, blobs in net.params.items()}


def same(a, b):
    return all(np.array_equal(x, y) for name in a for x, y in zip(a[name], b[name]))


def kept(folder):
    return [s.iteration for s in snapshots.complete(os.path.join(folder, "snapshot", "train"))]


@pytest.fixture
def start(tiny_start):
    return str(tiny_start / "start.caffemodel")


@pytest.fixture(scope="module")
def finished(tiny_start, tmp_path_factory):
    """The folder of a finished stage, which tests must not change, and its scores."""
    folder = tiny.nets(str(tmp_path_factory.mktemp("finished") / "voc-fcn32s"), str(tiny_start))
    return folder, stage.run(folder, str(tiny_start / "start.caffemodel"), gpu="cpu", seed=1)


@pytest.fixture
def again(finished, tiny_start, tmp_path):
    """A copy of the finished stage, which tests may change, and its scores."""
    folder = tiny.nets(str(tmp_path / "voc-fcn32s"), str(tiny_start))
    shutil.copytree(os.path.join(finished[0], "snapshot"), os.path.join(folder, "snapshot"))
    return folder, finished[1]


def test_a_stage_trains_snapshots_and_scores(finished):
    folder, scores = finished
    assert kept(folder) == [2, 4]
    assert scores["iteration"] == 4 and scores["images"] == tiny.VAL
    assert 0 < scores["mean_iu"] < 1 and len(scores["iu"]) == 21
    records = snapshots.read_records(os.path.join(folder, "snapshot"))
    assert sorted(records) == [2, 4] and records[4] == scores
    last = weights_of(snapshots.latest(os.path.join(folder, "snapshot", "train")).model)
    assert np.any(last["score_fr"][0]), "the score layer starts at zero and learns"


def test_a_stage_writes_to_its_snapshot_folder_only(finished, tmp_path, tiny_start):
    folder, _ = finished
    fresh = tiny.nets(str(tmp_path / "voc-fcn32s"), str(tiny_start))
    assert set(os.listdir(folder)) == {*os.listdir(fresh), "snapshot"}
    files = {"loss.csv", "scores.jsonl", "train.log", "examples.json", "report.html"}
    kinds = ("caffemodel", "solverstate", "resume.json")
    files |= {f"train_iter_{i}.{kind}" for i in (2, 4) for kind in kinds}
    assert set(os.listdir(os.path.join(folder, "snapshot"))) - {"events"} == files


def test_the_upsampling_layers_stay_bilinear(tiny_stage, start):
    folder = tiny_stage("voc-fcn8s")
    stage.run(folder, start, gpu="cpu", seed=1, score=False)
    weights = weights_of(snapshots.latest(os.path.join(folder, "snapshot", "train")).model)
    for name, size in (("upscore2", 4), ("upscore_pool4", 4), ("upscore8", 16)):
        expected = np.eye(21)[:, :, None, None] * surgery.bilinear(size)
        assert np.allclose(weights[name][0], expected)


def test_the_log_has_the_format_of_caffes_log(finished):
    folder, _ = finished
    with open(os.path.join(folder, "snapshot", "train.log")) as file:
        lines = file.read().splitlines()
    stamp = r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+\.py:\d+\] "
    assert all(re.match(stamp, line) for line in lines)
    text = "\n".join(lines)
    assert [int(n) for n in re.findall(r"Iteration (\d+), loss = [\d.e+]+", text)] == [0, 1, 2, 3]
    assert len(re.findall(r"Train net output #0: loss = ", text)) == 4
    assert len(re.findall(r"Iteration \d+, lr = 1e-06", text)) == 4
    assert [int(n) for n in re.findall(r"Iteration (\d+), Testing net \(#0\)", text)] == [2, 4]
    assert len(re.findall(r"Test net output #3: mean_iu = 0\.\d+", text)) == 2
    assert "Solving voc-fcn32s" in text


def test_the_loss_table_has_the_loss_and_the_learning_rate(finished):
    folder, _ = finished
    rows = losses(os.path.join(folder, "snapshot", "loss.csv"))
    assert [r["iteration"] for r in rows] == [0, 1, 2, 3]
    assert all(r["lr"] == pytest.approx(1e-6) and r["loss"] > 0 for r in rows)


def test_the_newest_two_snapshots_and_the_best_one_are_kept(tiny_stage, start, monkeypatch):
    quality = {1: 0.1, 2: 0.9, 3: 0.2, 4: 0.3, 5: 0.4}
    real = stage.seg_tests

    def pretend(solver, *args, **kwargs):
        return dict(real(solver, *args, **kwargs), mean_iu=quality[solver.iter])

    monkeypatch.setattr(stage, "seg_tests", pretend)
    folder = tiny_stage(max_iter=5, snapshot=1)
    stage.run(folder, start, gpu="cpu", seed=1)
    assert kept(folder) == [2, 4, 5]
    assert snapshots.best(folder).endswith("train_iter_2.caffemodel")


def test_a_stage_is_scored_less_often_than_it_is_saved(tiny_stage, start):
    folder = tiny_stage(max_iter=4, snapshot=1)
    stage.run(folder, start, gpu="cpu", seed=1, every=2)
    assert sorted(snapshots.read_records(os.path.join(folder, "snapshot"))) == [2, 4]
    assert {3, 4} <= set(kept(folder)) <= {2, 3, 4}


def test_a_solver_without_an_interval_is_saved_before_each_score(tiny_stage, start):
    folder = tiny_stage(max_iter=3, snapshot=0)
    stage.run(folder, start, gpu="cpu", seed=1, every=2)
    assert sorted(snapshots.read_records(os.path.join(folder, "snapshot"))) == [2, 3]
    assert kept(folder) == [2, 3]


def test_a_finished_stage_is_not_trained_again(again, start, monkeypatch):
    folder, first = again
    monkeypatch.setattr(stage, "make_solver", None)
    assert stage.run(folder, start, gpu="cpu", seed=1) == first


def test_a_continued_stage_ends_like_an_uninterrupted_one(finished, tiny_stage, start):
    single, expected = finished
    parts = tiny_stage()
    stage.run(parts, start, iters=3, gpu="cpu", seed=1)
    assert stage.run(parts, start, gpu="cpu", seed=1) == expected
    last = os.path.join("snapshot", "train_iter_4.caffemodel")
    assert same(weights_of(os.path.join(single, last)), weights_of(os.path.join(parts, last)))
    tables = [losses(os.path.join(f, "snapshot", "loss.csv")) for f in (single, parts)]
    assert [r["iteration"] for r in tables[1]] == [r["iteration"] for r in tables[0]]


def test_a_truncated_snapshot_is_ignored_and_written_again(again, start):
    folder, expected = again
    state = os.path.join(folder, "snapshot", "train_iter_4.solverstate")
    with open(state, "r+b") as file:
        file.truncate(os.path.getsize(state) // 2)
    assert kept(folder) == [2]
    assert stage.run(folder, start, gpu="cpu", seed=1) == expected
    assert kept(folder) == [2, 4]


def fail_in_iteration(monkeypatch, number):
    """Let the train layer fail once, when it reads the image of an iteration, from 0."""
    # The net reads its first image when it is built, too.
    count, real = [-1], voc_layers.SBDDSegDataLayer.load_image

    def load(layer, *args):
        count[0] += 1
        if count[0] == number + 1:
            raise OSError("a.jpg: cannot be read: Input/output error")
        return real(layer, *args)

    monkeypatch.setattr(voc_layers.SBDDSegDataLayer, "load_image", load)


def test_an_error_of_a_data_layer_leaves_a_snapshot_of_the_iteration_before(
    finished, tiny_stage, start, monkeypatch, capsys
):
    folder = tiny_stage()
    with monkeypatch.context() as patch:
        fail_in_iteration(patch, 3)
        with pytest.raises(OSError, match=r"a\.jpg: cannot be read: Input/output error"):
            stage.run(folder, start, gpu="cpu", seed=1)
    assert kept(folder) == [2, 3]
    line = "stopped at iteration 3, which is saved in snapshot; the same command continues"
    assert line in capsys.readouterr().out
    assert stage.run(folder, start, gpu="cpu", seed=1)["iteration"] == 4
    assert kept(folder)[-2:] == [3, 4]  # the newest two
    old, new = (
        weights_of(os.path.join(f, "snapshot", "train_iter_4.caffemodel"))
        for f in (finished[0], folder)
    )
    assert same(old, new)


@pytest.mark.parametrize(("iteration", "iterations"), [(0, []), (2, [2])])
def test_an_error_right_after_a_snapshot_or_the_start_writes_none(
    tiny_stage, start, monkeypatch, iteration, iterations
):
    folder = tiny_stage()
    fail_in_iteration(monkeypatch, iteration)
    with pytest.raises(OSError, match="cannot be read"):
        stage.run(folder, start, gpu="cpu", seed=1, score=False)
    assert kept(folder) == iterations


def test_a_snapshot_without_scores_is_scored_first(again, start):
    folder, expected = again
    os.remove(os.path.join(folder, "snapshot", "scores.jsonl"))
    assert stage.run(folder, start, gpu="cpu", seed=1) == expected


def test_a_killed_stage_continues(tiny_stage, start):
    folder = tiny_stage(max_iter=100000, snapshot=2, display=1)
    code = f"from solvers import stage; stage.run({folder!r}, {start!r}, gpu='cpu', seed=1)"
    run = prefork.server().start(["-c", code], str(ROOT), dict(os.environ, PYTHONPATH=str(ROOT)))
    try:
        deadline = time.time() + 60
        while not kept(folder) and time.time() < deadline:
            time.sleep(0.02)
    finally:
        run.kill()
        assert run.wait().returncode == -signal.SIGKILL
    reached = kept(folder)[-1]
    assert (
        stage.run(folder, start, iters=reached + 3, gpu="cpu", seed=1)["iteration"] == reached + 3
    )
    files = os.listdir(os.path.join(folder, "snapshot"))
    assert not [name for name in files if "partial" in name]


def test_the_next_stage_starts_from_the_newest_snapshot_of_the_stage_before(finished, tiny_stage):
    first, _ = finished
    second = tiny_stage("voc-fcn16s", base_lr=0.0)
    stage.run(second, os.path.relpath(first, second), iters=1, gpu="cpu", seed=1)
    old = weights_of(os.path.join(first, "snapshot", "train_iter_4.caffemodel"))
    new = weights_of(os.path.join(second, "snapshot", "train_iter_1.caffemodel"))
    assert np.array_equal(new["score_fr"][0], old["score_fr"][0])
    assert not new["score_pool4"][0].any(), "a fresh skip starts at zero"


def test_a_stage_before_that_is_not_trained_is_named_in_the_error(tiny_stage):
    folder = tiny_stage("voc-fcn16s")
    with pytest.raises(FileNotFoundError, match="no complete snapshot to start from; train"):
        stage.run(folder, tiny_stage("voc-fcn32s"), gpu="cpu")


def test_weights_with_a_zero_trunk_are_refused(tiny_stage, tmp_path):
    folder = tiny_stage()
    zeros = str(tmp_path / "zeros.caffemodel")
    caffe.Net(os.path.join(folder, "deploy.prototxt"), caffe.TEST).save(zeros)
    with pytest.raises(ValueError, match=r"zeros\.caffemodel: layer conv1_1 is all zero"):
        stage.run(folder, zeros, gpu="cpu")


def test_weights_of_another_net_are_refused(tiny_stage, tmp_path):
    folder = tiny_stage()
    _, other = tiny.classifier(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="layer fc6, blob 0: found 256 x 128, this net"):
        stage.run(folder, other, gpu="cpu")
    assert not os.path.exists(os.path.join(folder, "snapshot"))


def test_a_typo_in_the_solver_prototxt_is_refused_with_the_file_name(tiny_stage, start):
    folder = tiny_stage()
    with open(os.path.join(folder, "solver.prototxt"), "a") as file:
        file.write("momentun: 0.9\n")
    with pytest.raises(ValueError, match=r"solver\.prototxt: .*momentun"):
        stage.run(folder, start, gpu="cpu")


def test_a_loss_that_is_not_finite_stops_the_stage(tiny_stage, start):
    folder = tiny_stage(base_lr=1e30, max_iter=50, snapshot=50)
    with pytest.raises(ValueError, match="voc-fcn32s: the loss is (nan|inf) at iteration"):
        stage.run(folder, start, gpu="cpu", seed=1)
    assert kept(folder) == []


def test_the_scores_are_valid_json(finished):
    json.dumps(finished[1], allow_nan=False)


def test_the_working_directory_is_restored_when_a_stage_fails(tiny_stage, tmp_path):
    before = os.getcwd()
    with pytest.raises(FileNotFoundError), stage.Stage(str(tmp_path)):
        pass
    message = "has no solver yet; call make_solver"
    with pytest.raises(ValueError, match=message), stage.Stage(tiny_stage()) as unfinished:
        unfinished.fill_upsampling()
    assert os.getcwd() == before


def test_a_stage_can_be_scored_before_it_is_trained(tiny_stage, start):
    with stage.Stage(tiny_stage(max_iter=1), seed=1) as untrained:
        untrained.choose_device("cpu")
        untrained.make_solver()
        untrained.start_from(start)
        untrained.fill_upsampling()
        untrained.score()
        assert untrained.iteration == 0 and untrained.scores["images"] == tiny.VAL
        assert list(untrained.steps()) == [1]


def test_a_finished_stage_takes_no_steps(again, start, monkeypatch):
    folder, expected = again
    monkeypatch.setattr(stage, "make_solver", None)
    with stage.Stage(folder) as done:
        done.choose_device("cpu")
        done.make_solver()
        done.start_from("none.caffemodel")
        done.fill_upsampling()
        assert done.finished and not list(done.steps())
        done.score()
    assert done.scores == expected and done.iteration == 4
