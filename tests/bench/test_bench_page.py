"""docs/performance.md is what the kept measurements and remarks give."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bench import kept, page, sections, text
from bench.peers import CASES, PEERS


def results(**changes):
    """Invented measurements: this engine takes 1 s, BVLC Caffe 2.5 s; two sizes."""
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
    values = {
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
    return {**values, **changes}


def cells(page_text, start):
    line = next(line for line in page_text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_overview_has_the_engine_s_time_and_the_factors_of_the_others():
    written = page.section(results())
    assert cells(written, "| float32 | this engine |") == ["float32", "this engine", "BVLC Caffe"]
    rows = [line for line in written.splitlines() if line.startswith("| Forward, 500 x 500")]
    assert "1.00 s | 2.50 |" in rows[0] and "500 ms | 4.00 | 5.00 |" in rows[1]


def test_a_case_has_time_spread_ratio_memory_and_difference():
    written = page.section(results()).split("### Forward, 500 x 500")[1]
    row = ["this engine", "1.00 s", "0 %", "1.00", "1.20 GB", "4.0e-6", "0"]
    assert cells(written, "| this engine |") == row
    row = ["BVLC Caffe", "2.50 s", "0 %", "2.50", "1.20 GB", "reference", ""]
    assert cells(written, "| BVLC Caffe") == row


def test_the_floor_is_the_operations_over_the_best_rate():
    written = page.section(results()).split("### How far from the floor")[1]
    assert "100 billion in float32, 400 billion in bfloat16" in written
    row = ["Forward, 500 x 500", "181.0 billion", "1.81 s", "0.55"]
    assert cells(written, "| Forward, 500 x 500")[:4] == row


def test_time_against_area_has_its_power():
    written = page.section(results()).split("### Against the area")[1]
    assert cells(written, "| 1000 x 1000") == ["1000 x 1000", "1.00 s", "1.00 GB"]
    assert "this engine: the time grows as the area to the power of 1.00; the memory is " in written
    assert "333 MB and 667 MB more for each million pixels" in written


def test_the_page_says_where_when_and_with_which_programs_it_was_measured():
    written = page.page([results()])
    for words in (
        "A processor (avx2), 2 cores, 23.00 GB",
        "2020-01-01, rounds: 2",
        "this engine (caffe 1.0.0+x); BVLC Caffe (caffe 1.0.0)",
        "kernels for Zen, the fastest of Haswell, Zen",
        "- OpenCV: no importer",
    ):
        assert words in written


def test_the_page_says_that_a_run_is_unfinished_or_a_trial():
    trial = results(finished=False)
    trial["key"]["quick"] = True
    assert re.search(r"rounds: 2, a quick trial.*, not finished", page.section(trial))


def test_a_narrower_net_is_called_a_trial():
    assert "538 MB of weights\n" in page.section(results())
    written = page.section(results(weights=5_360_000))
    assert "5 MB of weights: **a net of 1.0% of the weights, a trial**" in written


def test_peers_that_did_not_run_leave_no_empty_table():
    only = results()
    only["runs"] = [r for r in only["runs"] if r["peer"] in ("engine", "bvlc")]
    written = page.section(only)
    assert "bfloat16 |" not in written and "tf32" not in written


def test_another_checkout_s_engine_has_a_row_and_a_column():
    both = results()
    both["runs"].append({**both["runs"][0], "peer": "engine@/other", "times": [1.5, 1.5, 1.5]})
    both["versions"]["engine@/other"] = "caffe 1.0.0+x"
    written = page.section(both)
    assert cells(written, "| float32 | this engine |") == [
        *("float32", "this engine", "the engine in /other", "BVLC Caffe"),
    ]
    assert cells(written, "| the engine in /other |")[:4] == [
        *("the engine in /other", "1.50 s", "-", "1.50"),
    ]
    assert "the engine in /other (caffe 1.0.0+x)" in written
    both["between_engines"] = {"forward-500x500": {"engine@/other": {"scores": 0.0, "labels": 0.0}}}
    table = page.section(both).split("### This engine and that of another checkout")[1]
    assert cells(table, "| Forward, 500 x 500")[1:6] == [
        *("float32", "1.00 s", "1.50 s", "0.667", "0.67 to 0.67"),
    ]
    assert cells(table, "| Forward, 500 x 500")[-1] == "0"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12.34, "12.3 s"), (1.0, "1.00 s"), (0.0123, "12.3 ms"), (0.123, "123 ms"),
     (1.5e-6, "1.50 µs"), (0.9999, "1.00 s")],
)  # fmt: skip
def test_times_have_three_digits(value, expected):
    assert text.seconds(value) == expected


def test_a_peer_is_compared_with_the_engine_in_its_precision():
    assert sections.engine_of("openvino-bf16") == "engine-bf16"
    assert sections.engine_of("torch-tf32") == "engine-tf32"
    assert sections.engine_of("opencv") == "engine"
    for name, peer in PEERS.items():
        assert PEERS[sections.engine_of(name)].precision == peer.precision


def test_the_kept_results_give_the_same_page_again(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "DOCS", tmp_path)
    monkeypatch.setattr(page, "KEPT", {"cpu": tmp_path / "performance.json"})
    with pytest.raises(ValueError, match="no results in docs/; run make bench"):
        page.write()
    path = page.write(results())
    written = path.read_text()
    assert page.write() == path and path.read_text() == written
    assert json.loads((tmp_path / "performance.json").read_text()) == results()


def test_few_times_are_kept_with_four_digits():
    times = np.random.RandomState(0).permutation(np.arange(1, 1002)) * 1.23456e-5
    few = kept.few(times.tolist())
    assert len(few) == 101 and few == sorted(few)
    assert (few[0], few[50], few[100]) == (1.235e-5, 6.185e-3, 1.236e-2)
    assert kept.few([2.0, 1.0, 3.000049]) == [2.0, 1.0, 3.0]


def test_kept_results_have_a_line_for_each_run():
    lines = kept.text(results()).splitlines()
    runs = [line for line in lines if '"round"' in line]
    assert len(runs) == len(results()["runs"]) and json.loads("\n".join(lines)) == results()


def test_the_page_in_docs_is_that_of_its_measurements():
    measured = [json.loads(path.read_text()) for path in page.KEPT.values() if path.exists()]
    assert measured and (page.DOCS / "performance.md").read_text() == page.page(measured)


def test_titles_of_cases_differ():
    titles = [case.title for name, case in CASES.items() if not name.startswith("area-")]
    assert len(set(titles)) == len(titles)


def test_remarks_follow_the_run_that_they_are_about(tmp_path, monkeypatch):
    here = results()
    there = results()
    there["key"] = {**there["key"], "device": "cuda"}
    for device, name in (("cpu", "here"), ("cuda", "there")):
        monkeypatch.setitem(page.REMARKS, device, tmp_path / name)
        (tmp_path / name).write_text(f"Remark on {name}.\n")
    assert "Remark on there." not in page.page([here])
    written = page.page([here, there])
    parts = [f"## {page.HEADINGS['cpu']}\n", "Remark on here.", f"## {page.HEADINGS['cuda']}\n"]
    places = [written.index(part) for part in (*parts, "Remark on there.")]
    assert places == sorted(places) and written.count("### Remarks\n") == 2
    (tmp_path / "here").unlink()
    assert page.page([here, there]).count("### Remarks\n") == 1
