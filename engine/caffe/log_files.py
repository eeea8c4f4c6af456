"""Log files as glog names and writes them: one for each level, with a link to the newest."""

from __future__ import annotations

import datetime
import getpass
import os
import socket
import sys
from contextlib import suppress
from typing import IO

from .errors import FileError
from .files import writable

NAMES = ("INFO", "WARNING", "ERROR", "FATAL")
HEADER = """Log file created at: {now:%Y/%m/%d %H:%M:%S}
Running on machine: {host}
Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg
"""


class LogFiles:
    """The log files of a program.

    A line goes to the file of its level and to the files of all lower levels. A file is created
    with its first line, as FOLDER/PROGRAM.HOST.USER.log.LEVEL.DATE-TIME.PID, and the link
    FOLDER/PROGRAM.LEVEL is set to it.

    links: a folder for further links, or "". megabytes: the size after which a new file is begun.
    permissions: those of a file, before the umask.
    """

    def __init__(
        self,
        program: str,
        folder: str,
        links: str = "",
        megabytes: int = 1800,
        permissions: int = 0o664,
    ) -> None:
        self._program, self._folder, self._links = program, folder, links
        self._limit, self._permissions = max(1, megabytes) << 20, permissions
        self._files: dict[int, IO[str] | None] = {}

    def write(self, level: int, line: str) -> None:
        """Write a line, which ends with a newline. level: the number of its name in NAMES."""
        for severity in range(level + 1):
            file = self._files.get(severity)
            if file is not None and file.tell() >= self._limit:
                file.close()
                del self._files[severity]
            if severity not in self._files:
                self._files[severity] = file = self._create(severity)
            if file is not None:
                file.write(line)
                file.flush()

    def close(self) -> None:
        """Close all files; a later line begins new ones."""
        for file in self._files.values():
            if file is not None:
                file.close()
        self._files.clear()

    def _create(self, severity: int) -> IO[str] | None:
        """Create the file of a level; if that fails, log the reason and return None."""
        now, host = datetime.datetime.now(), socket.gethostname()
        level = NAMES[severity]
        name = f"{self._program}.{host}.{_user()}.log.{level}.{now:%Y%m%d-%H%M%S}.{os.getpid()}"
        path = os.path.join(self._folder, name)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            handle = os.open(writable(path), flags, self._permissions)
        except FileError as error:
            sys.stderr.write(f"Could not create logging file: {error}\n")
            return None
        except OSError as error:
            sys.stderr.write(f"Could not create logging file: {error.strerror}: {path}\n")
            return None
        file = os.fdopen(handle, "a", encoding="utf-8", errors="surrogateescape")
        if not file.tell():
            file.write(HEADER.format(now=now, host=host))
        _link(name, os.path.join(self._folder, f"{self._program}.{level}"))
        if self._links:
            _link(os.path.abspath(path), os.path.join(self._links, f"{self._program}.{level}"))
        return file


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return f"uid{os.getuid()}"


def _link(target: str, link: str) -> None:
    """Set a symbolic link where the file system has them."""
    with suppress(OSError, FileError):
        folder = writable(os.path.dirname(link))
        with suppress(FileNotFoundError):
            os.unlink(link)
        os.symlink(target, os.path.join(folder, os.path.basename(link)))
