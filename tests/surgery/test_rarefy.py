from __future__ import annotations

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import surgery
from solvers import shift_stitch
from solvers.shift_stitch import places
from tests import rarefied_nets as nets

ROUNDING = 1e-5  # of the largest value


def difference(a, b):
    assert a.shape == b.shape
    assert np.abs(b).max() > 0 and np.std(b) > 0
    return np.abs(a - b).max() / np.abs(b).max()


def moved_by(image, y, x):
    return np.pad(image, ((0, 0), (y, 0), (x, 0)), mode="constant")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return {name: nets.Case(name, str(tmp_path_factory.mktemp(name))) for name in nets.WIDTHS}


@pytest.fixture(params=nets.WIDTHS)
def case(request, cases):
    return cases[request.param]


@pytest.fixture(params=nets.CHAINS)
def chain(request, cases):
    return cases[request.param]


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 4, 8, 16])
def test_every_old_position_keeps_its_value(case, stride):
    """Layers keep their padding: VGG16 (2/2 poolings), AlexNet (stride 4, 3/2 poolings, LRN)."""
    old = case.scores(case.param)
    new = case.scores(surgery.rarefy(case.param, case.top, stride))
    step = case.factor // stride
    height, width = old.shape[1:]
    kept = new[:, ::step, ::step][:, :height, :width]
    assert difference(kept, old) < ROUNDING
    assert new.shape[1] > step * (height - 1) and new.shape[2] > step * (width - 1)


@pytest.mark.parametrize("stride", [8, 16])
def test_the_rarefied_net_gives_the_map_of_shift_and_stitch(chain, stride):
    """All of the interlaced map, with the padding in the first layer."""
    gathered = surgery.gather_padding(chain.param, chain.top)
    stitched = shift_stitch.shift_and_stitch(
        chain.net(gathered), places(gathered, chain.top), chain.image, chain.top, stride
    )
    # The largest shift gives the first position, so it is the image that the dense net sees.
    moved = moved_by(chain.image, chain.factor - stride, chain.factor - stride)
    dense = chain.scores(surgery.rarefy(gathered, chain.top, stride), image=moved)
    assert min(dense.shape[1:]) > chain.factor // stride
    assert difference(dense, stitched.scores) < ROUNDING


def test_the_dense_map_holds_the_map_of_each_shifted_image(chain):
    """The first, the last and some others of the f x f shifts, at stride 1."""
    gathered = surgery.gather_padding(chain.param, chain.top)
    net, f = chain.net(gathered), chain.factor
    dense = chain.scores(surgery.rarefy(gathered, chain.top), image=moved_by(chain.image, f, f))
    for y, x in [(0, 0), (f - 1, f - 1), (1, 0), (0, f - 1), (7, 18), (21, 3)]:
        shifted = shift_stitch.forward(net, moved_by(chain.image, y, x), chain.top)
        part = dense[:, f - y :: f, f - x :: f]
        assert difference(part, shifted) < ROUNDING


@pytest.mark.slow
def test_all_f_times_f_shifts_together_give_the_dense_map(chain):
    gathered = surgery.gather_padding(chain.param, chain.top)
    stitched = shift_stitch.shift_and_stitch(
        chain.net(gathered), places(gathered, chain.top), chain.image, chain.top
    )
    moved = moved_by(chain.image, chain.factor - 1, chain.factor - 1)
    dense = chain.scores(surgery.rarefy(gathered, chain.top), image=moved)
    assert dense.shape[1] >= chain.image.shape[1] and dense.shape[2] >= chain.image.shape[2]
    assert difference(dense, stitched.scores) < ROUNDING


def test_the_dense_net_gives_the_stitched_map_cropped_to_the_image(tmp_path):
    case = nets.Case("small", str(tmp_path))
    padded = shift_stitch.reaching(case.param, case.top)
    stitched = shift_stitch.shift_and_stitch(
        case.net(padded), places(padded, case.top), case.image, case.top
    )
    size = case.image.shape[1:]
    cut = shift_stitch.to_pixels(stitched, *size)
    dense = case.scores(shift_stitch.dense_net(padded, case.top), "score")
    assert dense.shape[1:] == size
    assert difference(dense, cut) < ROUNDING


