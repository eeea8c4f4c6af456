"""Several workers on this machine: one `caffe` process for each device."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import glog
from . import company, hello, meeting

#: The folder that holds the package `caffe`.
ENGINE = Path(__file__).resolve().parents[2]
#: Linux's prctl(2) option for the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1


def spawn(arguments: Sequence[str], count: int) -> int:
    """Run `caffe ARGUMENTS` in `count` processes that train together; return the exit status.

    SIGINT, SIGHUP and SIGTERM are passed on to the processes. On Linux they end when this process
    dies.
    """
    environment = worker_environment(count)
    die_with_parent = _death_signal()
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "caffe", *arguments],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        for rank in range(count)
    ]
    try:
        with _signals_passed_on(workers):
            return _wait(workers)
    finally:
        for worker in workers:
            worker.kill()


def worker_environment(count: int) -> dict[str, str]:
    """Return the environment of `count` workers, in which they import this engine and meet."""
    paths = [str(ENGINE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(meeting.free_port()),
        hello.SECRET: secrets.token_hex(16),
    }


@contextlib.contextmanager
def _signals_passed_on(workers: Sequence[subprocess.Popen]) -> Iterator[None]:
    def pass_on(number: int, _: Any) -> None:
        for worker in workers:
            worker.send_signal(number)

    signals = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    handlers = {number: signal.signal(number, pass_on) for number in signals}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[subprocess.Popen]) -> int:
    """Return 0 once all workers have ended with 0, or 1.

    After the first worker that fails, the others have the time that they need for a last snapshot.
    """
    failed: float | None = None
    while any(worker.poll() is None for worker in workers):
        if failed is None and any(worker.returncode for worker in workers):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > company.LAST + company.NAMING:
            break
        time.sleep(0.05)
    return int(any(worker.returncode != 0 for worker in workers))


def _death_signal() -> Callable[[], None] | None:
    """Return a function for a new process, with which SIGTERM ends it when its parent dies.

    None, and a line in the log, where the system cannot do that.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is None:
        glog.write("spawn.py:1", "No prctl on this system; workers go on if this process is killed")
        return None
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
