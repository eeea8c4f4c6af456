from __future__ import annotations

import pytest

import net_gen
from bench import prepare
from bench.operations import count


def billions(size, without=("up",)):
    found = count(net_gen.fcn("voc-fcn8s", "deploy"), size)
    return sum(n for name, n in found.items() if not name.startswith(without)) / 1e9


def test_multiply_adds_of_fcn8s():
    """From the papers' geometry: 3x3 convolutions on padded maps, fc6 as 7x7."""
    assert billions((500, 500)) == pytest.approx(180.97, abs=0.005)
    assert billions((375, 500)) == pytest.approx(146.35, abs=0.005)
    assert billions((500, 500), ("none",)) == pytest.approx(181.53, abs=0.005)


def test_a_layer_counts_its_window_for_every_value_it_makes():
    found = count(net_gen.fcn("voc-fcn8s", "deploy"))
    assert found["conv1_1"] == 698 * 698 * 64 * 3 * 9
    assert found["fc6"] == 16 * 16 * 4096 * 512 * 49
    assert found["upscore2"] == 16 * 16 * 21 * 21 * 16


@pytest.mark.parametrize("name", ["vgg16", "caffenet"])
def test_a_classifier_with_groups_and_inner_products(name):
    """Published counts: VGG16 15.47 billion, CaffeNet 0.72 billion."""
    net = net_gen.CLASSIFIERS[name]("deploy", size=227 if name == "caffenet" else 224)
    known = {"vgg16": 15.47e9, "caffenet": 0.724e9}
    assert sum(count(net).values()) == pytest.approx(known[name], rel=0.005)


@pytest.mark.parametrize(("name", "variant"), prepare.NETS.items())
def test_the_shapes_are_the_engines(folder, name, variant):
    import caffe

    net = caffe.Net(str(folder / f"{name}.prototxt"), caffe.TEST)
    net.blobs["data"].reshape(1, 3, 90, 131)
    net.reshape()
    param = net_gen.fcn(variant, "deploy", width=1 / 16)
    found = count(param, (90, 131))
    for layer, n in found.items():
        weight, top = net.params[layer][0].data, net.blobs[net.top_names[layer][0]]
        at = net.blobs[net.bottom_names[layer][0]] if layer.startswith("up") else top
        assert n == weight.size * at.height * at.width


def test_a_net_with_a_loss_is_refused():
    with pytest.raises(ValueError, match="found type Python, needed .* count its deploy net"):
        count(net_gen.fcn("voc-fcn8s", "train"))
