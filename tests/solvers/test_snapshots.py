from __future__ import annotations

import os

import pytest

from solvers import snapshots

STATE = b"\x08\x01\x12\x01w\x20\x00"  # iter: 1, learned_net: "w", current_step: 0
MODEL = b"\xa2\x06\x0a\x0a\x01c\x3a\x05\x3a\x03\x0a\x01\x02"  # layer c, a blob of shape 2


def put(folder, iteration, model=MODEL, state=STATE):
    for suffix, content in (("caffemodel", model), ("solverstate", state)):
        if content is not None:
            (folder / f"train_iter_{iteration}.{suffix}").write_bytes(content)


def iterations(folder):
    return [s.iteration for s in snapshots.complete(str(folder / "train"))]


def test_snapshots_are_sorted_by_iteration(tmp_path):
    for iteration in (4000, 20000, 8000):
        put(tmp_path, iteration)
    assert iterations(tmp_path) == [4000, 8000, 20000]
    assert snapshots.latest(str(tmp_path / "train")).iteration == 20000
    assert snapshots.latest(str(tmp_path / "train"), upto=9000).iteration == 8000


@pytest.mark.parametrize("length", range(len(STATE)))
def test_a_snapshot_with_a_truncated_state_is_not_complete(tmp_path, length):
    put(tmp_path, 1)
    put(tmp_path, 2, state=STATE[:length])
    assert iterations(tmp_path) == [1]


@pytest.mark.parametrize("length", range(len(MODEL)))
def test_a_snapshot_with_a_truncated_model_is_not_complete(tmp_path, length):
    put(tmp_path, 1)
    put(tmp_path, 2, model=MODEL[:length])
    assert iterations(tmp_path) == [1]


def test_a_snapshot_that_lacks_a_file_is_not_complete(tmp_path):
    put(tmp_path, 1, state=None)
    put(tmp_path, 2, model=None)
    assert iterations(tmp_path) == []
    assert snapshots.latest(str(tmp_path / "train")) is None


def test_the_newest_two_snapshots_and_the_best_one_are_kept(tmp_path):
    for iteration in range(1, 7):
        put(tmp_path, iteration)
    removed = snapshots.prune(str(tmp_path / "train"), range(1, 7), best=2)
    assert iterations(tmp_path) == [2, 5, 6] and len(removed) == 6


def test_a_snapshot_of_another_run_is_not_removed(tmp_path):
    for iteration in range(1, 6):
        put(tmp_path, iteration)
    put(tmp_path, 100000, state=None)
    snapshots.prune(str(tmp_path / "train"), [2, 3, 4, 5], best=5)
    assert iterations(tmp_path) == [1, 4, 5]
    assert (tmp_path / "train_iter_100000.caffemodel").exists()


def test_the_later_of_two_equally_good_snapshots_is_the_best(tmp_path):
    records = {1: {"mean_iu": 0.5}, 2: {"mean_iu": 0.7}, 3: {"mean_iu": 0.7}, 4: {"mean_iu": None}}
    assert snapshots.best_iteration(records) == 3
    assert snapshots.best_iteration({1: {}}) is None


def test_records_are_read_as_they_were_written(tmp_path):
    records = {2: {"iteration": 2, "mean_iu": 0.5}, 1: {"iteration": 1, "mean_iu": None}}
    snapshots.write_records(str(tmp_path), records)
    assert snapshots.read_records(str(tmp_path)) == records
    assert os.listdir(tmp_path) == ["scores.jsonl"]


def test_the_best_model_of_a_stage_has_the_best_scores_of_the_remaining_snapshots(tmp_path):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    assert snapshots.best(str(tmp_path)) is None
    put(folder, 1)
    put(folder, 2)
    assert snapshots.best(str(tmp_path)).endswith("train_iter_2.caffemodel")
    scored = {1: {"iteration": 1, "mean_iu": 0.9}, 2: {"iteration": 2, "mean_iu": 0.1}}
    snapshots.write_records(str(folder), {**scored, 3: {"iteration": 3, "mean_iu": 1.0}})
    assert snapshots.best(str(tmp_path)).endswith("train_iter_1.caffemodel")
