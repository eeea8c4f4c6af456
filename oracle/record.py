"""Records the golden numbers from BVLC Caffe.

    oracle/caffe-python oracle/record.py [--out tests/golden] [GROUP ...]

Each group of cases runs in its own process, because BVLC Caffe ends the process on an error. The
same BVLC Caffe, OpenBLAS kernels and C library give the same files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from typing import Dict

import caffe
import numpy as np

from fcn_common import arguments, files
from oracle.cases import CASES, run
from oracle.cases.case import groups
from oracle.places import GOLDEN


def record_group(group: str, path: str) -> None:
    """Run the cases of a group in this process and write their numbers to `path` (.npz)."""
    if not caffe.__file__.startswith("/usr/lib/"):
        raise SystemExit(
            f"record.py: `import caffe` gives {caffe.__file__}; golden numbers come from BVLC "
            "Caffe: run it with oracle/caffe-python"
        )
    numbers: OrderedDict = OrderedDict()
    for case in CASES.values():
        if case.group == group:
            print(case.name, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                numbers.update(run(case, folder))
    with files.atomic_write(path) as f:
        np.savez_compressed(f, **numbers)


def run_group(group: str, out: str) -> None:
    """Record a group in a process of its own. Exits with a message if BVLC Caffe fails."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    command = [sys.executable, os.path.abspath(__file__), "--here", "--out", out, group]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.stderr.write(result.stderr)
        last_case = (result.stdout.splitlines() or ["none"])[-1]
        raise SystemExit(f"record.py: BVLC Caffe failed in case {last_case}")


def platform() -> Dict[str, str]:
    """Return the versions and settings that the last bits of the numbers depend on."""
    return {
        "caffe": caffe.__version__,
        "numpy": np.__version__,
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""),
    }


def main() -> None:
    """Record the groups of the command line."""
    parser = argparse.ArgumentParser(
        description="Records golden numbers from BVLC Caffe.",
        parents=[arguments.out(GOLDEN, "folder of the files")],
    )
    parser.add_argument("groups", nargs="*", help="groups of cases (default: all)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    out = os.path.abspath(args.out)
    os.makedirs(out, exist_ok=True)
    if args.here:
        for group in args.groups:
            record_group(group, os.path.join(out, group + ".npz"))
        return
    every = groups(CASES.values())
    unknown = sorted(set(args.groups) - set(every))
    if unknown:
        parser.error(f"group is {unknown[0]!r}, needs one of {', '.join(every)}")
    for group in args.groups or every:
        run_group(group, out)
        print(f"{group:16} {os.path.getsize(os.path.join(out, group + '.npz')):7} bytes")
    if not args.groups:
        files.write_json(os.path.join(out, "recorded_on.json"), platform())


if __name__ == "__main__":
    main()
