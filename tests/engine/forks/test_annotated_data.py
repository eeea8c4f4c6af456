"""AnnotatedData: what it reads from a database of AnnotatedDatum, and how boxes move."""

from __future__ import annotations

import json

import caffe
import cv2
import numpy as np
import pytest
from caffe.data import annotated, changes, db
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2

from tests.engine.nets import build

#: One object in the lower right quarter of the first image, two in the second, none in the third.
OBJECTS = [
    [(2, 0.5, 0.5, 1.0, 1.0, False)],
    [(1, 0.0, 0.25, 0.5, 0.75, False), (3, 0.25, 0.25, 0.5, 0.5, True)],
    [],
]


@pytest.fixture
def folder(tmp_path):
    """A database of three images of 8 x 12, white where they have objects."""
    with db.Writer(str(tmp_path / "db")) as writer:
        for i, objects in enumerate(OBJECTS):
            image = np.zeros((8, 12, 3), np.uint8)
            datum = caffe_pb2.AnnotatedDatum(type=caffe_pb2.AnnotatedDatum.BBOX)
            for label, *corners, difficult in objects:
                left, top, right, bottom = np.multiply(corners, [12, 8, 12, 8]).astype(int)
                image[top:bottom, left:right] = 255
                group = datum.annotation_group.add(group_label=label)
                names = ("xmin", "ymin", "xmax", "ymax")
                bbox = {**dict(zip(names, corners)), "difficult": difficult}
                group.annotation.add(instance_id=0, bbox=bbox)
            datum.datum.data = cv2.imencode(".png", image)[1].tobytes()
            datum.datum.encoded = True
            writer.put(b"%08d" % i, datum.SerializeToString())
    return tmp_path


def net(folder, transform="", settings="", batch=3, phase=caffe.TRAIN, tops=2, more=""):
    names = " ".join(f"top: 't{i}'" for i in range(tops))
    text = (
        f"layer {{ name: 'd' type: 'AnnotatedData' {names} transform_param {{ {transform} }} "
        f"data_param {{ source: '{folder}/db' batch_size: {batch} backend: LMDB {more} }} "
        f"annotated_data_param {{ {settings} }} }}"
    )
    return build(folder, text, phase)


def test_images_come_with_a_row_for_each_object(folder):
    source = net(folder)
    source.forward()
    assert source.blobs["t0"].shape == (3, 3, 8, 12)
    assert source.blobs["t0"].data[0, :, 4:, 6:].min() == 255
    rows = source.blobs["t1"].data
    assert rows.shape == (1, 1, 3, 8)
    assert rows[0, 0].tolist() == [
        [0, 2, 0, 0.5, 0.5, 1, 1, 0],
        [1, 1, 0, 0, 0.25, 0.5, 0.75, 0],
        [1, 3, 0, 0.25, 0.25, 0.5, 0.5, 1],
    ]


def test_a_batch_without_objects_has_one_row_of_minus_one(folder):
    source = net(folder, batch=1)
    shapes = []
    for _ in range(3):
        source.forward()
        shapes.append(source.blobs["t1"].shape)
    assert shapes == [(1, 1, 1, 8), (1, 1, 2, 8), (1, 1, 1, 8)]
    assert (source.blobs["t1"].data == -1).all()


def test_a_shuffled_database_has_its_objects_in_another_order_in_each_turn(folder):
    caffe.set_random_seed(1)
    first, second = (net(folder, more="shuffle: true") for _ in range(2))

    def turns(source, count):
        return [source.forward() and source.blobs["t1"].data[0, 0].tolist() for _ in range(count)]

    rows = turns(first, 3)
    assert all(sorted(row[1] for row in turn) == [1, 2, 3] for turn in rows)
    assert rows[0] != rows[1] or rows[1] != rows[2]
    state = json.loads(json.dumps(first.layer_dict["d"].resume_state()))
    second.layer_dict["d"].set_resume_state(state)
    assert turns(second, 4) == turns(first, 4)


def test_resizing_to_a_square_leaves_relative_corners(folder):
    source = net(
        folder, "resize_param { resize_mode: WARP height: 6 width: 6 interp_mode: LINEAR }"
    )
    source.forward()
    assert source.blobs["t0"].shape == (3, 3, 6, 6)
    assert source.blobs["t1"].data[0, 0, 0, 3:7].tolist() == [0.5, 0.5, 1, 1]


def test_resizing_into_a_padded_square_moves_the_corners(folder):
    resize = (
        "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 12 width: 12 pad_value: 7 }"
    )
    source = net(folder, resize)
    source.forward()
    assert (source.blobs["t0"].data[:, :, :2] == 7).all()
    np.testing.assert_allclose(source.blobs["t1"].data[0, 0, 0, 3:7], [0.5, 6 / 12, 1, 10 / 12])


def test_mirrored_objects_lie_where_the_mirrored_image_is_white(folder):
    caffe.set_random_seed(1)
    source = net(folder, "mirror: true", batch=1)
    places = set()
    for _ in range(12):
        source.forward()
        row = source.blobs["t1"].data[0, 0, 0]
        if row[1] == 2:
            left, right = (round(12 * x) for x in row[[3, 5]])
            assert (source.blobs["t0"].data[0, :, 4:, left:right] == 255).all()
            places.add(left)
    assert places == {0, 6}


