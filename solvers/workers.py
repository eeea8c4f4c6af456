"""Several processes that work on one task, as a launcher such as torchrun starts them.

Caffe knows the number of workers and the rank of this one; a single process is worker 0 of 1. All
workers use the same folders.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Iterator, Tuple, Union

import caffe
import numpy as np

from fcn_common.files import atomic_write
from fcn_common.places import make_folder, writable
from fcn_common.progress import ProgressBar

try:
    import fcntl
except ImportError:  # A system without file locks, where only a single process can run.
    fcntl = None  # type: ignore[assignment]

#: Seconds within which a file that another host has written must be visible here.
VISIBLE = 60


def rank() -> int:
    """Return the rank of this worker. Worker 0 does what must be done once."""
    return int(caffe.solver_rank())


def count() -> int:
    """Return the number of workers."""
    return int(caffe.solver_count())


def label() -> str:
    """Return "worker R of N: ", to begin a line with; "" for a single process."""
    return f"worker {rank()} of {count()}: " if count() > 1 else ""


def share(total: int) -> Tuple[int, int]:
    """Return the first item of this worker's share of `total` items, and the size of the share."""
    first = rank() * total // count()
    return first, (rank() + 1) * total // count() - first


def meet(solver: Any) -> None:
    """Wait until all workers have called this function; then all have the weights of worker 0."""
    if count() > 1:
        caffe.NCCL(solver, caffe.NCCL.new_uid()).bcast()


def sum_up(solver: Any, array: np.ndarray, path: str) -> np.ndarray:
    """Return, on worker 0, the sum of the arrays of all workers; on the others, their own array.

    path: the prefix of the files in which the other workers pass on their arrays. Worker 0 removes
        the files.

    The workers wait for each other. Raises OSError on worker 0 if a file does not arrive.
    """
    if count() == 1:
        return array
    files = [f"{path}.{r}.npy" for r in range(count())]
    if rank():
        with atomic_write(files[rank()]) as file:
            np.save(file, array)
    meet(solver)
    if rank() == 0:
        for part in files[1:]:
            array = array + _read(part)
            os.remove(part)
    return array


def _read(path: str) -> np.ndarray:
    """Return the array in a file, which may become visible here some seconds later."""
    end = time.time() + VISIBLE
    while not os.path.isfile(path):
        if time.time() > end:
            raise OSError(
                f"{path}: another worker wrote this file, but it is not visible here after "
                f"{VISIBLE} s; workers on several hosts need a folder that they share"
            )
        time.sleep(0.1)
    return np.load(path)


@contextlib.contextmanager
def one_at_a_time(path: str) -> Iterator[None]:
    """Let one worker at a time into a block; `path` is the file that is locked meanwhile."""
    if count() == 1:
        yield
        return
    make_folder(os.path.dirname(path))
    with open(writable(path), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Print a line on worker 0. A terminal that is gone does not end the work."""
    if rank() == 0:
        with contextlib.suppress(OSError):
            print(text, flush=True)


def progress_bar(
    total: int, title: str, initial: int = 0, leave: bool = True
) -> Union[ProgressBar, HiddenBar]:
    """Return a progress bar, which is visible on worker 0 only."""
    return HiddenBar() if rank() else ProgressBar(total, title, initial, leave=leave)


class HiddenBar:
    """The methods of `ProgressBar`, which show nothing."""

    def update(self, steps: int = 1, note: str = "") -> None:
        """Show nothing."""

    def write(self, line: str) -> None:
        """Print nothing."""

    def __enter__(self) -> HiddenBar:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave nothing behind."""
