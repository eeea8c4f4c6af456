"""DetectNet's labels and scores, against loops that follow the article about it."""

from __future__ import annotations

import json
import re

import caffe
import cv2
import numpy as np
import pytest
from caffe.data import detectnet
from caffe.errors import LayerError, ShapeError
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer
from zoo import train_detectnet

#: Of images of 64 x 48 pixels.
GROUND_TRUTH = (
    "stride: 8 scale_cvg: 0.5 image_size_x: 64 image_size_y: 48 obj_norm: true "
    "object_class { src: 1 dst: 0 } object_class { src: 4 dst: 1 } "
)
SMALLEST = GROUND_TRUTH + "gridbox_type: GRIDBOX_MIN min_cvg_len: 10 crop_bboxes: false"
LARGEST = GROUND_TRUTH + "gridbox_type: GRIDBOX_MAX max_cvg_len: 9 crop_bboxes: true"
NO_CHANGES = " ".join(
    f"{name}_prob: 0"
    for name in ("crop", "flip", "rotation", "scale", "hue_rotation", "desaturation")
)
IMAGES, LABELS = (2, 3, 48, 64), (2, 1, 9, 16)
CHANNELS = {1: 0, 4: 1}


@pytest.fixture(autouse=True)
def fork():
    caffe.set_fork("nvidia")
    yield
    caffe.set_fork(None)


def transformation(ground_truth, changes=NO_CHANGES, mean="mean_value: 100"):
    """The prototxt of a DetectNetTransformation over two images and their labels."""
    text = (
        f"type: 'DetectNetTransformation' detectnet_groundtruth_param {{ {ground_truth} }} "
        f"detectnet_augmentation_param {{ {changes} }} transform_param {{ {mean} }}"
    )
    return layer(text, IMAGES, LABELS, tops=2)


def drawn_objects(random, count):
    """Boxes of which some leave the image, and classes of which one is not learned."""
    low = random.uniform(-10, 50, (count, 2))
    boxes = np.concatenate([low, low + random.uniform(3, 30, (count, 2))], 1)
    return boxes, random.choice([0, 1, 4], count)


def maps_in_loops(boxes, classes, crop, least, most):
    """The maps of `GROUND_TRUTH`, cell by cell."""
    cells = {}
    for number, (box, name) in enumerate(zip(boxes.tolist(), classes)):
        left, top, right, bottom = box
        if crop:
            left, right = max(left, 0), min(right, 64)
            top, bottom = max(top, 0), min(bottom, 48)
        if name not in CHANNELS or right <= left or bottom <= top:
            continue
        half = [min(max(0.5 * n, least), most, n) / 2 for n in (right - left, bottom - top)]
        x, y = (left + right) / 2, (top + bottom) / 2
        for i in range(6):
            for j in range(8):
                if abs(x - 8 * j - 4) < half[0] + 4 and abs(y - 8 * i - 4) < half[1] + 4:
                    wide = min(right, 8 * j + 8) - max(left, 8 * j)
                    high = min(bottom, 8 * i + 8) - max(top, 8 * i)
                    cell = (wide * high, bottom, -number, (left, top, right, bottom))
                    cells.setdefault((i, j), []).append(cell)
    counts = np.bincount([-c[2] for cell in cells.values() for c in cell], minlength=len(boxes))
    maps = np.zeros((10, 6, 8))
    for (i, j), candidates in cells.items():
        _, _, number, (left, top, right, bottom) = max(candidates)
        corners = (left - 8 * j, top - 8 * i, right - 8 * j, bottom - 8 * i)
        sides = (1 / (right - left), 1 / (bottom - top))
        maps[:8, i, j] = (1, *corners, *sides, 1 / counts[-number])
        maps[8 + CHANNELS[classes[-number]], i, j] = 1
    return maps