def test_an_expanded_image_has_its_object_at_the_place_of_the_box(folder):
    caffe.set_random_seed(2)
    source = net(folder, "expand_param { prob: 1 max_expand_ratio: 4 }", batch=1)
    source.forward()
    image, row = source.blobs["t0"].data[0, 0], source.blobs["t1"].data[0, 0, 0]
    height, width = image.shape
    assert height > 8 and width > 12
    left, top, right, bottom = np.rint(row[3:7] * [width, height, width, height]).astype(int)
    assert image[top:bottom, left:right].min() == 255 and image.sum() == 255 * 24


SAMPLER = (
    "batch_sampler { max_sample: 1 max_trials: 50 sampler { min_scale: 0.3 max_scale: 1 "
    "min_aspect_ratio: 0.5 max_aspect_ratio: 2 } sample_constraint { min_jaccard_overlap: 0.3 } }"
)


def test_a_sampled_window_keeps_the_objects_whose_centre_it_has(folder):
    caffe.set_random_seed(3)
    resize = "resize_param { height: 24 width: 24 } emit_constraint { emit_type: CENTER }"
    source = net(folder, resize, SAMPLER, batch=1)
    whites = []
    for _ in range(9):
        source.forward()
        row = source.blobs["t1"].data[0, 0, 0]
        if row[1] == 2:
            left, top, right, bottom = np.rint(row[3:7] * 24).astype(int)
            whites.append(source.blobs["t0"].data[0, :, top:bottom, left:right].mean())
    assert len(whites) == 3 and min(whites) > 150


@pytest.mark.parametrize(
    "constraint, fits",
    [
        ({}, True),
        ({"min_jaccard_overlap": 0.2}, True),
        ({"min_jaccard_overlap": 0.3}, False),
        ({"max_jaccard_overlap": 0.2}, False),
        ({"min_object_coverage": 1.0}, True),
        ({"min_sample_coverage": 0.3}, False),
    ],
)
def test_a_window_has_to_meet_its_constraint(constraint, fits):
    objects = np.array([[1, 0, 0, 0, 0.5, 0.5, 0]], np.float32)
    p = caffe_pb2.SampleConstraint(**constraint)
    assert annotated.satisfies(annotated.UNIT, objects, p) is fits


def test_distortions_change_colours_and_no_boxes(folder):
    caffe.set_random_seed(4)
    distort = (
        "distort_param { brightness_prob: 1 brightness_delta: 60 contrast_prob: 1 "
        "contrast_lower: 0.5 contrast_upper: 0.6 hue_prob: 1 hue_delta: 18 saturation_prob: 1 "
        "saturation_lower: 0.5 saturation_upper: 1.5 random_order_prob: 1 }"
    )
    source = net(folder, distort)
    source.forward()
    assert 0 < source.blobs["t0"].data.max() < 255
    assert source.blobs["t1"].data[0, 0, 0, 3:7].tolist() == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(
    "noise",
    [
        *("decolorize", "gauss_blur", "hist_eq", "clahe", "erode", "posterize", "inverse"),
        *("convert_to_hsv", "convert_to_lab"),
    ],
)
def test_noise_leaves_the_size_of_an_image(noise):
    image = np.random.RandomState(0).randint(0, 256, (6, 7, 3)).astype(np.uint8)
    p = caffe_pb2.NoiseParameter(**{noise: True})
    changed = changes.noisy(image, p, np.random.RandomState(0))
    assert changed.shape == image.shape and changed.dtype == np.uint8
    assert (changed != image).any()
    p.prob = 0
    assert changes.noisy(image, p, np.random.RandomState(0)) is image


def test_salt_and_pepper_and_jpeg_are_noise_too():
    image = np.full((16, 16, 3), 100, np.uint8)
    p = caffe_pb2.NoiseParameter(saltpepper=True, jpeg=20)
    p.saltpepper_param.fraction = 0.5
    p.saltpepper_param.value.extend([9])
    changed = changes.noisy(image, p, np.random.RandomState(0))
    assert 60 < (changed == 9).all(2).sum() < 200


def test_images_of_different_sizes_need_one_size(folder):
    caffe.set_random_seed(5)
    source = net(folder, "expand_param { prob: 1 max_expand_ratio: 4 }")
    with pytest.raises(CaffeError, match="set resize_param, or batch_size 1"):
        source.forward()


def test_the_labels_of_yolo_are_centres_and_sizes(folder):
    source = net(folder, settings="yolo_data_type: 1")
    # A loss that follows needs the shape before the first batch.
    assert source.blobs["t1"].data.shape == (3, 300, 5)
    source.forward()
    rows = source.blobs["t1"].data
    assert rows.shape == (3, 300, 5)
    assert rows[0, 0].tolist() == [1, 0.75, 0.75, 0.5, 0.5] and not rows[2].any()
