"""Runs the processes: cases, rounds, and every peer in turn."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import machine, prepare
from .peers import CASES, ENGINE, FLOOR, PEERS, REFERENCES, SCORED, Case
from .statistics import difference

ROOT = Path(__file__).resolve().parents[1]
CAFFE_PYTHON = ROOT / "oracle" / "caffe-python"
Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is asked for. seconds: a case is measured for so long; limit: a job may take so long;
    minutes: after so many no further process begins."""

    folder: Path
    device: str = "cpu"
    cases: tuple[str, ...] = tuple(CASES)
    peers: tuple[str, ...] = tuple(PEERS)
    rounds: int = 3
    threads: int = 1
    seconds: float = 6.0
    limit: float = 600.0
    minutes: float = float("inf")
    quick: bool = False

    def key(self) -> Json:
        """What two runs need to have in common for the second to continue the first."""
        code = hashlib.sha256()
        for folder in ("engine/caffe", "bench"):
            for path in sorted((ROOT / folder).rglob("*.py")):
                code.update(path.read_bytes())
        return {
            "device": self.device,
            "cases": list(self.cases),
            "peers": list(self.peers),
            "rounds": self.rounds,
            "threads": self.threads,
            "seconds": self.seconds,
            "quick": self.quick,
            "code": code.hexdigest()[:16],
        }


class Turn(NamedTuple):
    """A case of a peer in a round."""

    case: str
    peer: str
    round: int


#: Kinds whose process measures nothing else: they are about what its start costs.
ALONE = {"load", "first"}


class PeerError(Exception):
    """A peer's process failed; the reason in one line, and what its jobs had found before."""

    def __init__(self, reason: str, found: Sequence[Json] = ()) -> None:
        super().__init__(reason)
        self.found = found