@pytest.mark.parametrize(
    "text, crop, least, most", [(SMALLEST, False, 10, np.inf), (LARGEST, True, 0, 9)]
)
def test_maps_are_those_of_loops_over_cells(text, crop, least, most):
    p = text_format.Parse(text, caffe_pb2.DetectNetGroundTruthParameter())
    random = np.random.RandomState(3)
    covered = 0
    for _ in range(30):
        boxes, classes = drawn_objects(random, 6)
        maps = detectnet.label_maps(detectnet.Objects(boxes, classes), CHANNELS, p)
        np.testing.assert_allclose(
            maps, maps_in_loops(boxes, classes, crop, least, most), rtol=1e-5, atol=1e-5
        )
        covered += maps[0].sum()
    assert covered > 200


def test_of_equal_objects_in_a_cell_the_one_that_reaches_further_down_counts():
    p = text_format.Parse(SMALLEST, caffe_pb2.DetectNetGroundTruthParameter())
    boxes = np.array([[8.0, 8, 32, 32], [8, 8, 32, 40], [8, 8, 32, 36]])
    maps = detectnet.label_maps(detectnet.Objects(boxes, np.array([1, 4, 1])), CHANNELS, p)
    assert maps[1:5, 2, 2].tolist() == [-8, -8, 16, 24] and maps[8:, 2, 2].tolist() == [0, 1]
    assert maps[7, 2, 2] == pytest.approx(1 / 6)


def test_validation_has_the_images_less_the_mean_and_the_maps_of_the_labels(tmp_path):
    net = build(tmp_path, transformation(SMALLEST))
    random = np.random.RandomState(0)
    image = random.uniform(0, 255, IMAGES).astype(np.float32)
    net.blobs["x0"].data[...] = image
    boxes, classes = drawn_objects(random, 5)
    net.blobs["x1"].data[0] = detectnet.label_array(boxes, classes, 8)
    net.blobs["x1"].data[1] = detectnet.label_array([], [], 8)
    out = net.forward()
    np.testing.assert_array_equal(out["y0"], image - 100)
    expected = maps_in_loops(boxes, classes, False, 10, np.inf)
    np.testing.assert_allclose(out["y1"][0], expected, rtol=1e-4, atol=1e-4)
    assert not out["y1"][1].any()


def test_a_mirrored_and_shifted_image_takes_its_boxes_along(tmp_path):
    caffe.set_random_seed(5)
    changes = NO_CHANGES.replace("crop_prob: 0", "crop_prob: 1 shift_x: 6 shift_y: 4")
    text = transformation(SMALLEST, changes.replace("flip_prob: 0", "flip_prob: 1"), "")
    net = build(tmp_path, text, caffe.TRAIN)
    net.blobs["x0"].data[:, :, 12:36, 20:30] = 1
    net.blobs["x1"].data[...] = detectnet.label_array([[20, 12, 30, 36]], [1], 8)
    places = set()
    for _ in range(6):
        net.forward()
        for image, maps in zip(net.blobs["y0"].data, net.blobs["y1"].data):
            y, x = np.nonzero(image[1])
            i, j = np.argwhere(maps[0])[0]
            box = maps[1:5, i, j] + 8 * np.array([j, i, j, i])
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert np.unique(image).tolist() == [0, 1] and image[1].sum() == 240
            places.add((x.min() - 34, y.min() - 12))
    assert len(places) > 6
    assert {abs(x) <= 6 and abs(y) <= 4 for x, y in places} == {True}


def test_a_resumed_training_draws_the_same_changes(tmp_path):
    changes = NO_CHANGES.replace("crop_prob: 0", "crop_prob: 1 shift_x: 20 shift_y: 20")
    net = build(tmp_path, transformation(SMALLEST, changes), caffe.TRAIN)
    net.blobs["x0"].data[...] = np.random.RandomState(0).uniform(0, 255, IMAGES)
    net.blobs["x1"].data[...] = detectnet.label_array([], [], 8)
    net.forward()
    state = json.loads(json.dumps(net.layers[-1].resume_state()))
    first, second = (net.forward()["y0"].copy() for _ in range(2))
    net.layers[-1].set_resume_state(state)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(net.forward()["y0"], first)


