"""The targets that Faster R-CNN trains on, where py-faster-rcnn's modules are missing."""

from __future__ import annotations

import caffe
import cv2
import numpy as np
import pytest
from caffe.errors import CaffeError
from caffe.layers.forks.rcnn import anchors, decode_pixels
from caffe.layers.forks.rcnn_targets import encode_pixels

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer
from zoo import scenes
from zoo.nets.rcnn_training import rfcn_ohem

PYTHON = "type: 'Python' python_param {{ module: 'rpn.{0}' layer: '{1}' param_str: \"{2}\" }}"
ANCHORS = PYTHON.format("anchor_target_layer", "AnchorTargetLayer", "'feat_stride': 16")
PROPOSALS = PYTHON.format("proposal_target_layer", "ProposalTargetLayer", "'num_classes': 3")


def test_codes_are_what_proposals_decode():
    random = np.random.RandomState(0)
    low = random.uniform(0, 50, (2, 6, 2))
    regions, objects = np.concatenate([low, low + random.uniform(5, 40, (2, 6, 2))], 2)
    codes = encode_pixels(regions, objects)
    decoded = decode_pixels(codes.T[None].astype(np.float32), regions[:, None].astype(np.float32))
    corners = objects + np.array([0, 0, 1, 1])
    np.testing.assert_allclose(decoded, corners, rtol=1e-4)


def test_anchors_get_labels_codes_and_weights(tmp_path):
    caffe.set_random_seed(1)
    shapes = ((1, 18, 20, 30), (2, 5), (1, 3))
    net = build(tmp_path, layer(ANCHORS, *shapes, tops=4), caffe.TRAIN)
    objects = np.array([[100, 80, 230, 210, 1], [300, 50, 420, 290, 2]], np.float32)
    net.blobs["x1"].data[...] = objects
    net.blobs["x2"].data[...] = [320, 480, 1]
    net.forward()
    labels, codes, inside, outside = (net.blobs[f"y{i}"].data for i in range(4))
    assert labels.shape == (1, 1, 180, 30) and codes.shape == (1, 36, 20, 30)
    counts = {int(k): int((labels == k).sum()) for k in (0, 1)}
    assert sum(counts.values()) == 256 and 2 <= counts[1] <= 128
    by_anchor = labels.reshape(9, 20, 30)
    base = anchors(16, [0.5, 1, 2], [8, 16, 32])
    for a, i, j in np.argwhere(by_anchor == 1):
        box = base[a] + np.array([j, i, j, i]) * 16
        assert box[:2].min() >= 0 and box[2] < 480 and box[3] < 320
        low, high = np.maximum(box[:2], objects[:, :2]), np.minimum(box[2:], objects[:, 2:4])
        shared = (high - low + 1).clip(0).prod(1)
        best = shared.argmax()
        place = (0, slice(4 * a, 4 * a + 4), i, j)
        expected = encode_pixels(box[None], objects[best : best + 1, :4])[0]
        np.testing.assert_allclose(codes[place], expected, rtol=1e-3, atol=1e-4)
        assert (inside[place] == 1).all()
    assert outside.max() == pytest.approx(1 / 256)
    assert inside.sum() == 4 * counts[1]


def test_an_image_without_objects_has_background_alone(tmp_path):
    net = build(tmp_path, layer(ANCHORS, (1, 18, 20, 30), (1, 5), (1, 3), tops=4), caffe.TRAIN)
    net.blobs["x1"].data[...] = [[-50, -50, -40, -40, 1]]
    net.blobs["x2"].data[...] = [320, 480, 1]
    net.forward()
    labels = net.blobs["y0"].data
    assert (labels == 1).sum() == 0 and (labels == 0).sum() == 256


