from __future__ import annotations

import os

import pytest

from experiments import demo_run, running, staging
from solvers.caffe_solver import read_solver


@pytest.mark.long
def test_training_at_once_sees_the_number_of_images_of_all_stages(demo_folder, tmp_path):
    result = running.make("staging", staging.run, str(tmp_path), demo_folder, "cpu")
    demo = demo_run.open_demo(demo_folder)
    place = os.path.join(str(tmp_path), "staging", staging.AT_ONCE)
    solver = read_solver(os.path.join(place, "solver.prototxt"))
    assert solver.max_iter == sum(demo.solver(name)["max_iter"] for name in staging.STAGED)
    with open(os.path.join(place, "train.prototxt")) as file:
        assert 'name: "scale_pool3"' in file.read()
    iterations = [row[1].value for row in result.tables[0].rows]
    assert iterations == [2, 4, 6, 6]
    assert os.path.getsize(tmp_path / "staging" / "loss.png") > 1000
