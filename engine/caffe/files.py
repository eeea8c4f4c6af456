"""Files: read with the engine's own exceptions, and written completely or not at all."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from .errors import FileError

try:
    import fcntl
except ImportError:  # A system without file locks.
    fcntl = None  # type: ignore[assignment]

#: Characters of the file's own name in its temporary name, whose limit is 255 bytes.
NAME_LENGTH = 48
#: Seconds after which a temporary file that no process has locked is the remains of a killed write.
_ABANDONED = 2
#: The same for files whose names do not show that this engine wrote them: other programs hold no
#: locks.
_LONG_ABANDONED = 600
#: The folders from which this process has removed such files.
_swept: set[str] = set()

#: The environment variable of the strict mode, for models from strangers.
STRICT = "CAFFE_STRICT"


def _working_folder() -> str:
    try:
        return os.path.realpath(os.getcwd())
    except OSError:  # The folder was removed.
        return ""


#: The folder in which the program started.
_START = _working_folder()


def strict() -> bool:
    """Return whether the strict mode is on: CAFFE_STRICT is set, and neither empty nor 0."""
    return os.environ.get(STRICT, "") not in ("", "0")


def writable(path: str | os.PathLike) -> str:
    """Return the path of a file that is to be written; links are followed.

    Raises FileError for a path outside the working folder in the strict mode, and for a null byte.
    """
    _refuse_null_byte(path)
    if strict() and not _is_inside(path):
        reason = f"{STRICT} allows files in {_START or 'a working folder that exists'} alone"
        raise FileError(f"{os.fspath(path)}: is not written: {reason}")
    return os.fspath(path)


def _refuse_null_byte(path: str | os.PathLike) -> None:
    if "\0" in os.fsdecode(path):
        raise FileError(f"{os.fspath(path)}: has a null byte in its name, which no file has")


def _is_inside(path: str | os.PathLike) -> bool:
    place = os.path.realpath(path)
    try:
        return bool(_START) and os.path.commonpath([place, _START]) == _START
    except ValueError:  # Another drive.
        return False


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes the place of `path` when the `with` block ends normally.

    The bytes go to a temporary file in the same folder. They are on disk before the temporary file
    is renamed to `path`, and the rename is on disk before the block ends. If the block fails, the
    temporary file is removed and `path` stays as it was.

    Raises FileError if the file cannot be written.
    """
    path = writable(path)
    temporary = None
    try:
        with _writing(path):
            with _create_beside(path) as file:
                temporary = file.name
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path)
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[str]:
    """Yield a new folder that takes the name `path` when the `with` block ends normally.

    The files of the folder, their names and the name of the folder are on disk before the block
    ends. If the block fails, nothing is left. Raises FileError if the folder cannot be written.
    """
    path = os.path.abspath(writable(path))
    parent, name = os.path.split(path)
    temporary = writable(os.path.join(parent, _temporary_name(name)))
    with _writing(path):
        os.mkdir(temporary)
        lock = os.open(temporary, os.O_RDONLY)
    try:
        _hold(lock)
        yield temporary
        with _writing(path):
            for entry in os.scandir(temporary):
                with open(entry.path, "rb") as file:
                    os.fsync(file.fileno())
            _sync_folder(os.path.join(temporary, name))
            os.rename(temporary, path)
            _sync_folder(path)
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn an OSError in the `with` block into a FileError that names `path`."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None


def _sweep(folder: str) -> None:
    """Remove what killed writes left in a folder long ago, once in this process."""
    folder = os.path.abspath(folder)
    if folder not in _swept:
        _swept.add(folder)
        remove_abandoned(folder, ".*", _LONG_ABANDONED)


