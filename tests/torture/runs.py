"""Small trainings by `caffe train` that are killed, interrupted, or find the disk full."""

from __future__ import annotations

import glob
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import caffe
import numpy as np
from caffe import weights

ENGINE = Path(__file__).resolve().parents[2] / "engine"
ITERATIONS, INTERVAL = 300, 10
#: Data that are the same in each iteration: a state has no position in a stream of data.
NET = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 64 dim: 200 } shape { dim: 64 dim: 50 }
  data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 1 } } }
layer { name: "a/b" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "c" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 50 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "t" top: "loss" }
"""
SOLVER = f"""net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 random_seed: 1
max_iter: {ITERATIONS} snapshot: {INTERVAL} snapshot_prefix: "s" display: {INTERVAL}
snapshot_format: %s"""
#: Seconds of a run, after which it counts as one that hangs.
LONGEST = 300
#: How many lines a run that ends early may write beside its log.
PLAIN = re.compile(r"^[IWEF]\d{4} ")


class Training:
    """A training in a folder, which `start` begins or continues from its last snapshot.

    form: BINARYPROTO or HDF5.
    """

    def __init__(self, folder: Path, form: str) -> None:
        self.folder, self.suffix = folder, ".h5" if form == "HDF5" else ""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "net.prototxt").write_text(NET)
        (folder / "solver.prototxt").write_text(SOLVER % form)

    def states(self) -> list[tuple[int, str]]:
        """Return the iterations and paths of the solver states, in order."""
        paths = glob.glob(str(self.folder / f"s_iter_*.solverstate{self.suffix}"))
        return sorted((int(re.findall(r"\d+", os.path.basename(p))[0]), p) for p in paths)

    def start(self, limit: int | None = None) -> subprocess.Popen:
        """Start a process. limit: the largest file in bytes, beyond which writing fails."""
        command = [sys.executable, "-m", "caffe", "train", "-solver", "solver.prototxt"]
        if states := self.states():
            command += ["-snapshot", os.path.basename(states[-1][1])]
        env = dict(os.environ, PYTHONPATH=str(ENGINE), OMP_NUM_THREADS="1", GLOG_minloglevel="0")

        def limit_files() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=limit_files if limit else None,
        )

    def finish(self) -> str:
        """Run to the end; return what went wrong, or ""."""
        process = self.start()
        _, log = process.communicate(timeout=LONGEST)
        return "" if process.returncode == 0 else f"status {process.returncode}: {log[-300:]}"

    def check_files(self) -> list[str]:
        """Return the files under final names that cannot be read."""
        broken = []
        for path in glob.glob(str(self.folder / "s_iter_*")):
            try:
                if path.endswith(f".solverstate{self.suffix}"):
                    weights.read_state(path)
                elif path.endswith(f".caffemodel{self.suffix}"):
                    weights.read_net(path)
            except caffe.CaffeError as error:
                broken.append(str(error))
        return broken

    def final_weights(self) -> list[np.ndarray]:
        """Return the values of the last iteration's weights."""
        path = str(self.folder / f"s_iter_{ITERATIONS}.caffemodel{self.suffix}")
        layers = sorted(weights.read_net(path), key=lambda layer: layer[0])
        return [np.asarray(b.data).ravel() for _, blobs in layers for b in blobs.values()]


def same_weights(one: Training, other: Training) -> bool:
    """Return whether two trainings ended with the same weights, bit for bit."""
    pairs = zip(one.final_weights(), other.final_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def stop_runs(
    training: Training, count: int, rng: random.Random, stop: Callable[[subprocess.Popen], None]
) -> dict[str, int]:
    """Stop a training `count` times at random moments; return the figures.

    `stop` ends a running process. Where the training comes to its end, it starts again.
    """
    figures = {"stops": 0, "hung": 0, "tracebacks": 0, "broken files": 0, "left over": 0}
    shortest = _seconds_to_start(training)
    while figures["stops"] < count:
        if training.states() and training.states()[-1][0] >= ITERATIONS:
            for path in glob.glob(str(training.folder / "s_iter_*")):
                os.remove(path)
        process = training.start()
        time.sleep(shortest * rng.uniform(0.3, 1.5))
        stop(process)
        try:
            _, log = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            _, log = process.communicate()
            figures["hung"] += 1
        figures["stops"] += 1
        figures["tracebacks"] += "Traceback" in log
        figures["broken files"] += len(training.check_files())
    names = glob.glob(str(training.folder / "s_iter_*"))
    final = re.compile(r"s_iter_\d+\.((caffemodel|solverstate)(\.h5)?|resume\.json)$")
    figures["left over"] = sum(not final.search(name) for name in names)
    return figures


def _seconds_to_start(training: Training) -> float:
    """Return the seconds until the first snapshot of a run, after which the run is killed."""
    start = time.monotonic()
    process = training.start()
    while not training.states() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    return time.monotonic() - start


def run_on_full_disk(training: Training) -> dict[str, int]:
    """Train where files can have 100 kB; return the figures."""
    before = {
        path: Path(path).read_bytes() for path in glob.glob(str(training.folder / "s_iter_*"))
    }
    process = training.start(limit=100_000)
    _, log = process.communicate(timeout=LONGEST)
    lines = [line for line in log.splitlines() if not PLAIN.match(line)]
    after = glob.glob(str(training.folder / "s_iter_*"))
    return {
        "runs": 1,
        "ended with status 1": int(process.returncode == 1),
        "one line that names the file": int("cannot be written" in log.splitlines()[-1]),
        "tracebacks": sum("Traceback" in line for line in lines),
        "files changed or left over": int(
            set(after) != set(before)
            or any(Path(path).read_bytes() != content for path, content in before.items())
        ),
    }
