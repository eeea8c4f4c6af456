"""Runs all experiments that have no result yet, in the order of the page, and writes the page.

python -m experiments [NAME ...] [--seed N] [--out DIR] [--demo DIR] [--gpu N|cpu] [--docs]
"""

from __future__ import annotations

import importlib
import time
from typing import Optional, Sequence

from experiments import EXPERIMENTS, page, report, running
from fcn_common import command
from solvers.demo import SEED


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the experiments and write the page. Raises ValueError for an unknown experiment."""
    parser = running.parser(__doc__)
    parser.prog = "python -m experiments"
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.set_defaults(out=None, demo=None)
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        metavar="N",
        help="seed of the demo run, whose folder is runs/demo-seedN (default: %(default)s)",
    )
    parser.add_argument("--docs", action="store_true", help="write docs/experiments.md too")
    args = parser.parse_args(argv)
    names = args.names or list(EXPERIMENTS)
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(f"experiment is {name!r}, needs one of {', '.join(EXPERIMENTS)}")
    suffix = f"-seed{args.seed}" if args.seed != SEED else ""
    out, demo = args.out or running.OUT + suffix, args.demo or running.DEMO + suffix
    start = time.time()
    for name in names:
        run = importlib.import_module(EXPERIMENTS[name]).run
        running.make(name, run, out, demo, args.gpu)
    results = [report.load(out, name) for name in EXPERIMENTS if report.exists(out, name)]
    for path in page.write_page(results, out):
        print(path)
    if args.docs:
        print(page.write_docs(results, out))
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    running.exit_on_sigterm()
    command.run(main)
