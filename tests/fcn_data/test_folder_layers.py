"""The data layer over a folder of a user's own pictures."""

import caffe
import numpy as np
import pytest

from fcn_data.folder_layers import PictureSet, read_set, write_set
from fcn_data.folders import open_folder
from fcn_data.label_coding import LabelCoding
from fcn_data.readers import read_channels
from tests.fcn_data import own_folders

MEAN = (10.0, 20.0, 30.0)


def picture_set(folder):
    files = {
        idx: tuple(path[len(folder.path) + 1 :] for path in pair)
        for idx, pair in folder.files.items()
    }
    coding = LabelCoding(colours=folder.colours)
    return PictureSet(
        "set", folder.path, files, own_folders.NAMES, own_folders.COLOURS, coding, MEAN
    )


def layer_net(tmp_path, run, split, **settings):
    path = tmp_path / "layer.prototxt"
    param = {"set_dir": str(run), "split": split, "seed": 1, **settings}
    path.write_text(
        "layer { name: 'data' type: 'Python' top: 'data' top: 'label' python_param { "
        "module: 'fcn_data.folder_layers' layer: 'FolderDataLayer' "
        f'param_str: "{param!r}" }} }}'
    )
    return caffe.Net(str(path), caffe.TRAIN)


@pytest.mark.parametrize("layout", own_folders.LAYOUTS)
def test_every_layout_feeds_the_same_blobs(tmp_path, layout):
    folder = open_folder(own_folders.write(tmp_path / "set", layout))
    run = tmp_path / "run"
    write_set(str(run), picture_set(folder), {"train": ["scene 0"], "val": ["scene 3", "scene 1"]})
    net = layer_net(tmp_path, run, "val")
    for k in (3, 1):
        blobs = net.forward()
        assert np.array_equal(blobs["label"][0, 0], own_folders.picture(k)[1])
        pixels = read_channels(folder.files[f"scene {k}"][0]).astype(np.float64) - MEAN
        assert np.array_equal(blobs["data"][0], pixels.transpose(2, 0, 1).astype(np.float32))


def test_a_set_is_read_as_it_was_written(tmp_path):
    pictures = picture_set(open_folder(own_folders.write(tmp_path / "set", "cvat")))
    write_set(str(tmp_path), pictures, {"train": ["a b"], "val": []})
    assert read_set(str(tmp_path)) == pictures
    assert (tmp_path / "train.txt").read_text() == "a b\n"


def test_a_damaged_set_file_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"data.json: no such file; python -m solvers.train writes"):
        read_set(str(tmp_path))
    (tmp_path / "data.json").write_text('{"version": 1}')
    with pytest.raises(ValueError, match=r"data.json: is damaged .*remove it to write it again"):
        read_set(str(tmp_path))


def test_an_id_without_files_is_refused(tmp_path):
    pictures = picture_set(open_folder(own_folders.write(tmp_path / "set", "flat")))
    write_set(str(tmp_path), pictures, {"train": ["scene 0"], "val": ["scene 99"]})
    with pytest.raises(ValueError, match=r"val.txt: names 'scene 99', which data.json .* lacks"):
        layer_net(tmp_path, tmp_path, "val")


def training_net(tmp_path, batch=1, count=4, **settings):
    """A net of the data layer alone, on a train split."""
    run = tmp_path / "run"
    if not run.exists():
        folder = open_folder(own_folders.write(tmp_path / "set", "folders", count))
        ids = [f"scene {k}" for k in range(count)]
        write_set(str(run), picture_set(folder), {"train": ids, "val": ids})
    return layer_net(tmp_path, run, "train", batch=batch, **settings)


def draws(net, passes):
    """The images and labels of some passes, one after another."""
    blobs = [{k: v.copy() for k, v in net.forward().items()} for _ in range(passes)]
    return [np.concatenate([b[name] for b in blobs]) for name in ("data", "label")]


CHANGES = {"mirror": True, "crop": 24, "scale": (0.5, 2)}


@pytest.mark.parametrize("changes", [{}, CHANGES])
def test_a_batch_has_the_images_that_single_passes_have(tmp_path, changes):
    single = draws(training_net(tmp_path, 1, **changes), 6)
    batches = draws(training_net(tmp_path, 3, **changes), 2)
    assert all(np.array_equal(a, b) for a, b in zip(single, batches))


def test_a_continued_training_has_the_changes_of_an_uninterrupted_one(tmp_path):
    images, labels = draws(training_net(tmp_path, 2, **CHANGES), 4)
    net = training_net(tmp_path, 2, **CHANGES)
    net.layers[0].skip(2)
    rest = draws(net, 2)
    assert np.array_equal(rest[0], images[4:]) and np.array_equal(rest[1], labels[4:])
    assert not np.array_equal(images[:4], images[4:])


def test_a_split_that_is_scored_is_never_changed(tmp_path):
    training_net(tmp_path)
    plain = draws(layer_net(tmp_path, tmp_path / "run", "val"), 3)
    changed = draws(layer_net(tmp_path, tmp_path / "run", "val", batch=2, **CHANGES), 3)
    assert all(np.array_equal(a, b) for a, b in zip(plain, changed))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch": 0}, "batch is 0, needs 1 or more images"),
        ({"crop": -1}, "crop is -1, needs a number of pixels, or 0: none"),
    ],
)
def test_impossible_changes_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        training_net(tmp_path, **settings)
