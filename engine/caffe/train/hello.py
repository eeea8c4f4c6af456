"""How the workers of a run connect to worker 0, which accepts their connections in any order.

Worker 0 listens where the others look for it, and on no other address of its host. A worker's first
line proves that the worker belongs to the run. A stranger's connection delays nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any

#: Seconds in which all workers have to come together.
JOIN = 300
#: Seconds that a connection has for its first line.
HELLO = 10
#: Connections without a first line that are kept at most, and the bytes of the line.
MOST_WAITING, LONGEST = 256, 200
#: The environment variable of a secret that the workers of a run share. `spawn` sets it; for
#: workers on several hosts, the user may set it on each.
SECRET = "CAFFE_WORKERS_SECRET"
_KEY = "caffe/watch"


@dataclass(eq=False)
class Connection:
    """A connection to another worker. unread: what arrived behind the worker's first line."""

    socket: socket.socket
    rank: int
    unread: bytes = b""


def listen(host: str, port: int = 0) -> socket.socket:
    """Return a server socket at the address of `host`.

    The socket listens at all addresses if `host` is not this machine.
    """
    with contextlib.suppress(OSError):
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError):
                return socket.create_server(address[:2], family=family, backlog=MOST_WAITING)
    return socket.create_server(("", port), backlog=MOST_WAITING)


def accept(count: int, store: Any, host: str) -> list[Connection]:
    """On worker 0: return the connections of the `count` - 1 others.

    store: the workers' key-value store, through which they learn the port. Raises OSError if not
    all of them connect within JOIN seconds.
    """
    nonce = secrets.token_hex(16)
    with listen(host) as server, _Hellos(server, _proof(nonce), count) as hellos:
        store.set(_KEY, f"{server.getsockname()[1]} {nonce}")
        end = time.monotonic() + JOIN
        while len(hellos.workers) < count - 1:
            if time.monotonic() > end:
                ranks = sorted(set(range(1, count)) - set(hellos.workers))
                raise OSError(f"workers {ranks} did not connect within {JOIN} s; start all of them")
            hellos.read(time.monotonic())
        return list(hellos.workers.values())


def connect(rank: int, store: Any, host: str) -> Connection:
    """On all other workers: connect to worker 0. Raises OSError."""
    port, nonce = store.get(_KEY).decode().split()
    connection = socket.create_connection((host, int(port)), timeout=JOIN)
    connection.sendall(f"{_proof(nonce)} {rank}\n".encode())
    return Connection(connection, 0)


def _proof(nonce: str) -> str:
    """Return what a worker says to prove that it knows the store and the secret."""
    secret = os.environ.get(SECRET, "").encode()
    return hmac.new(secret, nonce.encode(), hashlib.sha256).hexdigest()


class _Hellos:
    """The connections that were accepted, until each has said who it is."""

    def __init__(self, server: socket.socket, proof: str, count: int) -> None:
        self._server, self._proof, self._count = server, proof, count
        self.workers: dict[int, Connection] = {}
        #: What each connection has said, and when it was accepted.
        self._waiting: dict[socket.socket, tuple[bytes, float]] = {}
        self._selector = selectors.DefaultSelector()
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)

    def __enter__(self) -> _Hellos:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self._waiting):
            self._drop(connection)
        self._selector.close()

    def read(self, now: float) -> None:
        """Read what has arrived, for a second at most."""
        for key, _ in self._selector.select(1):
            if key.fileobj is self._server:
                self._accept(now)
            elif isinstance(key.fileobj, socket.socket):
                self._listen(key.fileobj)
        for connection, (_, since) in list(self._waiting.items()):
            if now - since > HELLO:
                self._drop(connection)

    def _accept(self, now: float) -> None:
        with contextlib.suppress(OSError):  # a connection may break before it is accepted
            connection, _ = self._server.accept()
            connection.setblocking(False)
            if len(self._waiting) >= MOST_WAITING:
                self._drop(next(iter(self._waiting)))
            self._waiting[connection] = b"", now
            self._selector.register(connection, selectors.EVENT_READ)

    def _listen(self, connection: socket.socket) -> None:
        before, since = self._waiting[connection]
        try:
            data = connection.recv(LONGEST)
        except OSError:
            data = b""
        line, end, rest = (before + data).partition(b"\n")
        if not data or len(line) > LONGEST:
            self._drop(connection)
        elif not end:
            self._waiting[connection] = line, since
        elif (rank := self._rank(line)) is None:
            self._drop(connection)
        else:
            self._selector.unregister(connection)
            del self._waiting[connection]
            self.workers[rank] = Connection(connection, rank, rest)

    def _rank(self, line: bytes) -> int | None:
        """Return the rank of a worker that has proved itself and is new, or None."""
        proof, _, number = line.decode("ascii", "replace").partition(" ")
        if not hmac.compare_digest(proof.encode(), self._proof.encode()) or not number.isdigit():
            return None
        rank = int(number)
        return rank if 0 < rank < self._count and rank not in self.workers else None

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._waiting[connection]
        connection.close()
