"""Programs whose power fails: what each promises, and how it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import caffe
import numpy as np
from caffe import weights
from caffe.__main__ import main as run_caffe
from caffe.data import db
from caffe.tools import convert_imageset
from PIL import Image

from fcn_common.files import TEMPORARY
from fcn_data import demo
from fcn_data.demo import drawing
from solvers import snapshots, train
from tests import disk_record, lost_power
from tests.disk_record import Change
from tests.lost_power import Promise

ROOT = Path(__file__).resolve().parents[1]


class Case:
    """A program that works in a folder; the methods say what a power failure may cost.

    The folder of the program has the same path when it goes on. others: a folder for what the
    program reads, whose files are on disk.
    """

    name = ""

    def __init__(self, folder: Path, others: Path) -> None:
        self.folder, self.others = folder, others

    def prepare(self) -> None:
        """Write what the program needs."""

    def command(self) -> list[str]:
        """Return the arguments of Python."""
        raise NotImplementedError

    def promises(self, changes: Sequence[Change]) -> list[Promise]:
        """Return what the program said is done, with the moments; numbers grow."""
        return [(len(changes), 1)]

    def problem(self, promised: int) -> str:
        """Return what is wrong with the folder after a power failure, or "".

        promised: the last promise before that moment, or 0.
        """
        raise NotImplementedError

    def go_on(self) -> None:
        """Run the program again, in this process."""
        raise NotImplementedError

    def end_state(self) -> dict[str, bytes]:
        """Return what is the same after each run that came to its end."""
        raise NotImplementedError


def lose_power(
    case: Case, rng: random.Random, examined: float, resumed: float
) -> tuple[dict[str, int], list[str]]:
    """Let the power of a program fail at many moments; return the figures and the problems.

    examined: the share of the states after a failure that are looked at. resumed: the share of
    those, from which the program goes on; it does from the first in any case.
    """
    case.folder.mkdir(parents=True)
    case.others.mkdir(parents=True, exist_ok=True)
    case.prepare()
    disk = lost_power.Disk(case.folder)
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT)])}
    environment.update(GLOG_minloglevel="0", GLOG_logtostderr="1", OMP_NUM_THREADS="1")
    command = [sys.executable, *case.command()]
    changes, result = disk_record.record(command, case.folder, case.folder, **environment)
    assert result.returncode == 0, result.stderr
    expected, promises = case.end_state(), case.promises(changes)
    figures = {"changes": len(changes), "states": 0, "resumed": 0, "failed": 0}
    problems: list[str] = []
    for survivor in lost_power.survivors(disk, changes, promises, rng):
        if rng.random() > examined:
            continue
        shutil.rmtree(case.folder)
        lost_power.write(survivor.tree, case.folder)
        problem = case.problem(survivor.promised)
        figures["states"] += 1
        if not problem and (not figures["resumed"] or rng.random() < resumed):
            figures["resumed"] += 1
            problem = _resumed_problem(case, expected)
        if problem:
            figures["failed"] += 1
            near = changes[max(0, survivor.moment - 1)]
            problems.append(
                f"{case.name}: before change {survivor.moment} (after {near.kind} {near.path}), "
                f"{survivor.way}: {problem}"
            )
    return figures, problems


def _resumed_problem(case: Case, expected: dict[str, bytes]) -> str:
    status, output = in_child(case.go_on, case.folder)
    if status:
        return f"the next run ends with status {status}: {output[-600:]}"
    state = case.end_state()
    different = [
        name for name in sorted({*expected, *state}) if expected.get(name) != state.get(name)
    ]
    return f"the next run leaves other {', '.join(different)}" if different else ""


def in_child(body: Callable[[], object], folder: Path) -> tuple[int, str]:
    """Call `body` in a forked process in a folder; return its wait status and what it wrote."""
    log = folder.parent / "child.log"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.chdir(folder)
            with (
                open(log, "a") as text,
                contextlib.redirect_stdout(text),
                contextlib.redirect_stderr(text),
            ):
                body()
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    return status, log.read_text(errors="replace")


NET = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 6 } shape { dim: 2 dim: 3 }
  data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 1 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
layer { name: "b" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "t" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 random_seed: 1
max_iter: 6 snapshot: 2 snapshot_prefix: "s" display: 1 average_loss: 3 snapshot_format: """


def _read_snapshot_file(path: Path) -> None:
    """Read a file of a snapshot, whose format is that of its name."""
    if path.suffix == ".json":
        json.loads(path.read_text())["iteration"]
    elif "solverstate" in path.name:
        weights.read_state(path)
    else:
        weights.read_net(path)


