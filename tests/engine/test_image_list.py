"""Lists of images are read as BVLC Caffe reads them, with labels of any form or without."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from caffe.data import image_list
from caffe.tools import convert_imageset

from tests.engine.nets import build, write

#: BVLC Caffe's labels of ImageData and convert_imageset, tried with oracle/caffe-python.
LABELS = {
    "a.png": 0,
    "a.png 2.0": 2,
    "a.png 0.75": 0,
    "a.png 1e1": 1,
    "a.png -3": -3,
    "a.png +3": 3,
    "a.png cat": 0,
    "a.png 5\r": 5,
    "a.png 99999999999": 1215752191,
    "a.png 0x10": 0,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b c.png"):
        cv2.imwrite(name, np.zeros((4, 5, 3), np.uint8))
    return tmp_path


def net(folder, layer):
    return build(folder, f"layer {{ name: 'd' top: 'x' top: 'y' {layer} }}")


@pytest.mark.parametrize("line", LABELS)
def test_image_data_reads_a_line_as_bvlc_caffe_does(folder, line):
    write(folder, line + "\n", "list.txt")
    layer = "type: 'ImageData' image_data_param { source: 'list.txt' batch_size: 1 }"
    images = net(folder, layer)
    images.forward()
    assert images.blobs["y"].data[0] == np.float32(LABELS[line])


def test_convert_imageset_reads_lists_without_labels_and_names_with_spaces(folder):
    write(folder, "a.png\nb c.png 4.0\n\na.png\t7  \n", "list.txt")
    assert convert_imageset.main(["./", "list.txt", "db"]) == 0
    data = net(folder, "type: 'Data' data_param { source: 'db' batch_size: 3 backend: LMDB }")
    data.forward()
    assert data.blobs["y"].data.tolist() == [0, 4, 7]


def test_a_text_becomes_an_integer_as_with_atoi():
    numbers = ("12", "-7abc", "", "abc", "4294967297", "9" * 30, "+5")
    assert [image_list.to_integer(text) for text in numbers] == [12, -7, 0, 0, 1, -1, 5]
