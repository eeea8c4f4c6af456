"""Detections and losses of the YOLO forks against plain loops."""

from __future__ import annotations

import math

import caffe
import numpy as np
import pytest
from caffe.errors import CaffeError, ShapeError

from tests.engine.forks.peers import assert_gradients
from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer

BIASES = [1.5, 2.0, 3.0, 1.0]
SETTINGS = " ".join(f"biases: {b}" for b in BIASES)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def plain_detections(x, sizes, classes, threshold, softmax):
    """The detections of one image before suppression, (score, label, box), by loops."""
    rows = []
    _, height, width = x.shape
    for a, (bias_w, bias_h) in enumerate(sizes):
        maps = x[a * (5 + classes) : (a + 1) * (5 + classes)]
        for i in range(height):
            for j in range(width):
                v = maps[:, i, j]
                cx, cy = (j + sigmoid(v[0])) / width, (i + sigmoid(v[1])) / height
                w, h = math.exp(v[2]) * bias_w / width, math.exp(v[3]) * bias_h / height
                scores = (
                    np.exp(v[5:]) / np.exp(v[5:]).sum() if softmax else 1 / (1 + np.exp(-v[5:]))
                )
                score = sigmoid(v[4]) * scores.max()
                if score > threshold:
                    box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
                    rows.append((score, int(scores.argmax()) + 1, box))
    return sorted(rows, reverse=True)


def overlap(a, b):
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def suppressed(rows, threshold):
    kept = []
    for row in rows:
        if all(overlap(row[2], other[2]) <= threshold for other in kept):
            kept.append(row)
    return kept


def assert_rows(top, image, rows):
    ours = top[0, 0][top[0, 0][:, 0] == image]
    theirs = np.array([[image, label, score, *box] for score, label, box in rows])
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "type: 'YoloDetectionOutput' yolo_detection_output_param { num_classes: 3 num_box: 2 "
        f"confidence_threshold: 0.2 nms_threshold: 0.4 {SETTINGS} }}",
        "type: 'DetectionOutput' detection_output_param { num_classes: 3 num_box: 2 side: 4 "
        f"confidence_threshold: 0.2 nms_threshold: 0.4 {SETTINGS} }}",
    ],
)
def test_the_detections_of_yolov2_agree_with_plain_loops(tmp_path, text):
    net = build(tmp_path, layer(text, (2, 16, 4, 4)).replace("force_backward: true", ""))
    x = np.random.RandomState(0).standard_normal((2, 16, 4, 4)).astype(np.float32)
    net.blobs["x0"].data[...] = x
    top = net.forward()["y0"]
    for image in range(2):
        rows = plain_detections(x[image], np.reshape(BIASES, (2, 2)), 3, 0.2, True)
        kept = suppressed(rows, 0.4)
        assert len(kept) > 2
        assert_rows(top, image, kept)


V3 = (
    "type: 'Yolov3DetectionOutput' yolov3_detection_output_param { num_classes: 2 num_box: 1 "
    "confidence_threshold: 0.3 nms_threshold: 0.4 biases: 10 biases: 14 biases: 40 biases: 30 "
    "mask: 1 mask: 0 anchors_scale: 16 anchors_scale: 8 }"
)


def test_the_detections_of_yolov3_join_the_maps_of_all_scales(tmp_path):
    shapes = ((1, 7, 3, 3), (1, 7, 6, 6))
    net = build(tmp_path, layer(V3, *shapes).replace("force_backward: true", ""))
    random = np.random.RandomState(1)
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    for i, values in enumerate(arrays):
        net.blobs[f"x{i}"].data[...] = values
    top = net.forward()["y0"]
    rows = plain_detections(arrays[0][0], [(40 / 16, 30 / 16)], 2, 0.3, False)
    rows += plain_detections(arrays[1][0], [(10 / 8, 14 / 8)], 2, 0.3, False)
    assert_rows(top, 0, suppressed(sorted(rows, reverse=True), 0.4))


def test_an_image_without_detections_has_a_row_of_minus_one(tmp_path):
    net = build(tmp_path, layer(V3, (1, 7, 3, 3), (1, 7, 6, 6)).replace("force_backward: true", ""))
    net.blobs["x0"].data[:, 4] = net.blobs["x1"].data[:, 4] = -20
    assert net.forward()["y0"].tolist() == [[[[0, -1, -1, -1, -1, -1, -1]]]]


def test_channels_that_do_not_fit_the_anchors_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="1 boxes of 2 classes need N x 7 x H x W"):
        build(tmp_path, layer(V3, (1, 9, 3, 3), (1, 7, 6, 6)))


