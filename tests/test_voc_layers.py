"""The data layers, in a net, on small folders in VOC's and SBD's layouts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

ROOT = Path(__file__).resolve().parents[1]
MEAN = (104.00699, 116.66877, 122.67892)
#: Python 2's random.Random(1337).randint(0, 6), as published runs drew their images.
DRAWN = [4, 3, 2, 4, 1, 5, 2, 5]


def photograph(seed, height, width):
    coarse = np.random.RandomState(seed).randint(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    return np.uint8(coarse.repeat(4, 0).repeat(4, 1)[:height, :width])


def truth(seed, height, width):
    label = np.random.RandomState(seed).randint(0, 21, (height, width)).astype(np.uint8)
    label[:3] = 255
    return label


def write_mat(path, label):
    record = np.zeros((1, 1), [("Segmentation", object)])
    record[0, 0]["Segmentation"] = label
    savemat(path, {"GTcls": record})


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOC2011"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    ids = [f"2011_{k:06d}" for k in range(3)]
    for k, idx in enumerate(ids):
        Image.fromarray(photograph(k, 20 + k, 33)).save(root / "JPEGImages" / f"{idx}.jpg")
        label = Image.fromarray(truth(k, 20 + k, 33))
        label.putpalette(list(range(256)) * 3)
        label.save(root / "SegmentationClass" / f"{idx}.png")
    for split in ("seg11valid", "train"):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")
    return root


@pytest.fixture
def sbd(tmp_path):
    root = tmp_path / "dataset"
    for folder in ("img", "cls"):
        (root / folder).mkdir(parents=True)
    ids = [f"2008_{k:06d}" for k in range(7)]
    for k, idx in enumerate(ids):
        Image.fromarray(photograph(k, 24, 30 + k)).save(root / "img" / f"{idx}.jpg")
        write_mat(root / "cls" / f"{idx}.mat", truth(k, 24, 30 + k))
    (root / "train.txt").write_text("\n".join(ids) + "\n")
    return root


def prototxt(root, layer=None, tops=("data", "label"), bottoms="", text=None, **changed):
    """A net of one data layer over `root`, written beside it; gives its path."""
    layer = layer or ("SBDDSegDataLayer" if root.name == "dataset" else "VOCSegDataLayer")
    params = {
        "sbdd_dir" if layer[0] == "S" else "voc_dir": str(root),
        "seed": 1337,
        "split": "train" if layer[0] == "S" else "seg11valid",
        "mean": MEAN,
    }
    params.update(changed)
    params = {key: value for key, value in params.items() if value is not None}
    text = repr(params) if text is None else text
    path = root.parent / "data.prototxt"
    path.write_text(
        bottoms
        + "layer { name: 'data' type: 'Python' "
        + ("bottom: 'x' " if bottoms else "")
        + "".join(f"top: '{top}' " for top in tops)
        + f"python_param {{ module: 'voc_layers' layer: '{layer}' param_str: \"{text}\" }} }}"
    )
    return str(path)


def net(root, **kwargs):
    return caffe.Net(prototxt(root, **kwargs), caffe.TRAIN)


def widths(made, n):
    """The widths of the next n images; `sbd`'s images are told apart by them."""
    return [made.forward()["data"].shape[3] - 30 for _ in range(n)]


def test_a_voc_image_comes_whole_in_bgr_minus_the_mean(voc):
    made = net(voc)
    for k in range(3):
        made.forward()
        with Image.open(voc / "JPEGImages" / f"2011_{k:06d}.jpg") as image:
            expected = np.asarray(image, np.float32)[:, :, ::-1].transpose(2, 0, 1)
        expected = np.float32(np.float64(expected) - np.float64(MEAN)[:, None, None])
        assert made.blobs["data"].data.dtype == np.float32
        assert np.array_equal(made.blobs["data"].data, expected[None])


@pytest.mark.parametrize("dataset", ["voc", "sbd"])
def test_a_label_comes_as_class_indices_with_255_where_ignored(dataset, request):
    made = net(request.getfixturevalue(dataset), randomize=False)
    for k in range(3):
        made.forward()
        label = made.blobs["label"].data
        assert np.array_equal(label, truth(k, *label.shape[2:])[None, None])
        assert label.shape[2:] == made.blobs["data"].data.shape[2:]


def test_a_grey_image_becomes_three_equal_planes(voc):
    grey = photograph(9, 20, 33)[:, :, 0]
    Image.fromarray(grey).save(voc / "JPEGImages/2011_000000.jpg")
    data = net(voc).forward()["data"][0] + np.float32(MEAN)[:, None, None]
    assert np.allclose(data[0], data[1], atol=1e-4) and np.allclose(data[0], data[2], atol=1e-4)


def test_the_order_of_train_is_python_twos_draw(sbd):
    assert widths(net(sbd), 8) == DRAWN


def test_a_split_without_train_in_its_name_comes_in_order_and_starts_over(voc):
    made = net(voc)
    assert [made.forward()["data"].shape[2] for _ in range(5)] == [20, 21, 22, 20, 21]


def test_randomize_off_reads_train_in_order(sbd):
    assert widths(net(sbd, randomize=False), 8) == [0, 1, 2, 3, 4, 5, 6, 0]


def test_no_seed_is_another_order_every_run(sbd):
    assert len({tuple(widths(net(sbd, seed=None), 8)) for _ in range(3)}) > 1


