"""Atomic writes: a file appears under its name when it is complete, or the old file stays."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import time
from typing import IO, Any, Iterator, List, Optional, Set

from fcn_common.places import PathLike, make_folder, sync_folder, writable

try:
    import fcntl
except ImportError:  # A system without file locks.
    fcntl = None  # type: ignore[assignment]

#: Seconds since its last change, after which a temporary file is the remains of a killed write.
ABANDONED = 600
#: The folders from which this process has removed such files.
_swept: Set[str] = set()
#: Characters of the file's own name in its temporary name, whose limit is 255 bytes.
NAME_LENGTH = 48
#: Temporary names, those of the embedded Caffe included: .NAME.8 hexadecimal digits.partial.SUFFIX
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.partial(\..*)?")


@contextlib.contextmanager
def atomic_write(
    path: PathLike, mode: str = "wb", encoding: Optional[str] = None
) -> Iterator[IO[Any]]:
    """Open a file for writing that appears as `path` when the block ends without an exception.

    mode: "wb", or "w" for text, which is UTF-8 unless `encoding` names another encoding and ends
        its lines with "\\n" on every system.

    The file is written under a temporary name in the folder of `path` (which is created if it is
    missing), flushed to the disk and renamed. The rename is on disk when the block has ended. The
    permissions are those of any new file (umask).
    If the block raises, the temporary file is removed and `path` stays as it was. Raises OSError
    with the file name `path` if the file cannot be written, or may not be (`places.writable`).
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"{path}: mode is {mode!r}, needs 'w' or 'wb'")
    text = {"encoding": encoding or "utf-8", "newline": "\n"} if mode == "w" else {}
    with (
        _replacement(path) as temporary,
        open(temporary, mode.replace("w", "x"), **text) as file,  # type: ignore[call-overload]
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[str]:
    """Give a temporary path whose file becomes `path` when the block ends without an exception.

    For libraries that open files by name. The temporary path lies in the folder of `path` and has
    the same suffix, by which libraries choose a format. Otherwise as `atomic_write`.
    """
    with _replacement(path) as temporary:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def errors_about(path: PathLike, temporary: str) -> Iterator[None]:
    """Let the errors of writing a temporary file name `path`, the file that the user knows.

    Raises OSError in place of an OSError of `temporary` or of no file, and in place of an error of
    Caffe that names `temporary`.
    """
    try:
        yield
    except OSError as error:
        # An error of write() or fsync() names no file at all.
        if error.errno is not None and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    except RuntimeError as error:
        if temporary in str(error):
            raise OSError(str(error).replace(temporary, os.fspath(path))) from error
        raise


def check_regular(path: PathLike) -> None:
    """Raise OSError for a path that names no file, or a device or FIFO that could be read for ever.

    A folder is left to the caller.
    """
    mode = os.stat(path).st_mode
    for is_kind, kind in (
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if is_kind(mode):
            raise OSError(errno.EINVAL, f"is {kind}; a file is needed", os.fspath(path))


def error_text(error: Exception, path: PathLike) -> str:
    """Return the text of a reader's error, for a message that names the path already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).replace(f" {os.fspath(path)!r}", "")


def remove_partial(folder: PathLike) -> List[str]:
    """Remove the temporary files of writes that were killed in a folder; return their paths.

    The caller makes sure that no other program writes there (`solvers.run_lock`).
    """
    removed = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if TEMPORARY.fullmatch(name) and os.path.isfile(path):
            with contextlib.suppress(OSError):
                os.remove(path)
                removed.append(path)
    return removed


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: PathLike, value: Any, sort_keys: bool = False) -> None:
    """Write `value` as JSON to `path`, atomically, indented by one space."""
    write_text(path, json.dumps(value, indent=1, sort_keys=sort_keys) + "\n")


def _sweep(folder: str) -> None:
    """Remove old temporary files of killed writes from a folder, once in this process.

    Other processes may write there. The embedded Caffe holds locks on the files that it writes.
    """
    if folder in _swept:
        return
    _swept.add(folder)
    for name in filter(TEMPORARY.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError):
            path = os.path.join(folder, name)
            old = time.time() - os.lstat(path).st_mtime > ABANDONED
            if old and os.path.isfile(path) and not _is_locked(path):
                os.remove(writable(path))


def _is_locked(path: str) -> bool:
    """Return whether a process holds a lock on a file. Raises OSError."""
    if fcntl is None:
        return False
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _replacement(path: PathLike) -> Iterator[str]:
    """Give a temporary path beside `path`; rename it to `path`, or remove it after an exception."""
    target = os.path.abspath(writable(path))
    folder, name = os.path.split(target)
    stem, suffix = os.path.splitext(name)
    temporary = os.path.join(
        folder, f".{stem[:NAME_LENGTH]}.{secrets.token_hex(4)}.partial{suffix}"
    )
    make_folder(folder)
    _sweep(folder)
    try:
        with errors_about(path, temporary):
            yield temporary
            os.replace(temporary, target)
            sync_folder(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
