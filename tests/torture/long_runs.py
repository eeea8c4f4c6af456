"""Long runs: memory, open files, threads and processor time of a step, from tenth to tenth.

Four programs run in processes of their own, which the parent watches from outside:

    training   `python -m solvers.train`, with snapshots, scorings, and pictures of all sizes
    caffe      `caffe train` with a database, a test net, dropout and snapshots
    pictures   the code of `python -m solvers.infer` on a new picture of another size each time
    passes     net.reshape and net.forward with another size each time
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import caffe
import numpy as np
from caffe.data import db
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
#: Samples of a run; the last is compared with those of the first half.
PARTS = 10
#: By how much a step may take longer and memory may grow. Where a program says how much memory is
#: in use, resident memory may have more holes: those between blocks that live on come and go.
SLOWER, LARGER, HOLES = 1.25, 1.05, 1.2
#: The heading of the tables; the time is the processor's.
HEADING = "run             steps  memory MB  in use MB  files  threads  ms/step"
#: Seconds between two looks at the memory.
PERIOD = 0.1
#: Lines that say how many steps or images are done.
COUNT = re.compile(r"[Ii]teration (\d+)|^(\d+) images done, ([\d.]+) MB in use")
#: Pictures of the data set of the training, and of the database.
PICTURES, RECORDS = 24, 64

NET = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 24 scale: 0.01 }
  data_param { source: "db" batch_size: 4 backend: LMDB prefetch: 4 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 24 scale: 0.01 }
  data_param { source: "db" batch_size: 4 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param {
  num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 random_seed: 1
max_iter: {steps} display: {interval} snapshot: {interval} snapshot_prefix: "s" average_loss: 20
test_iter: 4 test_interval: {interval}"""


class Sample(NamedTuple):
    """What a process has and has used in a part of its steps, up to `steps`.

    memory: the most that was resident, in bytes. files, threads: the fewest, since a file that is
    read is open for a moment. seconds: of processor time since the start. in_use: memory that was
    allocated and not freed, in bytes; 0 if the program does not say.
    """

    steps: int
    memory: int
    files: int
    threads: int
    seconds: float
    in_use: int = 0


