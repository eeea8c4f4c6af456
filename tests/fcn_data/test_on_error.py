"""Images that cannot be read: the layer stops, or skips them where on_error says so."""

from __future__ import annotations

import json
import os
import shutil

import caffe
import numpy as np
import pytest

from fcn_data import DATA_SETS, layers, parameters

NET = (
    "layer {{ name: 'd' type: 'Python' top: 'data' top: 'label' python_param {{ "
    "module: '{module}' layer: '{layer}' param_str: \"{0}\" }} }}"
)


@pytest.fixture
def sets(tiny_start, tmp_path):
    """A copy of the small SBD and VOC sets, whose files a test may damage."""
    for name in ("sbdd", "voc"):
        shutil.copytree(tiny_start / name, tmp_path / name)
    return tmp_path


def net(folder, layer="SBDDSegDataLayer", **settings):
    key, split = {
        "SBDDSegDataLayer": ("sbdd_dir", "train"),
        "VOCSegDataLayer": ("voc_dir", "seg11valid"),
    }[layer]
    values = {key: str(folder / key[:-4]), "split": split, "mean": (1, 2, 3), **settings}
    path = folder / "net.prototxt"
    path.write_text(NET.format(values, module="voc_layers", layer=layer))
    return caffe.Net(str(path), caffe.TRAIN)


def images(net, count):
    return [np.array(net.forward()["data"]) for _ in range(count)]


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other))


DAMAGES = {
    "no image": lambda folder: os.remove(folder / "sbdd/img/train1.jpg"),
    "no JPEG": lambda folder: (folder / "sbdd/img/train1.jpg").write_bytes(b"no JPEG"),
    "no label": lambda folder: os.remove(folder / "sbdd/cls/train1.mat"),
    "no MATLAB file": lambda folder: (folder / "sbdd/cls/train1.mat").write_bytes(b"0" * 200),
    "another size": lambda folder: shutil.copy(
        folder / "sbdd/cls/train0.mat", folder / "sbdd/cls/train1.mat"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_next_image_takes_the_place_of_a_skipped_one(sets, capfd, damage):
    zero, _, two = images(net(sets, randomize=False), 3)
    damage(sets)
    layer = net(sets, randomize=False, on_error="skip")
    assert same(images(layer, 6), [zero, two, two] * 2)
    lines = [line for line in capfd.readouterr().err.splitlines() if "skipped" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: SBDDSegDataLayer: skipped train1 of split train: ")
    assert str(sets / "sbdd") in lines[0]


def test_the_last_image_of_a_split_is_replaced_by_its_first(sets):
    zero, _ = images(net(sets, "VOCSegDataLayer"), 2)
    os.remove(sets / "voc/JPEGImages/val1.jpg")
    assert same(images(net(sets, "VOCSegDataLayer", on_error="skip"), 3), [zero] * 3)


@pytest.mark.parametrize("settings", [{}, {"on_error": "stop"}])
def test_by_default_an_unreadable_image_ends_the_run(sets, settings):
    os.remove(sets / "sbdd/img/train1.jpg")
    layer = net(sets, randomize=False, **settings)
    layer.forward()
    with pytest.raises(OSError, match=r"train1\.jpg: no such image, for train1 of split train"):
        layer.forward()


def test_a_split_without_a_readable_image_ends_the_run(sets, capfd):
    for name in os.listdir(sets / "sbdd/img"):
        os.remove(sets / "sbdd/img" / name)
    with pytest.raises(OSError, match="it is the last of 3 images in a row that cannot be read"):
        net(sets, randomize=False, on_error="skip").forward()


def test_many_unreadable_images_in_a_row_end_the_run(sets, monkeypatch):
    monkeypatch.setattr(layers, "MOST_SKIPPED", 1)
    os.remove(sets / "sbdd/img/train1.jpg")
    layer = net(sets, randomize=False, on_error="skip")
    layer.forward()
    with pytest.raises(OSError, match="the last of 1 images in a row"):
        layer.forward()


def test_skipped_images_leave_the_order_of_the_draws_as_it_is(sets):
    """A continued run, and each of several workers, sees the images of an uninterrupted run."""
    os.remove(sets / "sbdd/img/train1.jpg")
    settings = {"seed": 3, "on_error": "skip", "mirror": True, "batch": 2}
    first, second, third = (net(sets, **settings) for _ in range(3))
    images(first, 3)
    state = json.loads(json.dumps(first.layers[0].resume_state()))
    expected = images(first, 4)
    second.layers[0].set_resume_state(state)
    third.layers[0].skip(3)
    assert same(images(second, 4), expected) and same(images(third, 4), expected)


def test_a_deeply_nested_param_str_is_refused_in_one_line():
    text = "{'split': " + "(" * 1000 + ")" * 1000 + "}"
    with pytest.raises(ValueError, match="param_str is .*, needs a dict of literals") as refusal:
        parameters.read_parameters("Layer", text, {"split": str}, {})
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_another_value_of_on_error_is_refused(sets):
    with pytest.raises(ValueError, match="on_error is 'never', needs stop or skip"):
        net(sets, on_error="never")


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=DATA_SETS)
def test_both_splits_of_every_data_set_have_the_key(data_set):
    for split in data_set.splits:
        assert data_set.parameters(split, on_error="skip")["on_error"] == "skip"
        assert "on_error" not in data_set.parameters(split)
