"""Reading .mat files in a process of its own, because a damaged file can crash SciPy's reader.

One flipped byte in an uncompressed file ends the process that reads the file. The process starts
with the first file and reads all files of the program. After a crash, the next file starts another.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any, List, Optional

import numpy as np

from . import mat_process
from .mat_process import ARRAY, SEGMENTATION

#: Seconds that a file may take; the largest files of the data sets take 0.1 s.
SECONDS = 15.0


class _Reader:
    """The process that reads, and the pipes to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, mat_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the program, whose end closes the pipes and so ends this process.
            start_new_session=True,
        )
        self._requests, self._answers = _pipe(self.process.stdin), _pipe(self.process.stdout)

    def ask(self, kind: str, name: str, path: str) -> np.ndarray:
        """Return the answer to a request.

        Raises OSError for a file that cannot be read, and EOFError where the process has ended.
        """
        timer = threading.Timer(SECONDS, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            self._requests.write(json.dumps([kind, name, path]).encode() + b"\n")
            self._requests.flush()
            head = json.loads(self._answers.readline() or "{}")
            content = self._answers.read(_size(head)) if "type" in head else b""
        except (BrokenPipeError, ValueError):
            raise EOFError from None
        finally:
            timer.cancel()
        if "error" in head:
            raise OSError(head["error"])
        if "type" not in head or len(content) < _size(head):
            raise EOFError
        array = np.frombuffer(bytearray(content), head["type"])
        return array.reshape(head["shape"])

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self._answers.close()
        with suppress(BrokenPipeError):
            self._requests.close()


def _pipe(stream: Optional[IO[bytes]]) -> IO[bytes]:
    assert stream is not None
    return stream


def _size(head: Any) -> int:
    return int(np.prod(head["shape"], dtype=np.int64)) * np.dtype(head["type"]).itemsize


#: Data layers read in threads of their own.
_lock = threading.Lock()
#: The process, if one runs.
_readers: List[_Reader] = []


def read_segmentation(path: str) -> np.ndarray:
    """Return the class indices in a .mat file of SBD's cls layout, H x W.

    Raises OSError if the file is not readable or has another layout.
    """
    return _ask(SEGMENTATION, "", path)


def read_array(path: str, name: str) -> np.ndarray:
    """Return the array `name` of a .mat file. Raises OSError if there is none that is readable."""
    return _ask(ARRAY, name, path)


def _ask(kind: str, name: str, path: str) -> np.ndarray:
    if not os.path.isfile(path):
        raise OSError(f"{path}: is not a readable .mat file (no such file)")
    with _lock:
        if _readers and _readers[0].owner != os.getpid():  # a process that was forked
            _readers.clear()
        if not _readers:
            _readers.append(_Reader())
        try:
            return _readers[0].ask(kind, name, os.path.abspath(path))
        except OSError:
            raise
        except EOFError:
            _end()
            raise OSError(
                f"{path}: is a damaged .mat file, on which SciPy's reader crashed; get it again"
            ) from None
        except BaseException:
            _end()  # Ctrl-C may leave a part of an answer in the pipe.
            raise


def _end() -> None:
    while _readers:
        reader = _readers.pop()
        if reader.owner == os.getpid():
            reader.end()


atexit.register(_end)
