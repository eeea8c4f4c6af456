"""The temporary solver prototxts of processes that were killed, and of those that live."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from solvers import caffe_solver


def test_the_prototxts_of_dead_processes_alone_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    host = platform.node()
    names = {
        f".solver_{host}_{ended.pid}.prototxt": False,
        f".solver_{host}_{os.getpid()}.prototxt": True,
        f".solver_{host}x_{ended.pid}.prototxt": True,
        ".solver_notes.prototxt": True,
    }
    for name in names:
        (tmp_path / name).write_text("")
    caffe_solver.remove_temporary(str(tmp_path))
    assert {name: (tmp_path / name).exists() for name in names} == names
