"""Nets with two heads, two trunks or four input channels: those of the papers' other data sets."""

import caffe
import pytest

import net_gen
from net_gen import Branch, Head

VARIANTS = {
    name: net_gen.VARIANTS[name]
    for name in (
        *("siftflow-fcn32s", "siftflow-fcn8s"),
        *("nyud-fcn32s-color", "nyud-fcn32s-color-d", "nyud-fcn32s-color-hha"),
    )
}


def test_a_head_stands_complete_before_the_next_and_has_its_own_classes():
    net = net_gen.fcn(VARIANTS["siftflow-fcn32s"], "train")
    heads = [layer.name for layer in net.layer][-8:]
    assert heads == [
        *("score_fr_sem", "upscore_sem", "score_sem", "loss"),
        *("score_fr_geo", "upscore_geo", "score_geo", "loss_geo"),
    ]
    outputs = {layer.name: layer.convolution_param.num_output for layer in net.layer}
    assert (outputs["score_fr_sem"], outputs["score_fr_geo"]) == (33, 3)
    assert list(net.layer[0].top) == ["data", "sem", "geo"]


def test_a_net_of_two_trunks_averages_their_scores():
    net = net_gen.fcn(VARIANTS["nyud-fcn32s-color-hha"], "deploy")
    layers = {layer.name: layer for layer in net.layer}
    assert list(layers["score_fused"].bottom) == ["score_frcolor", "score_frhha"]
    assert list(layers["score_fused"].eltwise_param.coeff) == [0.5, 0.5]
    assert list(layers["score"].bottom) == ["upscore", "color"]
    assert {name for name, layer in layers.items() if layer.type == "Input"} == {
        "input_color",
        "input_hha",
    }


def test_images_of_a_branch_are_joined_along_the_channels(tmp_path):
    net = net_gen.fcn(VARIANTS["nyud-fcn32s-color-d"], "deploy", width=1 / 16)
    path = tmp_path / "net.prototxt"
    net_gen.write(net, path)
    built = caffe.Net(str(path), caffe.TEST)
    assert built.blobs["data"].data.shape == (1, 4, 500, 500)
    assert built.params["conv1_1_bgrd"][0].data.shape == (4, 4, 3, 3)


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_is_worked_out_for_every_trunk_of_a_net(name):
    net = VARIANTS[name]
    assert net_gen.padding.smallest_input(net) == (1, 1)
    pad = net_gen.padding.least_padding(net, 200)
    assert pad < 100
    padded = net_gen.padding.with_padding(net, pad)
    firsts = net_gen.padding.first_convolutions(padded)
    assert len(firsts) == len(net.branches)
    assert all(list(layer.convolution_param.pad) == [pad] for layer in firsts)


def test_the_files_have_the_names_of_the_splits_of_the_data_set(tmp_path):
    paths = net_gen.generate(VARIANTS["siftflow-fcn32s"], tmp_path)
    names = ["trainval.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt"]
    assert [path.name for path in paths] == names
    solver = net_gen.solver(VARIANTS["siftflow-fcn32s"])
    assert (solver.train_net, list(solver.test_net)) == (names[0], [names[1]])
    assert list(solver.test_iter) == [200] and not solver.HasField("snapshot")


@pytest.mark.parametrize(
    "variant, arguments, message",
    [
        ("siftflow-fcn8s", {"classes": 5}, "classes is 5, needs None for a net with 2 heads"),
        ("nyud-fcn32s-color-d", {"channels": 4}, "channels is 4, needs None for a net with 2"),
    ],
)
def test_one_number_for_several_heads_or_images_is_refused(variant, arguments, message):
    with pytest.raises(ValueError, match=message):
        net_gen.fcn(VARIANTS[variant], "train", **arguments)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"stride": 16}, r"stride is 16, trunk vgg16 \(2 times\) needs one of 32"),
        ({"data_set": "ade"}, "data_set is 'ade', needs one of voc"),
        ({"heads": (Head(label="depth"),)}, "label is 'depth', needs one of label"),
        ({"branches": (Branch(),)}, "input is 'data', needs one of color, depth, hha"),
    ],
)
def test_a_variant_that_makes_no_net_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        net_gen.fcn(VARIANTS["nyud-fcn32s-color-hha"]._replace(**changes), "train")
