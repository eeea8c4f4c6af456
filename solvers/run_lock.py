"""Allows one run in a folder at a time: a file names the process that works there.

The file is locked with flock, which network file systems pass on to other hosts where they can. The
process also touches its file every `HEARTBEAT` seconds, for file systems that cannot. A process of
this host counts as ended if its lock is gone or no process has its number and start time. A process
of another host counts as ended if its lock is gone or its file was not touched for `DEAD` seconds.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import platform
import sys
import threading
import time
from typing import Any, Dict, Iterator, Optional, Set

from fcn_common.places import make_folder, writable

try:
    import fcntl
except ImportError:  # A system without file locks.
    fcntl = None  # type: ignore[assignment]

NAME = ".running"
#: Seconds between two signs of life, and seconds without a sign of life after which a process of
#: another host counts as dead.
HEARTBEAT = 15
DEAD = 120
#: What flock raises where another process has the lock, and where there are no locks.
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


@contextlib.contextmanager
def one_run(folder: str) -> Iterator[None]:
    """Let one process at a time into a block for a folder, which is created if it is missing.

    The process may enter several folders, and a folder again inside the block. Raises ValueError
    if another process runs there, in one line with its number, its host and its start.
    """
    folder = os.path.realpath(folder)
    if folder in _held:
        yield
        return
    created = not os.path.isdir(folder)
    make_folder(folder)
    handle = _acquire(os.path.join(folder, NAME), folder)
    _held.add(folder)
    stop = threading.Event()
    arguments = (handle, stop)
    threading.Thread(target=_beat, args=arguments, name="sign of life", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        _held.discard(folder)
        with contextlib.suppress(OSError):
            os.remove(os.path.join(folder, NAME))
        os.close(handle)
        if created:
            with contextlib.suppress(OSError):  # Not empty, as usual.
                os.rmdir(folder)


#: The folders that this process has locked.
_held: Set[str] = set()


def is_marked(folder: str) -> bool:
    """Return whether a process works in a folder, or was killed there."""
    return os.path.isfile(os.path.join(folder, NAME))


def _acquire(path: str, folder: str) -> int:
    """Return the handle of the locked file with this process's record."""
    while True:
        handle = os.open(writable(path), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _lock(handle)
            other = _read(handle)
            if other and _lives(other, handle, locked):
                raise ValueError(_refusal(folder, other))
            # Another process may have removed the file after this one opened it.
            if _is_file(path, handle):
                _write(handle, _record())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> Optional[bool]:
    """Return whether the lock was free and is taken; None where the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True


def _lives(other: Dict[str, Any], handle: int, locked: Optional[bool]) -> bool:
    """Return whether the process of a record works on."""
    if other.get("host") == platform.node() and other.get("processes") == _processes():
        # A child that a dead process has left can hold its lock, so the lock alone does not count.
        return locked is not True and process_start(int(other["pid"])) == other.get("start")
    if locked is False:
        return True
    return time.time() - os.fstat(handle).st_mtime < DEAD


def _is_file(path: str, handle: int) -> bool:
    """Return whether an open file still has its path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _processes() -> str:
    """Return which processes this one sees: those of its container, where it runs in one."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _record() -> Dict[str, Any]:
    return {
        "host": platform.node(),
        "processes": _processes(),
        "pid": os.getpid(),
        "start": process_start(os.getpid()),
        "since": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}",
        "command": " ".join(sys.argv),
    }


def _read(handle: int) -> Optional[Dict[str, Any]]:
    """Return the record in an open file; None for an empty or damaged one."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        record = json.loads(os.read(handle, 1 << 16))
        return record if isinstance(record["pid"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


def _write(handle: int, record: Dict[str, Any]) -> None:
    content = json.dumps(record).encode() + b"\n"
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, content)


def _refusal(folder: str, other: Dict[str, Any]) -> str:
    host = "" if other["host"] == platform.node() else f" on host {other['host']}"
    return (
        f"{folder}: process {other['pid']}{host} runs here since {other.get('since')} "
        f"({other.get('command')}); wait for its end, stop it, or name another folder"
    )


def process_start(pid: int) -> Optional[str]:
    """Return when a process of this host started, in the clock ticks of its system; None if there
    is none.

    Where the system has no /proc, the text is empty for every process that lives.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # A process that has ended and whose parent has not noticed is a zombie, Z.
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    except OSError:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return ""


def _beat(handle: int, stop: threading.Event) -> None:
    """Touch the file until the run ends."""
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(handle)
