"""MNC's Python layers, which run where their modules are missing, and nets without regions."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import LayerError, ShapeError

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer

PYTHON = "type: 'Python' python_param {{ module: 'pylayer.{0}_layer' layer: '{1}Layer' {2} }}"
PROPOSALS = PYTHON.format(
    "proposal", "Proposal", "param_str: \"{'feat_stride': 16, 'use_clip': 1, 'clip_base': 64}\""
)
MASKS = PYTHON.format("mask", "Mask", "")
BRIDGE = PYTHON.format("stage_bridge", "StageBridge", "")


def test_rows_of_a_mask_become_squares(tmp_path):
    net = build(tmp_path, layer(MASKS, (4, 441)))
    x = np.random.RandomState(0).uniform(size=(4, 441)).astype(np.float32)
    net.blobs["x0"].data[...] = x
    assert np.array_equal(net.forward()["y0"], x.reshape(4, 1, 21, 21))
    with pytest.raises(ShapeError, match="rows of 440 values"):
        build(tmp_path, layer(MASKS, (4, 440)))


def test_regions_move_by_the_codes_of_their_class(tmp_path):
    net = build(tmp_path, layer(BRIDGE, (5, 5), (5, 12), (5, 3), (1, 3)))
    random = np.random.RandomState(1)
    low = random.uniform(0, 50, (5, 2))
    regions = np.concatenate([np.zeros((5, 1)), low, low + random.uniform(9, 60, (5, 2))], 1)
    codes, scores = 0.3 * random.standard_normal((5, 12)), random.uniform(size=(5, 3))
    for name, values in zip(net.blobs, (regions, codes, scores, [90, 80, 1.5])):
        net.blobs[name].data[...] = values
    out = net.forward()["y0"]
    for row, (_, left, top, right, bottom), code, score in zip(out, regions, codes, scores):
        k = 4 if score[1] > score[2] else 8
        width, height = right - left + 1, bottom - top + 1
        x, y = left + width * (0.5 + code[k]), top + height * (0.5 + code[k + 1])
        half = np.exp(code[k + 2]) * width / 2, np.exp(code[k + 3]) * height / 2
        box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]])
        np.testing.assert_allclose(row, [0, *box.clip(0, [79, 89, 79, 89])], rtol=1e-4, atol=1e-4)


def test_a_cascade_without_regions_has_no_rows(tmp_path):
    bridge = build(tmp_path, layer(BRIDGE, (0, 5), (0, 12), (0, 3), (1, 3)))
    assert bridge.forward()["y0"].shape == (0, 5)
    assert build(tmp_path, layer(MASKS, (0, 441))).forward()["y0"].shape == (0, 1, 21, 21)
    resize = "type: 'MaskResize' mask_resize_param { output_height: 4 output_width: 5 }"
    assert build(tmp_path, layer(resize, (0, 1, 7, 6))).forward()["y0"].shape == (0, 1, 4, 5)


def test_codes_of_another_number_of_classes_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="codes R x 4 C"):
        build(tmp_path, layer(BRIDGE, (5, 5), (5, 8), (5, 3), (1, 3)))


def test_proposals_are_those_of_faster_rcnn(tmp_path):
    shapes = ((1, 18, 4, 5), (1, 36, 4, 5), (1, 3))
    random = np.random.RandomState(2)
    values = [random.standard_normal(shape) for shape in shapes[:2]] + [np.array([64, 80, 1])]
    tops = []
    for text in (PROPOSALS, PROPOSALS.replace("pylayer", "rpn")):
        net = build(tmp_path, layer(text, *shapes))
        for name, value in zip(net.blobs, values):
            net.blobs[name].data[...] = value
        tops.append(net.forward()["y0"].copy())
    assert len(tops[0]) > 3 and np.array_equal(*tops)


def test_training_needs_the_modules_of_mnc(tmp_path):
    with pytest.raises(LayerError, match="training MNC needs its own modules"):
        build(tmp_path, layer(MASKS, (4, 441)), caffe.TRAIN)


@pytest.mark.parametrize(
    ("text", "channels", "shape"),
    [
        ("type: 'ROIPooling' roi_pooling_param { pooled_h: 2 pooled_w: 3 }", 4, (0, 4, 2, 3)),
        (
            "type: 'PSROIPooling' psroi_pooling_param "
            "{ spatial_scale: 1 output_dim: 2 group_size: 2 }",
            8,
            (0, 2, 2, 2),
        ),
        ("type: 'ROIAlign' roi_align_param { pooled_h: 2 pooled_w: 3 }", 4, (0, 4, 2, 3)),
        ("type: 'ROIWarping' roi_warping_param { pooled_h: 2 pooled_w: 3 }", 4, (0, 4, 2, 3)),
    ],
)
def test_a_net_runs_on_where_nothing_is_proposed(tmp_path, text, channels, shape):
    net = build(tmp_path, layer(text, (1, channels, 6, 6), (0, 5)))
    assert net.forward()["y0"].shape == shape


def test_batch_normalization_of_no_regions_has_no_rows(tmp_path):
    net = build(tmp_path, layer("type: 'BN' bn_param { frozen: true }", (0, 4, 3, 3)))
    assert net.forward()["y0"].shape == (0, 4, 3, 3)
