"""The benchmark's command line: names, files and the engine of another checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import engine_folder, parse, select_names, settings_of
from bench.peers import find_peer, in_order
from bench.settings import ENGINE_FOLDER, ROOT


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like another checkout."""
    package = tmp_path / "other" / "engine" / "caffe"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return tmp_path / "other"


def test_names_are_selected_by_comma_or_by_their_beginning():
    names = ("a", "b-1", "b-2")
    assert select_names("", names, "peer") == names
    assert select_names("b-2,a,b-*", names, "peer") == ("b-2", "a", "b-1")
    assert select_names("b-2 a", names, "peer") == ("b-2", "a")
    with pytest.raises(ValueError, match="peer 'c': unknown; needs one of a, b-1, b-2"):
        select_names("c", names, "peer")


def test_a_trial_is_one_round():
    assert parse(["--quick"]).rounds == 1 and parse([]).rounds == 3
    with pytest.raises(ValueError, match="--rounds 0: needs at least 1"):
        parse(["--rounds", "0"])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "results.json"),
        (["--quick"], "quick.json"),
        (["--device", "cuda"], "results-cuda.json"),
        (["--baseline", "x"], "results-baseline.json"),
        (["--quick", "--device", "cuda", "--baseline", "x"], "quick-cuda-baseline.json"),
    ],
)
def test_every_kind_of_run_has_its_own_file_of_results(options, name):
    assert parse(options).out.name == name


def test_a_baseline_is_measured_behind_each_of_this_engine_s_peers(checkout):
    engine = str(checkout / "engine")
    args = parse(["--baseline", str(checkout), "--peers", "engine,torch,engine-bf16"])
    assert settings_of(args).peers == (
        *("engine", f"engine@{engine}"),
        *("torch", "engine-bf16", f"engine-bf16@{engine}"),
    )
    peer = find_peer(f"engine-bf16@{engine}")
    assert (peer.engine, peer.precision, peer.title) == (
        *(engine, "bfloat16", f"the engine in {engine}"),
    )


def test_a_baseline_alone_is_measured_beside_this_engine_only(checkout):
    peers = settings_of(parse(["--baseline", str(checkout)])).peers
    assert {find_peer(name).engine for name in peers} == {"", str(checkout / "engine")}
    assert all(find_peer(name).is_engine for name in peers)


def test_a_checkout_or_its_folder_engine_names_a_baseline(checkout):
    assert engine_folder(checkout) == engine_folder(checkout / "engine")
    assert engine_folder(ROOT) == str(ENGINE_FOLDER)


def test_a_baseline_without_an_engine_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"--baseline {tmp_path}: has no engine/caffe"):
        settings_of(parse(["--baseline", str(tmp_path)]))


def test_another_engine_s_code_is_part_of_what_a_run_continues(checkout):
    args = parse(["--baseline", str(checkout)])
    before = settings_of(args).key()
    (checkout / "engine" / "caffe" / "net.py").write_text("changed = True\n")
    assert settings_of(args).key() != before


def test_peers_are_shown_in_their_order_each_baseline_behind_its_engine():
    names = ["torch", "engine-bf16@/b", "engine@/b", "engine-bf16", "engine"]
    assert in_order(names) == ["engine", "engine@/b", "torch", "engine-bf16", "engine-bf16@/b"]


def test_the_default_folder_lies_in_the_checkout():
    assert parse([]).folder == Path(ROOT / "runs" / "bench")
