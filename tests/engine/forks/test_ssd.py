"""SSD's layers against OpenCV, and their gradients against finite differences."""

import caffe
import numpy as np
import pytest
import torch
from caffe import CaffeError
from caffe import layers as L
from caffe.ops.boxes import decode, encode, suppress

from tests.engine.forks.peers import (
    assert_as_opencv,
    assert_gradients,
    assert_same_detections,
    build,
    fill,
    opencv_outputs,
)


@pytest.fixture
def draw():
    return np.random.RandomState(3)


def inputs(spec, **shapes):
    for name, shape in shapes.items():
        spec[name] = L.Input(shape={"dim": list(shape)})
    return spec


def test_permute_agrees_with_opencv(tmp_path, draw):
    n = inputs(caffe.NetSpec(), data=(2, 3, 4, 5))
    n.permuted = L.Permute(n.data, order=[0, 2, 3, 1])
    net = assert_as_opencv(tmp_path, n, {"data": draw.randn(2, 3, 4, 5)}, ["permuted"])
    assert net.blobs["permuted"].shape == (2, 4, 5, 3)


def test_axes_that_permute_does_not_name_follow(tmp_path, draw):
    n = inputs(caffe.NetSpec(), data=(2, 3, 4, 5))
    n.permuted = L.Permute(n.data, order=[2])
    net, _ = build(tmp_path, n)
    x = draw.randn(2, 3, 4, 5).astype(np.float32)
    fill(net, {"data": x})
    np.testing.assert_array_equal(net.forward()["permuted"], x.transpose(2, 0, 1, 3))


@pytest.mark.parametrize("order", [[0, 0], [4]])
def test_a_wrong_order_is_refused(tmp_path, order):
    n = inputs(caffe.NetSpec(), data=(2, 3, 4, 5))
    n.permuted = L.Permute(n.data, order=order)
    with pytest.raises(CaffeError, match="layer 'permuted' .Permute.: order"):
        build(tmp_path, n)


def normalizing(across, shared):
    n = inputs(caffe.NetSpec(), data=(1, 6, 4, 5))
    settings = {"across_spatial": across, "channel_shared": shared}
    n.norm = L.Normalize(
        n.data, norm_param={**settings, "scale_filler": {"type": "constant", "value": 20}}
    )
    return n


def test_normalize_agrees_with_opencv(tmp_path, draw):
    n = normalizing(False, False)
    assert_as_opencv(tmp_path, n, {"data": draw.randn(1, 6, 4, 5)}, ["norm"])


@pytest.mark.parametrize("free", [{}, {"fix_scale": False}])
def test_the_scale_of_normalize_learns_unless_it_is_fixed(tmp_path, free):
    n = inputs(caffe.NetSpec(), data=(1, 6, 4, 5))
    n.free = L.Normalize(n.data, norm_param={"channel_shared": False, **free})
    n.fixed = L.Normalize(n.data, norm_param={"channel_shared": False, "fix_scale": True})
    net, _ = build(tmp_path, n)
    rates = [p.lr_mult for p in net.parameters]
    assert rates == [1, 0]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("across, axes", [(True, (1, 2, 3)), (False, 1)])
def test_normalize_divides_by_the_norm(tmp_path, draw, shared, across, axes):
    net, _ = build(tmp_path, normalizing(across, shared))
    x = draw.randn(1, 6, 4, 5)
    fill(net, {"data": x})
    scale = net.params["norm"][0]
    assert scale.shape == (() if shared else (6,))
    scale.data[...] = 3 if shared else np.arange(6)
    factors = np.broadcast_to(scale.data, (6,))[:, None, None]
    expected = factors * x / np.sqrt((x * x).sum(axes, keepdims=True))
    np.testing.assert_allclose(net.forward()["norm"], expected, rtol=1e-5)


def test_the_gradients_of_permute_and_normalize_are_right(tmp_path, draw):
    n = inputs(caffe.NetSpec(), data=(2, 3, 2, 2), target=(2, 2, 2, 3))
    n.norm = L.Normalize(n.data, norm_param={"across_spatial": False, "channel_shared": False})
    n.permuted = L.Permute(n.norm, order=[0, 2, 3, 1])
    n.loss = L.EuclideanLoss(n.permuted, n.target)
    proto = n.to_proto()
    proto.force_backward = True
    path = tmp_path / "net.prototxt"
    path.write_text(str(proto))
    net = caffe.Net(str(path), caffe.TEST)
    fill(net, {"data": draw.randn(2, 3, 2, 2), "target": draw.randn(2, 2, 2, 3)})
    assert net.params["norm"][0].shape == (3,)
    assert_gradients(net, "loss", [net.blobs["data"], net.params["norm"][0]])


