"""This engine and plain PyTorch, which are always installed, agree on the same files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import worker
from bench.jobs import make_job
from bench.learners import LEARNERS
from bench.peers import CASES
from bench.plain_fcn import FCN8s
from bench.runners import plain_torch, pycaffe
from bench.settings import Settings
from bench.statistics import difference

RUNNERS = {"pycaffe": pycaffe, "plain_torch": plain_torch}


def work(kind, job, tmp_path, name, **changes):
    """The result of a worker's function, and the scores that it saved."""
    settings = job(name, kind=kind, save=str(tmp_path / f"{name}.npy"), **changes)
    result = worker.KINDS[kind](RUNNERS[name].Runner(settings), settings)
    return result, np.load(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("options", [{}, {"layout": "channels_last"}], ids=["plain", "last"])
@pytest.mark.parametrize("kind", ["forward", "stream", "first"])
def test_plain_pytorch_gives_the_engine_s_scores(kind, options, job, tmp_path, capsys):
    ours, theirs = (
        work(kind, job, tmp_path, name, options=options)[1] for name in ("pycaffe", "plain_torch")
    )
    apart = difference(ours, theirs)
    assert ours.shape == (1, 21, 40, 56) and np.abs(theirs).max() > 1
    assert apart["scores"] < 1e-5 and apart["labels"] == 0


@pytest.mark.long
def test_all_peers_change_the_weights_equally_in_a_training_step(job, tmp_path):
    result, ours = work("train", job, tmp_path, "pycaffe")
    assert len(result["times"]) == 2 and min(result["scales"]) > 0
    _, theirs = work("train", job, tmp_path, "plain_torch", scales=result["scales"])
    assert np.abs(ours).max() == pytest.approx(1)
    assert difference(ours, theirs)["scores"] < 2e-3  # a change is a rounded part of a weight


@pytest.mark.parametrize("net", LEARNERS)
def test_all_peers_change_the_weights_of_a_learner_equally(net, folder, tmp_path, monkeypatch):
    narrow = LEARNERS[net]._replace(shape=(2, *LEARNERS[net].shape[1:]))
    monkeypatch.setitem(LEARNERS, net, narrow)
    case = replace(CASES[f"learn-{net}"], warm=0, least=1, passes=1)
    results = []
    for name in ("engine", "torch"):
        job = make_job(Settings(folder), name, case)
        job["save"] = str(tmp_path / f"{name}.npy")
        worker.learn(RUNNERS[job["runner"]].Runner(job), job)
        results.append(np.load(job["save"]))
    assert np.abs(results[0]).max() > 0
    assert difference(*results)["scores"] < 2e-3


@pytest.mark.long
def test_training_on_pictures_runs_the_solver(job, monkeypatch):
    monkeypatch.setattr(worker, "ITERATIONS", 2)
    settings = job("pycaffe", kind="train_pictures")
    runner = pycaffe.Runner(settings)
    result = worker.train_pictures(runner, settings)
    assert len(result["times"]) == 2 and runner.solver.iter == 4
    assert np.isfinite(float(runner.solver.net.blobs["loss"].data))


@pytest.mark.long
def test_scoring_gives_the_same_metrics(job, tmp_path):
    ours, theirs = (work("score", job, tmp_path, n)[1] for n in ("pycaffe", "plain_torch"))
    assert ours.shape == (1, 42) and theirs.max() > 0
    assert difference(ours, theirs)["scores"] < 1e-3


def test_loading_is_timed_without_and_with_one_pass(job, tmp_path):
    settings = job("pycaffe", kind="load")
    result = worker.load(pycaffe.Runner(settings), settings)
    assert 0 < result["times"][0] < result["touched"] and result["memory"] > 1e7


def test_the_worker_prints_when_it_has_the_first_answer(job, tmp_path, capsys):
    work("first", job, tmp_path, "plain_torch")
    assert capsys.readouterr().out.startswith("answer (1, 40, 56)")


def test_bfloat16_is_near_float32_but_not_equal(job, tmp_path):
    _, exact = work("forward", job, tmp_path, "plain_torch")
    _, near = work("forward", job, tmp_path, "plain_torch", precision="bfloat16")
    assert 1e-4 < difference(near, exact)["scores"] < 0.1


def test_another_engine_than_the_job_s_is_refused(job, tmp_path):
    with pytest.raises(ValueError, match=f"caffe is .*, needs the one in {tmp_path}"):
        pycaffe.Runner(job("pycaffe", engine=str(tmp_path)))


def test_at_full_width_plain_pytorch_has_the_weights_of_vgg16_but_for_the_last_layer():
    with torch.device("meta"):
        model = FCN8s()
    scores = 21 * (4096 + 512 + 256 + 3) + 21 * 21 * (4 * 4 + 4 * 4 + 16 * 16)
    published = 138_357_544 - 1000 * (4096 + 1)
    assert sum(p.numel() for p in model.parameters()) == published + scores


def test_passes_end_with_the_time_but_not_before_the_least():
    settings = {"device": "cpu", "warm": 2, "least": 3, "passes": 9, "seconds": 0}
    calls = []
    assert len(worker.measure(settings, lambda: calls.append(1))) == 3 and len(calls) == 5
    assert len(worker.measure({**settings, "seconds": 60}, lambda: None)) == 9


def test_a_matrix_product_is_measured(job):
    result = worker.products(job(precision="bfloat16", matrix=64))
    assert result["operations"] == 64**3 and len(result["times"]) == 2


@pytest.mark.cuda
def test_a_job_leaves_nothing_on_the_device(job, tmp_path):
    peaks = []
    for _ in range(2):
        worker.clear_device()
        assert torch.cuda.memory_allocated() < 50e6  # libraries keep some memory
        peaks.append(worker.work(job(kind="forward", device="cuda"))["device_memory"])
    assert peaks[1] < 1.2 * peaks[0]
