"""A run of the benchmark: processes, failures, continuing, comparing engines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import jobs, measure
from bench.jobs import make_job, score_file
from bench.measure import Bench
from bench.peers import CASES, find_peer
from bench.plan import Turn
from bench.process import PeerError, explain
from bench.settings import ENGINE_FOLDER, ROOT, Settings


@pytest.fixture
def bench(tmp_path):
    return lambda **changes: Bench(Settings(folder=tmp_path, **changes))


def probe(run, limit=600, **changes):
    """Start a process that says the engine's version."""
    job = {**make_job(run.settings, "engine"), **changes}
    return run.processes.measure(find_peer("engine"), [job], limit)


@pytest.mark.long
def test_a_case_that_fails_is_left_out_and_the_cases_after_it_go_on(folder, tmp_path, monkeypatch):
    run, started = Bench(Settings(folder=folder, quick=True)), []

    def job_of_turn(settings, turn, scales):
        broken = {"kind": "none"} if turn.case == "train" else {}
        return {**jobs.job_of_turn(settings, turn, scales), **broken}

    monkeypatch.setattr(measure, "job_of_turn", job_of_turn)
    start = run.processes.measure
    monkeypatch.setattr(
        run.processes,
        "measure",
        lambda peer, todo, limit: started.append(len(todo)) or start(peer, todo, limit),
    )
    cases = ("forward-224x224", "stream", "train", "area-224")
    run.visit([Turn(case, "engine", 0) for case in cases], tmp_path / "out.json")
    run.visit([Turn("train", "engine", 1)], tmp_path / "out.json")
    assert started == [4, 1]
    written = json.loads((tmp_path / "out.json").read_text())
    assert [r["case"] for r in written["runs"]] == ["forward-224x224", "stream", "area-224"]
    assert all(r["times"] and r["memory"] for r in written["runs"])
    assert written["left_out"] == [{"peer": "engine", "case": "train", "why": "KeyError: 'none'"}]


def test_an_unfinished_run_is_continued_and_a_different_one_is_kept_aside(bench, tmp_path):
    out = tmp_path / "results.json"
    first = bench().results
    first.data["runs"] = [{"case": "load", "peer": "engine", "round": 0}]
    first.write(out)
    second = bench().results
    second.continue_from(out)
    assert second.data["runs"] == first.data["runs"]
    assert second.measured() == {Turn("load", "engine", 0)}
    other = bench(rounds=7).results
    other.continue_from(out)
    assert not other.data["runs"] and not out.exists()
    assert json.loads((tmp_path / "results.old.json").read_text()) == first.data


@pytest.mark.long
def test_when_its_minutes_are_over_a_run_ends_unfinished(folder, tmp_path, monkeypatch):
    cases, out = ("forward-224x224",), tmp_path / "results.json"
    settings = Settings(folder=folder, quick=True, cases=cases, peers=("engine",), rounds=1)
    results = []
    for minutes in (0, 60):
        run = Bench(replace(settings, minutes=minutes))
        monkeypatch.setattr(run, "measure_floor", lambda number: None)
        results.append(run.run(out))
    assert not results[0]["finished"] and not results[0]["runs"]
    assert results[1]["finished"] and [r["case"] for r in results[1]["runs"]] == list(cases)


def test_the_reason_of_a_peer_that_fails_is_the_last_line_of_its_process(bench):
    with pytest.raises(PeerError, match="No module named 'bench.runners.none'"):
        probe(bench(), runner="none")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ValueError: this Caffe has no set_precision", "this Caffe has no set_precision"),
        ("caffe.errors.NetError: net.prototxt: bad", "net.prototxt: bad"),
        ("KeyError: 'none'", "KeyError: 'none'"),
        ("ModuleNotFoundError: No module named 'onnx'", "No module named 'onnx'; run make bench-"),
    ],
)
def test_an_exception_is_explained_by_its_message(line, reason):
    assert explain(line).startswith(reason)


def test_a_peer_that_takes_too_long_is_ended(bench):
    with pytest.raises(PeerError, match="took more than 0 s"):
        probe(bench(), limit=0.01)


