"""docs/compatibility.md and the measurements that the page shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from net_gen import STAGES
from oracle.classifiers import CLASSIFIERS
from oracle.compare import TIE, TIE_SHARE, TOLERANCE, WHOLE_NET
from oracle.compatibility.agreement import round_up
from oracle.fifty import MARGIN, RUNS
from oracle.measure import COUNT
from oracle.places import MEASURED
from oracle.surface import differences

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def measured():
    return json.loads(Path(MEASURED).read_text())


def test_every_run_of_fifty_iterations_agrees(measured):
    assert measured["training"].keys() == RUNS.keys()
    for name, run in measured["training"].items():
        assert run.pop("margin") >= MARGIN, name
        assert max(run.values()) <= TOLERANCE and len(run) == 4, name


def test_bvlc_caffe_writes_the_engines_files_again_unchanged(measured):
    assert len(measured["files"]) == 4
    for suffix, counts in measured["files"].items():
        same = "same content" if suffix.endswith(".h5") else "same bytes"
        assert counts[same] == counts["same content"] == counts["files"] > 0, suffix


def test_every_whole_net_agrees_with_bvlc_caffe_and_opencv(measured):
    assert {*STAGES, *CLASSIFIERS} <= measured["nets"].keys()
    for name, net in measured["nets"].items():
        for engine in ("BVLC Caffe", "OpenCV"):
            assert net[engine]["error"] <= WHOLE_NET, (name, engine)
            assert net[engine]["margin"] <= TIE, (name, engine)
            if len(net["shape"]) > 2:
                assert net[engine]["differ"] <= TIE_SHARE * net[engine]["places"], (name, engine)


def test_every_name_of_pycaffe_exists(measured):
    assert sum(map(len, measured["names"].values())) > 300
    assert differences(measured["names"]) == {}


def test_no_random_net_disagrees(measured):
    assert sum(sum(counts.values()) for counts in measured["random"].values()) >= COUNT
    for counts in measured["random"].values():
        assert counts["agree"] > 0 and "disagree" not in counts


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "exact"),
        (3e-8, "<= 1e-6"),
        (2e-6, "<= 1e-5"),
        (3e-4, "<= 3e-4"),
        (2.1e-4, "<= 3e-4"),
        (0.1, "<= 1e-1"),
    ],
)
def test_an_error_is_rounded_up(value, text):
    assert round_up(value) == text


@pytest.mark.slow
def test_the_committed_page_is_what_the_command_writes(tmp_path):
    written = tmp_path / "compatibility.md"
    command = [sys.executable, "-m", "oracle.compatibility", "--out", str(written)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert written.read_text() == (ROOT / "docs" / "compatibility.md").read_text()
