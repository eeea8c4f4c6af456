"""Pictures in, pictures out: detection, pose, edges, colours, resolution."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.tasks import colour, detection, edges, pose, resolution


@pytest.fixture
def picture():
    random = np.random.RandomState(0)
    return random.randint(0, 256, (40, 60, 3)).astype(np.uint8)


def test_detections_are_read_in_pixels_from_the_best_on():
    rows = [
        [0, 1, 0.6, 0.1, 0.2, 0.5, 0.7],
        [0, 2, 0.9, -0.2, 0, 0.4, 1.3],
        [0, 1, 0.2, 0, 0, 1, 1],
        [1, 1, 0.9, 0, 0, 1, 1],
    ]
    rows_out = detection.read_detections(np.array(rows)[None, None], (100, 200))
    assert [(d.label, d.corners) for d in rows_out] == [
        (2, (0, 0, 80, 100)),
        (1, (20, 20, 100, 70)),
    ]
    assert detection.read_detections(np.full((1, 1, 1, 7), -1.0), (10, 10)) == []


def test_boxes_are_drawn_at_their_places_on_a_copy(picture):
    before = picture.copy()
    box = detection.Detection(1, 0.8, (20, 15, 50, 39))
    drawn = detection.draw_detections(picture, [box], ["ground", "cat"])
    assert np.array_equal(picture, before)
    assert drawn[39, 45].tolist() == list(detection.COLOURS[1])
    assert np.array_equal(drawn[36, 25], picture[36, 25])


def test_keypoints_are_the_strongest_places_with_a_quarter_of_a_position():
    maps = np.zeros((2, 10, 20))
    maps[0, 4, 6], maps[0, 4, 7], maps[0, 3, 6] = 1, 0.5, 0.2
    first, second = pose.read_keypoints(maps, (40, 80))
    assert first == (27.0, 17.0, 1.0) and second is None


def test_limbs_are_drawn_between_parts_that_are_seen(picture):
    points = [(10.0, 10.0, 1.0), (50.0, 10.0, 1.0), None]
    drawn = pose.draw_pose(picture, points, [(0, 1), (1, 2)])
    assert np.abs(drawn[10, 30].astype(int) - pose.COLOURS[0]).max() < 40
    assert np.array_equal(drawn[30:], picture[30:])


def test_side_outputs_of_any_size_are_fused():
    fused = edges.fuse([np.zeros((5, 5)), np.full((10, 10), 20.0)], (20, 30))
    assert fused.shape == (20, 30) and fused == pytest.approx(0.75, abs=1e-6)


def test_thinning_leaves_the_ridge_of_an_edge():
    x = np.arange(21)
    ridge = np.tile(np.exp(-((x - 10) ** 2) / 8.0), (21, 1))
    thinned = edges.thin(ridge)
    assert set(np.flatnonzero(thinned[10])) == {10}
    diagonal = np.exp(-((x[:, None] - x) ** 2) / 8.0)
    assert 10 in np.flatnonzero(edges.thin(diagonal)[10])
    assert len(np.flatnonzero(edges.thin(diagonal)[10])) <= 2


def test_edges_are_drawn_dark_on_white_or_red_on_a_picture(picture):
    strength = np.zeros((40, 60))
    strength[5, 5] = 1
    assert edges.draw_edges(strength)[5, 5].tolist() == [0, 0, 0]
    drawn = edges.draw_edges(strength, picture)
    assert drawn[5, 5].tolist() == [230, 25, 75] and np.array_equal(drawn[6], picture[6])


def test_a_picture_without_its_colours_gets_them_back_from_its_ab_map(picture):
    ab = colour.ab_map(picture, picture.shape[:2])[0]
    back = colour.join(colour.grey(picture), ab)
    assert np.abs(back.astype(int) - picture).mean() < 2
    light = colour.lightness(picture, (10, 15))
    assert light.shape == (1, 1, 10, 15) and -50 <= light.min() <= light.max() <= 50


def test_a_luminance_takes_the_place_of_the_centre(picture):
    larger = resolution.enlarge(picture, 2)
    y = resolution.luminance(larger)[0, 0, 3:-3, 5:-5]
    assert larger.shape == (80, 120, 3)
    same = resolution.with_luminance(larger, y)
    assert np.abs(same.astype(int) - larger).max() <= 3
    black = resolution.with_luminance(larger, 0 * y)
    assert resolution.luminance(black)[0, 0, 40, 60] < 0.5 * y.mean() + 0.4
    assert resolution.psnr(picture, picture) == float("inf")
    assert resolution.psnr(picture // 2, picture, 2) == pytest.approx(
        -10
        * np.log10(
            (
                (resolution.luminance(picture // 2) - resolution.luminance(picture))[
                    0, 0, 2:-2, 2:-2
                ]
                ** 2
            ).mean()
        ),
        rel=1e-4,
    )
