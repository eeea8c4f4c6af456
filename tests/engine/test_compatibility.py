"""docs/compatibility.md and the measurements that the page shows."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from caffe.proto import caffe_pb2

from net_gen import STAGES
from oracle.classifiers import CLASSIFIERS
from oracle.compare import TIE, TIE_SHARE, TOLERANCE, WHOLE_NET
from oracle.compatibility.agreement import round_up
from oracle.fifty import MARGIN, RUNS
from oracle.ignored import IGNORED
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


def names_in_the_engine():
    """Return the attributes and the strings in the engine's source, the schema left out."""
    names = set()
    for path in (ROOT / "engine" / "caffe").rglob("*.py"):
        if "proto" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
    # windows.py puts the names of these fields together.
    windows = {f"{name}_{side}" for name in ("kernel", "pad", "stride") for side in "hw"}
    return names | windows


def fields_of_bvlc_caffe():
    """Return (message, field) for every field of caffe.proto, which has BVLC Caffe's schema."""
    text = (ROOT / "engine" / "caffe" / "proto" / "caffe.proto").read_text()
    for block in re.split(r"^message ", text, flags=re.M)[1:]:
        message = caffe_pb2.DESCRIPTOR.message_types_by_name[block.split()[0]]
        names = set(re.findall(r"(\w+) = \d+", block))
        yield from ((message, field) for field in message.fields if field.name in names)


def test_every_field_of_the_schema_is_read_or_listed_as_ignored():
    read, ignored, fields = names_in_the_engine(), set(), list(fields_of_bvlc_caffe())
    assert len(fields) > 400
    for message, field in fields:
        keys = {f"{message.name}.{field.name}", f".{field.name}"} & IGNORED.keys()
        ignored |= keys
        assert keys or field.name in read, f"{message.name}.{field.name}"
    assert ignored == IGNORED.keys()


def test_every_ignored_field_is_on_the_page():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    for field, reason in IGNORED.items():
        assert f"| `{field.lstrip('.')}` | {reason} |" in page


@pytest.mark.slow
def test_the_committed_page_is_what_the_command_writes(tmp_path):
    written = tmp_path / "compatibility.md"
    command = [sys.executable, "-m", "oracle.compatibility", "--out", str(written)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert written.read_text() == (ROOT / "docs" / "compatibility.md").read_text()
