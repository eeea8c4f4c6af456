"""By-products of a training: a log, a table, a page. A failure to write one costs one warning.

A training whose disk is full goes on, and a file gets the missing rows once there is room again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Iterator, Set, Tuple

from fcn_common.places import writable

#: What has been warned of in this process.
_warned: Set[str] = set()


def warn_once(subject: str, error: BaseException) -> None:
    """Print one warning for each subject, such as the path of a file, even if it fails often."""
    if subject in _warned:
        return
    _warned.add(subject)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # The terminal may be the by-product that fails.
    with contextlib.suppress(OSError, ValueError):
        text = f"warning: {subject}: cannot be written ({reason}); the training goes on"
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def guarded(subject: str) -> Iterator[None]:
    """Let a block write a by-product: an exception in the block costs one warning."""
    try:
        yield
    except Exception as error:  # Libraries that draw and encode raise any type.
        warn_once(subject, error)


class AppendedFile:
    """A file that grows by whole pieces, such as rows of a table.

    A piece that cannot be written is kept and written with the next one. Each piece is in the file
    once, even if a signal or a full disk interrupts a write.

    path: of the file, which is created with the first piece.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._handle = -1
        # The size of the file up to the last whole piece, and the pieces that are to be written.
        # They change together, so that a signal between two statements leaves both as they were.
        self._state: Tuple[int, bytes] = (0, b"")

    def is_empty(self) -> bool:
        """Return whether the file has no content, or does not exist."""
        return not os.path.isfile(self.path) or os.path.getsize(self.path) == 0

    def append(self, piece: bytes) -> None:
        """Write a piece at the end, or keep it and warn once if that fails."""
        size, waiting = self._state
        self._state = size, waiting + piece
        try:
            self._write()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._state[0])
            warn_once(self.path, error)

    def _write(self) -> None:
        if self._handle < 0:
            self._handle = os.open(writable(self.path), os.O_RDWR | os.O_CREAT, 0o666)
            self._state = os.fstat(self._handle).st_size, self._state[1]
        size, waiting = self._state
        written = 0
        while written < len(waiting):
            written += os.pwrite(self._handle, waiting[written:], size + written)
        self._state = size + len(waiting), b""

    def sync(self) -> None:
        """Write the file to disk, before a snapshot that counts on its rows."""
        if self._handle >= 0:
            try:
                os.fsync(self._handle)
            except OSError as error:
                warn_once(self.path, error)

    def close(self) -> None:
        """Close the file. A later piece opens the file again."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            with contextlib.suppress(OSError):
                os.close(handle)


def truncate(path: str, size: int) -> None:
    """Cut a file at `size` bytes, which needs no room on the disk; warn once if that fails."""
    try:
        os.truncate(writable(path), size)
    except OSError as error:
        warn_once(path, error)
