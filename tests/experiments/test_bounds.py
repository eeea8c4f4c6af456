from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from experiments import bounds, running
from surgery import bilinear


@pytest.fixture
def label():
    rng = np.random.RandomState(0)
    blocks = rng.randint(0, 4, (6, 5)).astype(np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)[:45, :37]


@pytest.mark.parametrize("method", bounds.METHODS)
def test_a_factor_of_one_changes_nothing(label, method):
    assert (bounds.METHODS[method](label, 1) == label).all()


@pytest.mark.parametrize("method", ["centre", "majority"])
def test_blocks_of_the_size_of_cells_do_not_change(label, method):
    assert (bounds.METHODS[method](label, 8) == label).all()


def test_only_interpolation_keeps_a_straight_edge_off_the_grid():
    label = np.zeros((64, 64), np.uint8)
    label[:, 24:] = 7
    assert (bounds.bilinear(label, 16) == label)[:, 25:].all()
    assert (bounds.majority(label, 16) != label).sum() >= 64 * 8


def test_cells_do_not_count_ignored_pixels():
    label = np.full((4, 4), 255, np.uint8)
    label[0, 0] = 9
    assert (bounds.majority(label, 4) == 9).all()
    assert (
        bounds.class_counts(label, 4).tolist()
        == np.eye(21, dtype=int)[9].reshape(1, 1, 21).tolist()
    )


def test_interpolation_has_the_weights_of_the_nets_deconvolution():
    """Away from the border, these are the weights of a Deconvolution's bilinear kernel."""
    factor, cells = 4, 6
    weights = bounds.interpolation(cells, factor * cells, factor)
    assert np.allclose(weights.sum(1), 1)
    # The first pixel that cell 2 reaches.
    first = factor // 2 + factor
    across = bilinear(2 * factor)[factor]
    assert np.allclose(weights[first : first + 2 * factor, 2], across / across.sum() * factor)


def test_bounds_grow_as_the_factor_shrinks(label):
    ius = bounds.bounds(iter([label]), 1, "")
    for values in ius.values():
        assert len(values) == len(bounds.FACTORS)
        assert values[-1] > 0.9 and values[-1] > values[0]


@pytest.mark.long
def test_a_split_of_any_data_set_in_vocs_layout_has_bounds(tmp_path, demo_folder):
    result = running.make(
        "bounds",
        bounds.run,
        str(tmp_path),
        demo_folder,
        "cpu",
        voc_dir=_voc(tmp_path),
        split="some",
    )
    assert len(result.tables) == 1 and len(result.tables[0].rows) == 6
    assert os.path.isfile(tmp_path / "bounds" / "bounds.png")
    assert "split `some`: 1 label maps, longer side 40 on average" in result.tables[0].title


@pytest.mark.long
def test_the_demos_scenes_are_compared_with_larger_ones(tmp_path, demo_folder):
    result = running.make("bounds", bounds.run, str(tmp_path), demo_folder, "cpu")
    assert [len(table.rows) for table in result.tables] == [6, 6]
    coarse, fine = result.tables[0].rows[0], result.tables[0].rows[-1]
    assert all(c.value < f.value <= 100 for c, f in zip(coarse[1:4], fine[1:4]))
    assert any("the demo's nets with these strides reach" in text for text in result.text)


def test_a_missing_split_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"none\.txt: no such split file"):
        bounds.read_split(str(tmp_path), "none")


def test_a_label_that_is_not_a_class_is_refused(tmp_path):
    voc = _voc(tmp_path, 77)
    with pytest.raises(ValueError, match=r"a\.png: has shape .* labels up to 77, needs"):
        list(bounds.read_split(voc, "some")[1])


def _voc(tmp_path, value=5):
    """Write a data set of one image, 40 x 24, in VOC's layout, and return its folder."""
    root = tmp_path / "voc"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        os.makedirs(root / folder)
    label = np.zeros((24, 40), np.uint8)
    label[3:20, 5:30] = value
    Image.fromarray(label).save(root / "SegmentationClass" / "a.png")
    Image.fromarray(np.zeros((24, 40, 3), np.uint8)).save(root / "JPEGImages" / "a.jpg")
    (root / "ImageSets" / "Segmentation" / "some.txt").write_text("a\n")
    return str(root)
