"""Nets in the words of the families of forks are read, built and run."""

from __future__ import annotations

import caffe
import numpy as np
import pytest

from tests.engine.forks.families import FAMILIES
from tests.engine.nets import build

#: Inputs whose values are sizes or regions: the name -> the values of a row.
VALUES = {
    "data_dim": [9, 9],
    "rois": [0, 0, 0, 60, 60],
    "im_info": [128, 128, 1],
    "label": [1, 255, 2] * 3,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_net_in_the_words_of_a_family_runs(name, tmp_path):
    net = build(tmp_path, FAMILIES[name], caffe.TEST)
    random = np.random.RandomState(0)
    for blob in net.inputs:
        values = VALUES.get(blob, random.standard_normal(net.blobs[blob].shape))
        net.blobs[blob].data[...] = values
    net.forward()
    for blob in net.blobs.values():
        assert np.isfinite(blob.data).all()
