"""Records the golden numbers from BVLC Caffe.

    oracle/caffe-python oracle/record.py [--out tests/golden] [GROUP ...]

Each group of cases runs in a process of its own, for BVLC Caffe ends the process on an error.
The files are the same for the same BVLC Caffe, OpenBLAS kernels and C library.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from typing import Dict

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def record_group(group: str, path: str) -> None:
    """Runs the cases of `group` in this process and writes their numbers to `path` (.npz)."""
    import caffe
    import numpy as np

    from oracle.cases import CASES, run

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
    with open(path + ".part", "wb") as f:
        np.savez_compressed(f, **numbers)
    os.replace(path + ".part", path)


def platform() -> Dict[str, str]:
    """What the last bits of the numbers depend on."""
    import caffe
    import numpy as np

    return {
        "caffe": caffe.__version__,
        "numpy": np.__version__,
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Records golden numbers from BVLC Caffe.")
    parser.add_argument("groups", nargs="*", help="groups of cases; all if none is named")
    parser.add_argument("--out", default=os.path.join(CHECKOUT, "tests", "golden"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    out = os.path.abspath(args.out)
    os.makedirs(out, exist_ok=True)
    if args.here:
        for group in args.groups:
            record_group(group, os.path.join(out, group + ".npz"))
        return

    from oracle.cases import CASES
    from oracle.cases.case import groups

    every = groups(CASES.values())
    unknown = sorted(set(args.groups) - set(every))
    if unknown:
        parser.error(f"no group named {unknown[0]}; there are: {', '.join(every)}")
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    for group in args.groups or every:
        command = [sys.executable, os.path.abspath(__file__), "--here", "--out", out, group]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode:
            sys.stderr.write(result.stderr)
            at = (result.stdout.split() or ["none"])[-1]
            raise SystemExit(f"record.py: BVLC Caffe failed in case {at}")
        path = os.path.join(out, group + ".npz")
        print(f"{group:16} {os.path.getsize(path):7} bytes")
    if not args.groups:
        with open(os.path.join(out, "recorded_on.json"), "w") as f:
            json.dump(platform(), f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
