"""The layers that FlowNet trains with: CustomData, drawn crops, and the flow between them."""

from __future__ import annotations

import json

import caffe
import numpy as np
import pytest
from caffe.errors import LayerError, LayerFileError, ShapeError
from caffe.layers.forks.flow_augmentation import places
from caffe.proto import caffe_pb2

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer

lmdb = pytest.importorskip("lmdb")

CUSTOM = """
layer {{ name: "d" type: "CustomData" {tops} data_param {{ source: "{source}" backend: LMDB
  batch_size: 2 slice_point: 3 slice_point: 5 rand_permute: true verbose: true {encoding} }} }}
"""
ENCODINGS = "encoding: UINT8 encoding: UINT16FLOW encoding: BOOL1"
MOVES = """
  translate { rand_type: "uniform_bernoulli" exp: false mean: 0 spread: 0.1 prob: 1.0 }
  rotate { rand_type: "uniform_bernoulli" exp: false mean: 0 spread: 0.3 prob: 1.0 }
  zoom { rand_type: "uniform_bernoulli" exp: true mean: 0.4 spread: 0.2 prob: 1.0 }
  squeeze { rand_type: "gaussian_bernoulli" exp: true mean: 0 spread: 0.1 prob: 0.9 }
"""
CROP = "crop_width: 12 crop_height: 10"
TRAINED = """
layer {{ name: "i" type: "Input" top: "a" top: "b" top: "flow" input_param {{
  shape {{ dim: 2 dim: 1 dim: 24 dim: 30 }} shape {{ dim: 2 dim: 1 dim: 24 dim: 30 }}
  shape {{ dim: 2 dim: 2 dim: 24 dim: 30 }} }} }}
layer {{ name: "first" type: "DataAugmentation" bottom: "a" top: "a_aug" top: "a_map"
  augmentation_param {{ max_multiplier: 1 {crop} {moves} mirror {{ rand_type: "bernoulli"
    prob: 0.5 }} lmult_pow {{ rand_type: "uniform_bernoulli" exp: true spread: 0.4 }}
    col_rotate {{ rand_type: "uniform_bernoulli" spread: 1 }} }} }}
layer {{ name: "more" type: "GenerateAugmentationParameters" bottom: "a_map" bottom: "a"
  bottom: "a_aug" top: "b_map" augmentation_param {{ {moves} }}
  coeff_schedule_param {{ half_life: 50000 initial_coeff: 0.5 final_coeff: 1 }} }}
layer {{ name: "second" type: "DataAugmentation" bottom: "b" bottom: "b_map" top: "b_aug"
  augmentation_param {{ max_multiplier: 1 {crop} }} }}
layer {{ name: "flows" type: "FlowAugmentation" bottom: "flow" bottom: "a_map" bottom: "b_map"
  top: "flow_aug" augmentation_param {{ {crop} }} }}
"""


def record(folder, size=(2, 3)):
    """A database of one record of 6 channels, and its maps."""
    random = np.random.RandomState(0)
    image = random.randint(0, 256, (3, *size)).astype(np.uint8)
    flow = random.randint(-500, 500, (2, *size)).astype("<i2")
    flow[1, 0, 1] = np.iinfo(np.int16).max
    bits = random.randint(0, 2, size).astype(np.uint8)
    data = image.tobytes() + flow.tobytes() + np.packbits(bits, bitorder="little").tobytes()
    datum = caffe_pb2.Datum(channels=6, height=size[0], width=size[1], data=data, label=4)
    path = str(folder / "set_lmdb")
    with lmdb.open(path, map_size=1 << 20) as database, database.begin(write=True) as writer:
        writer.put(b"0", datum.SerializeToString())
    displacements = flow / np.float32(32)
    displacements[1, 0, 1] = np.nan
    return path, image, displacements, bits


def test_the_maps_of_a_record_are_decoded_by_their_encodings(tmp_path):
    path, *maps = record(tmp_path)
    tops = "".join(f'top: "{name}" ' for name in "abcl")
    net = build(tmp_path, CUSTOM.format(tops=tops, source=path, encoding=ENCODINGS))
    net.forward()
    for name, values in zip("abc", maps):
        blob = net.blobs[name].data
        np.testing.assert_array_equal(blob, np.broadcast_to(values, blob.shape))
    assert net.blobs["a"].shape == (2, 3, 2, 3) and net.blobs["c"].shape == (2, 1, 2, 3)
    assert net.blobs["l"].data.tolist() == [4, 4]


