from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import machine, measure, prepare
from bench.__main__ import chosen, parse
from bench.measure import Bench, PeerError, Settings, Turn
from bench.peers import CASES, PEERS


@pytest.fixture
def bench(tmp_path):
    return lambda **changes: Bench(Settings(folder=tmp_path, **changes))


def test_names_are_chosen_by_comma_or_by_their_beginning():
    known = ("a", "b-1", "b-2")
    assert chosen("", known, "peer") == known
    assert chosen("b-2,a,b-*", known, "peer") == ("b-2", "a", "b-1")
    with pytest.raises(ValueError, match="peer 'c': no such peer; there are a, b-1, b-2"):
        chosen("c", known, "peer")


def test_a_trial_is_one_round_and_has_a_file_of_its_own():
    assert parse(["--quick"]).rounds == 1 and parse([]).rounds == 3
    assert parse(["--quick"]).out.name == "quick.json"
    assert parse(["--device", "cuda"]).out.name == "results-cuda.json"
    with pytest.raises(ValueError, match="rounds 0: at least 1 is needed"):
        parse(["--rounds", "0"])


def test_every_round_begins_with_another_peer(bench):
    plan = list(bench(cases=("train",), rounds=2).plan(["engine", "opencv", "torch"]))
    assert plan == [
        ("train", "engine", 0),
        ("train", "torch", 0),
        ("train", "torch", 1),
        ("train", "engine", 1),
    ]


def test_a_case_keeps_to_its_rounds_and_peers(bench):
    plan = list(bench(cases=("score", "area-224")).plan(["engine", "bvlc"]))
    assert plan[:2] == [("score", "engine", 0), ("score", "bvlc", 0)]
    assert plan[2:] == [("area-224", "engine", 0)]


def test_a_case_of_a_device_is_measured_there_alone(bench, monkeypatch):
    monkeypatch.setattr(machine, "describe", lambda device: {})
    here, there = (bench(cases=("train-pictures",), device=d) for d in ("cpu", "cuda"))
    assert not list(here.plan(["engine", "torch"]))
    assert list(there.plan(["engine", "torch"])) == [("train-pictures", "engine", 0)]


def test_on_a_device_a_peer_measures_a_round_in_one_process(bench, monkeypatch):
    monkeypatch.setattr(machine, "describe", lambda device: {})
    run = bench(device="cuda", cases=("forward-224x224", "first", "train", "score"), rounds=2)
    visits = run.visits(list(run.plan(["engine", "torch", "torch-tf32-graph"])))
    assert [(v[0].peer, v[0].round, [turn.case for turn in v]) for v in visits] == [
        ("engine", 0, ["forward-224x224", "train", "score"]),
        ("engine", 0, ["first"]),
        ("torch", 0, ["forward-224x224", "train", "score"]),
        ("torch", 0, ["first"]),
        ("torch-tf32-graph", 0, ["forward-224x224", "score"]),
        ("torch-tf32-graph", 0, ["first"]),
        ("torch", 1, ["forward-224x224", "train"]),
        ("torch", 1, ["first"]),
        ("torch-tf32-graph", 1, ["forward-224x224"]),
        ("torch-tf32-graph", 1, ["first"]),
        ("engine", 1, ["forward-224x224", "train"]),
        ("engine", 1, ["first"]),
    ]
    here = bench(cases=("train",), rounds=2)
    assert [len(v) for v in here.visits(list(here.plan(["engine", "torch"])))] == [1, 1, 1, 1]


def test_a_case_that_fails_is_left_out_and_those_behind_it_go_on(folder, tmp_path, monkeypatch):
    run = Bench(Settings(folder=folder, quick=True))
    prepared, started = run.prepared, []
    broken = {"kind": "none"}
    monkeypatch.setattr(
        run, "prepared", lambda t: {**prepared(t), **(broken if t.case == "train" else {})}
    )
    start = run.start
    monkeypatch.setattr(
        run, "start", lambda jobs, own: started.append(len(jobs)) or start(jobs, own)
    )
    cases = ("forward-224x224", "stream", "train", "area-224")
    run.visit([Turn(case, "engine", 0) for case in cases], tmp_path / "out.json")
    run.visit([Turn("train", "engine", 1)], tmp_path / "out.json")
    assert started == [4, 1]
    written = json.loads((tmp_path / "out.json").read_text())
    assert [r["case"] for r in written["runs"]] == ["forward-224x224", "stream", "area-224"]
    assert all(r["times"] and r["memory"] for r in written["runs"])
    assert written["left_out"] == [{"peer": "engine", "case": "train", "why": "KeyError: 'none'"}]


def test_every_peer_has_a_runner_and_a_case():
    for peer in PEERS.values():
        assert (measure.ROOT / "bench" / "runners" / f"{peer.runner}.py").is_file()
    named = {name for case in CASES.values() for name in case.peers}
    assert named <= set(PEERS)


def test_an_unfinished_run_goes_on_and_another_is_kept_aside(bench, tmp_path):
    out = tmp_path / "results.json"
    first = bench()
    first.results["runs"] = [{"case": "load", "peer": "engine", "round": 0}]
    first.write(out)
    second = bench()
    second.continue_from(out)
    assert second.results["runs"] == first.results["runs"]
    other = bench(rounds=7)
    other.continue_from(out)
    assert not other.results["runs"] and not out.exists()
    assert json.loads((tmp_path / "results.old.json").read_text()) == first.results


