"""The workers that train together: data parallel, a process each, on torch.distributed.

Every worker draws its own batches. The gradients are averaged before each update, over NCCL
between CUDA devices, and over gloo between CPUs or where workers share a device. Worker 0 logs,
tests and writes the snapshots.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist

from .. import glog, mode
from ..errors import DeviceError, WorkerLostError
from ..run.wiring import Parameter
from . import averaging, gathering, snapshots
from .travelling import Travelling
from .watch import Watch

#: Seconds that a worker has for its last snapshot and its end, once another worker has ended.
LAST = 120
#: Seconds to learn which worker died, once a collective has failed or SIGTERM has come.
NAMING = 3
# torch.distributed's own limit must not end a wait for worker 0's tests; the watch ends it.
_FOREVER = timedelta(days=30)

#: What may be requested of a solver. Where workers request different actions, the last one counts.
ACTIONS = ("none", "snapshot", "stop")


class Trainer(Protocol):
    """What a company needs of a solver."""

    param: Any
    #: The iteration that comes next, from 0.
    iter: int
    #: How often the solver was restored from a snapshot.
    restores: int
    requested_action: Callable[[], str]

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The learnable parameters, in the same order on every worker."""

    def write_snapshot(self) -> None:
        """Write a snapshot of the last iteration, whichever worker this is."""

    def progress_text(self) -> str:
        """Return what this worker needs to go on from a snapshot, as text without line breaks."""

    def next_progress_text(self) -> str:
        """Return what this worker needs after the update that follows, as `progress_text` does."""

    def keep_progress(self, texts: Sequence[str]) -> None:
        """Keep the progress of all workers, by rank, for a snapshot of this iteration."""


class Company:
    """The workers that a solver trains with, as the solver sees them. The base has no others."""

    def start(self, trainer: Trainer) -> None:
        """Prepare for the first iteration of a call of `step`."""

    def average(self, trainer: Trainer) -> None:
        """Replace the gradients by their means over the workers."""

    def action(self, trainer: Trainer) -> str:
        """Return what was requested during this iteration: "none", "snapshot" or "stop"."""
        return trainer.requested_action()

    def uninterrupted(self) -> AbstractContextManager[None]:
        """Let a block (an update, a snapshot) finish before SIGTERM ends this process."""
        return contextlib.nullcontext()

    def note_snapshot(self, iteration: int) -> None:
        """Note that a snapshot of this iteration is on disk."""

    def collect(self, trainer: Trainer) -> None:
        """Bring the progress of all workers together, for a snapshot of this iteration."""


class Alone(Company):
    """The company of a solver that trains by itself."""


