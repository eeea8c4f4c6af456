"""The regions that Fast R-CNN with hard example mining learns from, against loops."""

from __future__ import annotations

import math

import caffe
import cv2
import numpy as np
import pytest
from caffe.errors import ShapeError

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer

OHEM = (
    "type: 'Python' python_param { module: 'roi_data_layer.layer' layer: 'OHEMDataLayer' "
    "param_str: \"{'num_classes': 3, 'batch_size': 12}\" }"
)
SHAPES = ((40, 3), (40, 12), (40, 5), (40,), (40, 12), (40, 12), (40, 12))


def overlap(a, b):
    """The overlap of two boxes of whole pixels."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    areas = sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return shared / (areas - shared)


def hardest(probabilities, codes, regions, labels, targets, inside, outside):
    """The numbers of the 12 hardest regions."""
    losses = []
    for r, label in enumerate(labels.astype(int)):
        loss = -math.log(probabilities[r, label])
        if label:
            for k in range(12):
                d = abs(inside[r, k] * (codes[r, k] - targets[r, k]))
                loss += outside[r, k] * (0.5 * d * d if d < 1 else d - 0.5)
        losses.append(loss)
    kept = []
    for r in sorted(range(len(losses)), key=lambda r: -losses[r]):
        rivals = [k for k in kept if regions[k, 0] == regions[r, 0] and labels[k] == labels[r]]
        if all(overlap(regions[r, 1:], regions[k, 1:]) <= 0.7 for k in rivals):
            kept.append(r)
    return kept[:12], kept


def test_the_regions_with_the_largest_losses_are_kept(tmp_path):
    net = build(tmp_path, layer(OHEM, *SHAPES, tops=5), caffe.TRAIN)
    random = np.random.RandomState(2)
    scores = random.uniform(0.02, 1, (40, 3))
    low = random.randint(0, 12, (40, 2))
    values = [
        scores / scores.sum(1, keepdims=True),
        2 * random.standard_normal((40, 12)),
        np.column_stack([random.randint(0, 2, 40), low, low + random.randint(10, 20, (40, 2))]),
        random.randint(0, 3, 40),
        random.standard_normal((40, 12)),
        random.randint(0, 2, (40, 12)),
        random.uniform(0, 1, (40, 12)),
    ]
    for i, value in enumerate(values):
        net.blobs[f"x{i}"].data[...] = value
    net.forward()
    rows, unlimited = hardest(*(net.blobs[f"x{i}"].data for i in range(7)))
    assert 12 < len(unlimited) < 40
    for i in range(5):
        np.testing.assert_array_equal(net.blobs[f"y{i}"].data, net.blobs[f"x{i + 2}"].data[rows])


def test_bottoms_of_other_numbers_of_rows_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="R x C, R x 4 C, R x 5, R and three"):
        build(tmp_path, layer(OHEM, (40, 3), (40, 8), *SHAPES[2:], tops=5), caffe.TRAIN)


NET = (
    """
layer { name: "data" type: "Python" top: "data" top: "rois" top: "labels" top: "bbox_targets"
  top: "bbox_inside_weights" top: "bbox_outside_weights" python_param {
    module: "roi_data_layer.layer" layer: "RoIDataLayer"
    param_str: "{'num_classes': 3, 'batch_size': -1}" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 4 kernel_size: 16 stride: 16 weight_filler { type: "gaussian" std: 0.001 } } }
"""
    + "".join(
        f"""
layer {{ name: "pool{end}" type: "ROIPooling" bottom: "conv" bottom: "rois{hard}" top: "pool{end}"
  roi_pooling_param {{ pooled_w: 2 pooled_h: 2 spatial_scale: 0.0625 }} }}
layer {{ name: "cls{end}" type: "InnerProduct" bottom: "pool{end}" top: "cls{end}"
  param {{ name: "cls_w" }} param {{ name: "cls_b" }} propagate_down: {bool(hard):d}
  inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "box{end}" type: "InnerProduct" bottom: "pool{end}" top: "box{end}"
  param {{ name: "box_w" }} param {{ name: "box_b" }} propagate_down: {bool(hard):d}
  inner_product_param {{ num_output: 12 weight_filler {{ type: "xavier" }} }} }}
"""
        + (
            ""
            if hard
            else """
layer { name: "prob" type: "Softmax" bottom: "cls_readonly" top: "prob_readonly"
  propagate_down: false }
layer { name: "hard" type: "Python" bottom: "prob_readonly" bottom: "box_readonly" bottom: "rois"
  bottom: "labels" bottom: "bbox_targets" bottom: "bbox_inside_weights"
  bottom: "bbox_outside_weights" top: "rois_hard" top: "labels_hard" top: "targets_hard"
  top: "inside_hard" top: "outside_hard" propagate_down: [false, false, false, false, false, false,
  false] python_param { module: "roi_data_layer.layer" layer: "OHEMDataLayer"
    param_str: "{'num_classes': 3, 'batch_size': 8}" } }
"""
        )
        for end, hard in (("_readonly", ""), ("", "_hard"))
    )
    + """
layer { name: "loss_cls" type: "SoftmaxWithLoss" bottom: "cls" bottom: "labels_hard"
  propagate_down: true propagate_down: false top: "loss_cls" }
layer { name: "loss_box" type: "SmoothL1Loss" bottom: "box" bottom: "targets_hard"
  bottom: "inside_hard" bottom: "outside_hard" top: "loss_box" }
"""
)


def test_fast_r_cnn_learns_from_the_hard_regions_alone(tmp_path):
    caffe.set_random_seed(1)
    net = build(tmp_path, NET, caffe.TRAIN)
    random = np.random.RandomState(0)
    cv2.imwrite(str(tmp_path / "a.png"), random.randint(0, 255, (40, 40, 3), np.uint8))
    low = random.randint(0, 20, (30, 2))
    entry = {
        "image": str(tmp_path / "a.png"),
        "boxes": np.column_stack([low, low + random.randint(4, 19, (30, 2))]),
        "max_overlaps": random.uniform(0, 1, 30),
        "max_classes": random.randint(1, 3, 30),
        "bbox_targets": np.column_stack([random.randint(1, 3, 30), random.uniform(-1, 1, (30, 4))]),
    }
    net.layers[0].set_roidb([entry])
    net.forward()
    net.backward()
    assert net.blobs["rois"].shape == (60, 5) and net.blobs["rois_hard"].shape == (8, 5)
    scores, labels = net.blobs["cls"].data, net.blobs["labels_hard"].data.astype(int)
    exponentials = np.exp(scores - scores.max(1, keepdims=True))
    slopes = exponentials / exponentials.sum(1, keepdims=True) - np.eye(3)[labels]
    pooled = net.blobs["pool"].data.reshape(8, -1)
    np.testing.assert_allclose(net.params["cls"][0].diff, slopes.T @ pooled / 8, atol=1e-5)
    assert np.abs(net.params["conv"][0].diff).max() > 0
