"""CTPN's Python layer, which the engine runs where its module is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from caffe.errors import ShapeError

from tests.engine.nets import build

NET = """
layer { name: "p" type: "Input" top: "p" input_param { shape { dim: 1 dim: 20 dim: 2 dim: 3 } } }
layer { name: "c" type: "Input" top: "c"
  input_param { shape { dim: 1 dim: %d dim: 2 dim: 3 } } }
layer { name: "i" type: "Input" top: "i" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "proposal" type: "Python" bottom: "p" bottom: "c" bottom: "i" top: "rois"
  top: "scores" python_param { module: "layers.text_proposal_layer" layer: "ProposalLayer"
    param_str: "'feat_stride': 16" } }
"""
HEIGHTS = (11, 16, 23, 33, 48, 68, 97, 139, 198, 283)


def test_regions_of_text_are_decoded_around_anchors_of_fixed_width(tmp_path):
    random = np.random.RandomState(0)
    net = build(tmp_path, NET % 20)
    p, c = (random.standard_normal((1, 20, 2, 3)).astype(np.float32) for _ in range(2))
    net.blobs["p"].data[...], net.blobs["c"].data[...] = p, c
    net.blobs["i"].data[...] = [40, 44, 1]
    out = net.forward()
    rows = []
    for i in range(2):
        for j in range(3):
            for k, height in enumerate(HEIGHTS):
                upper, lower = int(7.5 - height // 2), int(7.5 + height // 2)
                tall = lower - upper + 1
                size = math.exp(c[0, 2 * k + 1, i, j]) * tall
                centre = c[0, 2 * k, i, j] * tall + (upper + lower) / 2 + 16 * i
                rows.append([16 * j, centre - size / 2, 16 * j + 15, centre + size / 2])
    expected = np.array(rows).clip(0, [43, 39, 43, 39])
    np.testing.assert_allclose(out["rois"], expected, atol=1e-3)
    assert np.array_equal(out["scores"].reshape(2, 3, 10), p[0, 10:].transpose(1, 2, 0))


def test_maps_without_two_channels_for_each_anchor_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="both need one image with 20 channels"):
        build(tmp_path, NET % 40)