@pytest.mark.parametrize("shown", [0, 1])
def test_skip_passes_over_what_forward_passes_would_have_shown(sbd, voc, shown):
    made = net(sbd)
    assert widths(made, shown) == DRAWN[:shown]
    made.layers[0].skip(3)
    assert widths(made, 3) == DRAWN[shown + 3 : shown + 6]
    made = net(voc)
    made.layers[0].skip(4)
    assert made.forward()["data"].shape[2] == 21


def test_more_classes_can_be_named(voc):
    label = np.full((20, 33), 58, np.uint8)
    Image.fromarray(label).save(voc / "SegmentationClass/2011_000000.png")
    assert np.unique(net(voc, classes=59).forward()["label"]) == [58]


def refused(kind, root, **kwargs):
    """The one line that a net, or its first passes, refuse with."""
    with pytest.raises(kind) as error:
        made = net(root, **kwargs)
        for _ in range(3):
            made.forward()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_param_str_is_never_evaluated(voc):
    text = "{'voc_dir': __import__('os').getcwd(), 'split': 'val', 'mean': (0, 0, 0)}"
    assert "literals" in refused(ValueError, voc, text=text)


@pytest.mark.parametrize("text", ["", "17", "{'voc_dir': ", "no dict"])
def test_a_param_str_that_is_no_dict_is_quoted(voc, text):
    message = refused(ValueError, voc, text=text)
    assert repr(text) in message and "VOCSegDataLayer" in message


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"splitt": "val"}, "splitt"),
        ({"split": None}, "split"),
        ({"seed": "1337"}, "seed"),
        ({"mean": (1, 2)}, "three numbers"),
        ({"mean": (1, 2, "x")}, "three numbers"),
        ({"classes": 300}, "300"),
    ],
)
def test_a_wrong_parameter_is_named(voc, changed, named):
    assert named in refused(ValueError, voc, **changed)


def test_wrong_counts_of_tops_and_bottoms_are_named(voc):
    assert "1 tops" in refused(ValueError, voc, tops=("data",))
    x = "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 } } } "
    assert "1 bottoms" in refused(ValueError, voc, bottoms=x)


def test_a_folder_named_from_too_high_is_found_in_data_beside_the_layers(
    voc, tmp_path, monkeypatch
):
    (tmp_path / "data" / "pascal").mkdir(parents=True)
    moved = voc.rename(tmp_path / "data" / "pascal" / "VOC2011")
    monkeypatch.setattr("voc_layers.__file__", str(tmp_path / "voc_layers.py"))
    (tmp_path / "voc-fcn16s").mkdir()
    monkeypatch.chdir(tmp_path / "voc-fcn16s")
    made = net(moved, voc_dir="../../data/pascal/VOC2011")
    assert made.forward()["data"].shape == (1, 3, 20, 33)


def test_a_missing_folder_and_a_missing_split_are_named(voc):
    assert "nowhere" in refused(OSError, voc, voc_dir=str(voc / "nowhere"))
    assert "Segmentation/none.txt" in refused(OSError, voc, split="none")
    (voc / "ImageSets/Segmentation/seg11valid.txt").write_text("\n")
    assert "is empty" in refused(ValueError, voc)


def test_a_missing_or_unreadable_file_is_named(voc, sbd):
    os.remove(voc / "SegmentationClass/2011_000001.png")
    assert "2011_000001.png: no such label" in refused(OSError, voc)
    image = voc / "JPEGImages/2011_000001.jpg"
    image.write_bytes(image.read_bytes()[:200])
    assert "2011_000001.jpg: is not a readable image" in refused(OSError, voc)
    os.remove(image)
    assert "2011_000001.jpg: no such image" in refused(OSError, voc)
    label = sbd / "cls/2008_000001.mat"
    label.write_bytes(label.read_bytes()[:150])
    assert "2008_000001.mat" in refused(OSError, sbd, randomize=False)
    savemat(label, {"other": 1})
    assert "GTcls" in refused(OSError, sbd, randomize=False)


def test_a_label_out_of_range_is_named_with_its_file_and_the_range(voc):
    label = truth(1, 21, 33)
    label[5, 5] = 21
    Image.fromarray(label).save(voc / "SegmentationClass/2011_000001.png")
    message = refused(ValueError, voc)
    assert "2011_000001.png: has label 21, needs 0..20 or 255" in message


def test_a_colour_image_as_label_is_refused(voc):
    Image.fromarray(photograph(1, 21, 33)).save(voc / "SegmentationClass/2011_000001.png")
    assert "one class index a pixel" in refused(ValueError, voc)


def test_image_and_label_of_different_sizes_are_named_with_both(voc):
    Image.fromarray(truth(1, 33, 21)).save(voc / "SegmentationClass/2011_000001.png")
    message = refused(ValueError, voc)
    assert "33 x 21" in message and "21 x 33" in message


@pytest.mark.oracle
def test_bvlc_caffe_reads_the_same_numbers(voc, sbd, tmp_path):
    for root in (voc, sbd):
        path = prototxt(root)
        seen = []
        for python in (sys.executable, str(ROOT / "oracle/caffe-python")):
            command = [python, str(ROOT / "tests/read_images.py"), path, "8"]
            result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            if result.returncode == 127:
                pytest.skip(result.stderr.strip())
            assert result.returncode == 0, result.stderr
            seen.append(json.loads(result.stdout.splitlines()[-1]))
        assert seen[0] == seen[1]
