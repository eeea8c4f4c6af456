from __future__ import annotations

import os

import pytest

from solvers import demo


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """The folder of a demo run at a thousandth of the work and an eighth of the width."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WIDTH", demo.WIDTH / 8)
        patch.setattr(demo, "SHOWN", 1)
        patch.setitem(demo.CLASSIFIER, "batch", 2)
        gently = {name: dict(fields, base_lr=1e-12) for name, fields in demo.STAGES.items()}
        patch.setattr(demo, "STAGES", gently)
        demo.run(str(folder / "run"), 1, "cpu", str(folder / "data"), scale=0.001)
    return os.path.join(str(folder), "run")
