"""Multiply-adds are those of the papers' geometry and of the published counts."""

from __future__ import annotations

import caffe
import pytest

import net_gen
from bench import nets
from bench.classifiers import CLASSIFIERS
from bench.operations import count


def billions(size, without=("up",)):
    """Multiply-adds of FCN-8s, of all layers but those whose names start so."""
    counts = count(net_gen.fcn("voc-fcn8s", "deploy"), size)
    return sum(n for name, n in counts.items() if not name.startswith(without)) / 1e9


def test_fcn8s_has_the_multiply_adds_of_the_papers_geometry():
    """From the papers' geometry: 3x3 convolutions on padded maps, fc6 as 7x7."""
    assert billions((500, 500)) == pytest.approx(180.97, abs=0.005)
    assert billions((375, 500)) == pytest.approx(146.35, abs=0.005)
    assert billions((500, 500), ("none",)) == pytest.approx(181.53, abs=0.005)


def test_a_layer_counts_its_window_for_each_value_that_it_computes():
    counts = count(net_gen.fcn("voc-fcn8s", "deploy"))
    assert counts["conv1_1"] == 698 * 698 * 64 * 3 * 9
    assert counts["fc6"] == 16 * 16 * 4096 * 512 * 49
    assert counts["upscore2"] == 16 * 16 * 21 * 21 * 16


@pytest.mark.parametrize("name", ["vgg16", "caffenet"])
def test_a_classifier_with_groups_and_inner_products_has_the_published_count(name):
    """VGG16 has 15.47 billion, CaffeNet 0.72 billion."""
    net = net_gen.CLASSIFIERS[name]("deploy", size=227 if name == "caffenet" else 224)
    published = {"vgg16": 15.47e9, "caffenet": 0.724e9}
    assert sum(count(net).values()) == pytest.approx(published[name], rel=0.005)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("vgg16", 15.47), ("resnet50", 3.86), ("mobilenet-v2", 0.300), ("inception-v3", 5.7)],
)
def test_a_measured_classifier_has_the_published_count(name, billions):
    """Of ResNet-50 with the stride in the 1 x 1 layer; of the others, what their papers say."""
    net = CLASSIFIERS[name].build(CLASSIFIERS[name].size)
    assert sum(count(net).values()) / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize(("name", "variant"), nets.NETS.items())
def test_the_shapes_are_the_engine_s(folder, name, variant):
    net = caffe.Net(str(folder / f"{name}.prototxt"), caffe.TEST)
    net.blobs["data"].reshape(1, 3, 90, 131)
    net.reshape()
    param = net_gen.fcn(variant, "deploy", width=1 / 16)
    for layer, n in count(param, (90, 131)).items():
        weight, top = net.params[layer][0].data, net.blobs[net.top_names[layer][0]]
        blob = net.blobs[net.bottom_names[layer][0]] if layer.startswith("up") else top
        assert n == weight.size * blob.height * blob.width


def test_a_net_with_a_loss_is_refused():
    with pytest.raises(ValueError, match="has type Python, needs .* count its deploy net"):
        count(net_gen.fcn("voc-fcn8s", "train"))
