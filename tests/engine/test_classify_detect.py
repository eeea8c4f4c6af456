"""`python -m caffe.classify` and `caffe.detect`, and the converters of MNIST and CIFAR-10."""

from __future__ import annotations

import csv
import gzip
import struct

import caffe
import cv2
import numpy as np
import pytest
from caffe import classify, detect
from caffe.proto import caffe_pb2
from caffe.tools import convert_cifar_data, convert_mnist_data

lmdb = pytest.importorskip("lmdb")

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 10 dim: 3 dim: 8 dim: 8 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A net with weights, a mean and three pictures of 12 x 14."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.prototxt").write_text(NET)
    caffe.set_random_seed(1)
    caffe.Net("deploy.prototxt", caffe.TEST).save("net.caffemodel")
    np.save("mean.npy", np.full((3, 8, 8), 100.0))
    random = np.random.RandomState(0)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        image = random.randint(0, 256, (12, 14, 3)).astype(np.uint8)
        cv2.imwrite(f"pictures/{i}.png", image)
    return tmp_path


OPTIONS = [
    *("--model_def", "deploy.prototxt", "--pretrained_model", "net.caffemodel"),
    *("--mean_file", "mean.npy"),
]


def classifier():
    return caffe.Classifier(
        "deploy.prototxt",
        "net.caffemodel",
        image_dims=[10, 10],
        mean=np.load("mean.npy"),
        raw_scale=255.0,
        channel_swap=[2, 1, 0],
    )


@pytest.mark.parametrize("center", [False, True])
def test_classify_writes_the_scores_of_a_folder(folder, center, capsys):
    options = [*OPTIONS, "--images_dim", "10,10", "--ext", "png"]
    options += ["--center_only"] if center else []
    assert classify.main(["pictures", "out.npy", *options]) == 0
    images = [caffe.io.load_image(f"pictures/{i}.png") for i in range(3)]
    expected = classifier().predict(images, not center)
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-5)
    output = capsys.readouterr().out
    assert "CPU mode\nLoading folder: pictures\nClassifying 3 inputs.\nDone in " in output


def test_classify_reads_an_image_and_an_array(folder):
    options = [*OPTIONS, "--images_dim", "10,10"]
    assert classify.main(["pictures/1.png", "one.npy", *options]) == 0
    np.save("images.npy", np.array([caffe.io.load_image("pictures/1.png")]))
    assert classify.main(["images.npy", "two.npy", *options]) == 0
    assert np.load("one.npy").shape == (1, 4)
    np.testing.assert_array_equal(np.load("one.npy"), np.load("two.npy"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["missing.png", "o.npy", *OPTIONS], "missing.png: cannot be read"),
        (["pictures", "o.npy", *OPTIONS, "--ext", "gif"], "has no *.gif; name the extension"),
        (["pictures", "o.npy", *OPTIONS[:4], "--mean_file", "no.npy"], "name a .npy file"),
        (["pictures", "o.npy", *OPTIONS, "--images_dim", "9x9"], "needs height,width of"),
        (["pictures", "o.npy", *OPTIONS, "--images_dim", "9"], "--images_dim 9: needs height"),
        (["pictures", "o.npy", *OPTIONS, "--channel_swap", "b"], "--channel_swap b: needs the"),
        (["pictures", "o.npy", *OPTIONS, "--channel_swap", "1,0"], "3 are needed"),
        (["pictures", "no/o.npy", *OPTIONS], "no/o.npy: cannot be written, because no is not"),
        (
            ["pictures/1.png", "o.npy", *OPTIONS, "--images_dim", "4,9"],
            "images of 4 x 9 (height x width) are smaller than the crops of 8 x 8",
        ),
        (
            ["pictures/1.png", "o.npy", *OPTIONS, "--images_dim", "9,4", "--center_only"],
            "image_dims is (9, 4), needs the size of the net's input, 8 x 8",
        ),
    ],
)
def test_classify_ends_with_one_error_line(folder, arguments, words, capsys):
    assert classify.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


