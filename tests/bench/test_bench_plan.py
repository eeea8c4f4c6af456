"""The order of a run: which turns there are, and which share a process."""

from __future__ import annotations

from bench.peers import CASES, PEERS
from bench.plan import plan, visits
from bench.settings import ROOT, Settings


def settings(tmp_path, **changes):
    return Settings(folder=tmp_path, **changes)


def test_every_round_begins_with_another_peer(tmp_path):
    turns = list(plan(settings(tmp_path, cases=("train",), rounds=2), ["engine", "torch"]))
    assert turns == [
        ("train", "engine", 0),
        ("train", "torch", 0),
        ("train", "torch", 1),
        ("train", "engine", 1),
    ]


def test_a_peer_that_does_not_train_has_no_turn_in_training(tmp_path):
    turns = plan(settings(tmp_path, cases=("train",), rounds=1), ["engine", "opencv"])
    assert list(turns) == [("train", "engine", 0)]


def test_a_case_keeps_to_its_rounds_and_peers(tmp_path):
    turns = list(plan(settings(tmp_path, cases=("score", "area-224")), ["engine", "bvlc"]))
    assert turns[:2] == [("score", "engine", 0), ("score", "bvlc", 0)]
    assert turns[2:] == [("area-224", "engine", 0)]


def test_another_engine_has_the_turns_of_this_one(tmp_path):
    run = settings(tmp_path, cases=("area-224", "train"), rounds=1)
    turns = list(plan(run, ["engine", "engine@/other/engine"]))
    assert [turn.peer for turn in turns] == ["engine", "engine@/other/engine"] * 2


def test_compared_engines_have_all_rounds_of_every_case(tmp_path):
    peers = ("engine", "engine@/other/engine")
    for names, rounds in ((peers[:1], 2), (peers, 5)):
        run = settings(tmp_path, cases=("forward-375x500",), rounds=5, peers=names)
        assert len(list(plan(run, names))) == rounds * len(names)


def test_a_case_of_a_device_is_measured_there_alone(tmp_path):
    cpu, cuda = (
        settings(tmp_path, cases=("train-pictures",), device=device) for device in ("cpu", "cuda")
    )
    assert not list(plan(cpu, ["engine", "torch"]))
    assert list(plan(cuda, ["engine", "torch"])) == [("train-pictures", "engine", 0)]


def test_on_a_device_a_peer_measures_a_round_in_one_process(tmp_path):
    cases = ("forward-224x224", "first", "train", "score")
    run = settings(tmp_path, device="cuda", cases=cases, rounds=2)
    groups = visits(run, list(plan(run, ["engine", "torch", "torch-tf32-graph"])))
    assert [(g[0].peer, g[0].round, [turn.case for turn in g]) for g in groups] == [
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


def test_on_the_processor_every_turn_has_its_own_process(tmp_path):
    run = settings(tmp_path, cases=("train",), rounds=2)
    groups = visits(run, list(plan(run, ["engine", "torch"])))
    assert [len(group) for group in groups] == [1, 1, 1, 1]


def test_every_peer_has_a_runner_and_every_case_names_known_peers():
    for peer in PEERS.values():
        assert (ROOT / "bench" / "runners" / f"{peer.runner}.py").is_file()
    assert {name for case in CASES.values() for name in case.peers} <= set(PEERS)
