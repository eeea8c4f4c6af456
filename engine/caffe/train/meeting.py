"""Where the workers of a run meet, and how a process joins them."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import torch.distributed as dist

from .. import launch
from ..errors import DeviceError
from ..launch import place
from . import hello
from .company import Alone, Company, Group, first_line

#: The workers that this process has joined; a process joins once.
_group: Group | None = None


def company() -> Company:
    """Return the workers that a launcher started this process with; join them in the first call."""
    if place().size == 1:
        return Alone()
    return join(new_uid())


def new_uid() -> str:
    """Return where workers can meet, as HOST:PORT.

    That is the launcher's address or, without a launcher, a free port of this machine. Raises
    DeviceError if the launcher has set no address.
    """
    if place().size == 1:
        return f"localhost:{free_port()}"
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise DeviceError(
                f"RANK and WORLD_SIZE are set, but {name} is not; start with torchrun, which "
                "sets all four"
            )
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def join(uid: str) -> Group:
    """Meet the other workers at `uid`, as the worker that `caffe.solver_rank()` says.

    Later calls return the same group. Raises DeviceError if not all workers have come within
    `hello.JOIN` seconds.
    """
    global _group
    if _group is None:
        rank, count = launch.solver_rank(), launch.solver_count()
        host, _, port = uid.rpartition(":")
        if not port.isdigit():
            raise DeviceError(
                f"the workers' uid is {uid!r}; it needs to be HOST:PORT, as new_uid() returns it"
            )
        try:
            store = _open_store(host, int(port), rank, count)
        except (RuntimeError, ValueError, OSError) as error:
            raise DeviceError(
                f"worker {rank} of {count} did not find all the others at {uid} within "
                f"{hello.JOIN} s ({first_line(error)})"
            ) from None
        _group = Group(rank, count, store, host)
    return _group


def _open_store(host: str, port: int, rank: int, count: int) -> dist.Store:
    """Return the key-value store of the workers, once all of them have opened it."""
    # torchrun's agent may already serve a store at this address.
    has_agent = place().size > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    is_master = rank == 0 and not has_agent
    tcp_store = dist.TCPStore(
        host,
        port,
        is_master=is_master,
        timeout=timedelta(seconds=hello.JOIN),
        wait_for_workers=False,
        # By itself, the store listens on all addresses of the host. It closes the socket.
        master_listen_fd=hello.listen(host, port).detach() if is_master else None,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"caffe/{attempt}", tcp_store)
    store.set(f"here/{rank}", "1")
    store.wait([f"here/{r}" for r in range(count)])
    return store