def test_proposals_are_sampled_with_the_codes_of_their_class(tmp_path):
    caffe.set_random_seed(1)
    net = build(tmp_path, layer(PROPOSALS, (200, 5), (1, 5), tops=5), caffe.TRAIN)
    random = np.random.RandomState(0)
    proposals = np.zeros((200, 5))
    proposals[:100, 1:] = [40, 40, 99, 99]
    proposals[:100, 1:] += random.uniform(-5, 5, (100, 4))
    proposals[100:, 1:3] = random.uniform(200, 300, (100, 2))
    proposals[100:, 3:] = proposals[100:, 1:3] + 30
    net.blobs["x0"].data[...] = proposals
    net.blobs["x1"].data[...] = [[40, 40, 99, 99, 2]]
    net.forward()
    regions, labels, codes, inside, outside = (net.blobs[f"y{i}"].data for i in range(5))
    assert len(regions) == 128 and (labels == 2).sum() == 32 and (labels == 0).sum() == 96
    assert codes.shape == (128, 12) and np.array_equal(inside, outside)
    assert (inside[:32, 8:] == 1).all() and not inside[:32, :8].any() and not inside[32:].any()
    target = np.array([[40, 40, 99, 99]], np.float32).repeat(32, 0)
    expected = encode_pixels(regions[:32, 1:], target) / [0.1, 0.1, 0.2, 0.2]
    np.testing.assert_allclose(codes[:32, 8:], expected, rtol=1e-4, atol=1e-5)


def test_the_number_of_classes_is_needed(tmp_path):
    text = PROPOSALS.replace("'num_classes': 3", "")
    with pytest.raises(CaffeError, match="has no num_classes"):
        build(tmp_path, layer(text, (4, 5), (1, 5), tops=5), caffe.TRAIN)


def test_boxes_of_two_classes_are_codes_of_objects_of_any_label(tmp_path):
    text = PYTHON.format("proposal_target_layer", "ProposalTargetLayer", "'num_classes': 2")
    net = build(tmp_path, layer(text, (1, 5), (1, 5), tops=5), caffe.TRAIN)
    net.blobs["x0"].data[...] = [[0, 40, 40, 99, 99]]
    net.blobs["x1"].data[...] = [[40, 40, 99, 99, 17]]
    net.forward()
    assert net.blobs["y1"].data.tolist() == [17, 17]
    assert net.blobs["y3"].data.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2


REGION_TRAINING = """
layer { name: "data" type: "DummyData" top: "data" top: "boxes" top: "objects"
  dummy_data_param { shape { dim: [1, 8, 10, 10] } shape { dim: [8, 5] } shape { dim: [1, 5] }
    data_filler { type: "gaussian" } data_filler { type: "constant" value: 3 }
    data_filler { type: "constant" value: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 72 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "rois" type: "InnerProduct" bottom: "boxes" top: "moved"
  inner_product_param { num_output: 5 bias_term: false weight_filler { type: "constant" } } }
layer { name: "roi-data" type: "Python" bottom: "moved" bottom: "objects" top: "rois" top: "labels"
  top: "targets" top: "inside" top: "outside" python_param { module: "rpn.proposal_target_layer"
    layer: "ProposalTargetLayer" param_str: "'num_classes': 2" } }
layer { name: "pool" type: "PSROIPooling" bottom: "conv" bottom: "rois" top: "pool"
  psroi_pooling_param { spatial_scale: 1 output_dim: 8 group_size: 3 } }
layer { name: "ave" type: "Pooling" bottom: "pool" top: "codes"
  pooling_param { pool: AVE kernel_size: 3 } }
layer { name: "loss" type: "SmoothL1Loss" bottom: "codes" bottom: "targets" bottom: "inside"
  bottom: "outside" top: "loss" }
layer { name: "cls" type: "Convolution" bottom: "codes" top: "cls"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "losses" type: "SoftmaxWithLossOHEM" bottom: "cls" bottom: "labels" top: "a" top: "b"
  top: "rows" loss_weight: [1, 0, 0] propagate_down: true propagate_down: false }
layer { name: "box_losses" type: "SmoothL1LossOHEM" bottom: "codes" bottom: "targets"
  bottom: "inside" top: "c" top: "box_rows" loss_weight: [1, 0] }
layer { name: "sum" type: "Eltwise" bottom: "rows" bottom: "box_rows" top: "sum"
  propagate_down: false propagate_down: false }
"""


