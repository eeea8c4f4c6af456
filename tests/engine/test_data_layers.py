"""Data layers: their errors, reading ahead, and sharing of records. test_golden.py has numbers."""

from __future__ import annotations

import builtins
import gc
import json
import threading
import time

import caffe
import cv2
import numpy as np
import pytest
from caffe import CaffeError, launch
from caffe.data import db
from caffe.data.transformer import DataTransformer
from caffe.errors import ShapeError
from caffe.proto import caffe_pb2
from caffe.tools import convert_imageset

from tests.engine.nets import build, write


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Enters a folder with six images of one colour each, `list.txt` and the LMDB database `db`."""
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        cv2.imwrite(f"{i}.png", np.full((4, 5, 3), 10 * i, np.uint8))
    write(tmp_path, "".join(f"{i}.png {i}\n" for i in range(6)), "list.txt")
    assert convert_imageset.main(["./", "list.txt", "db"]) == 0
    return tmp_path


def data(param="source: 'db' batch_size: 2 backend: LMDB", rest="", type_="Data", name="data"):
    return (
        f"layer {{ name: 'd' type: '{type_}' top: 'x' top: 'y' {name}_param {{ {param} }} {rest} }}"
    )


def labels(net, forwards):
    return [net.forward() and net.blobs["y"].data.tolist() for _ in range(forwards)]


def test_a_database_is_read_in_the_order_of_its_keys_again_and_again(images):
    assert labels(build(images, data()), 4) == [[0, 1], [2, 3], [4, 5], [0, 1]]


SHUFFLED = "source: 'db' batch_size: 6 backend: LMDB shuffle: true"


def test_a_shuffled_database_has_another_order_in_each_turn(images):
    caffe.set_random_seed(3)
    turns = labels(build(images, data(SHUFFLED)), 3)
    assert all(sorted(turn) == list(range(6)) for turn in turns)
    assert len({tuple(turn) for turn in [*turns, range(6)]}) == 4


def test_a_shuffled_database_continues_where_a_training_was_saved(images):
    text = data(SHUFFLED.replace("6", "4", 1))
    first, second = (build(images, text) for _ in range(2))
    labels(first, 2)
    state = json.loads(json.dumps(first.layer_dict["d"].resume_state()))
    second.layer_dict["d"].set_resume_state(state)
    assert labels(second, 4) == labels(first, 4)


CHOSEN = "source: 'db' batch_size: 3 backend: LMDB preselection_file: 'split' preselection_label: 1"


def test_a_list_of_numbers_chooses_records_of_a_database(images):
    write(images, "1 1 2\n2\n1\n2\n", "split")
    assert labels(build(images, data(CHOSEN)), 2) == [[0, 1, 4]] * 2
    text = data(f"{CHOSEN} rand_permute: true rand_permute_seed: 3")
    turns = labels(build(images, text), 2)
    assert turns[0] == turns[1] != [0, 1, 4] and sorted(turns[0]) == [0, 1, 4]


def test_a_list_that_does_not_fit_the_database_is_refused(images):
    write(images, "1 2 1", "split")
    with pytest.raises(
        CaffeError, match="has 3 numbers for 6 records, 2 of them preselection_label 1"
    ):
        build(images, data(CHOSEN))


def test_bgr2rgb_exchanges_blue_and_red(images):
    cv2.imwrite("colours.png", np.full((2, 2, 3), (10, 20, 30), np.uint8))
    write(images, "colours.png 0\n", "one.txt")
    text = data("source: 'one.txt' batch_size: 1", "%s", "ImageData", "image_data")
    for settings, colours in (
        ("", [10, 20, 30]),
        ("transform_param { bgr2rgb: true }", [30, 20, 10]),
    ):
        net = build(images, text % settings)
        net.forward()
        assert net.blobs["x"].data[0, :, 0, 0].tolist() == colours


def test_center_crop_leaves_crops_in_the_centre_in_training(images):
    cv2.imwrite("centre.png", np.arange(75, dtype=np.uint8).reshape(5, 5, 3))
    write(images, "centre.png 0\n", "one.txt")
    net = build(
        images,
        data(
            "source: 'one.txt' batch_size: 4",
            "transform_param { crop_size: 1 center_crop: true }",
            "ImageData",
            "image_data",
        ),
        caffe.TRAIN,
    )
    net.forward()
    assert (net.blobs["x"].data.reshape(4, 3) == [36, 37, 38]).all()


def test_two_nets_read_one_database(images):
    nets = [build(images, data()) for _ in range(2)]
    assert [labels(net, 2) for net in nets] == [[[0, 1], [2, 3]]] * 2


def test_solvers_that_train_together_take_turns_at_the_records(images):
    launch.set_solver_count(2)
    try:
        batches = []
        for rank in range(2):
            launch.set_solver_rank(rank)
            batches.append(labels(build(images, data(), caffe.TRAIN), 3))
        assert batches == [[[0, 2], [4, 0], [2, 4]], [[1, 3], [5, 1], [3, 5]]]
        assert labels(build(images, data(), caffe.TEST), 1) == [[0, 1]]
    finally:
        launch.set_solver_count(1)
        launch.set_solver_rank(0)


LISTED = "source: 'list.txt' batch_size: 2"


def test_an_error_is_raised_at_the_batch_to_which_it_belongs_and_again(images):
    net = build(images, data(LISTED, type_="ImageData", name="image_data"))
    (images / "4.png").write_bytes(b"no image")
    assert labels(net, 2) == [[0, 1], [2, 3]]
    for _ in range(2):
        with pytest.raises(CaffeError, match=r"layer 'd' \(ImageData\): 4\.png: no image"):
            net.forward()


FROM_DATABASE = data(rest="transform_param { crop_size: 2 mirror: true }").replace(
    "backend: LMDB", "backend: LMDB prefetch: AHEAD"
)
FROM_FILES = data(
    f"{LISTED} shuffle: true",
    "data_param { prefetch: AHEAD } transform_param { crop_size: 3 mirror: true }",
    "ImageData",
    "image_data",
)


@pytest.mark.parametrize("text", [FROM_DATABASE, FROM_FILES])
def test_random_numbers_do_not_depend_on_the_number_of_batches_read_ahead(images, text):
    rng = np.random.RandomState(0)
    for i in range(6):
        cv2.imwrite(f"{i}.png", rng.randint(0, 255, (4, 5, 3)).astype(np.uint8))
    assert convert_imageset.main(["./", "list.txt", "many"]) == 0
    runs = []
    for ahead in ("1", "4", "11"):
        caffe.set_random_seed(7)
        prototxt = text.replace("AHEAD", ahead).replace("'db'", "'many'")
        net = build(images, prototxt, caffe.TRAIN)
        batches = [net.forward() and net.blobs["x"].data.copy() for _ in range(7)]
        runs.append((batches, labels(net, 3)))
    for batches, numbers in runs[1:]:
        np.testing.assert_array_equal(batches, runs[0][0])
        assert numbers == runs[0][1]


def test_the_reading_thread_starts_with_the_first_forward_and_ends_with_the_net(images):
    def reading():
        return [t for t in threading.enumerate() if t.name == "prefetch of alone"]

    net = build(images, data().replace("'d'", "'alone'"))
    assert not reading()
    net.forward()
    assert len(reading()) == 1
    del net
    end = time.monotonic() + 20
    while reading():
        assert time.monotonic() < end
        gc.collect()  # a batch that is being read keeps its layer alive until it is complete
        time.sleep(0.01)


def test_an_error_of_the_reading_thread_reaches_forward(images):
    net = build(
        images, data("source: 'list.txt' batch_size: 4", type_="ImageData", name="image_data")
    )
    (images / "2.png").write_bytes(b"no image")
    with pytest.raises(CaffeError, match=r"layer 'd' \(ImageData\): 2\.png: no image"):
        net.forward()


def test_memory_data_refuses_arrays_that_do_not_fit(tmp_path):
    net = build(
        tmp_path,
        data(
            "batch_size: 2 channels: 1 height: 1 width: 3", type_="MemoryData", name="memory_data"
        ),
    )
    with pytest.raises(CaffeError, match="set_input_arrays"):
        net.forward()
    fits, four = np.zeros((4, 1, 1, 3), np.float32), np.zeros(4, np.float32)
    for values, numbers, words in (
        (fits.astype(float), four, "C contiguous float32"),
        (fits[:, :, :, ::-1], four, "C contiguous float32"),
        (fits[:, :, :, :2].copy(), four, "needs N x 1 x 1 x 3"),
        (fits[:3], four[:3], "multiple of batch_size 2"),
        (fits, four[:2], "4 data and 2 labels"),
    ):
        with pytest.raises(CaffeError, match=words):
            net.set_input_arrays(values, numbers)


def test_only_a_net_that_begins_with_memory_data_takes_arrays(images):
    with pytest.raises(CaffeError, match="first layer is a MemoryDataLayer"):
        build(images, data()).set_input_arrays(np.zeros(1), np.zeros(1))


@pytest.mark.parametrize(
    "text, words",
    [
        (data("source: 'db' batch_size: 2 backend: LEVELDB"), "LevelDB has no Python package"),
        (data("source: 'none' batch_size: 2 backend: LMDB"), "none: there is no LMDB database"),
        (data("source: 'list.txt' batch_size: 2 backend: LMDB"), "is not an LMDB database"),
        (data("source: 'db' batch_size: 0 backend: LMDB"), "batch_size is 0"),
        (data(rest="transform_param { crop_size: 5 }"), "crop_size is 5, but an image is 4 x 5"),
        (data(rest="transform_param { mean_file: 'none' }"), "none: cannot be read"),
        (data(rest="transform_param { mean_file: 'a' mean_value: 2 }"), "mean_file and mean_value"),
        (
            data("source: 'list.txt' batch_size: 1 new_height: 3", "", "ImageData", "image_data"),
            "new_height 3, new_width 0",
        ),
        (
            data("source: 'x' batch_size: 1", "", "ImageData", "image_data"),
            "'x', which is not a file",
        ),
        (data("source: '0.png' batch_size: 1", "", "ImageData", "image_data"), "cannot be read as"),
        (
            data("source: 'x' batch_size: 1", "", "HDF5Data", "hdf5_data"),
            "'x', which is not a file",
        ),
        (
            data("source: 'list.txt' batch_size: 1", "", "HDF5Data", "hdf5_data"),
            "0.png: is not an HDF5 file with the datasets x, y",
        ),
        (
            data("source: 'list.txt' batch_size: 1", "transform_param { crop_size: 2 }")
            .replace("'Data'", "'WindowData'")
            .replace("data_param", "window_data_param"),
            "is not of the form",
        ),
        (data("shape { dim: 1 } num: 2", "", "DummyData", "dummy_data"), "both shape and num"),
        (data("num: 2", "", "DummyData", "dummy_data"), "0 channels for 2 tops"),
    ],
)
def test_a_data_layer_that_cannot_read_says_the_reason_in_one_line(images, text, words):
    with pytest.raises(CaffeError, match=words) as error:
        build(images, text)
    assert "\n" not in str(error.value)


def test_three_mean_values_for_one_channel_are_refused(images):
    layer = caffe_pb2.LayerParameter(name="d", type="Data", phase=caffe.TEST)
    layer.transform_param.mean_value.extend([1, 2, 3])
    with pytest.raises(ShapeError, match="layer 'd' .*3 mean_value; it needs 1, or 1, one for"):
        DataTransformer(layer)(np.zeros((1, 4, 4), np.uint8))


def test_hdf5_output_takes_one_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = build(
        tmp_path,
        """layer { name: 'in' type: 'Input' top: 'x' top: 'y'
             input_param { shape { dim: 3 dim: 2 } shape { dim: 3 } } }
           layer { name: 'out' type: 'HDF5Output' bottom: 'x' bottom: 'y'
             hdf5_output_param { file_name: 'out.h5' } }""",
    )
    net.forward()
    before = (tmp_path / "out.h5").read_bytes()
    with pytest.raises(CaffeError, match=r"out\.h5 has a batch already"):
        net.forward()
    assert (tmp_path / "out.h5").read_bytes() == before


def test_without_the_lmdb_package_a_database_is_read_but_not_written(images, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "lmdb":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    build(images, data()).forward()
    with pytest.raises(CaffeError, match="pip install lmdb"):
        db.Writer(str(images / "new"))


def test_a_database_whose_writing_fails_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), db.Writer(str(tmp_path / "new")) as writer:
        writer.put(b"a", b"b")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_database_is_never_overwritten(images):
    with pytest.raises(CaffeError, match="is there already"):
        db.Writer("db")
