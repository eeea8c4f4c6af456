"""The base class of the data layers, under data sets of other shapes than VOC."""

import caffe
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.fcn_data import other_sets
from tests.fcn_data.other_sets import ROOMS, STREETS


def photograph(path, seed, height, width):
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def mat(path, key, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {key: array})


@pytest.fixture
def rooms(tmp_path):
    root = tmp_path / "rooms"
    for k, idx in enumerate(("1", "2")):
        photograph(root / "color" / f"{idx}.jpg", k, 6 + k, 8)
        (root / "depth").mkdir(exist_ok=True)
        np.save(root / "depth" / f"{idx}.npy", np.full((6 + k, 8), 2.0 + k))
        mat(root / "segmentation" / f"{idx}.mat", "segmentation", np.tile([0, 1, 2, 4], (6 + k, 2)))
    (root / "lists").mkdir()
    for split in ("trainval", "test"):
        (root / "lists" / f"{split}.txt").write_text("1\n2\n")
    return root


@pytest.fixture
def streets(tmp_path):
    root = tmp_path / "streets"
    photograph(root / "Images" / "a street.jpg", 0, 6, 8)
    mat(root / "SemanticLabels" / "a street.mat", "S", np.tile([0, 1, 300, 7], (6, 2)))
    mat(root / "GeoLabels" / "a street.mat", "S", np.tile([-1, 1, 2, 3], (6, 2)).astype(np.int8))
    (root / "test.txt").write_text("a street\n")
    return root


def net(data_set, split, root, tops=None, **settings):
    """A net of the one layer that reads a split; `settings` are keys of param_str."""
    record = data_set.splits[split]
    (key,) = record.folders
    if tops:
        settings["tops"] = tops
    parameters = data_set.parameters(split, **{key: str(root)}, **settings)
    path = root.parent / "data.prototxt"
    path.write_text(
        "layer { name: 'data' type: 'Python' "
        + "".join(f"top: '{top}' " for top in tops or data_set.tops)
        + f"python_param {{ module: '{record.module}' layer: '{record.layer}' "
        + f'param_str: "{parameters!r}" }} }}'
    )
    return caffe.Net(str(path), caffe.TRAIN)


def test_a_layer_has_several_inputs_with_a_mean_each(rooms):
    blobs = net(ROOMS, "val", rooms).forward()
    with Image.open(rooms / "color" / "1.jpg") as image:
        bgr = np.asarray(image)[:, :, ::-1].astype(np.float64)
    assert blobs["color"].shape == (1, 3, 6, 8) and blobs["depth"].shape == (1, 1, 6, 8)
    assert np.array_equal(
        blobs["color"][0], np.float32(bgr - ROOMS.inputs[0].mean).transpose(2, 0, 1)
    )
    assert np.allclose(blobs["depth"], np.log(2) - 7.5)


def test_a_reader_shifts_labels_that_count_from_1(rooms):
    label = net(ROOMS, "val", rooms).forward()["label"]
    assert label[0, 0, 0].tolist() == [255, 0, 1, 3] * 2


def test_the_tops_of_a_net_are_chosen_in_param_str(rooms):
    data_net = net(ROOMS, "val", rooms, tops=["depth", "label"])
    blobs = data_net.forward()
    assert {top: blob.shape for top, blob in blobs.items()} == {
        "depth": (1, 1, 6, 8),
        "label": (1, 1, 6, 8),
    }


def test_a_top_that_the_record_lacks_is_refused(rooms):
    with pytest.raises(ValueError, match="tops has 'hha', needs color, depth, label"):
        net(ROOMS, "val", rooms, tops=["hha", "label"])


def test_a_layer_has_several_labels_with_void_of_their_own(streets):
    blobs = net(STREETS, "val", streets).forward()
    assert blobs["sem"][0, 0, 0].tolist() == [-1, 0, 299, 6] * 2
    assert blobs["geo"][0, 0, 0].tolist() == [255, 0, 1, 2] * 2


def test_labels_over_255_are_int32_and_are_not_wrapped(streets):
    layer = net(STREETS, "val", streets).layers[0]
    label = layer.load_label("a street", "sem")
    assert label.dtype == np.int32 and label.max() == 299
    assert layer.load_label("a street", "geo").dtype == np.uint8


def test_a_record_whose_ignored_label_is_a_class_is_refused(streets, monkeypatch):
    labels = STREETS.labels[0]._replace(ignore_label=255)
    record = STREETS._replace(labels=(labels, STREETS.labels[1]))
    monkeypatch.setattr(other_sets.StreetsDataLayer, "data_set", record)
    with pytest.raises(ValueError, match="classes is 300, needs 2 to 255"):
        net(STREETS, "val", streets)


def test_an_input_of_another_size_is_refused_with_its_file(rooms):
    np.save(rooms / "depth" / "1.npy", np.ones((6, 9)))
    with pytest.raises(ValueError, match=r"1\.npy: is 6 x 9 .*needs its image's 6 x 8"):
        net(ROOMS, "val", rooms).forward()


def test_an_input_with_another_number_of_channels_is_refused(rooms, monkeypatch):
    monkeypatch.setattr(
        other_sets.RoomsDataLayer, "read_input", lambda self, top, path: np.zeros((6, 8, 2))
    )
    with pytest.raises(ValueError, match=r"has shape \(6, 8, 2\), needs H x W x 3"):
        net(ROOMS, "val", rooms).forward()


def test_the_split_files_lie_where_the_reader_says(rooms):
    (rooms / "lists" / "test.txt").unlink()
    with pytest.raises(OSError, match=r"lists/test\.txt: no such split file"):
        net(ROOMS, "val", rooms)


def test_the_mean_in_param_str_replaces_that_of_the_first_input(rooms):
    default = net(ROOMS, "val", rooms).forward()["color"].copy()
    shifted = net(ROOMS, "val", rooms, mean=(115.0, 96.0, 91.0)).forward()["color"]
    assert np.allclose(shifted, default + 1, atol=1e-4)
