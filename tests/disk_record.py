"""What a program changes on disk below a folder, recorded by a library in C (`disk_record.c`).

The library is preloaded, so that the calls of all libraries of the process are seen: those of
Python, HDF5, LMDB and OpenCV.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_suffix(".c")


class Change(NamedTuple):
    """A record; `disk_record.c` describes the kinds.

    path, other: relative to the folder; "" for the folder itself, None for what lies outside.
    """

    kind: str
    inode: int
    offset: int
    path: str | None
    other: str | None
    content: bytes


@functools.cache
def library() -> str | None:
    """Compile the library, once a process; return its path, or None without a C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or os.uname().sysname != "Linux":
        return None
    folder = tempfile.TemporaryDirectory(prefix="disk_record")
    atexit.register(folder.cleanup)
    path = os.path.join(folder.name, "disk_record.so")
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", path, SOURCE, "-ldl"], check=True)
    return path


def record(
    command: list[str], folder: Path, cwd: Path, **environment: str
) -> tuple[list[Change], subprocess.CompletedProcess]:
    """Run a program, and return what it changed below `folder`, and how it ended.

    The process itself is recorded, with the processes that it starts.
    """
    path = library()
    assert path is not None, "no C compiler"
    with tempfile.TemporaryDirectory() as temporary:
        file = os.path.join(temporary, "record")
        Path(file).touch()
        env = dict(os.environ, **environment, LD_PRELOAD=path, DISK_RECORD=file)
        env["DISK_RECORD_FOLDER"] = str(folder)
        result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        return read(Path(file).read_bytes(), os.path.realpath(folder)), result


def read(content: bytes, folder: str) -> list[Change]:
    """Return the records of a file. folder: the folder that was watched."""
    changes, at = [], 0
    while at < len(content):
        end = content.index(b"\n", at)
        kind, *numbers = content[at:end].split()
        inode, offset, size, length, other = map(int, numbers)
        at = end + 1
        parts = []
        for part in (length, other, size):
            parts.append(content[at : at + part])
            at += part
        paths = (_relative(os.fsdecode(part), folder) for part in parts[:2])
        changes.append(Change(kind.decode(), inode, offset, *paths, parts[2]))
    return changes


def _relative(path: str, folder: str) -> str | None:
    if path == folder:
        return ""
    return path[len(folder) + 1 :] if path.startswith(folder + "/") else None