def test_weights_and_regions_from_learned_layers_get_no_gradient_and_raise_no_error(tmp_path):
    """As in py-faster-rcnn and R-FCN, whose prototxts do not set propagate_down there."""
    net = build(tmp_path, REGION_TRAINING, caffe.TRAIN)
    net.forward()
    net.backward()
    assert np.abs(net.params["conv"][0].diff).max() > 0
    assert np.abs(net.params["rois"][0].diff).max() == 0
    assert net.blobs["sum"].shape == (len(net.blobs["rois"].data), 1, 1, 1)


def test_proposals_of_ssh_have_the_ratios_and_scales_of_their_param_str(tmp_path):
    settings = "{'feat_stride': 16,'scales': [4,8], 'ratios':[1,]}"
    text = PYTHON.format("proposal_layer", "ProposalLayer", settings)
    net = build(tmp_path, layer(text, (1, 4, 4, 4), (1, 8, 4, 4), (1, 3), tops=2))
    net.blobs["x0"].data[...] = np.linspace(0, 1, 64).reshape(1, 4, 4, 4)
    net.blobs["x2"].data[...] = [64, 64, 1]
    net.forward()
    assert net.blobs["y0"].data[0].tolist() == [0, 0, 0, 63, 63]
    assert net.blobs["y1"].data[0] == 1


def test_all_proposals_are_kept_where_hard_ones_are_mined(tmp_path):
    text = PROPOSALS.replace("'num_classes': 3", "{'num_classes': 3, 'batch_size': -1}")
    net = build(tmp_path, layer(text, (300, 5), (1, 5), tops=5), caffe.TRAIN)
    net.blobs["x0"].data[:200, 1:] = [40, 40, 99, 99]
    net.blobs["x0"].data[200:, 1:] = [200, 200, 250, 250]
    net.blobs["x1"].data[...] = [[40, 40, 99, 99, 2]]
    net.forward()
    labels = net.blobs["y1"].data
    assert labels.tolist() == [2] * 201 + [0] * 100
    with pytest.raises(CaffeError, match=r"batch_size is 0; a number above 0 or -1"):
        build(tmp_path, layer(text.replace("-1", "0"), (4, 5), (1, 5), tops=5), caffe.TRAIN)


@pytest.mark.long
def test_r_fcn_trains_end_to_end_on_the_hardest_regions(tmp_path):
    caffe.set_random_seed(3)
    path = tmp_path / "train.prototxt"
    path.write_text(str(rfcn_ohem(count=32)))
    solver_file = tmp_path / "solver.prototxt"
    solver_file.write_text(
        f'train_net: "{path}" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 random_seed: 1 '
        "max_iter: 9 snapshot_after_train: false"
    )
    solver = caffe.SGDSolver(str(solver_file))
    scene = scenes.draw(np.random.RandomState(1), 60)
    pixels = (127 + 40 * scene.image).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    cv2.imwrite(str(tmp_path / "scene.png"), pixels)
    entry = {
        "image": str(tmp_path / "scene.png"),
        "boxes": np.array(scene.boxes) * 60,
        "gt_classes": np.array(scene.labels),
    }
    solver.net.layers[0].set_roidb([entry])
    before = solver.net.params["rfcn_cls"][0].data.copy()
    solver.step(2)
    blobs = solver.net.blobs
    labels, mined, losses = (
        blobs[n].data.ravel() for n in ("labels", "labels_ohem", "per_roi_loss")
    )
    kept = mined != -1
    assert kept.sum() == 32 < len(labels) and np.array_equal(mined[kept], labels[kept])
    assert losses[kept].min() >= losses[~kept].max()
    assert np.isfinite([blobs[n].data for n in ("loss_cls", "loss_bbox", "rpn_loss_cls")]).all()
    assert np.abs(solver.net.params["rfcn_cls"][0].data - before).max() > 0
    assert np.abs(solver.net.params["rpn_conv/3x3"][0].diff).max() > 0
