"""A power failure at any moment costs no snapshot that the log said is written.

`disk_record.c` records what whole programs change on disk, `lost_power` builds the folders that a
power failure may leave, and `power_cases` has the programs.
"""

from __future__ import annotations

import random
import sys

import pytest

from tests import disk_record, lost_power

WRITER = """
import os
os.mkdir("folder")
with open("folder/part", "w") as file:
    file.write("content")
    file.flush()
    if {sync}:
        os.fsync(file.fileno())
os.rename("folder/part", "folder/whole")
if {sync_names}:
    for name in ("folder", "."):
        os.fsync(os.open(name, os.O_RDONLY))
print("written")
"""


@pytest.fixture
def compiler():
    if disk_record.library() is None:
        pytest.skip("no C compiler for Linux; test_resumed_stage.py watches Python's own calls")


def states(folder, **settings):
    """Return the states of a folder that WRITER leaves after a power failure at its end."""
    disk = lost_power.Disk(folder)
    command = [sys.executable, "-S", "-c", WRITER.format(**settings)]
    changes, result = disk_record.record(command, folder, folder)
    assert result.stdout == "written\n"
    assert b"".join(c.content for c in changes if c.kind == "text") == b"written\n"
    for change in changes:
        disk.play(change)
    rng = random.Random(1)
    return [tree for _ in range(20) for _, tree in lost_power.states(disk, rng)]


def test_changes_that_were_not_synced_can_be_lost(compiler, tmp_path):
    trees = states(tmp_path, sync=False, sync_names=False)
    assert {} in trees and {"folder": {}} in trees
    assert {"folder": {"part": b"content"}} in trees
    assert {"folder": {"whole": b"content"}} in trees
    assert {"folder": {"whole": b""}} in trees
    assert any(0 < len(tree.get("folder", {}).get("whole", b"")) < 7 for tree in trees)


def test_content_that_was_synced_is_there_under_any_name(compiler, tmp_path):
    trees = states(tmp_path, sync=True, sync_names=False)
    assert {} in trees
    contents = {c for tree in trees for c in tree.get("folder", {}).values()}
    assert contents == {b"content"}


def test_names_that_were_synced_are_there(compiler, tmp_path):
    trees = states(tmp_path, sync=True, sync_names=True)
    assert all(tree == {"folder": {"whole": b"content"}} for tree in trees)


@pytest.mark.long
def test_libraries_are_recorded_too(compiler, tmp_path):
    """HDF5 writes by calls of the system, OpenCV by streams, NumPy by mapped memory."""
    code = (
        "import cv2, h5py, numpy as np\n"
        "h5py.File('a.h5', 'w')['x'] = np.arange(1000)\n"
        "cv2.imwrite('a.png', np.zeros((9, 9), np.uint8))\n"
        "m = np.memmap('a.map', np.uint8, 'w+', shape=9); m[:] = 7; m.flush()\n"
    )
    disk = lost_power.Disk(tmp_path)
    changes, result = disk_record.record([sys.executable, "-c", code], tmp_path, tmp_path)
    assert result.returncode == 0
    for change in changes:
        disk.play(change)
    kept = disk.survivor("kept", "kept", random.Random(1))
    assert kept == {name: (tmp_path / name).read_bytes() for name in ("a.h5", "a.png", "a.map")}
    lost = disk.survivor("kept", "lost", random.Random(1))
    assert lost == {"a.h5": b"", "a.png": b"", "a.map": b"\7" * 9}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "examined", "resumed"),
    [
        ("CaffeTrain", 1, 0.1),
        ("CaffeTrainHDF5", 0.5, 0.05),
        ("StagedTraining", 0.01, 0.03),
        ("Conversion", 1, 0.2),
        ("Drawing", 0.1, 0.03),
    ],
)
def test_a_power_failure_costs_nothing_that_was_promised(
    compiler, tmp_path, name, examined, resumed
):
    # It imports PyTorch, which the process that deals out the tests does not need.
    from tests import power_cases

    case = getattr(power_cases, name)(tmp_path / "live", tmp_path / "others")
    figures, problems = power_cases.lose_power(case, random.Random(1), examined, resumed)
    assert problems == []
    assert figures["states"] > 20 and figures["resumed"] > 0
