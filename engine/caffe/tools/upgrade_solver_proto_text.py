"""Upgrades a solver's prototxt of any age to the present form.

upgrade_solver_proto_text OLD NEW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .. import upgrade
from ..proto import caffe_pb2
from ..text import read_text, write_text
from . import upgrading


def _upgrade_solver(solver: Any, path: str) -> bool | None:
    if not upgrade.solver_needs_upgrade(solver):
        return None
    upgrade.upgrade_solver(solver, path)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return upgrading.main(
        "upgrade_solver_proto_text",
        "SolverParameter text",
        lambda path: read_text(path, caffe_pb2.SolverParameter()),
        _upgrade_solver,
        write_text,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
