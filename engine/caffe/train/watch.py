"""Which workers are alive: every worker keeps a connection to worker 0."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import hello

#: Seconds between the signs of life that a worker sends.
BEAT = 5
#: Seconds without a sign of life after which a worker is treated as dead.
SILENCE = 120

#: What `Watch.ended` says of a worker that closed its connection as agreed.
GOODBYE = "has ended"
_ALIVE = "-"


@dataclass(eq=False)
class _Peer:
    """The worker at the other end of a connection."""

    socket: socket.socket
    rank: int
    #: time.monotonic() when the peer last sent something.
    heard: float = 0.0
    #: The start of a line of which the rest has not arrived yet.
    unread: bytes = b""


class Watch:
    """Learns which workers have ended. Worker 0 hears it first and passes it on to the others.

    The kernel closes the connection of a process that dies. Signs of life show that a process does
    not hang and that its host is reachable. `alarm()` is called, in the thread of the watch, when a
    worker dies; a worker that says goodbye raises no alarm.

    rank, count: this worker, and the number of workers. store: a key-value store of
    torch.distributed that the workers share. host: the host of worker 0. Raises OSError if the
    workers do not connect.
    """

    def __init__(
        self, rank: int, count: int, store: Any, host: str, alarm: Callable[[], None]
    ) -> None:
        self.rank, self._alarm = rank, alarm
        self._ended: dict[int, str] = {}
        self._ended_changed = threading.Condition()
        self._said_goodbye = False
        connections = (
            hello.accept(count, store, host) if rank == 0 else [hello.connect(rank, store, host)]
        )
        self._peers = [_Peer(c.socket, c.rank, unread=c.unread) for c in connections]
        threading.Thread(target=self._run, daemon=True, name="watch").start()

    def any_ended(self) -> bool:
        """Return whether any worker has ended."""
        return bool(self._ended)

    def any_died(self) -> bool:
        """Return whether any worker has ended without a goodbye."""
        return any(how != GOODBYE for how in list(self._ended.values()))

    def ended(self, seconds: float) -> list[tuple[int, str]]:
        """Return the workers that have ended and how; wait up to `seconds` for the first."""
        with self._ended_changed:
            self._ended_changed.wait_for(self.any_ended, seconds)
            return sorted(self._ended.items())

    def say_goodbye(self) -> None:
        """Tell the other workers that this one ends as it should."""
        if not self._said_goodbye:
            self._said_goodbye = True
            self._send(f"{self.rank} {GOODBYE}")
            for peer in self._peers:
                with contextlib.suppress(OSError):
                    peer.socket.shutdown(socket.SHUT_WR)

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        connected = list(self._peers)
        for peer in connected:
            peer.socket.setblocking(False)
            selector.register(peer.socket, selectors.EVENT_READ)
            peer.heard = time.monotonic()
        beat = time.monotonic()
        while connected:
            ready = {key.fileobj for key, _ in selector.select(1)}
            now = time.monotonic()
            # After this process itself was stopped and continued, every peer seems silent.
            if now - beat > 3 * BEAT:
                for peer in connected:
                    peer.heard = now
            if now - beat > BEAT:
                self._send(_ALIVE)
                beat = now
            for peer in list(connected):
                if not self._listen(peer, peer.socket in ready, now):
                    selector.unregister(peer.socket)
                    connected.remove(peer)

    def _listen(self, peer: _Peer, ready: bool, now: float) -> bool:
        """Read what a peer has sent, if it is `ready`; return whether the peer is still there."""
        if not ready:
            if now - peer.heard <= SILENCE:
                return True
            self._note(peer.rank, f"has sent nothing for {SILENCE} s")
            return False
        peer.heard = now
        try:
            data = peer.socket.recv(4096)
        except OSError:  # the connection was reset, which is how it ends when a process dies
            data = b""
        *lines, peer.unread = (peer.unread + data).split(b"\n")
        for line in lines:
            self._read(line.decode())
        if not data:
            self._note(peer.rank, "died")
        return bool(data)

    def _read(self, line: str) -> None:
        if line != _ALIVE:
            rank, _, how = line.partition(" ")
            self._note(int(rank), how)

    def _note(self, rank: int, how: str) -> None:
        """Note that a worker has ended, unless that is known already."""
        if rank in self._ended or rank == self.rank:
            return
        with self._ended_changed:
            self._ended[rank] = how
            self._ended_changed.notify_all()
        if self.rank == 0:
            self._send(f"{rank} {how}")
        if how != GOODBYE and not self._said_goodbye:
            self._alarm()

    def _send(self, line: str) -> None:
        for peer in self._peers:
            # A peer that is gone is noticed when this thread reads from its connection.
            with contextlib.suppress(OSError):
                peer.socket.send(f"{line}\n".encode())
