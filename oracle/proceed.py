"""Goes on with training cases from snapshots, under whatever Caffe `import caffe` gives.

    oracle/caffe-python oracle/proceed.py FOLDER

FOLDER/CASE holds the snapshot of a training case's fifth iteration. Writes FOLDER/CASE.npz: the
weights as restored, and after two more iterations; and puts the snapshot, read and written again,
in place of the one found.
"""

from __future__ import annotations

import os
import sys

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main(folder: str) -> None:
    import numpy as np

    from oracle.cases import CASES
    from oracle.cases.training import proceed, rewrite

    for name in sorted(os.listdir(folder)):
        os.chdir(os.path.join(folder, name))
        numbers: dict = {}
        proceed(CASES[name], numbers)
        rewrite(CASES[name])
        np.savez(os.path.join(folder, name + ".npz"), **numbers)


if __name__ == "__main__":
    sys.path.insert(0, CHECKOUT)
    main(os.path.abspath(sys.argv[1]))
