"""Binary nets of forks: colliding numbers are told apart by the layer's type."""

from __future__ import annotations

import caffe
import pytest
from caffe import binary_nets, wire
from caffe.errors import FileError
from caffe.proto import caffe_pb2


def message(*fields):
    """The bytes of a message of (number, value): an integer, a text, or the bytes of a message."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(wire.integer(number, value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts += wire.delimited(number, [data])
    return b"".join(bytes(part) for part in parts)


def net(*layers):
    return message((1, "net"), *((100, layer) for layer in layers))


def layer(name, type_, *fields):
    return message((1, name), (2, type_), (3, "data"), (4, name), *fields)


INPUT = message(
    (1, "data"),
    (2, "Input"),
    (4, "data"),
    (143, message((1, message((1, 1), (1, 8), (1, 6), (1, 6))))),
)


def test_one_number_is_read_by_the_type_of_the_layer(tmp_path):
    # In PSPNet 143 is interp_param; BVLC Caffe's input_param has the same number.
    interp = layer("interp", "Interp", (143, message((3, 2))))
    read = binary_nets.parse_net(net(INPUT, interp), "x")
    assert list(read.layer[0].input_param.shape[0].dim) == [1, 8, 6, 6]
    assert read.layer[1].interp_param.zoom_factor == 2
    assert not read.layer[1].HasField("input_param")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net(INPUT, interp))
    assert caffe.Net(str(path), caffe.TEST).blobs["interp"].shape == (1, 8, 11, 11)


@pytest.mark.parametrize("number", [202, 224, 172])
def test_each_forks_number_of_a_type_is_known(number):
    permute = layer("p", "Permute", (number, message((1, 0), (1, 2), (1, 1), (1, 3))))
    read = binary_nets.parse_net(net(INPUT, permute), "x")
    assert list(read.layer[1].permute_param.order) == [0, 2, 1, 3]


def test_numbers_inside_settings_are_those_of_the_variant():
    # upsample_param of SegNet and of MobileNet-YOLO have other numbers for the same names.
    segnet = layer("u", "Upsample", (137, message((1, 2), (6, 9), (7, 10))))
    read = binary_nets.parse_net(net(segnet), "x").layer[0].upsample_param
    assert (read.scale, read.upsample_h, read.upsample_w) == (2, 9, 10)


def pooling(*fields):
    return layer("pool", "Pooling", (121, message((2, 2), (3, 2), *fields)))


def test_a_number_that_forks_and_bvlc_use_is_decided_by_the_other_types_of_the_file():
    # 13 is round_mode in BVLC Caffe (1: FLOOR), ceil_mode in Cascade R-CNN.
    plain = binary_nets.parse_net(net(pooling((13, 1))), "x").layer[0].pooling_param
    assert plain.round_mode == plain.FLOOR and not plain.HasField("ceil_mode")
    decode = layer("d", "DecodeBBox")
    psroi = layer("r", "PSROIPooling", (148, message((2, 2), (3, 2))))
    read = binary_nets.parse_net(net(pooling((13, 1)), decode, psroi), "x").layer[0].pooling_param
    assert read.ceil_mode and read.HasField("ceil_mode") and not read.HasField("round_mode")


def test_the_fork_that_the_user_sets_decides_too():
    caffe.set_fork("mscnn")
    try:
        read = binary_nets.parse_net(net(pooling((13, 0))), "x").layer[0].pooling_param
    finally:
        caffe.set_fork(None)
    assert read.HasField("ceil_mode") and not read.ceil_mode


def test_a_file_of_our_own_numbers_is_read_as_it_is(tmp_path):
    proto = caffe_pb2.NetParameter()
    proto.layer.add(name="p", type="Permute").permute_param.order.extend([0, 1])
    read = binary_nets.parse_net(proto.SerializeToString(), "x")
    assert read == proto


def test_a_v1_type_number_that_only_forks_have_is_refused_with_its_layer():
    old = message((4, "bn"), (2, "data"), (3, "bn"), (5, 4), (150, message((1, 1))))
    assert binary_nets.parse_net(message((2, old)), "x").layers[0].name == "bn"
    fork = message((4, "bn"), (2, "data"), (3, "bn"), (5, 45), (150, message((1, 1))))
    with pytest.raises(FileError, match="x: layer bn has the V1 type number 45"):
        binary_nets.parse_net(message((2, fork)), "x")


def test_a_truncated_file_is_refused():
    with pytest.raises(FileError, match="not a complete NetParameter"):
        binary_nets.parse_net(net(INPUT)[:-3], "x")


@pytest.mark.parametrize("data, binary", [(b"\n\x03net", True), (b"\nname: 'x' # \xe8\n", False)])
def test_text_and_binary_nets_are_recognized(data, binary):
    assert binary_nets.is_binary(data) is binary
