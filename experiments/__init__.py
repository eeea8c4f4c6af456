"""The papers' experiments beside the staged nets, small, on the demo's nets and data.

A module an experiment: `run(out, demo, gpu=None)` gives a `report.Result`, and
`python -m experiments.NAME` makes it; `python -m experiments` makes all, then one page.
"""

from solvers import threads

# Caffe and NumPy, imported below, read the number of threads. It is that of the demo, so that the
# same seed gives the same numbers.
threads.pin()

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