class CaffeTrain(Case):
    """`caffe train`, with dropout, an averaged loss and snapshots in a format."""

    form, suffix = "BINARYPROTO", ""
    name = "caffe train, protobuf"

    def prepare(self) -> None:
        (self.folder / "net.prototxt").write_text(NET)
        (self.folder / "solver.prototxt").write_text(SOLVER + self.form)

    def command(self) -> list[str]:
        return ["-m", "caffe", "train", "-solver", "solver.prototxt"]

    def promises(self, changes: Sequence[Change]) -> list[Promise]:
        """A snapshot is written once the log has a line after those of the snapshot."""
        promises, text, waiting = [], "", 0
        for i, change in enumerate(changes):
            if change.kind != "text":
                continue
            text += change.content.decode()
            for line in text.splitlines()[: text.count("\n")]:
                state = re.search(r"Snapshotting solver state .*_iter_(\d+)\.", line)
                if waiting and not state:
                    promises.append((i, waiting))
                    waiting = 0
                waiting = int(state[1]) if state else waiting
            text = text.rpartition("\n")[2]
        return [*promises, (len(changes), 6)]

    def problem(self, promised: int) -> str:
        names = os.listdir(self.folder)
        base, end = "s_iter_{}.", self.suffix
        endings = (f"caffemodel{end}", f"solverstate{end}", "resume.json")
        for i in range(2, promised + 1, 2):
            missing = [e for e in endings if base.format(i) + e not in names]
            if missing:
                return f"the log says that snapshot {i} is written; without {missing}"
        for name in names:
            if name.startswith("s_iter_"):
                try:
                    _read_snapshot_file(self.folder / name)
                    if "solverstate" in name:  # is the last of three files
                        state = weights.read_state(self.folder / name)
                        weights.read_net(self.folder / state.learned_net)
                        _read_snapshot_file(self.folder / f"{name.split('.')[0]}.resume.json")
                except (caffe.CaffeError, OSError, ValueError, KeyError) as error:
                    return f"{name} cannot be read: {error}"
        return ""

    def go_on(self) -> None:
        arguments = ["train", "-solver", "solver.prototxt"]
        states = sorted(n for n in os.listdir(".") if n.endswith("solverstate" + self.suffix))
        if states:
            arguments += ["-snapshot", states[-1]]
        assert run_caffe(arguments) == 0

    def end_state(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in self.folder.iterdir()
            if path.name.startswith("s_iter_6") or path.name.startswith(".")
        }


class CaffeTrainHDF5(CaffeTrain):
    """`caffe train` with snapshots in HDF5."""

    form, suffix = "HDF5", ".h5"
    name = "caffe train, HDF5"

    def end_state(self) -> dict[str, bytes]:
        """HDF5 files hold times; values are compared."""
        state = super().end_state()
        for name in [name for name in state if name.endswith(".h5")]:
            path = str(self.folder / name)
            if "solverstate" in name:
                content = weights.read_state(path)
                blobs = [np.asarray(b.data).tobytes() for b in content.history]
                state[name] = b"".join([str(content.iter).encode(), *blobs])
            else:
                layers = sorted(weights.read_net(path), key=lambda layer: layer[0])
                state[name] = b"".join(
                    np.asarray(b.data).tobytes() for _, blobs in layers for b in blobs.values()
                )
        return state


#: Fields of a stage's solver: two stages of five iterations, three snapshots each.
FIELDS = "snapshot: 2 average_loss: 3 iter_size: 1 display: 1 base_lr: 1e-6"


