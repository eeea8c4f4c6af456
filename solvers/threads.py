"""The number of threads, on which the order of additions and the last digits of results depend."""

from __future__ import annotations

import os

#: Threads of the demo and of the experiments: with the same seed, they give the same numbers.
THREADS = 2
#: The environment variables that NumPy's and Caffe's libraries read when they are imported.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pin() -> None:
    """Set the number of threads to OMP_NUM_THREADS of the environment, or else to `THREADS`.

    Call this before NumPy and Caffe are imported. A variable that is set stays as it is.
    """
    count = os.environ.get("OMP_NUM_THREADS", str(THREADS))
    for name in VARIABLES:
        os.environ.setdefault(name, count)