def test_detect_writes_the_scores_of_windows(folder):
    rows = [("pictures/0.png", 1, 2, 9, 10), ("pictures/2.png", 0, 0, 13, 11)]
    with open("windows.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "xmin", "ymin", "xmax", "ymax"), *rows])
    options = [*OPTIONS, "--crop_mode", "list", "--context_pad", "0"]
    assert detect.main(["windows.csv", "out.csv", *options]) == 0
    with open("out.csv", newline="") as file:
        rows_out = list(csv.DictReader(file))
    net = caffe.Detector(
        "deploy.prototxt",
        "net.caffemodel",
        mean=np.full(3, 100.0),
        raw_scale=255.0,
        channel_swap=[2, 1, 0],
    )
    windows = [(name, [(ymin, xmin, ymax, xmax)]) for name, xmin, ymin, xmax, ymax in rows]
    for row, expected in zip(rows_out, net.detect_windows(windows)):
        assert row["filename"] == expected["filename"]
        assert [float(row[k]) for k in detect.COORDINATES] == list(expected["window"])
        scores = [float(row[f"class{i}"]) for i in range(4)]
        np.testing.assert_allclose(scores, expected["prediction"], rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["w.csv", "o.txt"], "the output needs to be a .csv"),
        (["w.xml", "o.csv"], "Unknown input file type: not in txt or csv."),
        (["w.csv", "o.csv"], "w.csv: lacks the columns xmax, xmin, ymax, ymin; the first line"),
        (["w.csv", "no/o.csv"], "no/o.csv: cannot be written, because no is not a folder"),
        (["w.csv", "o.csv", "--context_pad", "4"], "context_pad is 4 for an input 8 pixels wide"),
        (["w.txt", "o.csv"], "selective_search_ijcv_with_python"),
        (
            ["outside.csv", "o.csv"],
            "pictures/0.png: window [50, 50, 60, 60] (ymin, xmin, ymax, xmax)",
        ),
        (
            ["outside.csv", "o.csv", "--context_pad", "2"],
            "lies outside the image of 12 x 14",
        ),
        (["missing.csv", "o.csv"], "none.png: No such file or directory"),
    ],
)
def test_detect_ends_with_one_error_line(folder, arguments, words, capsys):
    for name in ("w.csv", "w.txt"):
        (folder / name).write_text("filename\npictures/0.png\n")
    head = "filename,xmin,ymin,xmax,ymax\n"
    (folder / "outside.csv").write_text(head + "pictures/0.png,50,50,60,60\n")
    (folder / "missing.csv").write_text(head + "none.png,0,0,6,6\n")
    mode = "list" if arguments[0].endswith(".csv") else "selective_search"
    options = [*OPTIONS, "--crop_mode", mode, "--context_pad", "0"]
    assert detect.main([*arguments[:2], *options, *arguments[2:]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


def records(path):
    """The keys and the Datum messages of a database."""
    with lmdb.open(str(path), readonly=True, lock=False).begin() as transaction:
        items = list(transaction.cursor())
    return [key for key, _ in items], [caffe_pb2.Datum.FromString(value) for _, value in items]


def test_mnist_is_converted_digit_by_digit(tmp_path):
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (3, 5, 4)).astype(np.uint8)
    (tmp_path / "images").write_bytes(struct.pack(">4I", 2051, 3, 5, 4) + images.tobytes())
    labels = gzip.compress(struct.pack(">2I", 2049, 3) + bytes([7, 0, 9]))
    (tmp_path / "labels.gz").write_bytes(labels)
    arguments = [str(tmp_path / name) for name in ("images", "labels.gz", "db")]
    assert convert_mnist_data.main(["--backend=lmdb", *arguments]) == 0
    keys, datums = records(tmp_path / "db")
    assert keys == [b"00000000", b"00000001", b"00000002"]
    assert [d.label for d in datums] == [7, 0, 9]
    assert (datums[1].channels, datums[1].height, datums[1].width) == (1, 5, 4)
    assert datums[1].data == images[1].tobytes()


def test_mnist_files_of_the_wrong_kind_are_refused(tmp_path, capfd):
    (tmp_path / "images").write_bytes(struct.pack(">2I", 2049, 0))
    (tmp_path / "labels").write_bytes(struct.pack(">2I", 1, 0))
    arguments = [str(tmp_path / name) for name in ("images", "labels", "db")]
    assert convert_mnist_data.main(arguments) == 1
    assert "2051 (images) or 2049 is needed" in capfd.readouterr().err


def test_cifar_becomes_two_databases(tmp_path):
    random = np.random.RandomState(1)
    batches = [random.randint(0, 256, (2, 3073)).astype(np.uint8) for _ in range(6)]
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name, batch in zip(names, batches):
        (tmp_path / name).write_bytes(batch.tobytes())
    assert convert_cifar_data.main([str(tmp_path), str(tmp_path), "lmdb"]) == 0
    keys, datums = records(tmp_path / "cifar10_train_lmdb")
    assert keys[0] == b"00000" and len(keys) == 10
    assert datums[3].label == batches[1][1, 0] and datums[3].data == batches[1][1, 1:].tobytes()
    keys, datums = records(tmp_path / "cifar10_test_lmdb")
    assert len(keys) == 2 and datums[0].data == batches[5][0, 1:].tobytes()
    (tmp_path / "test_batch.bin").write_bytes(b"short")
    assert convert_cifar_data.main([str(tmp_path), str(tmp_path), "lmdb"]) == 1
