"""Runs bench.worker in a process, which measures one peer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from bench import machine
from bench.peers import Peer
from bench.settings import ENGINE_FOLDER, ROOT, Json

CAFFE_PYTHON = ROOT / "oracle" / "caffe-python"
#: Seconds in which BVLC Caffe's BLAS has measured itself.
BLAS_LIMIT = 120
#: Characters of a process's last line that are kept as the reason why it failed.
REASON = 300
#: Exceptions whose messages are clear without the names of the exceptions.
PLAIN_ERRORS = re.compile(r"^((?:ValueError|RuntimeError|(?:\w+\.)*errors\.\w+|PeerError): )+")


class PeerError(Exception):
    """A peer's process failed. results: of its jobs that ended before."""

    def __init__(self, reason: str, results: Sequence[Json] = ()) -> None:
        super().__init__(reason)
        self.results = list(results)


class Processes:
    """Starts the processes of a run, one at a time.

    scratch: the folder for the files that pass between the processes. threads: of each process.
    core_type: OPENBLAS_CORETYPE of the processes, "" for none.
    """

    def __init__(self, scratch: Path, threads: int) -> None:
        self.scratch, self.threads = scratch, threads
        self.core_type = ""
        scratch.mkdir(parents=True, exist_ok=True)

    def measure(self, peer: Peer, jobs: Sequence[Json], limit: float) -> List[Json]:
        """Run the jobs of a peer in one process, and return their results.

        The time of a job of the kind `first`, the only one of its process, lasts until the worker
        prints a line that starts with `answer`. Raises PeerError, with the results so far, if the
        process fails or takes longer than `limit` seconds.
        """
        job_file, result_file = self.scratch / "jobs.json", self.scratch / "results.json"
        job_file.write_text(json.dumps(jobs))
        result_file.unlink(missing_ok=True)
        log = self.scratch / "worker.log"
        answer = failure = None
        with open(log, "wb") as errors:
            begin = time.perf_counter()
            process = subprocess.Popen(
                [self._python(peer), "-m", "bench.worker", str(job_file), str(result_file)],
                cwd=ROOT,
                env=self.environment(peer),
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
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        results: List[Json] = json.loads(result_file.read_text()) if result_file.exists() else []
        if answer and results:
            results[0]["times"] = [answer]
        if failure is None and process.returncode:
            failure = _last_line(log.read_text(errors="replace"))
            failure = failure or f"ended with status {process.returncode}"
        if failure is not None:
            raise PeerError(explain(failure), results)
        return results

    def environment(self, peer: Peer) -> Dict[str, str]:
        """Return the environment of a peer's process.

        `import caffe` finds the peer's engine, also if that is not installed. In BVLC Caffe's root
        it must not find this project's.
        """
        environment = {**os.environ, "GLOG_minloglevel": "2"}
        # The packages of other peers were compiled when they were installed. The first process of
        # this engine compiles its modules for the others.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(self.threads)
        paths = [str(ROOT)]
        if not peer.bvlc:
            paths = [peer.engine or str(ENGINE_FOLDER), *paths, os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        if self.core_type:
            environment["OPENBLAS_CORETYPE"] = self.core_type
        return environment

    def choose_core_type(self, peer: Peer) -> Dict[str, float]:
        """Set `core_type` to the one with which BVLC Caffe's BLAS is fastest; return the rates.

        Rates are multiply-adds a second of a matrix product. Raises PeerError if BVLC Caffe's
        Python does not run.
        """
        rates = {}
        for name in machine.core_types():
            completed = subprocess.run(
                [self._python(peer), "bench/blas.py"],
                cwd=ROOT,
                env={**self.environment(peer), "OPENBLAS_CORETYPE": name},
                capture_output=True,
                text=True,
                timeout=BLAS_LIMIT,
            )
            if completed.returncode:
                raise PeerError(_last_line(completed.stderr) or "oracle/caffe-python failed")
            rates[name] = float(completed.stdout)
        self.core_type = max(rates, key=lambda name: rates[name], default="")
        return rates

    @staticmethod
    def _python(peer: Peer) -> str:
        return str(CAFFE_PYTHON) if peer.bvlc else sys.executable


def explain(error: str) -> str:
    """Return the message of an exception's last line, with the remedy for a missing package."""
    message = PLAIN_ERRORS.sub("", error)
    if message.startswith("ModuleNotFoundError: No module named"):
        return f"{message.split(':', 1)[1].strip()}; run make bench-setup"
    return message


def _last_line(text: Optional[str]) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1][:REASON] if lines else ""
