"""Weights and lists of classes whose checksums nobody published are judged by their content."""

import os

import caffe
import numpy as np
import pytest

import net_gen
from fcn_data import published, registry
from fcn_data.weights import check_fit, parameter_shapes
from tests.tiny import WIDTH

HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"


@pytest.fixture
def net(tmp_path):
    """A small net for early fusion: its prototxt and its weights."""
    prototxt, weights = tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel"
    net_gen.write(net_gen.fcn("nyud-fcn32s-color-d", "deploy", width=WIDTH), prototxt)
    caffe.Net(str(prototxt), caffe.TEST).save(str(weights))
    return str(prototxt), str(weights)


@pytest.mark.parametrize("variant", ["siftflow-fcn8s", "nyud-fcn32s-color-hha", "voc-fcn-alexnet"])
def test_the_shapes_are_those_of_the_net(variant, tmp_path):
    message = net_gen.fcn(variant, "deploy", width=WIDTH)
    net_gen.write(message, tmp_path / "net.prototxt")
    params = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).params
    expected = {name: [tuple(blob.data.shape) for blob in params[name]] for name in params}
    assert parameter_shapes(message) == expected


def test_complete_weights_of_the_net_fit(net):
    prototxt, weights = net
    check_fit(weights, prototxt)


@pytest.mark.parametrize("content", [HTML, np.random.RandomState(0).bytes(100_000), b""])
def test_a_web_page_and_noise_are_no_weights(net, content):
    prototxt, weights = net
    with open(weights, "wb") as file:
        file.write(content)
    with pytest.raises(ValueError, match="not a .caffemodel"):
        check_fit(weights, prototxt)


def test_truncated_weights_are_refused(net):
    prototxt, weights = net
    os.truncate(weights, os.path.getsize(weights) - 10)
    with pytest.raises(ValueError, match="truncated"):
        check_fit(weights, prototxt)


def test_weights_of_another_net_are_refused(net, tmp_path):
    weights = net[1]
    other = tmp_path / "other.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=WIDTH), other)
    with pytest.raises(ValueError, match="lacks layer conv1_1 of"):
        check_fit(weights, str(other))
    net_gen.write(net_gen.fcn("nyud-fcn32s-color-d", "deploy", width=2 * WIDTH), other)
    with pytest.raises(ValueError, match="layer conv1_1_bgrd has the shapes"):
        check_fit(weights, str(other))


@pytest.mark.parametrize("name", ["fcn16s", "fcn8s-atonce", "fcn-alexnet", "siftflow-fcn8s"])
def test_a_web_page_at_the_place_of_weights_counts_as_missing(tmp_path, name):
    path = tmp_path / registry.PUBLISHED[name].target
    path.parent.mkdir(parents=True)
    path.write_bytes(HTML)
    assert published.missing(name, str(tmp_path)) == [registry.PUBLISHED[name].target]
    with pytest.raises(OSError, match=r"truncated, or not a \.caffemodel"):
        published.require(name, root=str(tmp_path))


def test_a_list_of_classes_has_the_published_number_of_lines(tmp_path):
    path = tmp_path / "data/pascal-context/labels.txt"
    path.parent.mkdir(parents=True)
    lines = [f"{number}: name {number}\n" for number in range(1, 460)]
    path.write_text("".join(lines))
    assert published.missing("pascal-context-labels", str(tmp_path)) == []
    path.write_text("".join(lines[:-1]))
    assert "has 458 classes, needs 459" in published.unusable(
        "pascal-context-labels", str(tmp_path)
    )
    path.write_bytes(HTML)
    assert published.missing("pascal-context-labels", str(tmp_path))
