"""Runs the processes: case by case, in rounds, every peer in turn."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, prepare
from .peers import CASES, ENGINE, FLOOR, PEERS, REFERENCES, SCORED, Case
from .statistics import difference

ROOT = Path(__file__).resolve().parents[1]
CAFFE_PYTHON = ROOT / "oracle" / "caffe-python"
Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is asked for. seconds: a process measures for so long; limit: it may take so long."""

    folder: Path
    device: str = "cpu"
    cases: tuple[str, ...] = tuple(CASES)
    peers: tuple[str, ...] = tuple(PEERS)
    rounds: int = 3
    threads: int = 1
    seconds: float = 6.0
    limit: float = 600.0
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


class PeerError(Exception):
    """A peer's process failed; the reason in one line."""


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

    def start(self, job: Json, own: bool = True) -> Json:
        """Run a worker on a job; its result, with `answer`, seconds until its line of that name."""
        job = dict(job, result=str(self.scratch / "result.json"))
        (self.scratch / "job.json").write_text(json.dumps(job))
        (self.scratch / "result.json").unlink(missing_ok=True)
        python = [sys.executable] if own else [str(CAFFE_PYTHON)]
        command = [*python, "-m", "bench.worker", str(self.scratch / "job.json")]
        log = self.scratch / "worker.log"
        found: Json = {}
        with open(log, "wb") as errors:
            begin = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(own),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            try:
                assert process.stdout
                if job["kind"] == "first" and process.stdout.readline().startswith(b"answer"):
                    found["answer"] = time.perf_counter() - begin
                process.communicate(timeout=self.settings.limit)
            except subprocess.TimeoutExpired:
                raise PeerError(f"took more than {self.settings.limit:.0f} s") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)
                    process.wait()
        if process.returncode:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise PeerError((lines or [f"ended with status {process.returncode}"])[-1][:300])
        found.update(json.loads((self.scratch / "result.json").read_text()))
        if "answer" in found:
            found["times"] = [found.pop("answer")]
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
        job: Json = {
            "kind": case.kind if case else "probe",
            "runner": peer.runner,
            "precision": peer.precision,
            "options": peer.options,
            "device": settings.device,
            "threads": settings.threads,
            "deploy": str(folder / "deploy.prototxt"),
            "solver": str(folder / "solver.prototxt"),
            "val": str(folder / "val.prototxt"),
            "pictures_solver": str(folder / "pictures.prototxt"),
            "weights": str(folder / "fcn8s.caffemodel"),
            "torch": str(folder / "fcn8s.pt"),
            "onnx": str(folder / "fcn8s.onnx"),
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
                job["onnx"] = prepare.fixed_onnx(folder, case.sizes[0])
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
        for name in self.settings.peers:
            peer = PEERS[name]
            if self.settings.device not in peer.devices:
                continue
            try:
                if not peer.own:
                    self.core_type = self.core_type or self.best_core_type()
                self.results["versions"][name] = self.start(self.job(name), peer.own)["version"]
                onnx = peer.runner in ("onnx_runtime", "open_vino")
                if onnx and not (self.folder / "fcn8s.onnx").exists():
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

    def plan(self, here: Sequence[str]) -> Iterator[tuple[str, str, int]]:
        """(case, peer, round) in the order of the run; each round begins with another peer."""
        for case_name in self.settings.cases:
            case = CASES[case_name]
            able = [
                name
                for name in here
                if self.settings.device in case.devices
                and (not case.peers or name in case.peers)
                and (case.kind != "train" or PEERS[name].trains)
            ]
            for i in range(min(self.settings.rounds, case.rounds)):
                turn = i % max(1, len(able))
                yield from ((case_name, name, i) for name in able[turn:] + able[:turn])

    def run(self, out: Path) -> Json:
        """Everything that `out` does not have yet; it is written after every process."""
        from solvers.log import Bar

        self.continue_from(out)
        here = self.find_peers()
        done = {(r["case"], r["peer"], r["round"]) for r in self.results["runs"]}
        todo = [turn for turn in self.plan(here) if turn not in done]
        failed: set[tuple[str, str]] = set()
        self.count_operations()
        self.measure_floor(0)
        self.results["weights"] = (self.folder / "fcn8s.caffemodel").stat().st_size
        self.write(out)
        with Bar(len(todo), "benchmark") as bar:
            for case, peer, i in todo:
                if (case, peer) not in failed:
                    try:
                        self.measure(case, peer, i)
                    except PeerError as error:
                        failed.add((case, peer))
                        self.leave_out(peer, _plainly(str(error)), case)
                self.write(out)
                bar.update()
        self.measure_floor(1)
        self.results["differences"] = self.differences()
        self.results["finished"] = True
        self.write(out)
        return self.results

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

    def measure(self, case_name: str, name: str, i: int) -> None:
        case = CASES[case_name]
        if self.settings.quick:
            case = replace(case, sizes=case.sizes[:3], warm=1, least=1, passes=1)
        job = self.job(name, case)
        path = self.score_file(case_name, name)
        if i == 0 and case.kind != "load":
            job["save"] = str(path)
            path.parent.mkdir(exist_ok=True)
        if case.kind == "train":
            job["scales"] = self.results.get("scales")
        busy = machine.load()
        found = self.start(job, PEERS[name].own)
        if "scales" in found:
            self.results["scales"] = found.pop("scales")
        entry = {"case": case_name, "peer": name, "round": i, "load": round(busy, 2), **found}
        self.results["runs"].append(entry)

    def score_file(self, case: str, peer: str) -> Path:
        return self.folder / "scores" / f"{self.settings.device}-{case}-{peer}.npy"

    def measure_floor(self, i: int) -> None:
        """The rate of large matrix products in PyTorch, a process a precision, if not yet there."""
        if any((r["case"], r["round"]) == ("floor", i) for r in self.results["runs"]):
            return
        cuda = self.settings.device == "cuda"
        for precision in FLOOR if cuda else ("float32", "bfloat16"):
            job = self.job(ENGINE)
            matrix = 2048 if self.settings.quick else 8192 if cuda else 4096
            job.update(kind="products", precision=precision, matrix=matrix)
            job.update(warm=2, least=3, passes=10)
            found = self.start(job)
            entry = {"case": "floor", "peer": precision, "round": i, "load": machine.load()}
            self.results["runs"].append({**entry, **found})

    def count_operations(self) -> None:
        """Multiply-adds of the net for each size in the cases."""
        from caffe.proto import caffe_pb2
        from google.protobuf import text_format

        from .operations import count

        net: Any = caffe_pb2.NetParameter()
        text_format.Parse((self.folder / "deploy.prototxt").read_text(), net)
        for case in self.settings.cases:
            for size in CASES[case].sizes:
                key = f"{size[0]}x{size[1]}"
                self.results["operations"][key] = sum(count(net, size).values())

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


def _plainly(error: str) -> str:
    """The message of an exception's last line, without its class where that says nothing."""
    for name in ("ValueError", "RuntimeError", "caffe.errors.CaffeError", "PeerError"):
        error = error.removeprefix(f"{name}: ")
    if error.startswith("ModuleNotFoundError: No module named"):
        return f"{error.split(':', 1)[1].strip()}; run make bench-setup"
    return error
