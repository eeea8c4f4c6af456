"""Atomic writes: a file appears under its name when it is complete, or the old file stays."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from typing import IO, Any, Iterator, Optional, Union

PathLike = Union[str, "os.PathLike[str]"]
#: Characters of the file's own name in its temporary name, whose limit is 255 bytes.
NAME_LENGTH = 48


@contextlib.contextmanager
def atomic_write(
    path: PathLike, mode: str = "wb", encoding: Optional[str] = None
) -> Iterator[IO[Any]]:
    """Open a file for writing that appears as `path` when the block ends without an exception.

    mode: "wb", or "w" for text, which is UTF-8 unless `encoding` names another encoding and ends
        its lines with "\\n" on every system.

    The file is written under a temporary name in the folder of `path` (which is created if it is
    missing), flushed to the disk and renamed. Its permissions are those of any new file (umask).
    If the block raises, the temporary file is removed and `path` stays as it was. Raises OSError
    with the file name `path` if the file cannot be written.
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


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: PathLike, value: Any, sort_keys: bool = False) -> None:
    """Write `value` as JSON to `path`, atomically, indented by one space."""
    write_text(path, json.dumps(value, indent=1, sort_keys=sort_keys) + "\n")


@contextlib.contextmanager
def _replacement(path: PathLike) -> Iterator[str]:
    """Give a temporary path beside `path`; rename it to `path`, or remove it after an exception."""
    target = os.path.abspath(path)
    folder, name = os.path.split(target)
    stem, suffix = os.path.splitext(name)
    temporary = os.path.join(
        folder, f".{stem[:NAME_LENGTH]}.{secrets.token_hex(4)}.partial{suffix}"
    )
    os.makedirs(folder, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        # The user knows `path`, and an error of write() or fsync() names no file at all.
        if error.errno is not None and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
