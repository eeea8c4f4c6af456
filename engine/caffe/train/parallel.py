"""Solvers that train together, one process a worker: data parallel on torch.distributed.

Every worker draws its own batch; the gradients are averaged before each update, over NCCL between
CUDA devices and over gloo between CPUs, or where workers share a device. Worker 0 logs, tests and
writes the snapshots.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from .. import launch, mode
from ..blob import Blob
from ..errors import CaffeError
from ..launch import place

if TYPE_CHECKING:
    from .solver import Solver

#: Values that are averaged at a time: 16 MB. Smaller parameters travel together.
BUCKET = 1 << 22
#: Seconds that all workers have to come together.
JOIN = 300
#: Seconds between signs of life, and after which a worker without one is taken for dead.
BEAT, SILENCE = 5, 120
#: Seconds that a worker has for its last snapshot and its end.
LAST = 120
#: Seconds to learn which worker died once a connection has broken or SIGTERM has come.
NAMING = 3
# torch.distributed's own limit must not end a wait for worker 0's tests; the watch ends it.
_FOREVER = timedelta(days=30)

GOODBYE = "has ended"
ACTIONS = ("none", "snapshot", "stop")


class WorkerLostError(CaffeError):
    """A worker ended before the others, which therefore end too."""


class Alone:
    """What a solver that trains by itself has for company."""

    def start(self, solver: Solver) -> None:
        """Before the first iteration of a call of `step`."""

    def average(self, solver: Solver) -> None:
        """Replace the gradients by their means over the workers."""

    def action(self, solver: Solver) -> str:
        """What was asked for during this iteration: none, snapshot or stop."""
        return solver.requested_action()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """While open, what happens is not broken off: an update, a snapshot."""
        yield

    def written(self, iteration: int) -> None:
        """A snapshot of this iteration is on disk."""


class Group(Alone):
    """This process among the workers.

    When another has ended, WorkerLostError is raised, by the next call or the handler of SIGTERM;
    before, the first worker left writes a snapshot of its last whole iteration.
    """

    def __init__(self, rank: int, count: int, store: Any, host: str) -> None:
        self.rank, self.count = rank, count
        on = mode.device()
        if on.type == "cuda":
            torch.cuda.set_device(on)
        try:
            self.backend = "nccl" if _each_its_own(on, rank, count, store) else "gloo"
            dist.init_process_group(
                self.backend, store=store, rank=rank, world_size=count, timeout=_FOREVER
            )
            self._watch = Watch(rank, count, store, host, self._alarm)
        except (RuntimeError, OSError) as error:
            raise CaffeError(
                f"worker {rank} of {count} could not join the others: {_first_line(error)}"
            ) from None
        self._solver: Solver | None = None
        self._started: Any = None
        self._action = "none"
        self._busy, self._pending, self._lost = 0, False, False
        self._written: int | None = None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self._terminated())
        atexit.register(self._leave)

    # ---- what a solver calls -------------------------------------------------------------------

    def start(self, solver: Solver) -> None:
        """Give every worker the weights of worker 0, once a solver and after each restore."""
        token = (id(solver), solver.restored)
        if self._started != token:
            self._solver, self._written = solver, solver.iter
            self.broadcast(solver)
            self._started = token

    def broadcast(self, solver: Solver) -> None:
        """Copy worker 0's weights to all. Returns once every worker has come here.

        Raises CaffeError if the workers stand at different iterations.
        """
        on = mode.device()
        here = torch.tensor([solver.iter, -solver.iter], dtype=torch.int64, device=on)
        self._wait(dist.all_reduce(here, dist.ReduceOp.MAX, async_op=True))
        most, least = int(here[0]), -int(here[1])
        if most != least:
            raise CaffeError(
                f"worker {self.rank} is at iteration {solver.iter}, but the workers stand between "
                f"{least} and {most}; all need to see the same snapshots, in a shared folder"
            )
        for blob, _, _ in solver.net.parameters:
            tensor = blob.values.mutable(on)
            flat = tensor.contiguous()
            self._wait(dist.broadcast(flat, 0, async_op=True))
            if flat is not tensor:
                tensor.copy_(flat)

    def average(self, solver: Solver) -> None:
        on = mode.device()
        asked = ACTIONS.index(solver.requested_action())
        control = torch.tensor([float(asked == i) for i in range(len(ACTIONS))], device=on)
        self._mean([*(_gradient(blob, on) for blob, _, _ in solver.net.parameters), control])
        asked_for = control.tolist()
        self._action = max((a for a, n in zip(ACTIONS, asked_for) if n > 0), key=ACTIONS.index)

    def action(self, solver: Solver) -> str:
        return self._action

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
        if self._pending and not self._busy:
            self._terminated()

    def written(self, iteration: int) -> None:
        self._written = iteration

    # ---- averaging -----------------------------------------------------------------------------

    def _mean(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the workers; all start before one is waited for."""
        under_way = []
        for together in _buckets(tensors):
            parts = [_as_it_lies(t) for t in together]
            flat = parts[0] if len(parts) == 1 else torch.cat(parts)
            under_way.append((parts, flat, dist.all_reduce(flat, async_op=True)))
        for parts, flat, work in under_way:
            self._wait(work)
            flat /= self.count
            if len(parts) > 1:
                torch._foreach_copy_(parts, flat.split([p.numel() for p in parts]))

    def _wait(self, work: Any) -> None:
        """Wait for a collective as long as all workers live.

        One that has ended by itself may have done its part before, so there is time for it.
        """
        pause, noticed = 1e-5, 0.0
        try:
            while not work.is_completed():
                if self._watch.gone():
                    noticed = noticed or time.monotonic()
                    if self._watch.died() or time.monotonic() - noticed > NAMING:
                        self._end()
                time.sleep(pause)
                pause = min(2 * pause, 2e-3)
            work.wait()
        except WorkerLostError:
            raise
        except RuntimeError as error:
            self._end(_first_line(error))

    # ---- the end -------------------------------------------------------------------------------

    def _alarm(self) -> None:
        """In the watch's thread: a worker died. Breaks the main thread off where it is."""
        os.kill(os.getpid(), signal.SIGTERM)

    def _terminated(self) -> None:
        if self._busy:
            self._pending = True
            return
        self._end("was told to stop (SIGTERM)")

    def _end(self, why: str = "") -> None:
        """Write what can be written; raise WorkerLostError, or SystemExit where another tells."""
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Connections and devices that wait for the dead must not keep this process.
        self._lost = True
        timer = threading.Timer(LAST, os._exit, (1,))
        timer.daemon = True
        timer.start()
        gone = self._watch.named(NAMING)
        first = min(set(range(self.count)) - {r for r, _ in gone})
        who = ", ".join(f"worker {rank} {how}" for rank, how in gone)
        if not who:
            who, first = f"worker {self.rank} {why}", self.rank if "SIGTERM" not in why else 0
        if self.rank != first:
            sys.exit(1)
        raise WorkerLostError(f"{who}, so all {self.count} workers end; {self._last_snapshot()}")

    def _last_snapshot(self) -> str:
        solver = self._solver
        if solver is None or not solver.param.snapshot_prefix:
            return "no snapshot was written"
        if solver.iter != self._written:
            with contextlib.suppress(AttributeError, RuntimeError):
                if self.backend == "nccl":
                    dist.distributed_c10d._get_default_group().abort()
            try:
                solver.write_snapshot()
            except (CaffeError, OSError, RuntimeError) as error:
                return f"the last snapshot could not be written ({_first_line(error)})"
        name = f"{solver.param.snapshot_prefix}_iter_{solver.iter}"
        return f"continue from {name}" if solver.iter else "start again"

    def _leave(self) -> None:
        """At the end of the process."""
        self._watch.leave()
        if self._lost:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in their order, in runs of at most BUCKET values or of one tensor."""
    run: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if run and size + tensor.numel() > BUCKET:
            yield run
            run, size = [], 0
        run.append(tensor)
        size += tensor.numel()
    if run:
        yield run


def _gradient(blob: Blob, on: torch.device) -> torch.Tensor:
    """A parameter's gradient, to be written, in memory as the values are, on every worker alike."""
    return blob.gradient.mutable_like(blob.values.tensor(on))


