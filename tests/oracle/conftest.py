"""Fixtures that run BVLC Caffe."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def run(*arguments, **kwargs):
    """Run oracle/caffe-python; the result has returncode, stdout and stderr as text."""
    command = [str(CHECKOUT / "oracle" / "caffe-python"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **kwargs)


@pytest.fixture(scope="session")
def caffe_python():
    """A function that runs oracle/caffe-python, whether or not BVLC Caffe is installed."""
    return run


@pytest.fixture(scope="session")
def bvlc_caffe():
    """A function that runs oracle/caffe-python; without BVLC Caffe, the test is skipped.

    With FCN_ORACLE=required in the environment (make test-oracle), the test fails instead.
    """
    result = run("-c", "import caffe; print(caffe.__version__)")
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["oracle/caffe-python failed"])[-1]
        if os.environ.get("FCN_ORACLE") == "required":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return run