class Bench:
    """One run of the benchmark. `results` is what goes to the JSON file."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.folder = settings, settings.folder
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.core_type = ""
        self.results: Json = {
            "key": settings.key(),
            "machine": machine.describe(settings.device),
            "started": time.strftime("%Y-%m-%d"),
            "versions": {},
            "left_out": [],
            "runs": [],
            "differences": {},
            "operations": {},
            "finished": False,
        }

    # ---- one process -----------------------------------------------------------------------------

    def start(self, jobs: Sequence[Json], own: bool = True) -> list[Json]:
        """Run a worker on jobs of one peer, in turn; what each found.

        A job of the kind `first` is alone, and its time is that until the worker's line `answer`.
        Raises PeerError, with what the jobs found before the one that failed.
        """
        job_file, result_file = self.scratch / "jobs.json", self.scratch / "results.json"
        job_file.write_text(json.dumps(jobs))
        result_file.unlink(missing_ok=True)
        python = sys.executable if own else str(CAFFE_PYTHON)
        log = self.scratch / "worker.log"
        limit = self.settings.limit * len(jobs)
        answer = failure = None
        with open(log, "wb") as errors:
            begin = time.perf_counter()
            process = subprocess.Popen(
                [python, "-m", "bench.worker", str(job_file), str(result_file)],
                cwd=ROOT,
                env=self.environment(own),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            try:
                assert process.stdout
                if jobs[0]["kind"] == "first" and process.stdout.readline().startswith(b"answer"):
                    answer = time.perf_counter() - begin
                process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                failure = f"took more than {limit:.0f} s"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)
                    process.wait()
        found: list[Json] = json.loads(result_file.read_text()) if result_file.exists() else []
        if answer and found:
            found[0]["times"] = [answer]
        if failure is None and process.returncode:
            lines = log.read_text(errors="replace").strip().splitlines()
            failure = (lines or [f"ended with status {process.returncode}"])[-1][:300]
        if failure is not None:
            raise PeerError(failure, found)
        return found

    def environment(self, own: bool = True) -> dict[str, str]:
        threads = str(self.settings.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        found = {**os.environ, **{name: threads for name in names}, "GLOG_minloglevel": "2"}
        # This engine need not be installed; BVLC Caffe must not find it.
        paths = [str(ROOT), *([os.environ["PYTHONPATH"]] if own and "PYTHONPATH" in found else [])]
        found["PYTHONPATH"] = os.pathsep.join(paths)
        if self.core_type:
            found["OPENBLAS_CORETYPE"] = self.core_type
        return found

    def job(self, name: str, case: Case | None = None) -> Json:
        """What a peer is told for a case."""
        peer, settings, folder = PEERS[name], self.settings, self.folder
        net = case.net if case else prepare.MAIN
        job: Json = {
            "kind": case.kind if case else "probe",
            "runner": peer.runner,
            "precision": peer.precision,
            "options": peer.options,
            "device": settings.device,
            "threads": settings.threads,
            "deploy": str(folder / f"{net}.prototxt"),
            "solver": str(folder / "solver.prototxt"),
            "val": str(folder / "val.prototxt"),
            "pictures_solver": str(folder / "pictures.prototxt"),
            "weights": str(folder / f"{net}.caffemodel"),
            "torch": str(folder / f"{net}.pt"),
            "onnx": str(folder / f"{net}.onnx"),
            "pictures": str(folder / "voc"),
            "count": min(2, SCORED) if settings.quick else SCORED,
            "solver_settings": prepare.SOLVER,
            "seconds": settings.seconds,
        }
        if case:
            # On a device, graphs are captured by the third or fourth pass.
            warm = max(case.warm, 4) if settings.device == "cuda" else case.warm
            job.update(warm=warm, least=case.least, passes=case.passes, sample=case.sample)
            for what in ("image", "label"):
                paths = [prepare.input_file(folder, what, size) for size in case.sizes]
                job[what + "s"] = paths
            if len(case.sizes) == 1 and peer.runner in ("onnx_runtime", "open_vino"):
                job["onnx"] = prepare.fixed_onnx(folder, net, case.sizes[0])
        return job

    # ---- who is here -----------------------------------------------------------------------------

    def leave_out(self, peer: str, why: str, case: str = "") -> None:
        entry = {"peer": peer, "case": case, "why": why}
        if entry not in self.results["left_out"]:
            self.results["left_out"].append(entry)
            where = f" in {case}" if case else ""
            print(f"left out: {PEERS[peer].title}, {PEERS[peer].precision}{where}: {why}")

    def find_peers(self) -> list[str]:
        """The peers that are installed, with their versions noted; says why others are left out."""
        here = []
        versions: dict[tuple[str, bool], str] = {}
        for name in self.settings.peers:
            peer = PEERS[name]
            if self.settings.device not in peer.devices:
                continue
            try:
                if not peer.own:
                    self.core_type = self.core_type or self.best_core_type()
                program = peer.runner, peer.own
                if program not in versions:
                    versions[program] = self.start([self.job(name)], peer.own)[0]["version"]
                self.results["versions"][name] = versions[program]
                onnx = peer.runner in ("onnx_runtime", "open_vino")
                if onnx and not (self.folder / f"{prepare.MAIN}.onnx").exists():
                    raise PeerError("there is no ONNX model; run make bench-setup")
                here.append(name)
            except PeerError as error:
                self.leave_out(name, _plainly(str(error)))
        return here

    def best_core_type(self) -> str:
        """The OPENBLAS_CORETYPE with which BVLC Caffe's BLAS is fastest here, by trying."""
        rates = {}
        for name in machine.core_types():
            environment = {**self.environment(own=False), "OPENBLAS_CORETYPE": name}
            done = subprocess.run(
                [str(CAFFE_PYTHON), "bench/blas.py"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode:
                lines = done.stderr.strip().splitlines()
                raise PeerError((lines or ["oracle/caffe-python failed"])[-1][:300])
            rates[name] = float(done.stdout)
        self.results["core_types"] = rates
        return max(rates, key=lambda name: rates[name], default="")

    # ---- the run ---------------------------------------------------------------------------------

    def plan(self, here: Sequence[str]) -> Iterator[Turn]:
        """The order of the run; each round begins with another peer.

        On the CPU all rounds of a case, then the next. On a device all cases of a round, one peer
        after another, so that those of a peer can share a process.
        """
        able = {name: self.able(name, here) for name in self.settings.cases}
        rounds = {name: min(self.settings.rounds, CASES[name].rounds) for name in able}
        if self.settings.device == "cpu":
            for case in able:
                for i in range(rounds[case]):
                    yield from (Turn(case, peer, i) for peer in _rotated(able[case], i))
            return
        alone_last = sorted(able, key=lambda case: CASES[case].kind in ALONE)
        for i in range(max(rounds.values(), default=0)):
            for peer in _rotated(here, i):
                for case in alone_last:
                    if peer in able[case] and i < rounds[case]:
                        yield Turn(case, peer, i)

    def able(self, case_name: str, here: Sequence[str]) -> list[str]:
        """The peers that a case is measured of."""
        case = CASES[case_name]
        return [
            name
            for name in here
            if self.settings.device in case.devices
            and (not case.peers or name in case.peers)
            and (case.kind != "train" or PEERS[name].trains)
        ]

    def visits(self, turns: Sequence[Turn]) -> list[list[Turn]]:
        """The turns that share a process: on a device, those of a peer in a round.

        Starting takes 4 s there, for 0.1 s that many cases take. The memory of the device is known
        for each; that of the host and what a start costs need a process of their own.
        """

        def shared(turn: Turn) -> tuple[Any, ...]:
            alone = self.settings.device == "cpu" or CASES[turn.case].kind in ALONE
            return turn.peer, turn.round, turn.case if alone else None

        return [list(group) for _, group in itertools.groupby(turns, shared)]

    def run(self, out: Path) -> Json:
        """Everything that `out` does not have yet and the minutes allow; `out` is written after
        every process."""
        from fcn_common.progress import ProgressBar

        end = time.monotonic() + 60 * self.settings.minutes
        self.continue_from(out)
        here = self.find_peers()
        done = {(r["case"], r["peer"], r["round"]) for r in self.results["runs"]}
        visits = self.visits([turn for turn in self.plan(here) if turn not in done])
        self.count_operations()
        self.measure_floor(0)
        self.results["weights"] = (self.folder / f"{prepare.MAIN}.caffemodel").stat().st_size
        self.write(out)
        with ProgressBar(sum(map(len, visits)), "benchmark") as bar:
            for turns in visits:
                if time.monotonic() >= end:
                    break
                self.visit(turns, out)
                bar.update(len(turns))
            else:
                self.measure_floor(1)
                self.results["finished"] = True
        self.results["differences"] = self.differences()
        self.write(out)
        return self.results

    def visit(self, turns: Sequence[Turn], out: Path) -> None:
        """Measure these turns, of one peer in one round. One that fails is left out, and so are
        its later rounds; those behind it go on in another process."""
        failed = {(entry["case"], entry["peer"]) for entry in self.results["left_out"]}
        todo = [turn for turn in turns if (turn.case, turn.peer) not in failed]
        while todo:
            busy, failure = machine.load(), None
            try:
                found = self.start([self.prepared(t) for t in todo], PEERS[todo[0].peer].own)
            except PeerError as error:
                found, failure = list(error.found), _plainly(str(error))
            for turn, result in zip(todo, found):
                if "scales" in result:
                    self.results["scales"] = result.pop("scales")
                entry = {**turn._asdict(), "load": round(busy, 2), **result}
                self.results["runs"].append(entry)
            todo = todo[len(found) :]
            if failure is not None and todo:
                self.leave_out(todo[0].peer, failure, todo[0].case)
                todo = todo[1:]
            self.write(out)

    def continue_from(self, out: Path) -> None:
        """Take over what an unfinished run of the same settings left; keep another under .old."""
        if not out.exists():
            return
        before = json.loads(out.read_text())
        same = before["key"] == self.results["key"]
        if same and before["machine"] == self.results["machine"] and not before["finished"]:
            print(f"continues {out}: {len(before['runs'])} measurements are there")
            self.results.update(before)
            self.results["left_out"] = []
        else:
            os.replace(out, out.with_suffix(".old.json"))

    def prepared(self, turn: Turn) -> Json:
        """The job of a turn."""
        case = CASES[turn.case]
        if self.settings.quick:
            case = replace(case, sizes=case.sizes[:3], warm=1, least=1, passes=1)
        job = self.job(turn.peer, case)
        if turn.round == 0 and case.kind != "load":
            path = self.score_file(turn.case, turn.peer)
            job["save"] = str(path)
            path.parent.mkdir(exist_ok=True)
        if case.kind == "train":
            job["scales"] = self.results.get("scales")
        return job

    def score_file(self, case: str, peer: str) -> Path:
        return self.folder / "scores" / f"{self.settings.device}-{case}-{peer}.npy"

    def measure_floor(self, i: int) -> None:
        """The rate of large matrix products in PyTorch, in every precision, if not yet there."""
        if any((r["case"], r["round"]) == ("floor", i) for r in self.results["runs"]):
            return
        cuda = self.settings.device == "cuda"
        matrix = 2048 if self.settings.quick else 8192 if cuda else 4096
        how = {"kind": "products", "matrix": matrix, "warm": 2, "least": 3, "passes": 10}
        precisions = FLOOR if cuda else ("float32", "bfloat16")
        found = self.start([{**self.job(ENGINE), **how, "precision": p} for p in precisions])
        for precision, result in zip(precisions, found):
            entry = {"case": "floor", "peer": precision, "round": i, "load": machine.load()}
            self.results["runs"].append({**entry, **result})

    def count_operations(self) -> None:
        """Multiply-adds of each case's net for its sizes."""
        from caffe.proto import caffe_pb2
        from google.protobuf import text_format

        from .operations import count

        for name in self.settings.cases:
            case = CASES[name]
            net: Any = caffe_pb2.NetParameter()
            text_format.Parse((self.folder / f"{case.net}.prototxt").read_text(), net)
            for size in case.sizes:
                self.results["operations"][case.of(size)] = sum(count(net, size).values())

    def differences(self) -> dict[str, Json]:
        """Case -> peer -> `difference` from the reference, the first of REFERENCES that ran."""
        found: dict[str, Json] = {}
        for case in self.settings.cases:
            ran = [r["peer"] for r in self.results["runs"] if r["case"] == case]
            files = {peer: self.score_file(case, peer) for peer in ran}
            files = {peer: path for peer, path in files.items() if path.exists()}
            reference = next((name for name in REFERENCES if name in files), None)
            if reference is None:
                continue
            theirs = np.load(files[reference])
            found[case] = {"reference": reference}
            for peer, path in files.items():
                if peer != reference:
                    found[case][peer] = difference(np.load(path), theirs)
        return found

    def write(self, out: Path) -> None:
        partial = out.with_suffix(".partial")
        partial.write_text(json.dumps(self.results, indent=1))
        os.replace(partial, out)


def _rotated(peers: Sequence[str], i: int) -> list[str]:
    turn = i % max(1, len(peers))
    return [*peers[turn:], *peers[:turn]]


def _plainly(error: str) -> str:
    """The message of an exception's last line, without its class where that says nothing."""
    for name in ("ValueError", "RuntimeError", "caffe.errors.CaffeError", "PeerError"):
        error = error.removeprefix(f"{name}: ")
    if error.startswith("ModuleNotFoundError: No module named"):
        return f"{error.split(':', 1)[1].strip()}; run make bench-setup"
    return error