class StagedTraining(Case):
    """`python -m solvers.train` on own pictures: run.json, two stages, logs, events, pages."""

    name = "solvers.train"
    prefixes = ("fcn32s/snapshot/train", "fcn16s/snapshot/train")

    def prepare(self) -> None:
        rng = np.random.RandomState(1)
        for kind in ("images", "labels"):
            (self.others / "set" / kind).mkdir(parents=True)
        for i in range(6):
            label = np.zeros((24, 32), np.uint8)
            label[6:14, 4:20] = 1 + i % 2
            picture = (rng.rand(24, 32, 3) * 60 + 60 * label[..., None]).astype(np.uint8)
            Image.fromarray(picture).save(self.others / "set" / "images" / f"{i}.png")
            Image.fromarray(label).save(self.others / "set" / "labels" / f"{i}.png")
        (self.others / "set" / "classes.txt").write_text("ground\nleft\nright\n")

    def _arguments(self) -> list[str]:
        options = f"--out {self.folder / 'run'} --variant voc-fcn16s --width 1/32 --seed 1"
        options += " --weights random --iters 5 --images 2 --gpu cpu --mirror --solver"
        return [str(self.others / "set"), *options.split(), FIELDS]

    def command(self) -> list[str]:
        return ["-m", "solvers.train", *self._arguments()]

    def promises(self, changes: Sequence[Change]) -> list[Promise]:
        """A snapshot is written once the stage's log says so."""
        promises = []
        for i, change in enumerate(changes):
            if change.kind == "write" and (change.path or "").endswith("train.log"):
                stage = next(
                    n for n, p in enumerate(self.prefixes) if p.split("/")[0] in change.path
                )
                for line in re.findall(rb"Snapshotting to .*_iter_(\d+)", change.content):
                    promises.append((i, 10 * stage + int(line)))
        return [*promises, (len(changes), 15)]

    def problem(self, promised: int) -> str:
        newest = 0
        for number, prefix in enumerate(self.prefixes):
            path = self.folder / "run" / prefix
            for snapshot in snapshots.complete(str(path)):
                if snapshots.read_progress(str(path), snapshot.iteration) is not None:
                    newest = 10 * number + snapshot.iteration
            for file in path.parent.glob("train_iter_*"):
                try:
                    _read_snapshot_file(file)
                except (caffe.CaffeError, ValueError) as error:
                    return f"{file.name} cannot be read: {error}"
        if newest < promised:
            return f"the log says that snapshot {promised} is written; the newest is {newest}"
        return ""

    def go_on(self) -> None:
        train.main(self._arguments())

    def end_state(self) -> dict[str, bytes]:
        """Return the bytes of the snapshots, the scores and the tables of losses."""
        state = {}
        for prefix in self.prefixes:
            folder = (self.folder / "run" / prefix).parent
            for path in folder.iterdir():
                relative = f"{prefix.split('/')[0]}/{path.name}"
                if TEMPORARY.fullmatch(path.name) or path.name.endswith(".incomplete"):
                    state[f"{relative} (left over)"] = b""
                elif path.name.startswith("train_iter") or path.name in (
                    "loss.csv",
                    "scores.jsonl",
                ):
                    state[relative] = path.read_bytes()
        return state


class Conversion(Case):
    """`convert_imageset`: a database of images."""

    name = "convert_imageset"
    IMAGES = 5

    def prepare(self) -> None:
        (self.others / "images").mkdir()
        lines = []
        for i in range(self.IMAGES):
            picture = np.random.RandomState(i).randint(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(picture).save(self.others / "images" / f"{i}.png")
            lines.append(f"{i}.png {i}\n")
        (self.others / "list.txt").write_text("".join(lines))

    def _arguments(self) -> list[str]:
        images, names = self.others / "images", self.others / "list.txt"
        return [f"{images}/", str(names), str(self.folder / "db")]

    def command(self) -> list[str]:
        return ["-m", "caffe.tools.convert_imageset", *self._arguments()]

    def problem(self, promised: int) -> str:
        if not (self.folder / "db").exists():
            return "the program ended; there is no database" if promised else ""
        try:
            return "" if len(self._records()) == self.IMAGES else "records are missing"
        except caffe.CaffeError as error:
            return f"the database cannot be read: {error}"

    def _records(self) -> list[bytes]:
        return list(db.Reader(str(self.folder / "db")))

    def go_on(self) -> None:
        if not (self.folder / "db").exists():
            assert convert_imageset.main(self._arguments()) == 0

    def end_state(self) -> dict[str, bytes]:
        records = {str(i): record for i, record in enumerate(self._records())}
        return {**records, "names": repr(sorted(os.listdir(self.folder))).encode()}


#: Bytes at the start of a .mat file, which have the time.
MAT_HEADER = 128


class Drawing(Case):
    """`python -m fcn_data.demo`: a drawn set."""

    name = "fcn_data.demo"
    COUNTS: ClassVar = {"train": 21, "val": 2, "test": 1, "crops": 4, "crops_val": 2}

    def command(self) -> list[str]:
        options = [f"--{n.replace('_', '-')}={c}" for n, c in self.COUNTS.items()]
        return ["-m", "fcn_data.demo", str(self.folder / "set"), "--scale", "0.25", *options]

    def problem(self, promised: int) -> str:
        if not (self.folder / "set").exists():
            return "the program ended; there is no set" if promised else ""
        names = [os.path.join(*p) for p in self._files()]
        return "" if len(names) == len(self._expected) else f"has {len(names)} files"

    def _files(self) -> list[tuple[str, str]]:
        return [(at, name) for at, _, names in os.walk(self.folder) for name in names]

    def go_on(self) -> None:
        """The machine has started again."""
        drawing.BOOT = "/proc/sys/kernel/random/uuid"
        demo.make(str(self.folder / "set"), scale=0.25, **self.COUNTS)

    def end_state(self) -> dict[str, bytes]:
        state = {}
        for at, name in self._files():
            content = Path(at, name).read_bytes()
            content = content[MAT_HEADER:] if name.endswith(".mat") else content
            state[os.path.relpath(os.path.join(at, name), self.folder)] = content
        self._expected = getattr(self, "_expected", state)
        return state


CASES = (CaffeTrain, CaffeTrainHDF5, StagedTraining, Conversion, Drawing)
