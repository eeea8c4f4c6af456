"""`import caffe` and Python's garbage collector."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Whether the collector is on, whether objects are frozen, and the number of full collections.
STATE = "gc.isenabled(), gc.get_freeze_count() > 0, gc.get_stats()[2]['collections']"


def states(before: str) -> tuple[list[str], list[str]]:
    """Return STATE before and after `import caffe`, which follows the code `before`."""
    code = f"import gc; {before}; a = {STATE}; import caffe; print(*a, *({STATE}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    values = run.stdout.split()
    return values[:3], values[3:]


@pytest.mark.parametrize("setting", ["gc.disable()", "gc.freeze()"])
def test_the_import_keeps_a_program_s_settings_of_the_collector(setting):
    before, after = states(setting)
    assert after[:2] == before[:2]


def test_pytorch_is_loaded_without_full_collections():
    before, after = states("pass")
    assert after[:2] == before[:2] == ["True", "False"]
    assert int(after[2]) - int(before[2]) < int(states("import torch")[0][2])
