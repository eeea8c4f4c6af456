"""Prints how many multiply-adds a second this Python's NumPy reaches in a matrix product."""

import sys
import time

import numpy as np


def main(n: int = 1536, times: int = 4) -> None:
    """Print the rate of the fastest of `times` products of two n x n matrices, float32."""
    a, b = (np.random.RandomState(i).rand(n, n).astype(np.float32) for i in range(2))
    a.dot(b)
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        a.dot(b)
        best = min(best, time.perf_counter() - start)
    print(n**3 / best)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