def test_maps_that_do_not_fit_a_record_are_refused(tmp_path):
    path, *_ = record(tmp_path)
    tops = 'top: "a" top: "b" top: "c"'
    with pytest.raises(LayerFileError, match="6 x 2 x 3 has 43 bytes"):
        build(tmp_path, CUSTOM.format(tops=tops, source=path, encoding=""))
    with pytest.raises(LayerError, match="2 slice_point, 3 encoding and 2 tops"):
        build(tmp_path, CUSTOM.format(tops='top: "a" top: "b"', source=path, encoding=ENCODINGS))


def trained(folder, moves=MOVES, phase=caffe.TRAIN):
    """The net of TRAINED on images that are linear functions of the place, after one pass.

    The flow is constant, and the second image shows the first one moved by it.
    """
    net = build(folder, TRAINED.format(crop=CROP, moves=moves), phase)
    y, x = np.mgrid[:24, :30].astype(np.float32)
    displacement = np.array([1.25, -0.75])
    net.blobs["a"].data[...] = 3 * x + 2 * y
    net.blobs["b"].data[...] = 3 * (x - displacement[0]) + 2 * (y - displacement[1])
    net.blobs["flow"].data[...] = displacement[:, None, None]
    net.forward()
    return net


def test_the_flow_leads_to_the_same_brightness_in_the_second_crop(tmp_path):
    caffe.set_random_seed(5)
    net = trained(tmp_path)
    first, second, flow = (net.blobs[name].data for name in ("a_aug", "b_aug", "flow_aug"))
    maps = [net.blobs[name].data for name in ("a_map", "b_map")]
    assert np.abs(maps[0] - np.eye(2, 3)).max() > 0.05
    assert np.abs(maps[1] - maps[0]).max() > 0.001
    assert not np.allclose(maps[0][0], maps[0][1])
    assert first.shape == (2, 1, 10, 12) and flow.shape == (2, 2, 10, 12)
    y, x = np.mgrid[:10, :12]
    for image, other, (u, v), rows in zip(first[:, 0], second[:, 0], flow, maps[1]):
        # The second crop is a linear function too, so any place of it can be told.
        slopes = np.linalg.lstsq(
            np.column_stack([x.ravel(), y.ravel(), np.ones(120)]), other.ravel(), rcond=None
        )[0]
        assert np.abs(slopes[:2]).max() > 0.3
        reached = slopes[0] * (x + u) + slopes[1] * (y + v) + slopes[2]
        np.testing.assert_allclose(reached, image, atol=2e-3)
        place = places(rows, (10, 12), (24, 30)) @ [0, 0, 1]
        assert other[0, 0] == pytest.approx(3 * (place[0] - 1.25) + 2 * (place[1] + 0.75), abs=1e-3)


def test_a_resumed_training_draws_the_same_crops(tmp_path):
    net, other = trained(tmp_path), trained(tmp_path)
    names = list(net._layer_names)
    for name in ("first", "more"):
        state = net.layers[names.index(name)].resume_state()
        assert state["passes"] == (name == "more")
        other.layers[names.index(name)].set_resume_state(json.loads(json.dumps(state)))
    maps = []
    for each in (net, other):
        each.forward()
        maps.append([each.blobs[name].data.copy() for name in ("a_map", "b_map")])
    assert np.array_equal(maps[0], maps[1])
    assert net.layers[names.index("second")].resume_state() is None


def test_without_moves_and_in_test_the_crops_are_centres(tmp_path):
    for moves, phase in (("", caffe.TEST), (MOVES, caffe.TEST)):
        net = trained(tmp_path, moves, phase)
        centre = net.blobs["a"].data[:, :, 7:17, 9:21]
        assert np.array_equal(net.blobs["a_aug"].data, centre)
        np.testing.assert_allclose(
            net.blobs["b_aug"].data[0], net.blobs["b"].data[0, :, 7:17, 9:21]
        )
        expected = np.broadcast_to([[[1.25]], [[-0.75]]], (2, 2, 10, 12))
        np.testing.assert_allclose(net.blobs["flow_aug"].data, expected, atol=1e-5)


def test_a_flow_of_other_sizes_than_its_maps_is_refused(tmp_path):
    text = "type: 'FlowAugmentation' augmentation_param { crop_width: 3 crop_height: 3 }"
    with pytest.raises(ShapeError, match="N x 2 x 3 and N x C x H x W are needed"):
        build(tmp_path, layer(text, (1, 2, 5, 5), (1, 6), (1, 2, 3)))
    with pytest.raises(ShapeError, match="it needs 2 channels"):
        build(tmp_path, layer(text, (1, 3, 5, 5), (1, 2, 3), (1, 2, 3)))