def remove_abandoned(folder: str, names: str, age: float | None = None) -> list[str]:
    """Remove what killed writes of `atomic` and `atomic_folder` left in a folder; return the paths.

    names: a pattern of the names that were being written. A process that writes holds a lock on its
        temporary file or folder, so the files of a living process stay.
    age: files that changed within this number of seconds stay (2).
    """
    removed: list[str] = []
    least = _ABANDONED if age is None else age
    if fcntl is None:
        return removed
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.partial", entry.name)
            if match and re.fullmatch(names, match[1]) and _is_abandoned(entry, least):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(writable(entry.path))
                    else:
                        os.unlink(entry.path)
                    removed.append(entry.path)
    return removed


def _is_abandoned(entry: os.DirEntry[str], age: float) -> bool:
    """Return whether no process holds the lock of a temporary file or folder that has some age."""
    try:
        if time.time() - entry.stat(follow_symlinks=False).st_mtime < age:
            return False
        handle = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def replace(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
    """Rename a file that another program wrote to `path`, once its bytes are on disk.

    `temporary` lies on the same file system as `path`. Raises FileError if `path` cannot be
    written.
    """
    path = writable(path)
    with _writing(path):
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path)


def make_folder_of(path: str | os.PathLike) -> None:
    """Create the folder of a file, and those above it, where they are missing.

    The names of new folders are on disk when the function returns. Raises FileError if a folder
    cannot be created.
    """
    folder, missing = os.path.dirname(os.path.abspath(writable(path))), []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    with _writing(os.fspath(path)):
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        if missing:
            os.makedirs(writable(missing[0]), exist_ok=True)
        for new in missing:
            _sync_folder(new)


@contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn an OSError in the `with` block into a FileError that names `path`."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from None


def open_regular(path: str | os.PathLike) -> IO[bytes]:
    """Open a file to read it; a folder, a device or a FIFO is refused before it is read.

    Raises OSError, or FileError for what is not a regular file.
    """
    _refuse_null_byte(path)
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        _check_mode(path, os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def open_text(
    path: str | os.PathLike,
    encoding: str = "utf-8",
    errors: str = "strict",
    newline: str | None = None,
) -> IO[str]:
    """Open a text file to read it, as `open_regular` opens a binary one."""
    return io.TextIOWrapper(open_regular(path), encoding, errors, newline)


def check_regular(path: str | os.PathLike) -> None:
    """Raise FileError for a path that is not a regular file or that cannot be looked at."""
    _refuse_null_byte(path)
    with reading(path):
        _check_mode(path, os.stat(path).st_mode)


def _check_mode(path: str | os.PathLike, mode: int) -> None:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )
    for is_kind, kind in kinds:
        if is_kind(mode):
            raise FileError(f"{os.fspath(path)}: cannot be read: is {kind}; a file is needed")


def read_bytes(path: str | os.PathLike) -> bytes:
    """Return the content of a file. Raises FileError if it cannot be read."""
    try:
        with reading(path), open_regular(path) as file:
            return file.read()
    except MemoryError:
        raise FileError(
            f"{os.fspath(path)}: no memory for its content; free memory, or read the file on a "
            "machine that has more"
        ) from None


def _create_beside(path: str) -> IO[bytes]:
    """Create a temporary file in the folder of `path`, with the permissions of any new file.

    The file is locked, so that `remove_abandoned` knows that its process lives.
    """
    folder, name = os.path.split(path)
    _sweep(folder)
    while True:
        temporary = os.path.join(folder, _temporary_name(name))
        with suppress(FileExistsError):
            file = open(writable(temporary), "x+b")  # noqa: SIM115
            _hold(file.fileno())
            return file


def _temporary_name(name: str) -> str:
    return f".{name[:NAME_LENGTH]}.{os.urandom(4).hex()}.partial"


def _hold(handle: int) -> None:
    """Lock a temporary file or folder as long as it is open."""
    if fcntl is not None:
        with suppress(OSError):  # Some file systems have no locks.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(path: str) -> None:
    """Write the folder of `path` to disk, where its file system can do so."""
    if os.name != "posix":
        return
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except PermissionError:  # A folder may allow writing and forbid reading.
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(folder)
