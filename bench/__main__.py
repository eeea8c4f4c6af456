"""The benchmark: this engine and every peer that is installed, side by side in one run.

    python -m bench [--quick] [--cases CASE,...] [--peers PEER,...] [--device cuda]

Results go to runs/bench/results.json after every process; the same command continues a run that was
stopped. `--write-docs` writes docs/performance.md from the last whole run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import page, prepare
from bench.measure import ROOT, Bench, Json, Settings
from bench.peers import CASES, PEERS
from fcn_common import command


def chosen(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """The names in a comma-separated list, all by default; `area-*` stands for several."""
    names: list[str] = []
    for part in filter(None, text.replace(" ", ",").split(",")):
        fits = [n for n in known if n == part or (part.endswith("*") and n.startswith(part[:-1]))]
        if not fits:
            raise ValueError(f"{what} {part!r}: no such {what}; there are {', '.join(known)}")
        names += [n for n in fits if n not in names]
    return tuple(names) or tuple(known)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cases", default="", help=f"of {', '.join(CASES)}; or area-*")
    parser.add_argument("--peers", default="", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, help="at most; 3 by default, 1 with --quick")
    parser.add_argument("--threads", type=int, help="a core each by default")
    parser.add_argument("--seconds", type=float, default=6.0, help="a case is measured for so long")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="after so many no further process begins"
    )
    parser.add_argument("--quick", action="store_true", help="one round of single passes")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench")
    parser.add_argument("--out", type=Path, help="FOLDER/results.json; quick.json with --quick")
    parser.add_argument("--write-docs", action="store_true", help="write the page and do no more")
    args = parser.parse_args(argv)
    cores = len(os.sched_getaffinity(0))
    args.threads = cores if args.threads is None else args.threads
    args.rounds = (1 if args.quick else 3) if args.rounds is None else args.rounds
    for name in ("rounds", "threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} {getattr(args, name)}: at least 1 is needed")
    name = "quick" if args.quick else "results"
    args.folder = args.folder.resolve()
    args.out = args.out or args.folder / (
        name + ("" if args.device == "cpu" else "-cuda") + ".json"
    )
    return args


def main() -> None:
    args = parse()
    # Ended by a signal, it ends the process that it waits for as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if args.write_docs:
        if not args.out.exists():
            print(f"{args.out} is not there; the page is written from what docs/ keeps")
        results: Json | None = json.loads(args.out.read_text()) if args.out.exists() else None
        print(f"wrote {page.write(results)}")
        return
    settings = Settings(
        folder=args.folder,
        device=args.device,
        cases=chosen(args.cases, tuple(CASES), "case"),
        peers=chosen(args.peers, tuple(PEERS), "peer"),
        rounds=args.rounds,
        threads=args.threads,
        seconds=args.seconds,
        minutes=args.minutes,
        quick=args.quick,
    )
    bench = Bench(settings)
    if prepare.missing(args.folder, args.device):
        print("making the nets, the weights and the images, once; a minute")
        make = [sys.executable, "-m", "bench.prepare", str(args.folder), "--device", args.device]
        subprocess.run(make, cwd=ROOT, check=True)
    results = bench.run(args.out)
    print(page.section(results))
    print(f"\nwrote {args.out}")


if __name__ == "__main__":
    command.run(main)
