"""py-faster-rcnn's data layer, which the engine runs where its module is missing."""

from __future__ import annotations

import json

import caffe
import cv2
import numpy as np
import pytest
from caffe.errors import LayerError

from tests.engine.nets import build

NET = """
layer {{ name: "data" type: "Python" {0} python_param {{ module: "roi_data_layer.layer"
  layer: "RoIDataLayer" param_str: "'num_classes': 3" }} }}
"""
FASTER = 'top: "data" top: "im_info" top: "gt_boxes"'
FAST = 'top: "data" top: "rois" top: "labels"'
CODES = ' top: "bbox_targets" top: "bbox_inside_weights" top: "bbox_outside_weights"'
MEANS = np.array([102.9801, 115.9465, 122.7717], np.float32)


def photograph(folder, name, rows, columns):
    """The path of a drawn image, and the image."""
    image = np.random.RandomState(rows).randint(0, 255, (rows, columns, 3), np.uint8)
    cv2.imwrite(str(folder / name), image)
    return str(folder / name), image


def test_an_image_is_scaled_and_mirrored_with_its_objects(tmp_path):
    net = build(tmp_path, NET.format(FASTER), caffe.TRAIN)
    assert net.blobs["data"].shape == (1, 3, 600, 1000)
    path, image = photograph(tmp_path, "a.png", 30, 60)
    boxes = np.array([[2, 3, 20, 25], [0, 0, 9, 9]], np.uint16)
    entry = {"image": path, "flipped": True, "boxes": boxes, "gt_classes": np.array([2, 0])}
    net.layers[0].set_roidb([entry])
    net.forward()
    scale = 1000 / 60
    np.testing.assert_allclose(net.blobs["im_info"].data, [[500, 1000, scale]], rtol=1e-6)
    np.testing.assert_allclose(
        net.blobs["gt_boxes"].data, [[2 * scale, 3 * scale, 20 * scale, 25 * scale, 2]], rtol=1e-6
    )
    expected = cv2.resize(image[:, ::-1] - MEANS, (1000, 500)).transpose(2, 0, 1)
    np.testing.assert_allclose(net.blobs["data"].data[0], expected, atol=1e-3)


def test_regions_are_drawn_by_their_overlaps_and_carry_codes(tmp_path):
    net = build(tmp_path, NET.format(FAST + CODES), caffe.TRAIN)
    entries = []
    for name, rows in (("a.png", 50), ("b.png", 40)):
        path, _ = photograph(tmp_path, name, rows, 40)
        overlaps = np.array([0.9] * 30 + [0.3] * 60 + [0.05] * 30)
        boxes = np.column_stack([np.arange(120) % 9, np.zeros(120), np.full((120, 2), 20)])
        targets = np.zeros((120, 5))
        targets[:30] = [2, 0.1, 0.2, 0.3, 0.4]
        classes = np.where(overlaps >= 0.5, 2, 1)
        entries.append(
            {
                "image": path,
                "boxes": boxes,
                "max_overlaps": overlaps,
                "max_classes": classes,
                "bbox_targets": targets,
            }
        )
    net.layers[0].set_roidb(entries)
    net.forward()
    data, rois, labels, codes, inside, outside = (net.blobs[n].data for n in net.blobs)
    assert data.shape == (2, 3, 750, 600) and rois.shape == (128, 5) and labels.shape == (128,)
    assert rois[:, 0].tolist() == [0] * 64 + [1] * 64
    assert [int((labels[i : i + 64] == 2).sum()) for i in (0, 64)] == [16, 16]
    assert int((labels == 0).sum()) == 96
    np.testing.assert_allclose(codes[labels == 2, 8:], [[0.1, 0.2, 0.3, 0.4]] * 32)
    assert inside.sum() == 4 * 32 and not codes[:, :8].any()
    assert np.array_equal(inside, outside)


def test_all_regions_are_read_where_hard_ones_are_mined(tmp_path):
    text = NET.format(FAST).replace("'num_classes': 3", "{'num_classes': 3, 'batch_size': -1}")
    net = build(tmp_path, text, caffe.TRAIN)
    path, _ = photograph(tmp_path, "a.png", 20, 20)
    overlaps = np.array([0.9] * 100 + [0.3] * 50 + [0.0] * 20)
    entry = {
        "image": path,
        "boxes": np.tile([0, 0, 9, 9], (170, 1)),
        "max_overlaps": overlaps,
        "max_classes": np.full(170, 2),
    }
    net.layers[0].set_roidb([entry])
    net.forward()
    assert net.blobs["labels"].data.tolist() == ([2] * 100 + [0] * 70) * 2


def test_a_resumed_training_reads_the_rest_of_its_epoch(tmp_path):
    entries = []
    for number in range(4):
        path, _ = photograph(tmp_path, f"{number}.png", 20, 20)
        boxes = np.array([[0, 0, number + 5, 9]])
        entries.append({"image": path, "boxes": boxes, "gt_classes": np.array([1])})
    net = build(tmp_path, NET.format(FASTER), caffe.TRAIN)
    net.layers[0].set_roidb(entries)
    net.forward()
    state = json.loads(json.dumps(net.layers[0].resume_state()))
    objects = [net.forward()["gt_boxes"].ravel().tolist() for _ in range(3)]
    resumed = build(tmp_path, NET.format(FASTER), caffe.TRAIN)
    resumed.layers[0].set_resume_state(state)
    resumed.layers[0].set_roidb(entries)
    assert [resumed.forward()["gt_boxes"].ravel().tolist() for _ in range(3)] == objects


def test_a_pass_without_images_says_how_to_give_them(tmp_path):
    net = build(tmp_path, NET.format(FASTER), caffe.TRAIN)
    with pytest.raises(LayerError, match=r"net.layers\[0\].set_roidb"):
        net.forward()
    with pytest.raises(LayerError, match="1 entries without gt_classes"):
        net.layers[0].set_roidb([{"image": "a.png", "boxes": []}])


def test_tops_that_the_data_layer_lacks_are_refused(tmp_path):
    with pytest.raises(LayerError, match="4 tops and param_str"):
        build(tmp_path, NET.format(FAST + ' top: "more"'), caffe.TRAIN)
    with pytest.raises(LayerError, match="4 tops; data, im_info and gt_boxes"):
        build(tmp_path, NET.format(FASTER + ' top: "more"'), caffe.TRAIN)
