"""The table of layers that move no value, against the Caffe that runs."""

import caffe
import pytest
from caffe.coord_map import PASS_THROUGH_LAYERS
from caffe.proto import caffe_pb2

import net_gen
from net_gen import pointwise, windows

TOPS = {"Silence": [], "Slice": ["y", "z"], "Split": ["y", "z"]}


#: Pointwise layer types that forks of Caffe added and the generators do not write.
FORKS = {
    *("BN", "BReLU", "EltwiseAffine", "HSigmoid", "HSwish", "HardSwish", "Mish", "ReLU6", "SELU"),
    *("SiLU", "SignedSqrt", "Softplus"),
}


def test_pass_through_layers_of_coord_map_and_those_of_channels_are_the_pointwise_types():
    pass_through = {*PASS_THROUGH_LAYERS} - FORKS
    assert pass_through | pointwise.CHANNEL_TYPES == pointwise.POINTWISE
    assert not pass_through & pointwise.CHANNEL_TYPES
    assert pointwise.JOINING | pointwise.MAP_STATISTICS < pointwise.POINTWISE


@pytest.mark.parametrize("type_", sorted(pointwise.POINTWISE))
def test_the_tops_of_a_pointwise_layer_have_the_height_and_width_of_the_bottoms(type_, tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(type="Input", name="input", top=["x", "w"])
    for _ in range(2):
        net.layer[0].input_param.shape.add().dim.extend([1, 4, 5, 7])
    bottoms = ["x", "w"] if type_ in pointwise.JOINING else ["x"]
    net.layer.add(type=type_, name="layer", bottom=bottoms, top=TOPS.get(type_, ["y"]))
    path = tmp_path / "net.prototxt"
    net_gen.write(net, path)
    built = caffe.Net(str(path), caffe.TEST)
    assert all(built.blobs[top].data.shape[2:] == (5, 7) for top in TOPS.get(type_, ["y"]))


@pytest.mark.parametrize("type_", ["InnerProduct", "Reshape", "Crop", "MVN"])
def test_layers_that_mix_positions_are_refused_by_name(type_):
    layer = caffe_pb2.LayerParameter(name="layer7", type=type_)
    with pytest.raises(ValueError, match=rf"layer layer7 \({type_}\): mixes positions"):
        pointwise.check_pointwise(layer)


def test_no_pointwise_type_has_a_window():
    assert not pointwise.POINTWISE & set(windows.WINDOWED)
