"""The data layers of VOC and SBD, each in a net, over small folders in the published layouts."""

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
    """Write a net of one data layer over `root` beside that folder, and return its path."""
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


def widths(data_net, n):
    """The widths of the next n images, less 30: the index of each image of `sbd`."""
    return [data_net.forward()["data"].shape[3] - 30 for _ in range(n)]


def test_an_image_has_its_own_size_in_bgr_minus_the_mean(voc):
    data_net = net(voc)
    for k in range(3):
        data_net.forward()
        with Image.open(voc / "JPEGImages" / f"2011_{k:06d}.jpg") as image:
            expected = np.asarray(image, np.float32)[:, :, ::-1].transpose(2, 0, 1)
        expected = np.float32(np.float64(expected) - np.float64(MEAN)[:, None, None])
        assert data_net.blobs["data"].data.dtype == np.float32
        assert np.array_equal(data_net.blobs["data"].data, expected[None])


@pytest.mark.parametrize("dataset", ["voc", "sbd"])
def test_a_label_holds_class_indices_and_255_where_ignored(dataset, request):
    data_net = net(request.getfixturevalue(dataset), randomize=False)
    for k in range(3):
        data_net.forward()
        label = data_net.blobs["label"].data
        assert np.array_equal(label, truth(k, *label.shape[2:])[None, None])
        assert label.shape[2:] == data_net.blobs["data"].data.shape[2:]


def test_a_grey_image_becomes_three_equal_planes(voc):
    grey = photograph(9, 20, 33)[:, :, 0]
    Image.fromarray(grey).save(voc / "JPEGImages/2011_000000.jpg")
    data = net(voc).forward()["data"][0] + np.float32(MEAN)[:, None, None]
    assert np.allclose(data[0], data[1], atol=1e-4) and np.allclose(data[0], data[2], atol=1e-4)


def test_the_order_of_train_is_that_of_python_2(sbd):
    assert widths(net(sbd), 8) == DRAWN


def test_a_split_without_train_in_its_name_comes_in_its_order_again_and_again(voc):
    data_net = net(voc)
    assert [data_net.forward()["data"].shape[2] for _ in range(5)] == [20, 21, 22, 20, 21]


def test_without_randomize_train_comes_in_its_order(sbd):
    assert widths(net(sbd, randomize=False), 8) == [0, 1, 2, 3, 4, 5, 6, 0]


def test_without_a_seed_every_run_has_another_order(sbd):
    assert len({tuple(widths(net(sbd, seed=None), 8)) for _ in range(3)}) > 1


@pytest.mark.parametrize("passes", [0, 1])
def test_skip_advances_as_forward_passes_do(sbd, voc, passes):
    data_net = net(sbd)
    assert widths(data_net, passes) == DRAWN[:passes]
    data_net.layers[0].skip(3)
    assert widths(data_net, 3) == DRAWN[passes + 3 : passes + 6]
    data_net = net(voc)
    data_net.layers[0].skip(4)
    assert data_net.forward()["data"].shape[2] == 21


def test_param_str_can_set_the_number_of_classes(voc):
    label = np.full((20, 33), 58, np.uint8)
    Image.fromarray(label).save(voc / "SegmentationClass/2011_000000.png")
    assert np.unique(net(voc, classes=59).forward()["label"]) == [58]


def test_ids_may_contain_spaces_and_start_after_a_byte_order_mark(voc):
    for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png")):
        (voc / folder / f"2011_000001{suffix}").rename(voc / folder / f"a house{suffix}")
    split = voc / "ImageSets/Segmentation/seg11valid.txt"
    split.write_bytes(b"\xef\xbb\xbf2011_000000\r\na house \r\n\r\n2011_000002")
    data_net = net(voc)
    assert data_net.layers[0].indices == ["2011_000000", "a house", "2011_000002"]
    assert [data_net.forward()["data"].shape[2] for _ in range(3)] == [20, 21, 22]


def refused(kind, root, **kwargs):
    """The one line with which the setup of a net or its first passes fail."""
    with pytest.raises(kind) as error:
        data_net = net(root, **kwargs)
        for _ in range(3):
            data_net.forward()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_code_in_param_str_is_not_executed(voc):
    text = "{'voc_dir': __import__('os').getcwd(), 'split': 'val', 'mean': (0, 0, 0)}"
    assert "literals" in refused(ValueError, voc, text=text)


@pytest.mark.parametrize("text", ["", "17", "{'voc_dir': ", "no dict"])
def test_a_param_str_that_is_not_a_dict_is_quoted(voc, text):
    message = refused(ValueError, voc, text=text)
    assert repr(text) in message and "VOCSegDataLayer" in message


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"splitt": "val"}, "splitt"),
        ({"split": None}, "split"),
        ({"seed": "1337"}, "seed"),
        ({"mean": (1, 2)}, "3 numbers"),
        ({"mean": (1, 2, "x")}, "3 numbers"),
        ({"classes": 300}, "classes is 300, needs 2 to 255, because label 255 is ignored"),
        ({"classes": 1}, "classes is 1"),
    ],
)
def test_a_wrong_parameter_is_named(voc, changed, named):
    assert named in refused(ValueError, voc, **changed)


def test_wrong_numbers_of_tops_and_bottoms_are_named(voc):
    assert "1 tops" in refused(ValueError, voc, tops=("data",))
    x = "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 } } } "
    assert "1 bottoms" in refused(ValueError, voc, bottoms=x)


def test_a_folder_one_level_too_high_is_found_in_the_data_of_the_repository(
    voc, tmp_path, monkeypatch
):
    (tmp_path / "data" / "pascal").mkdir(parents=True)
    moved = voc.rename(tmp_path / "data" / "pascal" / "VOC2011")
    monkeypatch.setattr("fcn_data.layers.ROOT", str(tmp_path))
    (tmp_path / "voc-fcn16s").mkdir()
    monkeypatch.chdir(tmp_path / "voc-fcn16s")
    data_net = net(moved, voc_dir="../../data/pascal/VOC2011")
    assert data_net.forward()["data"].shape == (1, 3, 20, 33)


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


def test_a_label_out_of_range_is_refused_with_its_file_and_the_range(voc):
    label = truth(1, 21, 33)
    label[5, 5] = 21
    Image.fromarray(label).save(voc / "SegmentationClass/2011_000001.png")
    message = refused(ValueError, voc)
    assert "2011_000001.png: has label 21, needs 0..20 or 255" in message


def test_a_colour_image_is_refused_as_a_label(voc):
    Image.fromarray(photograph(1, 21, 33)).save(voc / "SegmentationClass/2011_000001.png")
    assert "one class index a pixel" in refused(ValueError, voc)


def test_a_label_of_another_size_than_its_image_is_refused_with_both_sizes(voc):
    Image.fromarray(truth(1, 33, 21)).save(voc / "SegmentationClass/2011_000001.png")
    message = refused(ValueError, voc)
    assert "33 x 21" in message and "21 x 33" in message


@pytest.mark.oracle
def test_bvlc_caffe_reads_the_same_images_and_labels(voc, sbd, tmp_path):
    for root in (voc, sbd):
        path = prototxt(root)
        outputs = []
        for python in (sys.executable, str(ROOT / "oracle/caffe-python")):
            command = [python, str(ROOT / "tests/read_images.py"), path, "8"]
            result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            if result.returncode == 127:
                pytest.skip(result.stderr.strip())
            assert result.returncode == 0, result.stderr
            outputs.append(json.loads(result.stdout.splitlines()[-1]))
        assert outputs[0] == outputs[1]
