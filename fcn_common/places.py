"""Where programs may write: in the strict mode, for strangers' models, below the working folder.

CAFFE_STRICT=1 or FCN_STRICT=1 in the environment turns the strict mode on; the embedded Caffe reads
the first. Every writer of the project asks `writable` before it opens a path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from typing import Iterator, Optional, Union

PathLike = Union[str, "os.PathLike[str]"]
SETTINGS = ("CAFFE_STRICT", "FCN_STRICT")


def _working_folder() -> str:
    try:
        return os.path.realpath(os.getcwd())
    except OSError:  # The folder was removed.
        return ""


#: The folder in which the program started; a stage enters other folders.
START = _working_folder()


def strict() -> bool:
    """Return whether the strict mode is on: a setting is neither empty nor 0."""
    return any(os.environ.get(name, "") not in ("", "0") for name in SETTINGS)


def refuse_strict_mode(program: str) -> None:
    """End a program of developers in the strict mode: its files lie all over the machine."""
    if strict():
        raise SystemExit(
            f"error: {program} does not run in the strict mode, because it writes outside the "
            f"working folder; unset {' and '.join(SETTINGS)}"
        )


def writable(path: PathLike) -> str:
    """Return the path of a file or folder that is to be written, created, replaced or renamed.

    Links are followed. Raises PermissionError for a path outside the working folder in the strict
    mode.
    """
    if strict() and not _is_inside(path):
        place = START or "a working folder that exists"
        reason = f"is not written: the strict mode (CAFFE_STRICT) allows files in {place} alone"
        raise PermissionError(errno.EPERM, reason, os.fspath(path))
    return os.fspath(path)


def _is_inside(path: PathLike) -> bool:
    place = os.path.realpath(path)
    try:
        return bool(START) and os.path.commonpath([place, START]) == START
    except ValueError:  # Another drive.
        return False


def make_folder(path: PathLike) -> None:
    """Create a folder, and those above it, where they are missing; "" is the present folder.

    The names of new folders are on disk when the function returns: with them, a power failure would
    take all files inside.
    """
    path = os.path.abspath(writable(path or os.curdir))
    new = []
    while not os.path.isdir(path) and path not in new:
        new.append(path)
        path = os.path.dirname(path)
    if new:
        if os.path.exists(new[-1]):
            text = "is a file, not a folder; name another folder"
            raise NotADirectoryError(errno.ENOTDIR, text, new[-1])
        os.makedirs(writable(new[0]), exist_ok=True)
    for folder in new:
        sync_folder(os.path.dirname(folder))


def sync_folder(folder: PathLike) -> None:
    """Write the names in a folder to disk, where its file system can do so.

    A file that is on disk can be lost with a power failure as long as its name is not.
    """
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # A folder may allow writing and forbid reading.
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def temporary_folder(parent: Optional[PathLike] = None) -> Iterator[str]:
    """Give the path of a new folder that is removed with its files when the block ends.

    parent: the folder in which it lies; by default that of the system, in the strict mode the
        working folder.
    """
    if parent is None and strict():
        parent = START
    with tempfile.TemporaryDirectory(dir=parent and writable(parent)) as folder:
        yield folder