PRIORS = [
    {"min_size": 60, "aspect_ratio": 2},
    {"min_size": 60, "max_size": 111, "aspect_ratio": [2, 3], "flip": True, "clip": True},
    {"min_size": 30, "flip": False, "aspect_ratio": [2, 0.5], "variance": [0.1, 0.1, 0.2, 0.2]},
    {"min_size": [20, 40], "max_size": [35, 60], "aspect_ratio": [2], "step": 16, "offset": 0.3},
]


@pytest.mark.parametrize("settings", PRIORS)
def test_prior_boxes_agree_with_opencv(tmp_path, draw, settings):
    n = inputs(caffe.NetSpec(), data=(1, 3, 90, 120), features=(1, 2, 5, 7))
    # OpenCV needs these fields to be set.
    settings = {"flip": True, "clip": False, "variance": [0.1], "offset": 0.5, **settings}
    n.priors = L.PriorBox(n.features, n.data, prior_box_param=settings)
    arrays = {"data": draw.randn(1, 3, 90, 120), "features": draw.randn(1, 2, 5, 7)}
    assert_as_opencv(tmp_path, n, arrays, ["priors"])


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"aspect_ratio": 2}, "min_size is"),
        ({"min_size": 5, "max_size": 4}, "above min_size"),
        ({"min_size": [5, 6], "max_size": 9}, "1 max_size for 2 min_size"),
        ({"min_size": 5, "variance": [1, 2]}, "2 variance"),
        ({"min_size": 5, "step_h": 2}, "step_h and step_w"),
    ],
)
def test_wrong_settings_of_prior_boxes_are_refused(tmp_path, settings, words):
    n = inputs(caffe.NetSpec(), data=(1, 3, 90, 120), features=(1, 2, 5, 7))
    n.priors = L.PriorBox(n.features, n.data, prior_box_param=settings)
    with pytest.raises(CaffeError, match=words):
        build(tmp_path, n)


def detection_inputs(draw, images, priors, classes, located=1):
    low = draw.rand(priors, 2) * 0.7
    corners = np.concatenate([low, low + 0.05 + 0.2 * draw.rand(priors, 2)], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], priors)
    scores = draw.rand(images, priors, classes) ** 3
    return {
        "loc": draw.randn(images, priors * located * 4),
        "conf": (scores / scores.sum(2, keepdims=True)).reshape(images, -1),
        "priors": np.stack([corners.ravel(), variances])[None],
    }


DETECTIONS = [
    {},
    {"code_type": 2, "nms_param": {"nms_threshold": 0.45, "top_k": 30}, "keep_top_k": 20},
    {"code_type": 2, "share_location": False, "confidence_threshold": 0.2, "keep_top_k": 7},
    {"code_type": 1, "nms_param": {"nms_threshold": 0.7}, "background_label_id": 2},
]


@pytest.mark.parametrize("settings", DETECTIONS)
def test_detections_agree_with_opencv(tmp_path, draw, settings):
    images, priors, classes = 2, 40, 4
    located = 1 if settings.get("share_location", True) else classes
    arrays = detection_inputs(draw, images, priors, classes, located)
    n = inputs(caffe.NetSpec(), **{name: value.shape for name, value in arrays.items()})
    # OpenCV needs these fields to be set, and a keep_top_k.
    needed = {"share_location": True, "background_label_id": 0, "keep_top_k": 300, "code_type": 1}
    settings = {"num_classes": classes, "confidence_threshold": 0.1, **needed, **settings}
    settings["nms_param"] = {"nms_threshold": 0.4, "top_k": 100, **settings.get("nms_param", {})}
    n.detections = L.DetectionOutput(n.loc, n.conf, n.priors, detection_output_param=settings)
    net, path = build(tmp_path, n)
    fill(net, arrays)
    ours = net.forward()["detections"]
    theirs = opencv_outputs(tmp_path, net, path, arrays, ["detections"])["detections"]
    assert ours.shape[2] > 5
    assert_same_detections(ours, theirs)