class LongRun(NamedTuple):
    """The samples of a run, one for each tenth."""

    name: str
    samples: tuple[Sample, ...]
    status: int

    def step_seconds(self) -> list[float]:
        """Return the processor time of a step in each part but the first, which has the start."""
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return [(b.seconds - a.seconds) / (b.steps - a.steps) for a, b in pairs]

    def figures(self) -> dict[str, int]:
        """Return the figures of `make torture`."""
        complete = self.status == 0 and len(self.samples) == PARTS + 1
        return {
            "steps": self.samples[-1].steps if self.samples else 0,
            "failed": int(not complete),
            "grew": len(self.growth()) if complete else 0,
        }

    def growth(self) -> list[str]:
        """Return what is not flat: where the last tenth has more than the first half."""
        first, last, times = self.samples[: PARTS // 2 + 1], self.samples[-1], self.step_seconds()
        larger = HOLES if last.in_use else LARGER
        flat = {
            "memory": last.memory <= larger * max(sample.memory for sample in first),
            "memory in use": last.in_use <= LARGER * max(sample.in_use for sample in first),
            "files": last.files <= max(sample.files for sample in first),
            "threads": last.threads <= max(sample.threads for sample in first),
            "time": times[-1] <= SLOWER * max(times[: PARTS // 2]),
        }
        return [name for name, is_flat in flat.items() if not is_flat]


def row(name: str, samples: Sequence[Sample]) -> str:
    """Return the row of a table for the last sample, below HEADING."""
    *before, last = samples[-2:]
    time = ""
    if before:
        seconds = (last.seconds - before[0].seconds) / (last.steps - before[0].steps)
        time = f"{1000 * seconds:.2f}"
    sizes = [f"{size / 1e6:.1f}" if size else "" for size in (last.memory, last.in_use)]
    numbers = f"{sizes[0]:>10} {sizes[1]:>10} {last.files:6} {last.threads:8} {time:>8}"
    return f"{name:12} {last.steps:8} {numbers}"


def run_all(folder: Path, steps: int, images: int) -> Iterator[LongRun]:
    """Run the programs one after the other, and yield their samples. 0 leaves programs out."""
    if steps:
        yield train(folder / "training", steps)
        yield train_caffe(folder / "caffe", steps)
    if images:
        for kind in ("pictures", "passes"):
            yield run_images(kind, folder / kind, images)


def train(folder: Path, steps: int) -> LongRun:
    """Train a narrow FCN-AlexNet by `python -m solvers.train`."""
    rng = np.random.RandomState(1)
    for kind in ("images", "labels"):
        (folder / "set" / kind).mkdir(parents=True, exist_ok=True)
    for i in range(PICTURES):
        height, width = rng.randint(16, 64, 2)
        label = np.zeros((height, width), np.uint8)
        label[height // 4 : height // 2, : width // 2] = 1 + i % 2
        picture = (rng.rand(height, width, 3) * 60 + 60 * label[..., None]).astype(np.uint8)
        Image.fromarray(picture).save(folder / "set" / "images" / f"{i}.png")
        Image.fromarray(label).save(folder / "set" / "labels" / f"{i}.png")
    (folder / "set" / "classes.txt").write_text("ground\nleft\nright\n")
    command = ["-m", "solvers.train", str(folder / "set"), "--out", str(folder / "run")]
    command += [
        "--variant",
        "voc-fcn-alexnet",
        "--single",
        "--width",
        "1/16",
        "--weights",
        "random",
    ]
    command += ["--mirror", "--scale", "0.5:2", "--iters", str(steps), "--gpu", "cpu", "--images"]
    interval = max(steps // (2 * PARTS), 1)
    command += ["4", "--solver", f"snapshot: {interval} average_loss: 20 iter_size: 1"]
    return watch("training", command, ROOT, steps)


def train_caffe(folder: Path, steps: int) -> LongRun:
    """Train a small classifier by `caffe train` from a database."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(1)
    with db.Writer(str(folder / "db")) as writer:
        for i in range(RECORDS):
            datum = caffe.io.array_to_datum(
                rng.randint(0, 255, (3, 28, 28)).astype(np.uint8), i % 5
            )
            writer.put(f"{i:04}".encode(), datum.SerializeToString())
    (folder / "net.prototxt").write_text(NET)
    interval = max(steps // (2 * PARTS), 1)
    (folder / "solver.prototxt").write_text(SOLVER.format(steps=steps, interval=interval))
    return watch("caffe", ["-m", "caffe", "train", "-solver", "solver.prototxt"], folder, steps)


def run_images(kind: str, folder: Path, images: int) -> LongRun:
    """Run a narrow FCN-8s over pictures; kind: pictures or passes."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["-m", "tests.torture.image_runs", kind, str(folder), str(images), str(PARTS)]
    return watch(kind, command, ROOT, images)


def watch(name: str, command: Sequence[str], folder: Path, steps: int) -> LongRun:
    """Run a program of Python to its end, and return a sample of each tenth and of the start."""
    env = dict(os.environ, OMP_NUM_THREADS="1", GLOG_minloglevel="0", PYTHONUNBUFFERED="1")
    if folder != ROOT:
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "engine"), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    samples: list[Sample] = []
    last: list[str] = []
    with _Looks(process.pid) as looks:
        for line in process.stdout or ():
            last = [*last[-5:], line]
            count = COUNT.search(line)
            done = int(count[1] or count[2]) if count else -1
            if done >= len(samples) * steps // PARTS and len(samples) <= PARTS:
                sample = looks.take(done)
                if sample is not None:
                    in_use = int(1e6 * float(count[3] or 0)) if count else 0
                    samples.append(sample._replace(in_use=in_use))
                    print(row(name, samples), flush=True)
        status = process.wait()
    if status:
        print("".join(last), file=sys.stderr)
    return LongRun(name, tuple(samples), status)


class _Looks:
    """Looks at a process again and again, in a thread (Linux)."""

    def __init__(self, process: int) -> None:
        self._process, self._ended = process, threading.Event()
        self._looks: list[Sample] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Looks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def take(self, steps: int) -> Sample | None:
        """Return the sample of the time since the last call; None where the process has ended."""
        now = self._look()
        looks, self._looks = self._looks, []
        if now is None:
            return None
        looks.append(now)
        memory, files, threads = (
            limit(getattr(look, name) for look in looks)
            for limit, name in ((max, "memory"), (min, "files"), (min, "threads"))
        )
        return Sample(steps, memory, files, threads, now.seconds)

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD):
            if look := self._look():
                self._looks.append(look)

    def _look(self) -> Sample | None:
        folder = Path(f"/proc/{self._process}")
        try:
            status = (folder / "status").read_text()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            memory, threads = (
                int(re.findall(rf"{name}:\s+(\d+)", status)[0]) for name in ("VmRSS", "Threads")
            )
            files = len(os.listdir(folder / "fd"))
        except (OSError, IndexError):
            return None
        seconds = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        return Sample(0, 1024 * memory, files, threads, seconds)
