"""Continues training cases from snapshots, in the Caffe that `import caffe` gives.

    oracle/caffe-python oracle/proceed.py FOLDER

FOLDER/CASE holds the snapshot of a training case's fifth iteration. FOLDER/CASE.npz gets the
restored weights and the weights after two more iterations. The snapshot is read, and written again
in its place.
"""

from __future__ import annotations

import os
import sys

import numpy as np

from oracle.cases import CASES
from oracle.cases.training import proceed, rewrite


def main(folder: str) -> None:
    """Continue every case that has a folder in `folder`."""
    for name in sorted(os.listdir(folder)):
        os.chdir(os.path.join(folder, name))
        numbers: dict = {}
        proceed(CASES[name], numbers)
        rewrite(CASES[name])
        np.savez(os.path.join(folder, name + ".npz"), **numbers)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