def plain_suppression(boxes, threshold, eta):
    """Non-maximum suppression in plain loops, with an adaptive threshold."""
    kept = []
    for i, a in enumerate(boxes):
        keep = True
        for j in kept:
            b = boxes[j]
            w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
            h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
            keep = keep and w * h / union <= threshold
        if keep:
            kept.append(i)
            threshold = threshold * eta if threshold > 0.5 else threshold
    return kept


@pytest.mark.parametrize("eta", [1, 0.9])
def test_suppression_agrees_with_plain_loops(draw, eta):
    low = 0.3 * draw.rand(60, 2)
    boxes = np.concatenate([low, low + 0.1 + 0.3 * draw.rand(60, 2)], 1)
    kept = suppress(boxes, 0.7, eta=eta)
    assert kept.tolist() == plain_suppression(boxes, 0.7, eta)
    assert suppress(boxes, 0.7, eta=eta, limit=5).tolist() == kept[:5].tolist()
    assert len(kept) < len(suppress(boxes, 1.0))


@pytest.mark.parametrize("code", [1, 2, 3])
def test_codes_are_offsets_in_the_units_of_their_type(draw, code):
    prior, variance = [0.1, 0.2, 0.5, 0.4], [0.1, 0.1, 0.2, 0.2]
    box = [0.2, 0.1, 0.4, 0.5]
    offsets = [b - p for b, p in zip(box, prior)]
    expected = {
        1: [o / v for o, v in zip(offsets, variance)],
        2: [0 / 0.4 / 0.1, 0 / 0.2 / 0.1, np.log(0.2 / 0.4) / 0.2, np.log(0.4 / 0.2) / 0.2],
        3: [o / s / v for o, s, v in zip(offsets, [0.4, 0.2] * 2, variance)],
    }[code]
    rows = [torch.tensor([values]) for values in (box, prior, variance)]
    codes = encode(*rows, code)
    np.testing.assert_allclose(codes.numpy()[0], expected, atol=1e-5)
    np.testing.assert_allclose(decode(codes, *rows[1:], code).numpy()[0], box, atol=1e-6)
    plain = encode(*rows[:2], None, code)
    np.testing.assert_allclose(plain.numpy()[0], np.multiply(expected, variance), atol=1e-6)


def test_variances_may_be_part_of_the_codes(tmp_path, draw):
    arrays = detection_inputs(draw, 1, 10, 2)
    n = inputs(caffe.NetSpec(), **{name: value.shape for name, value in arrays.items()})
    settings = {"num_classes": 2, "code_type": 2}
    for name, encoded in (("plain", False), ("encoded", True)):
        all_settings = {**settings, "variance_encoded_in_target": encoded}
        n[name] = L.DetectionOutput(n.loc, n.conf, n.priors, detection_output_param=all_settings)
    net, _ = build(tmp_path, n)
    fill(net, arrays)
    plain = net.forward()["plain"].copy()
    fill(net, {"loc": arrays["loc"] * arrays["priors"][0, 1]})
    np.testing.assert_allclose(net.forward()["encoded"], plain, rtol=1e-5, atol=1e-6)


def test_an_image_without_detections_has_a_row_of_minus_one(tmp_path, draw):
    arrays = detection_inputs(draw, 2, 4, 3)
    n = inputs(caffe.NetSpec(), **{name: value.shape for name, value in arrays.items()})
    settings = {"num_classes": 3, "confidence_threshold": 1.5}
    n.detections = L.DetectionOutput(n.loc, n.conf, n.priors, detection_output_param=settings)
    net, _ = build(tmp_path, n)
    fill(net, arrays)
    rows = net.forward()["detections"]
    assert rows.shape == (1, 1, 2, 7) and rows[0, 0, 1].tolist() == [1, *[-1] * 6]


def test_ceil_mode_agrees_with_opencv(tmp_path, draw):
    n = inputs(caffe.NetSpec(), data=(1, 2, 8, 8))
    n.floor = L.Pooling(n.data, kernel_size=3, stride=2, ceil_mode=False)
    n.ceil = L.Pooling(n.data, kernel_size=3, stride=2)
    net = assert_as_opencv(tmp_path, n, {"data": draw.randn(1, 2, 8, 8)}, ["floor", "ceil"])
    assert net.blobs["floor"].shape[2:] == (3, 3) and net.blobs["ceil"].shape[2:] == (4, 4)