def test_when_its_minutes_are_over_a_run_ends_unfinished(folder, tmp_path, monkeypatch):
    cases, out = ("forward-224x224",), tmp_path / "results.json"
    asked = Settings(folder=folder, quick=True, cases=cases, peers=("engine",), rounds=1)
    found = []
    for minutes in (0, 60):
        run = Bench(replace(asked, minutes=minutes))
        monkeypatch.setattr(run, "measure_floor", lambda i: None)
        found.append(run.run(out))
    assert not found[0]["finished"] and not found[0]["runs"]
    assert found[1]["finished"] and [r["case"] for r in found[1]["runs"]] == list(cases)


def test_a_peer_that_fails_gives_the_last_line_of_what_it_said(bench):
    broken = bench()
    with pytest.raises(PeerError, match="No module named 'bench.runners.none'"):
        broken.start([{**broken.job("engine"), "runner": "none"}])


def test_a_peer_that_takes_too_long_is_ended(bench):
    with pytest.raises(PeerError, match="took more than 0 s"):
        slow = bench(limit=0.01)
        slow.start([slow.job("engine")])


def test_ended_by_a_signal_it_leaves_no_process_behind(folder):
    command = [sys.executable, "-m", "bench", "--folder", str(folder), "--peers", "engine"]
    ours = subprocess.Popen([*command, "--cases", "area-2000"], cwd=measure.ROOT)
    children = Path(f"/proc/{ours.pid}/task/{ours.pid}/children")
    end = time.monotonic() + 100
    while not (found := children.read_text().split()):
        assert time.monotonic() < end and ours.poll() is None
        time.sleep(0.05)
    ours.terminate()
    assert ours.wait(60) == 128 + signal.SIGTERM
    while left := [pid for pid in found if Path(f"/proc/{pid}/cmdline").exists()]:
        assert time.monotonic() < end, left  # an ended child waits for a moment to be collected
        time.sleep(0.05)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here, needed one; run without"):
        machine.describe("cuda")


def test_the_core_types_are_those_that_the_processor_can_run(monkeypatch):
    monkeypatch.setattr(machine, "flags", lambda: {"avx", "avx2"})
    assert "Haswell" in machine.core_types() and "SkylakeX" not in machine.core_types()
    monkeypatch.setattr(machine, "flags", lambda: {"avx"})
    assert machine.core_types() == ["Sandybridge"]


def test_sizes_of_the_stream_are_drawn_alike_every_time():
    assert prepare.voc_sizes(8) == prepare.voc_sizes(8) and (375, 500) in prepare.voc_sizes(8)
    assert set(prepare.voc_sizes(500)) == set(prepare.VOC_SIZES)


def test_weights_give_scores_of_every_class_that_are_finite(folder):
    import caffe

    net = caffe.Net(
        str(folder / "fcn8s.prototxt"), caffe.TEST, weights=str(folder / "fcn8s.caffemodel")
    )
    net.blobs["data"].reshape(1, 3, 64, 96)
    net.blobs["data"].data[...] = prepare.image(64, 96)
    scores = net.forward()["score"]
    assert np.isfinite(scores).all() and scores.std(axis=(0, 2, 3)).min() > 0


def test_other_nets_are_measured_and_counted_as_themselves(folder, tmp_path, monkeypatch):
    cases = ("forward-500x500", "fcn-alexnet", "fcn-googlenet")
    run = Bench(Settings(folder=folder, cases=cases, quick=True))
    run.count_operations()
    assert list(run.results["operations"]) == [
        "500x500", "fcn-alexnet 500x500", "fcn-googlenet 500x500",
    ]  # fmt: skip
    assert len(set(run.results["operations"].values())) == 3
    job = run.job("engine", CASES["fcn-alexnet"])
    assert Path(job["deploy"]).name == "fcn-alexnet.prototxt"
    run.visit([Turn("fcn-alexnet", "engine", 0)], tmp_path / "out.json")
    assert not run.results["left_out"]
    assert np.load(run.score_file("fcn-alexnet", "engine")).shape == (1, 21, 500, 500)


@pytest.mark.slow
def test_a_whole_run_at_a_small_width(folder, program):
    """Every kind of case, this engine and plain PyTorch, each in its own process."""
    done = program(
        "-m", "bench", "--quick", "--threads", "1", "--folder", folder,
        "--peers", "engine,torch",
        "--cases", "forward-224x224,stream,train,load,first,score,area-224,area-500",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "quick.json").read_text())
    assert results["finished"] and not results["left_out"]
    timed = {(run["case"], run["peer"]) for run in results["runs"]}
    kinds = ("forward-224x224", "stream", "train", "load", "first", "score")
    assert {(kind, peer) for kind in kinds for peer in ("engine", "torch")} <= timed
    for case in ("forward-224x224", "stream", "first"):
        assert results["differences"][case]["engine"]["scores"] < 1e-5
    assert "| Forward, 224 x 224 |" in done.stdout


@pytest.mark.bench
def test_every_installed_peer_agrees(folder, program):
    cases = ("forward-224x224", "fcn-alexnet", "fcn-googlenet")
    done = program(
        "-m", "bench", "--quick", "--threads", "1", "--folder", folder, "--cases",
        ",".join(cases), "--peers", "engine,opencv,onnxruntime,openvino,torch",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "quick.json").read_text())
    assert not results["left_out"]
    for case in cases:
        found = results["differences"][case]
        plain = case == "forward-224x224"
        assert found.pop("reference") == ("torch" if plain else "engine")
        assert len(found) == (4 if plain else 3)
        assert all(d["scores"] < 2e-5 and d["labels"] < 1e-4 for d in found.values())
