from __future__ import annotations

import json
import re

import pytest

from bench import page
from bench.peers import CASES, PEERS


def results(**changes):
    """Made-up measurements: this engine 1 s, BVLC Caffe 2.5 s; three sizes."""
    runs = []
    for i in range(2):
        for peer, t in (("engine", 1.0), ("bvlc", 2.5), ("engine-bf16", 0.5), ("torch-bf16", 2.0)):
            entry = {"peer": peer, "round": i, "load": 0.5, "memory": 1_200_000_000}
            runs.append({**entry, "case": "forward-500x500", "times": [t, t, t + i / 10]})
    for side in (500, 1000):
        entry = {"peer": "engine", "round": 0, "load": 0.5, "memory": side * 1_000_000}
        runs.append({**entry, "case": f"area-{side}", "times": [side**2 / 1e6]})
    for kind, t in (("float32", 2.0), ("bfloat16", 0.5)):
        runs.append(
            {
                "case": "floor",
                "peer": kind,
                "round": 0,
                "load": 1,
                "times": [t, 9.0],
                "operations": 200_000_000_000,
            }
        )
    made = {
        "key": {"device": "cpu", "threads": 2, "rounds": 2, "quick": False},
        "machine": {
            "processor": "A processor",
            "instructions": "avx2",
            "cores": 2,
            "memory": 23e9,
            "system": "Linux 6",
            "python": "3.11",
        },
        "started": "2020-01-01",
        "weights": 538_000_000,
        "finished": True,
        "versions": {"engine": "caffe 1.0.0+x", "bvlc": "caffe 1.0.0"},
        "core_types": {"Haswell": 2.0, "Zen": 3.0},
        "left_out": [{"peer": "opencv", "case": "", "why": "no importer"}],
        "runs": runs,
        "operations": {"500x500": 181_000_000_000},
        "differences": {
            "forward-500x500": {"reference": "bvlc", "engine": {"scores": 4e-6, "labels": 0.0}}
        },
    }
    return {**made, **changes}


def cells(text, start):
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_overview_has_the_engines_time_and_how_many_times_that_others_take():
    text = page.section(results())
    assert cells(text, "| float32 | this engine |") == ["float32", "this engine", "BVLC Caffe"]
    rows = [line for line in text.splitlines() if line.startswith("| Forward, 500 x 500")]
    assert "1.00 s | 2.50 |" in rows[0] and "500 ms | 4.00 | 5.00 |" in rows[1]


def test_a_case_has_time_spread_ratio_memory_and_difference():
    text = page.section(results()).split("### Forward, 500 x 500")[1]
    row = ["this engine", "1.00 s", "0 %", "1.00", "1.20 GB", "4.0e-6", "0"]
    assert cells(text, "| this engine |") == row
    row = ["BVLC Caffe", "2.50 s", "0 %", "2.50", "1.20 GB", "reference", ""]
    assert cells(text, "| BVLC Caffe") == row


def test_the_floor_is_the_operations_over_the_best_rate():
    text = page.section(results()).split("### How far from the floor")[1]
    assert "100 billion in float32, 400 billion in bfloat16" in text
    row = ["Forward, 500 x 500", "181.0 billion", "1.81 s", "0.55"]
    assert cells(text, "| Forward, 500 x 500")[:4] == row


def test_time_against_area_has_its_power():
    text = page.section(results()).split("### Against the area")[1]
    assert cells(text, "| 1000 x 1000") == ["1000 x 1000", "1.00 s", "1.00 GB"]
    assert "this engine: time grows as area to the power of 1.00; memory is " in text
    assert "333 MB and 667 MB more a million pixels" in text


def test_the_page_says_where_when_with_what_and_what_is_missing():
    text = page.page([results()])
    for words in (
        "A processor (avx2), 2 cores, 23.00 GB",
        "2020-01-01, rounds: 2",
        "this engine (caffe 1.0.0+x); BVLC Caffe (caffe 1.0.0)",
        "for Zen",
        "- OpenCV: no importer",
    ):
        assert words in text


def test_an_unfinished_run_and_a_trial_say_so():
    trial = results(finished=False)
    trial["key"]["quick"] = True
    assert re.search(r"rounds: 2, a quick trial.*, not finished", page.section(trial))


def test_a_narrower_net_is_called_a_trial():
    assert "538 MB of weights\n" in page.section(results())
    text = page.section(results(weights=5_360_000))
    assert "5 MB of weights: **a net of 1.0% of the weights, a trial**" in text


def test_peers_that_did_not_run_leave_no_empty_table():
    only = results()
    only["runs"] = [r for r in only["runs"] if r["peer"] in ("engine", "bvlc")]
    text = page.section(only)
    assert "bfloat16 |" not in text and "tf32" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.34, "12.3 s"), (1.0, "1.00 s"), (0.0123, "12.3 ms"), (0.123, "123 ms"),
     (1.5e-6, "1.50 µs"), (0.9999, "1.00 s")],
)  # fmt: skip
def test_times_have_three_digits(value, text):
    assert page.seconds(value) == text


def test_every_precision_of_the_engine_is_compared_with_its_own():
    assert page.own("openvino-bf16") == "engine-bf16"
    assert page.own("torch-tf32") == "engine-tf32" and page.own("opencv") == "engine"
    assert {PEERS[page.own(n)].precision == p.precision for n, p in PEERS.items()} == {True}


def test_what_is_kept_beside_the_page_gives_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "DOCS", tmp_path)
    monkeypatch.setattr(page, "KEPT", {"cpu": tmp_path / "performance.json"})
    with pytest.raises(ValueError, match="run make bench"):
        page.write()
    path = page.write(results())
    written = path.read_text()
    assert page.write() == path and path.read_text() == written
    assert json.loads((tmp_path / "performance.json").read_text()) == results()


def test_the_page_in_docs_is_the_one_that_its_measurements_give():
    kept = [json.loads(path.read_text()) for path in page.KEPT.values() if path.exists()]
    assert kept and (page.DOCS / "performance.md").read_text() == page.page(kept)


def test_every_case_has_a_title_of_its_own():
    titles = [case.title for name, case in CASES.items() if not name.startswith("area-")]
    assert len(set(titles)) == len(titles)


def test_remarks_on_a_run_come_with_it(tmp_path, monkeypatch):
    here = results()
    there = results()
    there["key"] = {**there["key"], "device": "cuda"}
    for device, name in (("cpu", "here"), ("cuda", "there")):
        monkeypatch.setitem(page.REMARKS, device, tmp_path / name)
        (tmp_path / name).write_text(f"Said of {name}.\n")
    assert "Said of there." not in page.page([here])
    written = page.page([here, there])
    parts = [f"## {page.HEADINGS['cpu']}\n", "Said of here.", f"## {page.HEADINGS['cuda']}\n"]
    places = [written.index(part) for part in (*parts, "Said of there.")]
    assert places == sorted(places) and written.count("### Remarks\n") == 2
    (tmp_path / "here").unlink()
    assert page.page([here, there]).count("### Remarks\n") == 1
