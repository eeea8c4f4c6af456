"""The engine's speed while other programs use the cores, with its own waiting and with libgomp's.

    python -m bench.load [--rounds 2] [--seconds 4] [--threads N] [--out FILE.json]

Each measurement is a process of its own: training steps, then forward passes, of the demo's
FCN-32s (an eighth of the channels). The competing programs are endless loops, one on each core
that is busy. States of the machine and ways to wait take turns in each round. The default run
takes two minutes on two cores; the machine should run nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import net_gen
from bench.nets import training_net
from bench.settings import ROOT
from fcn_common import tables
from fcn_common.files import write_json

#: Ways in which threads wait for each other, and the environment of each. libgomp spins 300,000
#: times by default; with a value in the environment the engine changes nothing.
WAYS = {"the engine's waiting": {}, "libgomp's waiting": {"GOMP_SPINCOUNT": "300000"}}
KINDS = ("training steps a second", "forward passes a second")
#: Height and width of the demo's scenes, and the factor of the channels of its nets.
SIZE, WIDTH = (300, 400), 0.125
#: What a measuring process runs, in a folder with solver.prototxt and deploy.prototxt.
WORKER = """
import sys, time
import caffe, numpy as np

def rate(once, seconds):
    for _ in range(2):
        once()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        once()
        count += 1
    return count / (time.perf_counter() - start)

seconds = float(sys.argv[1])
caffe.set_random_seed(1)
caffe.set_mode_cpu()
solver = caffe.get_solver("solver.prototxt")
image = np.random.RandomState(0).uniform(-120, 120, solver.net.blobs["data"].shape)
label = np.random.RandomState(0).randint(0, 21, solver.net.blobs["label"].shape)
net = caffe.Net("deploy.prototxt", caffe.TEST)

def step():
    solver.net.blobs["data"].data[...] = image
    solver.net.blobs["label"].data[...] = label
    solver.step(1)

def forward():
    net.blobs["data"].data[...] = image
    net.forward()
    net.blobs["score"].data.argmax(1)

print(rate(step, seconds), rate(forward, seconds))
"""
Key = Tuple[int, str]


@contextmanager
def competitors(count: int) -> Iterator[None]:
    """Keep `count` of the cores that this process may use busy, by a program on each."""
    cores = sorted(os.sched_getaffinity(0))
    programs = []
    try:
        for core in cores[:count]:
            code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
            programs.append(subprocess.Popen([sys.executable, "-c", code]))
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def write_nets(folder: Path) -> None:
    """Write deploy.prototxt, train.prototxt and solver.prototxt of the demo's FCN-32s."""
    deploy = net_gen.fcn("voc-fcn32s", "deploy", width=WIDTH)
    deploy.layer[0].input_param.shape[0].dim[2:] = SIZE
    net_gen.write(deploy, str(folder / "deploy.prototxt"))
    net_gen.write(training_net(deploy), str(folder / "train.prototxt"))
    fields = {"base_lr": 1e-10, "lr_policy": "fixed", "display": 0, "snapshot": 0}
    solver = net_gen.solver("voc-fcn32s", **fields)
    for name in ("net", "test_net", "test_iter", "test_interval", "test_initialization"):
        solver.ClearField(name)
    solver.train_net = "train.prototxt"
    net_gen.write(solver, str(folder / "solver.prototxt"))


def measure(folder: Path, seconds: float, threads: int, environment: Dict[str, str]) -> List[float]:
    """Return the rates of KINDS in a new process. Raises RuntimeError if the process fails."""
    paths = [str(ROOT / "engine"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    completed = subprocess.run(
        [sys.executable, "-c", WORKER, str(seconds)],
        cwd=folder,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))},
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": str(threads),
            "GLOG_minloglevel": "2",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    if completed.returncode:
        raise RuntimeError(f"the measuring process failed:\n{completed.stderr[-2000:]}")
    return [float(word) for word in completed.stdout.split()]


def run(rounds: int, seconds: float, threads: int) -> Dict[Key, List[List[float]]]:
    """Return the rates of each number of busy cores and each of WAYS, a list a round."""
    states = sorted({0, 1, len(os.sched_getaffinity(0))})
    rates: Dict[Key, List[List[float]]] = {(s, way): [] for s in states for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        write_nets(Path(name))
        for _ in range(rounds):
            for busy in states:
                for way, environment in WAYS.items():
                    with competitors(busy):
                        rates[busy, way].append(measure(Path(name), seconds, threads, environment))
    return rates


def report(rates: Dict[Key, List[List[float]]]) -> str:
    """Return a table of the median rates, and of their shares of the quiet rate."""
    rows = []
    for i, kind in enumerate(KINDS):
        for way in WAYS:
            medians = {
                busy: statistics.median(values[i] for values in rounds)
                for (busy, other), rounds in rates.items()
                if other == way
            }
            cells = [
                f"{rate:.2f} ({rate / medians[0]:.0%})" if busy else f"{rate:.2f}"
                for busy, rate in sorted(medians.items())
            ]
            rows.append([kind, way, *cells])
    states = sorted({busy for busy, _ in rates})
    names = [f"busy cores: {busy}" if busy else "quiet" for busy in states]
    return "\n".join(tables.markdown(["", "", *names], rows))


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=2, help="rounds (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of each kind in a process (default: 4)"
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--threads", type=int, default=cores, help=f"of a process (default: {cores})"
    )
    parser.add_argument("--out", type=Path, help="file for the rates, as JSON")
    options = parser.parse_args(argv)
    start = time.perf_counter()
    load = os.getloadavg()[0]
    rates = run(options.rounds, options.seconds, options.threads)
    if options.out:
        write_json(str(options.out), {f"{busy}, {way}": r for (busy, way), r in rates.items()})
    print(report(rates))
    print(f"\nload average before: {load:.1f}; took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
