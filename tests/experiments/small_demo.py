"""A demo run at a thousandth of the work and an eighth of the width, in seconds."""

from __future__ import annotations

import os

import pytest

from solvers import demo


def make(folder):
    """Makes folder/run, of the data set folder/data; gives its path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WIDTH", demo.WIDTH / 8)
        patch.setattr(demo, "SHOWN", 1)
        patch.setitem(demo.CLASSIFIER, "batch", 2)
        gently = {name: dict(fields, base_lr=1e-12) for name, fields in demo.STAGES.items()}
        patch.setattr(demo, "STAGES", gently)
        run = os.path.join(folder, "run")
        demo.run(run, 1, "cpu", os.path.join(folder, "data"), scale=0.001)
    return run
