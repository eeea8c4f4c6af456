"""What `import caffe` does to the collection of garbage."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Whether collecting is on, whether objects are left out of it, and how often all were looked at.
STATE = "gc.isenabled(), gc.get_freeze_count() > 0, gc.get_stats()[2]['collections']"


def states(before: str) -> tuple[list[str], list[str]]:
    """STATE before and after the import."""
    code = f"import gc; {before}; a = {STATE}; import caffe; print(*a, *({STATE}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    return found[:3], found[3:]


@pytest.mark.parametrize("setting", ["gc.disable()", "gc.freeze()"])
def test_the_import_keeps_what_a_program_has_set(setting):
    before, after = states(setting)
    assert after[:2] == before[:2]


def test_loading_pytorch_is_not_interrupted_by_collecting():
    before, after = states("pass")
    assert after[:2] == before[:2] == ["True", "False"]
    assert int(after[2]) - int(before[2]) < int(states("import torch")[0][2])
