"""Training pictures are scaled, mirrored and cropped together with their labels."""

import numpy as np
import pytest

from fcn_data.augmentation import Augmentation, join, scale_image, scale_labels

IMAGE = np.arange(2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8)
#: The label of a pixel is its value in the first channel, so that both can be compared.
LABELS = IMAGE[:1].astype(np.uint8)
IGNORED = 255


def change(augmentation, seed="1 0", image=IMAGE, labels=LABELS):
    images, maps = augmentation.apply([image], [labels], [IGNORED], seed)
    return images[0], maps[0]


def test_without_options_nothing_is_changed():
    image, labels = change(Augmentation())
    assert np.array_equal(image, IMAGE) and np.array_equal(labels, LABELS)


def test_about_half_of_the_pictures_are_mirrored_with_their_labels():
    mirrored = 0
    for draw in range(200):
        image, labels = change(Augmentation(mirror=True), f"1 {draw}")
        assert np.array_equal(image[0], labels[0])
        assert np.array_equal(image[..., ::-1], IMAGE) or np.array_equal(image, IMAGE)
        mirrored += np.array_equal(image[..., ::-1], IMAGE)
    assert 70 < mirrored < 130


def test_a_crop_is_a_window_at_any_place():
    corners = set()
    for draw in range(200):
        image, labels = change(Augmentation(crop=4), f"1 {draw}")
        assert image.shape == (2, 4, 4) and np.array_equal(image[0], labels[0])
        top, left = divmod(int(image[0, 0, 0]), 8)
        assert np.array_equal(image, IMAGE[:, top : top + 4, left : left + 4])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(3) for left in range(5)}


def test_a_window_larger_than_the_picture_has_zeros_and_ignored_labels():
    image, labels = change(Augmentation(crop=7))
    assert image.shape == (2, 7, 7) and labels.shape == (1, 7, 7)
    assert not image[:, 6].any() and (labels[:, 6] == IGNORED).all()
    assert np.array_equal(image[0, :6], labels[0, :6])


def test_scaling_keeps_labels_at_their_pixels():
    label = np.zeros((1, 20, 30), np.uint8)
    label[0, 5:15, 10:20] = 3
    image = np.repeat(label.astype(np.float32) * 10, 3, axis=0)
    for draw in range(20):
        scaled, labels = change(Augmentation(scale=(0.5, 2)), f"1 {draw}", image, label)
        height, width = labels.shape[1:]
        assert 10 <= height <= 40 and scaled.shape == (3, height, width)
        assert abs((labels == 3).mean() - 1 / 6) < 0.06
        # Bilinear values inside and outside the square agree with its labels.
        assert (labels[0][scaled[0] > 29] == 3).all() and not labels[0][scaled[0] < 1].any()


def test_twice_the_size_repeats_each_label():
    assert scale_labels(np.array([[[1, 2]]]), 2, 4).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]
    assert scale_image(np.full((1, 3, 3), 7, np.float32), 6, 6).tolist() == [[[7.0] * 6] * 6]


def test_the_same_seed_makes_the_same_change():
    changes = Augmentation(True, 5, (0.5, 2))
    first, second = change(changes), change(changes)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


def test_a_batch_of_several_sizes_is_filled_up():
    batch = join([LABELS, LABELS[:, :3, :4]], IGNORED)
    assert batch.shape == (2, 1, 6, 8) and (batch[1, 0, 3:] == IGNORED).all()
    assert np.array_equal(batch[1, 0, :3, :4], LABELS[0, :3, :4])


def test_the_mean_number_of_pixels_follows_from_scale_and_crop():
    assert Augmentation().pixels(100) == 100
    assert Augmentation(scale=(2, 2)).pixels(100) == 400
    factors = np.exp(np.random.RandomState(0).uniform(np.log(0.5), np.log(2), 100000))
    expected = 100 * (factors**2).mean()
    assert abs(Augmentation(scale=(0.5, 2)).pixels(100) / expected - 1) < 0.01
    assert Augmentation(crop=7, scale=(2, 2)).pixels(100) == 49


@pytest.mark.parametrize("scale", [(0, 1), (2, 1), (1, float("inf")), (1,), ("a", 2)])
def test_factors_that_make_no_picture_are_refused(scale):
    with pytest.raises(ValueError, match=r"layer: scale is .* needs two factors above 0"):
        Augmentation(scale=scale).check("layer")