def test_a_turned_and_scaled_box_is_around_the_changed_object():
    p = caffe_pb2.DetectNetAugmentationParameter(
        rotation_prob=1, max_rotate_degree=30, scale_prob=1, scale_min=0.7, scale_max=0.9
    )
    random = np.random.RandomState(1)
    for _ in range(5):
        move = detectnet.drawn_move(p, (64, 48), random)
        assert 0.7 <= np.sqrt(np.linalg.det(move[:2, :2])) <= 0.9
        assert (move @ [32, 24, 1])[:2].tolist() == pytest.approx([32, 24])
        image = np.zeros((1, 48, 64), np.float32)
        image[:, 10:30, 20:45] = 1
        y, x = np.nonzero(detectnet.moved_image(image, move)[0] > 0.25)
        box = detectnet.moved_boxes(np.array([[20.0, 10, 45, 30]]), move)[0]
        assert np.abs(box - [x.min(), y.min(), x.max() + 1, y.max() + 1]).max() < 1.5


def test_hues_turn_and_colours_fade_within_their_limits():
    p = caffe_pb2.DetectNetAugmentationParameter(
        hue_rotation_prob=1, hue_rotation=20, desaturation_prob=1, desaturation_max=0.5
    )
    random = np.random.RandomState(2)
    image = np.tile(np.array([40, 90, 200], np.float32)[:, None, None], (1, 4, 4))
    pixels = [detectnet.recoloured(image, p, random)[:, 0, 0] for _ in range(40)]
    before = cv2.cvtColor(image[:, :1, :1].transpose(1, 2, 0) / 255, cv2.COLOR_BGR2HSV)[0, 0]
    after = cv2.cvtColor(np.array(pixels)[None] / np.float32(255), cv2.COLOR_BGR2HSV)[0]
    turns = (after[:, 0] - before[0] + 180) % 360 - 180
    faded = after[:, 1] / before[1]
    assert np.abs(turns).max() <= 20.01 and turns.min() < -10 < 10 < turns.max()
    assert 0.499 <= faded.min() < 0.6 and 0.9 < faded.max() <= 1.001
    np.testing.assert_allclose(after[:, 2], before[2], rtol=1e-5)


def test_without_the_choice_of_the_fork_the_labels_are_refused(tmp_path):
    caffe.set_fork(None)
    with pytest.raises(LayerError, match=r'caffe.set_fork\("nvidia"\) or --fork nvidia'):
        build(tmp_path, transformation(SMALLEST))


@pytest.mark.parametrize(
    "text, message",
    [
        (transformation(GROUND_TRUTH + "gridbox_type: GRIDBOX_MIN"), "lacks crop_bboxes, min_cvg"),
        (transformation(re.sub("object_class {.*?}", "", SMALLEST)), "0 object_class"),
        (transformation(SMALLEST.replace("stride: 8", "stride: 7")), "multiples of the stride"),
        (transformation(SMALLEST, "flip_prob: 0"), "lacks crop_prob, rotation_prob"),
        (
            transformation(SMALLEST, NO_CHANGES.replace("scale_prob: 0", "scale_prob: 1")),
            "lacks scale_min, scale_max",
        ),
        (transformation(SMALLEST, mean="mirror: true"), "mean_value alone is read"),
    ],
)
def test_a_field_that_the_labels_need_is_named(tmp_path, text, message):
    with pytest.raises(LayerError, match=message):
        build(tmp_path, text, caffe.TRAIN)


def test_images_of_another_size_and_labels_of_other_rows_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="images N x C x 48 x 64 and labels"):
        build(tmp_path, transformation(SMALLEST).replace("dim: 64", "dim: 63"))
    net = build(tmp_path, transformation(SMALLEST))
    net.blobs["x1"].data[0, 0, 0, :2] = 9, 16
    with pytest.raises(LayerError, match="it has 9 objects of 16 numbers"):
        net.forward()


def test_more_objects_than_a_label_holds_are_refused():
    with pytest.raises(ValueError, match="3 objects; 2 is the limit"):
        detectnet.label_array(np.zeros((3, 4)), [1, 1, 1], 2)


