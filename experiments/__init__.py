"""The papers' experiments beside the staged nets, small, on the demo's nets and data.

A module an experiment: `run(out, demo, gpu=None)` gives a `report.Result`, and
`python -m experiments.NAME` makes it; `python -m experiments` makes all, then one page.
"""

import os

from solvers.demo import THREADS

# Read when caffe is imported, so before it: the same seed then gives the demo's own numbers.
_threads = os.environ.get("OMP_NUM_THREADS", str(THREADS))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, _threads)

# In the order of the page.
EXPERIMENTS = (
    "casting",
    "upsampling",
    "padding",
    "skips",
    "staging",
    "batches",
    "bounds",
    "masking",
)
