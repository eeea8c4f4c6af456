"""The papers' experiments beside the staged nets, at a small scale, on the demo's nets and data.

Each module in EXPERIMENTS has `run(out, demo, gpu=None)`, which returns a `report.Result`.
`python -m experiments.NAME` runs one experiment; `python -m experiments` runs all and writes the
page.
"""

import os

from solvers.demo import THREADS

# Libraries read these variables when caffe is imported. With the demo's number of threads, the
# demo's seed gives the demo's numbers.
_threads = os.environ.get("OMP_NUM_THREADS", str(THREADS))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, _threads)

#: Name -> the module with `run`, in the order of the page.
EXPERIMENTS = {
    "casting": "experiments.casting.experiment",
    "upsampling": "experiments.upsampling.experiment",
    "padding": "experiments.padding.experiment",
    "skips": "experiments.skips",
    "staging": "experiments.staging",
    "batches": "experiments.batches",
    "bounds": "experiments.bounds",
    "masking": "experiments.masking",
}
