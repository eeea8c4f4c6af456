"""Several processes on one task, started by a launcher such as torchrun; one alone is worker 0.

Caffe says which of them this one is. They see the same folders.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Iterator, Tuple

import numpy as np

#: Seconds for a file that another host has written to be seen here.
VISIBLE = 60


def rank() -> int:
    """The number of this worker, from 0, which does what is done once."""
    import caffe

    return int(caffe.solver_rank())


def count() -> int:
    """How many workers there are."""
    import caffe

    return int(caffe.solver_count())


def share(total: int) -> Tuple[int, int]:
    """The first and the number of this worker's items, of `total` dealt out in equal runs."""
    first = rank() * total // count()
    return first, (rank() + 1) * total // count() - first


def meet(solver: Any) -> None:
    """Go on once every worker's solver has come here; all have worker 0's weights then."""
    import caffe

    if count() > 1:
        caffe.NCCL(solver, caffe.NCCL.new_uid()).bcast()


def sum_up(solver: Any, array: np.ndarray, path: str) -> np.ndarray:
    """The sum over the workers of an array of each, on worker 0; on the others their own.

    path: what the files are called that carry the arrays to worker 0; they are removed. The
    solver's workers wait for each other here. Raises OSError if a file does not arrive.
    """
    if count() == 1:
        return array
    files = [f"{path}.{r}.npy" for r in range(count())]
    if rank():
        partial = f"{files[rank()]}.{os.getpid()}.partial"
        with open(partial, "wb") as file:
            np.save(file, array)
        os.replace(partial, files[rank()])
    meet(solver)
    if rank() == 0:
        for part in files[1:]:
            array = array + _read(part)
            os.remove(part)
    return array


def _read(path: str) -> np.ndarray:
    end = time.time() + VISIBLE
    while not os.path.isfile(path):
        if time.time() > end:
            raise OSError(
                f"{path}: another worker wrote it, but it is not seen here after {VISIBLE} s; "
                "workers on several hosts need a folder that all of them share"
            )
        time.sleep(0.1)
    return np.load(path)


@contextlib.contextmanager
def one_at_a_time(path: str) -> Iterator[None]:
    """While open, no other worker is in here; `path` is the file that is locked for it."""
    if count() == 1:
        yield
        return
    import fcntl

    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Print a line, once for all workers."""
    if rank() == 0:
        print(text, flush=True)


def by_first(make: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """A progress bar or a log, `make(...)`, on worker 0; on the others one that does nothing."""
    return _Quiet() if rank() else make(*arguments, **named)


class _Quiet:
    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None
