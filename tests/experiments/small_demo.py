"""A demo run with a thousandth of the work and an eighth of the width, which takes seconds."""

from __future__ import annotations

import os

import pytest

from solvers import demo


def make(folder):
    """Run the demo in folder/run, with the data set in folder/data, and return the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WIDTH", demo.WIDTH / 8)
        patch.setattr(demo, "SHOWN", 1)
        patch.setattr(demo, "SNAPSHOTS", 1)
        patch.setitem(demo.CLASSIFIER, "batch", 2)
        stages = {name: dict(fields, base_lr=1e-12) for name, fields in demo.STAGES.items()}
        patch.setattr(demo, "STAGES", stages)
        run = os.path.join(folder, "run")
        demo.run(run, 1, "cpu", os.path.join(folder, "data"), scale=0.001)
    return run
