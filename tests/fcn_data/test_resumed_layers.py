"""A data layer continues where the state of another one was read: order, changes, batches."""

from __future__ import annotations

import json

import caffe
import numpy as np
import pytest

NET = (
    "layer {{ name: 'd' type: 'Python' top: 'data' top: 'label' python_param {{ "
    "module: 'voc_layers' layer: 'SBDDSegDataLayer' param_str: \"{0}\" }} }}"
)


@pytest.mark.parametrize(
    "settings", [{}, {"seed": 3}, {"randomize": False}, {"mirror": True, "crop": 16, "batch": 2}]
)
def test_a_layer_continues_where_another_was(tiny_start, tmp_path, settings):
    values = {"sbdd_dir": str(tiny_start / "sbdd"), "split": "train", "mean": (1, 2, 3), **settings}
    path = tmp_path / "net.prototxt"
    path.write_text(NET.format(values))
    first, second = (caffe.Net(str(path), caffe.TRAIN) for _ in range(2))
    for _ in range(3):
        first.forward()
    state = json.loads(json.dumps(first.layers[0].resume_state()))
    second.layers[0].set_resume_state(state)
    for _ in range(4):
        expected = {name: np.array(values) for name, values in first.forward().items()}
        for name, values in second.forward().items():
            assert np.array_equal(values, expected[name])


def test_the_position_in_another_split_is_refused(tiny_start, tmp_path):
    values = {"sbdd_dir": str(tiny_start / "sbdd"), "split": "train", "mean": (1, 2, 3)}
    path = tmp_path / "net.prototxt"
    path.write_text(NET.format(values))
    layer = caffe.Net(str(path), caffe.TRAIN).layers[0]
    with pytest.raises(ValueError, match="a position in 9 images; split train has 3"):
        layer.set_resume_state({**layer.resume_state(), "images": 9})
