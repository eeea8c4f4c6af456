"""The papers' experiments beside the staged nets, at a small scale, on the demo's nets and data.

Each module in EXPERIMENTS has `run(out, demo, gpu=None)`, which returns a `report.Result`.
`python -m experiments.NAME` runs one experiment; `python -m experiments` runs all and writes the
page.
"""

from solvers import threads

# Caffe and NumPy read the number of threads when they are imported. With the demo's number, the
# demo's seed gives the demo's numbers.
threads.pin()

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