class Group(Company):
    """Several workers, of which this process is one.

    When a worker has ended, the others end too. The next call here, or the handler of SIGTERM,
    raises WorkerLostError in the first remaining worker and SystemExit in the others. The first
    worker writes a snapshot of its last iteration before.

    rank, count: this worker, and the number of workers. store: a key-value store of
    torch.distributed that the workers share. host: the host of worker 0. Raises DeviceError if the
    workers cannot connect.
    """

    def __init__(self, rank: int, count: int, store: Any, host: str) -> None:
        self.rank, self.count = rank, count
        on = mode.device()
        if on.type == "cuda":
            torch.cuda.set_device(on)
        try:
            #: How gradients travel: "nccl" or "gloo".
            self.backend = "nccl" if _has_own_device(on, rank, count, store) else "gloo"
            dist.init_process_group(
                self.backend, store=store, rank=rank, world_size=count, timeout=_FOREVER
            )
            self._watch = Watch(rank, count, store, host, _interrupt_main_thread)
        except (RuntimeError, OSError) as error:
            raise DeviceError(
                f"worker {rank} of {count} could not join the others: {first_line(error)}"
            ) from None
        if on.type == "cuda" and self.backend == "gloo":
            glog.write(
                "company.py:1",
                "Workers share a CUDA device, or some use none; gradients travel over gloo, which "
                "is slower than NCCL",
            )
        #: The solver here, and the iteration of its last snapshot on disk.
        self._trainer: Trainer | None = None
        self._snapshot: int | None = None
        #: The solver that has the weights of worker 0, and its number of restores at that time.
        self._started: tuple[Trainer, int] | None = None
        #: How progress travels, and the progress of all workers before an iteration.
        self._travelling: Travelling | None = None
        self._progress: tuple[int, torch.Tensor] | None = None
        self._action = "none"
        self._uninterrupted, self._terminated, self._lost = 0, False, False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self._terminate())
        atexit.register(self._leave)

    def start(self, trainer: Trainer) -> None:
        """Give every worker the weights of worker 0, once for a solver and after each restore."""
        started = (trainer, trainer.restores)
        if self._started != started:
            self._trainer, self._snapshot = trainer, trainer.iter
            self.broadcast(trainer)
            self._travelling = Travelling.agree(
                self.rank, self.count, trainer.progress_text(), mode.device(), self._wait
            )
            self._started, self._progress = started, None

    def broadcast(self, trainer: Trainer) -> None:
        """Copy worker 0's weights to all workers; return once every worker has called this.

        Raises DeviceError if the workers are at different iterations.
        """
        on = mode.device()
        extremes = torch.tensor([trainer.iter, -trainer.iter], dtype=torch.int64, device=on)
        self._wait(dist.all_reduce(extremes, dist.ReduceOp.MAX, async_op=True))
        last, first = int(extremes[0]), -int(extremes[1])
        if last != first:
            raise DeviceError(
                f"worker {self.rank} is at iteration {trainer.iter}, but the workers are between "
                f"{first} and {last}; all need to see the same snapshots, in a shared folder"
            )
        for parameter in trainer.parameters:
            weights = parameter.blob.values.mutable(on)
            contiguous = weights.contiguous()
            self._wait(dist.broadcast(contiguous, 0, async_op=True))
            if contiguous is not weights:
                weights.copy_(contiguous)

    def average(self, trainer: Trainer) -> None:
        """Replace the gradients by their means over the workers, and agree on an action.

        The requests travel with the gradients, so that all workers act after the same iteration,
        and so does the progress of each worker.
        """
        on = mode.device()
        vote = ACTIONS.index(trainer.requested_action())
        votes = torch.tensor([float(i == vote) for i in range(len(ACTIONS))], device=on)
        gradients = [averaging.gradient(p.blob, on) for p in trainer.parameters]
        rows = []
        if self._travelling is not None:
            rows.append(self._travelling.row(trainer.next_progress_text(), on))
        averaging.average([*gradients, votes, *rows], self.count, self._wait)
        if rows:
            self._progress = trainer.iter + 1, rows[0]
        self._action = ACTIONS[max(i for i, share in enumerate(votes.tolist()) if share > 0)]

    def action(self, trainer: Trainer) -> str:
        return self._action

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        self._uninterrupted += 1
        try:
            yield
        finally:
            self._uninterrupted -= 1
        if self._terminated and not self._uninterrupted:
            self._terminate()

    def note_snapshot(self, iteration: int) -> None:
        self._snapshot = iteration

    def collect(self, trainer: Trainer) -> None:
        text = trainer.progress_text()
        trainer.keep_progress(gathering.gather(text, self.count, mode.device(), self._wait))

    def _wait(self, work: Any) -> None:
        """Wait for a collective as long as all workers live.

        A worker that said goodbye may have done its part before, so the collective gets some time.
        """
        pause, noticed = 1e-5, 0.0
        try:
            while not work.is_completed():
                if self._watch.any_ended():
                    noticed = noticed or time.monotonic()
                    if self._watch.any_died() or time.monotonic() - noticed > NAMING:
                        self._end("lost the others", self.rank)
                time.sleep(pause)
                pause = min(2 * pause, 2e-3)
            work.wait()
        except WorkerLostError:
            raise
        except RuntimeError as error:  # of torch.distributed: a connection broke
            self._end(first_line(error), self.rank)

    def _terminate(self) -> None:
        """End after SIGTERM, which a launcher or this process's own watch has sent."""
        if self._uninterrupted:
            self._terminated = True
        else:
            self._end("received SIGTERM", 0)

    def _end(self, reason: str, reporter: int) -> None:
        """Write what can be written, then raise WorkerLostError, or SystemExit.

        If other workers have ended, the message says how, and the first remaining worker raises it.
        Otherwise the message is `reason`, and worker `reporter` raises it.
        """
        with contextlib.suppress(ValueError):  # in a thread that handles no signals
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Connections and devices that wait for a dead worker must not keep this process.
        self._lost = True
        timer = threading.Timer(LAST, os._exit, (1,))
        timer.daemon = True
        timer.start()
        ended = self._watch.ended(NAMING)
        if ended:
            cause = ", ".join(f"worker {rank} {how}" for rank, how in ended)
            reporter = min(set(range(self.count)) - {rank for rank, _ in ended})
        else:
            cause = f"worker {self.rank} {reason}"
        if self.rank != reporter:
            sys.exit(1)
        raise WorkerLostError(f"{cause}, so all {self.count} workers end; {self._last_snapshot()}")

    def _last_snapshot(self) -> str:
        """Write a snapshot unless this iteration has one; say what to continue from."""
        trainer = self._trainer
        if trainer is None or not trainer.param.snapshot_prefix:
            return "no snapshot was written"
        if trainer.iter != self._snapshot:
            if self.backend == "nccl":
                # Collectives that still run would block the copies of the weights from the device.
                # Older versions of PyTorch cannot abort them; the timer then ends this process.
                group = dist.group.WORLD
                with contextlib.suppress(AttributeError, RuntimeError):
                    if group is not None:
                        group.abort()
            try:
                if self._travelling and self._progress and self._progress[0] == trainer.iter:
                    trainer.keep_progress(self._travelling.texts(self._progress[1]))
                trainer.write_snapshot()
            except (OSError, RuntimeError) as error:
                return f"the last snapshot could not be written ({first_line(error)})"
        if not trainer.iter:
            return "start again"
        return f"continue from {snapshots.base_name(trainer.param, trainer.iter)}"

    def _leave(self) -> None:
        """End the process: say goodbye, and wait for no connection to a lost worker."""
        self._watch.say_goodbye()
        if self._lost:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


def _interrupt_main_thread() -> None:
    """Interrupt the main thread where it is, with the signal that `Group` handles."""
    os.kill(os.getpid(), signal.SIGTERM)


def _has_own_device(on: torch.device, rank: int, count: int, store: Any) -> bool:
    """Return whether every worker has a CUDA device to itself, as NCCL requires."""
    cuda = on.type == "cuda"
    store.set(f"device/{rank}", str(torch.cuda.get_device_properties(on).uuid) if cuda else "")
    return cuda and len({store.get(f"device/{r}") for r in range(count)}) == count


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
