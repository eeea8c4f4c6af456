from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_committed_table_is_what_the_command_writes(tmp_path):
    written = tmp_path / "compatibility.md"
    command = [sys.executable, "-m", "oracle.compatibility", "--out", str(written)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert written.read_text() == (ROOT / "docs" / "compatibility.md").read_text()
