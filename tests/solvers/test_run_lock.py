"""One run a folder: who runs there, and who does not count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from solvers import run_lock
from solvers.run_lock import NAME, one_run

#: A program that locks a folder, says so, and waits.
HOLDER = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("run_lock", sys.argv[1])
run_lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_lock)
with run_lock.one_run(sys.argv[2]):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that runs in the folder `tmp_path / "run"`."""
    command = [sys.executable, "-S", "-c", HOLDER, run_lock.__file__, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def record(folder, **changes):
    """Write the record of another process into a folder."""
    values = {
        "host": run_lock.platform.node(),
        "processes": os.readlink("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "start": run_lock.process_start(os.getpid()),
        "since": "2026-01-02 03:04:05 +0000",
        "command": "solve.py",
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text(json.dumps(values))
    return folder / NAME


def test_the_message_to_a_second_process_names_the_first_and_its_start(holder, tmp_path):
    with pytest.raises(ValueError) as error, one_run(str(tmp_path / "run")):
        pass
    line = str(error.value)
    assert f"process {holder.pid} runs here since 2" in line and "\n" not in line
    assert str(tmp_path / "run") in line and "-c" in line


def test_a_process_that_was_killed_does_not_count(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert run_lock.is_marked(str(tmp_path / "run"))
    with one_run(str(tmp_path / "run")):
        values = json.loads((tmp_path / "run" / NAME).read_text())
        assert values["pid"] == os.getpid()
    assert not run_lock.is_marked(str(tmp_path / "run"))


def test_a_folder_is_free_after_a_run_and_after_an_error(tmp_path):
    with pytest.raises(KeyError), one_run(str(tmp_path / "run")):
        raise KeyError
    with one_run(str(tmp_path / "run")), one_run(str(tmp_path / "run")), one_run(str(tmp_path)):
        assert run_lock.is_marked(str(tmp_path))
    assert os.listdir(tmp_path) == [], "a folder that stayed empty is removed"


def test_a_number_that_belongs_to_another_process_now_does_not_count(tmp_path, monkeypatch):
    record(tmp_path / "run", start="1")
    monkeypatch.setattr(run_lock, "_lock", lambda handle: None)  # A file system without locks.
    with one_run(str(tmp_path / "run")):
        pass


def test_a_living_process_counts_on_a_file_system_without_locks(tmp_path, monkeypatch):
    record(tmp_path / "run")
    monkeypatch.setattr(run_lock, "_lock", lambda handle: None)
    with pytest.raises(ValueError, match="runs here"), one_run(str(tmp_path / "run")):
        pass


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"processes": "pid:[1]"}])
@pytest.mark.parametrize(("age", "counts"), [(0, True), (1000, False)])
def test_a_process_of_another_host_counts_while_it_touches_its_file(tmp_path, other, age, counts):
    """A container with processes of its own is such a host, too."""
    path = record(tmp_path / "run", **other)
    os.utime(path, (time.time() - age,) * 2)
    if counts:
        with pytest.raises(ValueError, match="runs here since 2026"), one_run(str(path.parent)):
            pass
    else:
        with one_run(str(path.parent)):
            pass


def test_a_process_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "HEARTBEAT", 0.01)
    with one_run(str(tmp_path / "run")):
        path = tmp_path / "run" / NAME
        os.utime(path, (1000, 1000))
        deadline = time.time() + 5
        while path.stat().st_mtime == 1000 and time.time() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1000


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_damaged_record_does_not_count(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    with one_run(str(tmp_path)):
        pass
