"""The benchmark: this engine and every other program that is installed, in turns in one run.

    python -m bench [--quick] [--cases CASE,...] [--peers PEER,...] [--device cuda]
                    [--baseline CHECKOUT]

The results are written to runs/bench/results.json after every process; the same command continues
a run that was stopped. `--baseline` measures the engine of another checkout beside this one's.
`--write-docs` writes docs/performance.md from the last complete run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from bench import page, prepare
from bench.measure import Bench
from bench.peers import AT, CASES, PEERS, engine_at, find_peer
from bench.settings import ROOT, Settings
from fcn_common import command


def select_names(text: str, names: Sequence[str], kind: str) -> Tuple[str, ...]:
    """Return the names in a list with commas or spaces, all of `names` for an empty list.

    `area-*` stands for all names that start with `area-`. Raises ValueError for an unknown name;
    `kind` says in its message what the names are.
    """
    selected: List[str] = []
    for part in filter(None, text.replace(" ", ",").split(",")):
        fits = [n for n in names if n == part or (part.endswith("*") and n.startswith(part[:-1]))]
        if not fits:
            raise ValueError(f"{kind} {part!r}: unknown; needs one of {', '.join(names)}")
        selected += [n for n in fits if n not in selected]
    return tuple(selected) or tuple(names)


def engine_folder(checkout: Path) -> str:
    """Return the folder with the package caffe of another checkout, or of its folder engine.

    Raises ValueError if there is none.
    """
    for folder in (checkout / "engine", checkout):
        if (folder / "caffe" / "__init__.py").is_file():
            path = str(folder.resolve())
            if AT in path or "," in path:
                raise ValueError(f"--baseline {checkout}: has '{AT}' or ',' in its path; rename it")
            return path
    raise ValueError(f"--baseline {checkout}: has no engine/caffe; name a checkout of this project")


def with_baseline(peers: Sequence[str], folder: str) -> Tuple[str, ...]:
    """Return the peers with, behind each of this engine's, the one whose engine is in `folder`."""
    names: List[str] = []
    for name in peers:
        names.append(name)
        if find_peer(name).is_engine:
            names.append(engine_at(name, folder))
    return tuple(names)


def parse(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the command line's arguments. Raises ValueError for numbers below 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--cases", default="", metavar="CASE,...", help=f"{', '.join(CASES)}; or area-* (all)"
    )
    parser.add_argument("--peers", default="", metavar="PEER,...", help=", ".join(PEERS))
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="CHECKOUT",
        help="another checkout of this project, whose engine is measured beside this one's; "
        "without --peers, only the two engines are measured",
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="at most (3; 6 with --baseline; 1 with --quick)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of a process (one a core)")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="how long a process measures a case (6)"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="no process begins after these (no limit)"
    )
    parser.add_argument("--quick", action="store_true", help="a trial: one round of single passes")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench", metavar="DIR")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="of the results (results.json in the folder, with -cuda or -baseline; or quick.json)",
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md, measure nothing"
    )
    args = parser.parse_args(argv)
    cores = len(os.sched_getaffinity(0))
    args.threads = cores if args.threads is None else args.threads
    if args.rounds is None:
        args.rounds = 1 if args.quick else 3 if args.baseline is None else 6
    for name in ("rounds", "threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)}: needs at least 1")
    args.folder = args.folder.resolve()
    args.out = args.out or args.folder / default_file(args)
    return args


def default_file(args: argparse.Namespace) -> str:
    """Return the name of the results' file: trials and baselines keep apart from complete runs."""
    parts = ["quick" if args.quick else "results"]
    parts += ["cuda"] if args.device == "cuda" else []
    parts += ["baseline"] if args.baseline is not None else []
    return "-".join(parts) + ".json"


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings of a run. Raises ValueError for unknown cases, peers and checkouts."""
    peers = select_names(args.peers, tuple(PEERS), "peer")
    if args.baseline is not None:
        if not args.peers:
            peers = tuple(name for name in peers if find_peer(name).is_engine)
        peers = with_baseline(peers, engine_folder(args.baseline))
    return Settings(
        folder=args.folder,
        device=args.device,
        cases=select_names(args.cases, tuple(CASES), "case"),
        peers=peers,
        rounds=args.rounds,
        threads=args.threads,
        seconds=args.seconds,
        minutes=args.minutes,
        quick=args.quick,
    )


def write_docs(out: Path) -> None:
    """Write the page in docs/ from a file of results, or from those that docs/ keeps."""
    if not out.exists():
        print(f"{out} does not exist; the page is written from the results in docs/")
    results = json.loads(out.read_text()) if out.exists() else None
    print(f"wrote {page.write(results)}")


def main() -> None:
    """Run the command line."""
    args = parse()
    # After SystemExit, which SIGTERM raises, the process that is measured is ended as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if args.write_docs:
        write_docs(args.out)
        return
    bench = Bench(settings_of(args))
    if prepare.missing(args.folder, args.device):
        print("writing the nets, the weights and the images, once; this takes a minute")
        make = [sys.executable, "-m", "bench.prepare", str(args.folder), "--device", args.device]
        subprocess.run(make, cwd=ROOT, check=True)
    results = bench.run(args.out)
    print(page.section(results))
    print(f"\nwrote {args.out}")


if __name__ == "__main__":
    command.run(main)