@pytest.mark.slow
def test_the_engine_of_another_checkout_is_measured(folder, tmp_path):
    other = tmp_path / "engine"
    shutil.copytree(ENGINE_FOLDER / "caffe", other / "caffe")
    version = other / "caffe" / "__init__.py"
    version.write_text(version.read_text() + '\n__version__ = "other"\n')
    peers = ("engine", f"engine@{other}")
    settings = Settings(folder=folder, quick=True, cases=("forward-224x224",), peers=peers)
    run = Bench(settings)
    assert run.find_peers() == list(peers)
    assert run.results.data["versions"][peers[1]] == "caffe other"
    for peer in peers:
        run.visit([Turn("forward-224x224", peer, 0)], tmp_path / "out.json")
    assert not run.results.data["left_out"]
    differences = run.differences()["forward-224x224"]
    equal = {peers[1]: {"scores": 0.0, "labels": 0.0}}
    assert differences == {"reference": "engine", **equal}
    assert run.between_engines() == {"forward-224x224": equal}


def test_bvlc_caffe_s_root_does_not_see_this_engine(bench, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    processes = bench().processes
    assert processes.environment(find_peer("bvlc"))["PYTHONPATH"] == str(ROOT)
    paths = processes.environment(find_peer("engine"))["PYTHONPATH"].split(os.pathsep)
    assert paths == [str(ENGINE_FOLDER), str(ROOT), "/elsewhere"]


@pytest.mark.long
def test_a_signal_ends_the_process_that_is_measured_as_well(folder):
    command = [sys.executable, "-m", "bench", "--folder", str(folder), "--peers", "engine"]
    ours = subprocess.Popen([*command, "--cases", "area-2000"], cwd=ROOT)
    children = Path(f"/proc/{ours.pid}/task/{ours.pid}/children")
    end = time.monotonic() + 100
    while not (pids := children.read_text().split()):
        assert time.monotonic() < end and ours.poll() is None
        time.sleep(0.05)
    ours.terminate()
    assert ours.wait(60) == 128 + signal.SIGTERM
    while living := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]:
        assert time.monotonic() < end, living  # the system collects an ended child after a moment
        time.sleep(0.05)


@pytest.mark.long
def test_other_nets_are_measured_and_counted_as_themselves(folder, tmp_path):
    cases = ("forward-500x500", "fcn-alexnet", "fcn-googlenet")
    run = Bench(Settings(folder=folder, cases=cases, quick=True))
    run.count_operations()
    operations = run.results.data["operations"]
    assert list(operations) == ["500x500", "fcn-alexnet 500x500", "fcn-googlenet 500x500"]
    assert len(set(operations.values())) == 3
    job = make_job(run.settings, "engine", CASES["fcn-alexnet"])
    assert Path(job["deploy"]).name == "fcn-alexnet.prototxt"
    run.visit([Turn("fcn-alexnet", "engine", 0)], tmp_path / "out.json")
    assert not run.results.data["left_out"]
    scores = np.load(score_file(run.settings, "fcn-alexnet", "engine"))
    assert scores.shape == (1, 21, 500, 500)


@pytest.mark.slow
def test_a_complete_run_at_a_small_width(folder, program):
    """Every kind of case, this engine and plain PyTorch, each in its own process."""
    completed = program(
        "-m", "bench", "--quick", "--threads", "1", "--folder", folder,
        "--peers", "engine,torch",
        "--cases", "forward-224x224,stream,train,load,first,score,area-224,area-500",
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    results = json.loads((folder / "quick.json").read_text())
    assert results["finished"] and not results["left_out"]
    timed = {(run["case"], run["peer"]) for run in results["runs"]}
    kinds = ("forward-224x224", "stream", "train", "load", "first", "score")
    assert {(kind, peer) for kind in kinds for peer in ("engine", "torch")} <= timed
    for case in ("forward-224x224", "stream", "first"):
        assert results["differences"][case]["engine"]["scores"] < 1e-5
    assert "| Forward, 224 x 224 |" in completed.stdout


@pytest.mark.bench
def test_every_installed_peer_agrees(folder, program):
    cases = ("forward-224x224", "fcn-alexnet", "fcn-googlenet")
    completed = program(
        "-m", "bench", "--quick", "--threads", "1", "--folder", folder, "--cases",
        ",".join(cases), "--peers", "engine,opencv,onnxruntime,openvino,torch",
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    results = json.loads((folder / "quick.json").read_text())
    assert not results["left_out"]
    for case in cases:
        differences = results["differences"][case]
        plain = case == "forward-224x224"
        assert differences.pop("reference") == ("torch" if plain else "engine")
        assert len(differences) == (4 if plain else 3)
        assert all(d["scores"] < 2e-5 and d["labels"] < 1e-4 for d in differences.values())