def test_gathered_padding_keeps_places_and_sizes(chain):
    gathered = surgery.gather_padding(chain.param, chain.top)
    assert places(gathered, chain.top) == places(chain.param, chain.top)
    assert chain.scores(gathered).shape == chain.scores(chain.param).shape
    pads = {layer.name: list(layer.convolution_param.pad) for layer in gathered.layer}
    assert {name for name, pad in pads.items() if any(pad)} == {gathered.layer[1].name}


def test_without_inner_padding_gathering_changes_nothing():
    net = nets.small(inner_pad=0)
    assert surgery.gather_padding(net) == net


def test_the_rarefied_net_has_the_old_kernels_and_no_stride(case):
    old = {layer.name: layer for layer in case.param.layer if layer.type == "Convolution"}
    rarefied = surgery.rarefy(case.param, case.top)
    new = {layer.name: layer for layer in rarefied.layer if layer.type == "Convolution"}
    assert list(new) == [name for name in old if name in new]
    for name, layer in new.items():
        assert set(layer.convolution_param.stride) <= {1}
        assert layer.convolution_param.kernel_size == old[name].convolution_param.kernel_size
    assert not any(layer.type == "Pooling" for layer in rarefied.layer)


def test_the_net_in_the_argument_is_not_changed(chain):
    before = chain.param.SerializeToString()
    surgery.rarefy(chain.param, chain.top)
    surgery.gather_padding(chain.param, chain.top)
    surgery.add_padding(chain.param, 5)
    assert chain.param.SerializeToString() == before


@pytest.mark.parametrize("name", nets.POOLINGS)
@pytest.mark.parametrize("size", [17, 18, 19, 20])
def test_poolings_of_every_kind_keep_their_values(name, size, tmp_path):
    """Ceil and floor, clipped windows, padding, kernels of 2, 3 and 2 x 3, MAX and AVE."""
    case = nets.Case(name, str(tmp_path), size=(size, size + 1))
    old = case.scores(case.param)
    new = case.scores(surgery.rarefy(case.param, case.top))
    step = [line.stride for line in places(case.param, case.top)]
    kept = new[:, :: int(step[0]), :: int(step[1])]
    assert difference(kept, old) < ROUNDING


REFUSED = {
    "relu": "layer pool1 (Pooling): its windows at the border are filled with zeros",
    "mean": "layer pool1 (Pooling): AVE windows at the border",
    "fc": "layer fc (InnerProduct): mixes positions",
    "within": "layer norm (LRN): norm_region WITHIN_CHANNEL",
    "global": "layer pool2 (Pooling): pools the whole map",
    "behind": "layer pool1 (Pooling): kernel 2, stride 3, pad 0: its last windows start behind",
    "mask": "layer pool1 (Pooling): has a mask",
    "mixed": "layer sum (Eltwise): its bottoms have different strides",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_caffe_cannot_express_without_strides_is_refused_with_the_layer(name):
    with pytest.raises(ValueError) as error:
        surgery.rarefy(nets.parse(nets.REFUSED[name]))
    assert str(error.value).startswith(REFUSED[name])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stride", [0, -1, 2.0, True, 3, 64])
def test_a_stride_that_does_not_divide_the_strides_of_the_net_is_refused(stride):
    net = nets.named("voc-fcn32s")
    with pytest.raises(ValueError, match="stride"):
        surgery.rarefy(net, "score_fr", stride)


def test_an_unknown_blob_is_refused():
    with pytest.raises(ValueError, match="blob score: not in this net, which has data, conv1"):
        surgery.rarefy(nets.small(), "score")


def test_paths_of_different_padding_are_refused():
    net = nets.named("voc-fcn-googlenet")
    with pytest.raises(ValueError, match="layer inception_3a/output .* padded differently"):
        surgery.gather_padding(net, "score_fr")


def test_nets_of_the_old_format_are_refused():
    net = text_format.Merge('layers { name: "a" type: RELU }', caffe_pb2.NetParameter())
    with pytest.raises(ValueError, match="upgrade_net_proto_text"):
        surgery.rarefy(net)