def _as_it_lies(tensor: torch.Tensor) -> torch.Tensor:
    """All values of a tensor without gaps, as one row in the order of memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def _each_its_own(on: torch.device, rank: int, count: int, store: Any) -> bool:
    """Whether every worker has a CUDA device that no other has, as NCCL needs it."""
    cuda = on.type == "cuda"
    store.set(f"device/{rank}", str(torch.cuda.get_device_properties(on).uuid) if cuda else "")
    return cuda and len({store.get(f"device/{r}") for r in range(count)}) == count


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ---- who lives -----------------------------------------------------------------------------------


class Watch:
    """Knows which workers have ended: each keeps a connection to worker 0, which tells the others.

    The kernel closes the connection of a process that dies; signs of life tell of one that hangs
    and of a host that is gone. `alarm()` is called, in the watch's thread, when a worker dies; one
    that says goodbye raises no alarm.
    """

    def __init__(
        self, rank: int, count: int, store: Any, host: str, alarm: Callable[[], None]
    ) -> None:
        self.rank, self._alarm = rank, alarm
        self._gone: dict[int, str] = {}
        self._changed = threading.Condition()
        self._left = False
        self._peers: dict[socket.socket, int] = {}
        if rank == 0:
            self._welcome(count, store)
        else:
            self._call(store, host)
        threading.Thread(target=self._run, daemon=True, name="watch").start()

    def gone(self) -> bool:
        """Whether any worker has ended."""
        return bool(self._gone)

    def died(self) -> bool:
        """Whether any worker has ended without a goodbye."""
        return any(how != GOODBYE for how in list(self._gone.values()))

    def named(self, seconds: float) -> list[tuple[int, str]]:
        """The workers that have ended and how, as soon as one is known."""
        with self._changed:
            self._changed.wait_for(self.gone, seconds)
            return sorted(self._gone.items())

    def leave(self) -> None:
        """Say goodbye."""
        if not self._left:
            self._left = True
            self._tell(f"{self.rank} {GOODBYE}")
            for peer in list(self._peers):
                with contextlib.suppress(OSError):
                    peer.shutdown(socket.SHUT_WR)

    def _welcome(self, count: int, store: Any) -> None:
        password = secrets.token_hex(16)
        with socket.create_server(("", 0)) as server:
            server.settimeout(JOIN)
            store.set("caffe/watch", f"{server.getsockname()[1]} {password}")
            while len(self._peers) < count - 1:
                peer, _ = server.accept()
                peer.settimeout(JOIN)
                line = _line(peer).split()
                if len(line) == 2 and line[0] == password and line[1].isdigit():
                    self._peers[peer] = int(line[1])
                else:
                    peer.close()

    def _call(self, store: Any, host: str) -> None:
        port, password = store.get("caffe/watch").decode().split()
        peer = socket.create_connection((host, int(port)), timeout=JOIN)
        peer.sendall(f"{password} {self.rank}\n".encode())
        self._peers[peer] = 0

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        heard: dict[socket.socket, float] = {}
        rest: dict[socket.socket, bytes] = {}
        for peer in self._peers:
            peer.setblocking(False)
            selector.register(peer, selectors.EVENT_READ)
            heard[peer], rest[peer] = time.monotonic(), b""
        beat = time.monotonic()
        while heard:
            ready = {key.fileobj for key, _ in selector.select(1)}
            now = time.monotonic()
            # A pause of this process itself (stopped, then continued) is nobody's silence.
            if now - beat > 3 * BEAT:
                heard = dict.fromkeys(heard, now)
            if now - beat > BEAT:
                self._tell("-")
                beat = now
            for peer in list(heard):
                if peer in ready:
                    heard[peer] = now
                    try:
                        data = peer.recv(4096)
                    except OSError:
                        data = b""
                    *lines, rest[peer] = (rest[peer] + data).split(b"\n")
                    for line in lines:
                        self._hear(line.decode())
                    if not data:
                        self._note(self._peers[peer], "died")
                elif now - heard[peer] > SILENCE:
                    data = b""
                    self._note(self._peers[peer], f"has been silent for {SILENCE} s")
                else:
                    continue
                if not data:
                    selector.unregister(peer)
                    del heard[peer]

    def _hear(self, line: str) -> None:
        if line != "-":
            rank, _, how = line.partition(" ")
            self._note(int(rank), how)

    def _note(self, rank: int, how: str) -> None:
        if rank in self._gone or rank == self.rank:
            return
        with self._changed:
            self._gone[rank] = how
            self._changed.notify_all()
        if self.rank == 0:
            self._tell(f"{rank} {how}")
        if how != GOODBYE and not self._left:
            self._alarm()

    def _tell(self, line: str) -> None:
        for peer in list(self._peers):
            with contextlib.suppress(OSError):
                peer.send(f"{line}\n".encode())


def _line(peer: socket.socket) -> str:
    """The first line of a connection, of at most 100 bytes."""
    found = b""
    with contextlib.suppress(OSError):
        while not found.endswith(b"\n") and len(found) < 100 and (more := peer.recv(1)):
            found += more
    return found.decode("ascii", "replace")


# ---- coming together -----------------------------------------------------------------------------

_group: Group | None = None


def company() -> Alone:
    """The workers that a launcher started this process with, joined at the first call."""
    if place().size == 1:
        return Alone()
    return join(new_uid())


def new_uid() -> str:
    """Where workers meet, HOST:PORT: what the launcher says, else a free port of this machine."""
    if place().size > 1:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise CaffeError(
                    f"RANK and WORLD_SIZE are set, but {name} is not; start with torchrun, which "
                    "sets all four"
                )
        return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return f"localhost:{free_port()}"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def join(uid: str) -> Group:
    """Meet the other workers at `uid`, as the worker that `solver_rank` says; once a process.

    Raises CaffeError if not all have come within JOIN seconds.
    """
    global _group
    rank, count = launch.solver_rank(), launch.solver_count()
    if _group is None:
        host, _, port = uid.rpartition(":")
        if not port.isdigit():
            raise CaffeError(f"the workers' uid is {uid!r}; it needs to be what new_uid() gave")
        agent = place().size > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        try:
            store = dist.TCPStore(
                host,
                int(port),
                is_master=rank == 0 and not agent,
                timeout=timedelta(seconds=JOIN),
                wait_for_workers=False,
            )
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            come = dist.PrefixStore(f"caffe/{attempt}", store)
            come.set(f"here/{rank}", "1")
            come.wait([f"here/{r}" for r in range(count)])
        except (RuntimeError, ValueError) as error:
            raise CaffeError(
                f"worker {rank} of {count} did not find all the others at {uid} within {JOIN} s "
                f"({_first_line(error)})"
            ) from None
        _group = Group(rank, count, come, host)
    return _group


# ---- one process a device ------------------------------------------------------------------------


def spawn(arguments: Sequence[str], count: int) -> int:
    """Run `caffe ARGUMENTS` in `count` processes that train together; the exit status.

    SIGINT, SIGHUP and SIGTERM are passed on to them; they end when this process dies.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "caffe", *arguments]
    workers = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        for rank in range(count)
    ]

    def pass_on(number: int, _: Any) -> None:
        for worker in workers:
            worker.send_signal(number)

    signals = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.signal(number, pass_on) for number in signals}
    try:
        return _outcome(workers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for worker in workers:
            worker.kill()


def _outcome(workers: Sequence[subprocess.Popen]) -> int:
    """0 if all end so, else 1, at the latest LAST seconds after the first that did not."""
    failed: float | None = None
    while any(worker.poll() is None for worker in workers):
        if failed is None and any(worker.returncode for worker in workers):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > LAST + NAMING:
            break
        time.sleep(0.05)
    return int(any(worker.returncode != 0 for worker in workers))


def _die_with_parent() -> None:
    """On Linux, in the child: have SIGTERM sent when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