def plain_loss(x, objects, sizes, p):
    """Darknet's deltas, squared and added up, for one image; sizes are parts of the image."""
    classes, total = p["classes"], 0.0
    count, (height, width) = len(sizes), x.shape[1:]
    maps = x.reshape(count, 5 + classes, height, width)
    boxes = {}
    for a, i, j in np.ndindex(count, height, width):
        v = maps[a, :, i, j]
        w, h = math.exp(v[2]) * sizes[a][0], math.exp(v[3]) * sizes[a][1]
        boxes[a, i, j] = ((j + sigmoid(v[0])) / width, (i + sigmoid(v[1])) / height, w, h)

    def corners(b):
        return b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2

    responsible = {}
    for label, *box in objects:
        fits = [overlap(corners((0, 0, *size)), corners((0, 0, *box[2:]))) for size in sizes]
        a, i, j = int(np.argmax(fits)), int(box[1] * height), int(box[0] * width)
        responsible[a, i, j] = (int(label), box)
    for place, predicted in boxes.items():
        a, i, j = place
        v = maps[a, :, i, j]
        if place in responsible:
            label, box = responsible[place]
            factor = p["coord"] * (2 - box[2] * box[3])
            target = (box[0] * width - j, box[1] * height - i)
            total += sum((factor * (t - sigmoid(s))) ** 2 for t, s in zip(target, v[:2]))
            logs = (math.log(box[2] / sizes[a][0]), math.log(box[3] / sizes[a][1]))
            total += sum((factor * (t - s)) ** 2 for t, s in zip(logs, v[2:4]))
            level = overlap(corners(predicted), corners(box)) if p["rescore"] else 1
            total += (p["object"] * (level - sigmoid(v[4]))) ** 2
            scores = (
                np.exp(v[5:]) / np.exp(v[5:]).sum() if p["softmax"] else 1 / (1 + np.exp(-v[5:]))
            )
            total += sum((p["class"] * ((k == label) - s)) ** 2 for k, s in enumerate(scores))
        elif all(overlap(corners(predicted), corners(o[1:])) <= p["thresh"] for o in objects):
            total += (p["noobject"] * sigmoid(v[4])) ** 2
    return total


OBJECTS = [[[1, 0.3, 0.4, 0.3, 0.5], [2, 0.8, 0.6, 0.7, 0.2]], [[0, 0.5, 0.2, 0.6, 0.3]]]
REGION = (
    f"type: 'RegionLoss' region_loss_param {{ num_class: 3 num: 2 {SETTINGS} object_scale: 5 "
    "noobject_scale: 1 class_scale: 1 coord_scale: 1 thresh: 0.6 rescore: 1 }"
)
YOLO3 = (
    "type: 'Yolov3' yolov3_param { num_class: 3 num: 2 anchors_scale: 16 thresh: 0.6 "
    "object_scale: 5 noobject_scale: 1 class_scale: 1 coord_scale: 1 "
    "biases: 24 biases: 32 biases: 48 biases: 16 }"
)


def loss_net(folder, text):
    net = build(folder, layer(text, (2, 16, 4, 4), (2, 30, 5)), caffe.TRAIN)
    random = np.random.RandomState(2)
    net.blobs["x0"].data[...] = 0.5 * random.standard_normal((2, 16, 4, 4))
    for image, objects in enumerate(OBJECTS):
        net.blobs["x1"].data[image, : len(objects)] = objects
    return net


@pytest.mark.parametrize("text, softmax", [(REGION, True), (YOLO3, False)])
def test_the_losses_of_yolo_agree_with_plain_loops(tmp_path, text, softmax):
    net = loss_net(tmp_path, text)
    net.forward()
    p = {"classes": 3, "coord": 1, "object": 5, "noobject": 1, "class": 1, "thresh": 0.6}
    p.update(rescore=softmax, softmax=softmax)
    sizes = np.reshape(BIASES, (2, 2)) / 4
    x = net.blobs["x0"].data
    total = sum(plain_loss(x[i], OBJECTS[i], sizes, p) for i in range(2))
    assert float(net.blobs["y0"].data) == pytest.approx(total / 2, rel=1e-5)


def test_the_gradient_of_yolov3_is_half_that_of_its_value(tmp_path):
    net = loss_net(tmp_path, YOLO3 + " loss_weight: 2")
    net.blobs["x1"].diff[...] = 0
    assert_gradients(net, "y0", [net.blobs["x0"]], step=2e-3)


def test_options_that_the_engine_lacks_are_refused(tmp_path):
    with pytest.raises(CaffeError, match="iou_loss GIOU is not supported"):
        loss_net(tmp_path, YOLO3.replace("thresh: 0.6", "iou_loss: GIOU"))
    with pytest.raises(CaffeError, match="softmax_tree"):
        loss_net(tmp_path, REGION.replace("rescore: 1", "softmax_tree: 'a.tree'"))
