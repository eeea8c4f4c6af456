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


def layer_net(tmp_path, run, split):
    path = tmp_path / "layer.prototxt"
    path.write_text(
        "layer { name: 'data' type: 'Python' top: 'data' top: 'label' python_param { "
        "module: 'fcn_data.folder_layers' layer: 'FolderDataLayer' "
        f"param_str: \"{{'set_dir': '{run}', 'split': '{split}', 'seed': 1}}\" }} }}"
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
