"""Crop layers without an offset: V1's CROP and the first FCN's, which place themselves."""

from __future__ import annotations

import numpy as np
import pytest
from caffe.errors import NetError

from tests.engine.nets import build

#: As in FCN-32s: padding, a smaller map, an upsampling, and a crop to the size of the data.
NET = """
input: "data" input_dim: 1 input_dim: 1 input_dim: 12 input_dim: 14
%(layer)s { name: "conv" type: %(conv)s bottom: "data" top: "conv"
  convolution_param { num_output: 1 kernel_size: 3 pad: 10 } }
%(layer)s { name: "pool" type: %(pool)s bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
%(layer)s { name: "up" type: %(up)s bottom: "pool" top: "up"
  convolution_param { num_output: 1 kernel_size: 4 stride: 2 } }
%(layer)s { name: "crop" type: %(crop)s bottom: "up" bottom: "data" top: "crop" %(more)s }
"""
V1 = {"layer": "layers", "conv": "CONVOLUTION", "pool": "POOLING", "up": "DECONVOLUTION"}
PRESENT = {
    "layer": "layer",
    "conv": "'Convolution'",
    "pool": "'Pooling'",
    "up": "'Deconvolution'",
    "crop": "'Crop'",
}
#: 10 + (1 - 3) / 2 of the convolution, (x - 1 / 2) / 2 of the pooling, 2 x + 3 / 2 of the other.
OFFSET = 10


def offset(folder, words, more=""):
    net = build(folder, NET % {"crop": "CROP", "more": more, **words})
    values = np.arange(net.blobs["up"].data.size, dtype=np.float32)
    net.blobs["up"].data[...] = values.reshape(net.blobs["up"].shape)
    net.forward(start="crop")
    first = int(net.blobs["crop"].data[0, 0, 0, 0])
    assert net.blobs["crop"].shape == (1, 1, 12, 14)
    return divmod(first, net.blobs["up"].shape[3])


def test_a_v1_crop_lies_where_the_layers_between_its_bottoms_put_it(tmp_path):
    assert offset(tmp_path, V1) == (OFFSET, OFFSET)


def test_a_present_crop_without_settings_cuts_at_zero_and_says_how_to_align(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    assert offset(tmp_path, PRESENT) == (0, 0)
    line = next(line for line in capfd.readouterr().err.splitlines() if "Crop crop" in line)
    assert f"ask for [{OFFSET}]" in line and 'caffe.set_fork("longjon")' in line


@pytest.mark.parametrize("fork", ["hed", "longjon"])
def test_two_forks_align_present_crops_without_settings(tmp_path, monkeypatch, fork):
    monkeypatch.setenv("CAFFE_FORK", fork)
    assert offset(tmp_path, PRESENT) == (OFFSET, OFFSET)
    assert offset(tmp_path, PRESENT, "crop_param { offset: 3 }") == (3, 3)


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("pad: 10", "pad: 0", r"offset \[0.0\]|offset \[-"),
        (
            'stride: 2 } }\n%(layer)s { name: "crop"',
            'stride: 3 } }\n%(layer)s { name: "crop"',
            "scale",
        ),
        ('bottom: "up"', 'bottom: "nowhere"', "no layers with positions"),
    ],
)
def test_a_v1_crop_that_cannot_be_placed_names_its_layer(tmp_path, old, new, reason):
    text = NET.replace(old, new)
    if new == "pad: 0":
        text = text.replace("kernel_size: 3", "kernel_size: 5")
    with pytest.raises(NetError, match=f"Crop layer crop: .*({reason})"):
        build(tmp_path, text % {**V1, "crop": "CROP", "more": ""})


#: As in FCN-16s: the crop to the data lies behind a crop of a skip.
SKIP = """
input: "data" input_dim: 1 input_dim: 1 input_dim: 64 input_dim: 64
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
  convolution_param { num_output: 1 kernel_size: 3 pad: 100 } }
layers { name: "pool4" type: POOLING bottom: "conv" top: "pool4"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { name: "pool5" type: POOLING bottom: "pool4" top: "pool5"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { name: "fc6" type: CONVOLUTION bottom: "pool5" top: "fc6"
  convolution_param { num_output: 1 kernel_size: 7 } }
layers { name: "score2" type: DECONVOLUTION bottom: "fc6" top: "score2"
  convolution_param { num_output: 1 kernel_size: 4 stride: 2 } }
layers { name: "skip" type: CROP bottom: "pool4" bottom: "score2" top: "skip" }
layers { name: "fuse" type: ELTWISE bottom: "score2" bottom: "skip" top: "fuse" }
layers { name: "up" type: DECONVOLUTION bottom: "fuse" top: "up"
  convolution_param { num_output: 1 kernel_size: 4 stride: 2 } }
layers { name: "crop" type: CROP bottom: "up" bottom: "data" top: "crop" }
"""


def test_a_v1_crop_behind_another_one_places_itself(tmp_path):
    net = build(tmp_path, SKIP)
    values = np.arange(net.blobs["up"].data.size, dtype=np.float32)
    net.blobs["up"].data[...] = values.reshape(net.blobs["up"].shape)
    net.forward(start="crop")
    # Position k of score2 is k + 5 of pool4, and j of pool4 is pixel 2 j + 1/2 - 99: pixel 0 is 90.
    row, column = divmod(int(net.blobs["crop"].data.flat[0]), net.blobs["up"].shape[3])
    assert row == column == 90
    assert net.blobs["crop"].shape == (1, 1, 64, 64)