PYTHON = (
    "type: 'Python' python_param {{ module: 'caffe.layers.detectnet.{}' layer: '{}' "
    "param_str: '64, 48, 8, 2' }}"
)


def test_the_objects_of_the_labels_are_read_back_from_the_maps(tmp_path):
    p = text_format.Parse(SMALLEST, caffe_pb2.DetectNetGroundTruthParameter())
    boxes = np.array([[3.3, 4.7, 25.1, 20.2], [30.6, 20.9, 60.4, 41.3], [40, 2, 55, 12]])
    maps = detectnet.label_maps(detectnet.Objects(boxes, np.array([4, 4, 1])), CHANNELS, p)
    text = layer(PYTHON.format("clustering", "ClusterGroundtruth"), (1, 2, 6, 8), (1, 4, 6, 8))
    net = build(tmp_path, text.replace("top: 'y0'", "top: 'y0' top: 'y1'"))
    net.blobs["x0"].data[0], net.blobs["x1"].data[0] = maps[8:], maps[1:5]
    out = net.forward()
    np.testing.assert_allclose(out["y0"][0, 0], [*boxes[2], 0], atol=1e-4)
    np.testing.assert_allclose(out["y1"][0, :2, :4], boxes[:2], atol=1e-4)
    assert not out["y0"][0, 1:].any() and not out["y1"][0, 2:].any()


SCORED = PYTHON.format("mean_ap", "ScoreDetections").replace("8, 2", "8")
MEANS = (
    "layer { name: 'm' type: 'Python' bottom: 'y0' top: 'mAP' top: 'precision' top: 'recall' "
    "python_param { module: 'caffe.layers.detectnet.mean_ap' layer: 'mAP' param_str: '64' } }"
)


def test_each_object_has_one_detection_and_the_ratios_are_those_of_the_batch(tmp_path):
    net = build(tmp_path, layer(SCORED, (2, 50, 5), (2, 50, 5)) + MEANS)
    net.blobs["x0"].data[0, :2] = [[0, 0, 20, 20, 0], [30, 30, 40, 40, 0]]
    net.blobs["x0"].data[1, 0] = [5, 5, 15, 15, 0]
    net.blobs["x1"].data[0, :3] = [[0, 0, 20, 17, 1], [0, 0, 20, 19, 2], [30, 30, 40, 36, 1]]
    net.blobs["x1"].data[1, 0] = [5, 5, 15, 15, 3]
    out = net.forward()
    kinds = net.blobs["y0"].data[..., 4]
    assert kinds[0, :5].tolist() == [2, 1, 2, 3, 0] and kinds[1, :2].tolist() == [1, 0]
    assert net.blobs["y0"].data[0, 3, :4].tolist() == [30, 30, 40, 40]
    assert out["precision"][0] == pytest.approx(50)
    assert out["recall"][0] == pytest.approx(200 / 3)
    assert out["mAP"][0] == pytest.approx(100 / 3)


def test_a_batch_without_boxes_has_scores_of_0(tmp_path):
    out = build(tmp_path, layer(SCORED, (1, 50, 5), (1, 50, 5)) + MEANS).forward()
    assert [float(out[name][0]) for name in ("mAP", "precision", "recall")] == [0, 0, 0]


@pytest.mark.long
def test_the_public_net_trains_and_is_scored(tmp_path):
    for phase, seed in (("train", 1), ("val", 2)):
        train_detectnet.write_databases(str(tmp_path), phase, 8, seed)
    trained = train_detectnet.train(str(tmp_path), 3, 1 / 8, 2)
    assert np.abs(trained.params["conv1/7x7_s2"][0].diff).max() > 0
    assert trained.blobs["transformed_label"].shape == (2, 9, 8, 8)
    assert set(train_detectnet.measure(str(tmp_path), trained, 1)) == set(train_detectnet.SCORES)
    deploy = caffe.Net(str(tmp_path / "train_val.prototxt"), caffe.TEST)
    assert deploy.forward()["bbox-list"].shape == (1, 50, 5)
