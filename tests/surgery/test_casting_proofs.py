from __future__ import annotations

import json
import os

import numpy as np
import pytest
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import NetSpec

import net_gen
import surgery
from experiments.casting import pairs, proofs
from net_gen.padding import Geometry
from tests.oracle.conftest import bvlc_caffe  # noqa: F401
from tests.surgery import casting_proofs
from tests.surgery.casting_proofs import CLASSES, GRID, small, unpadded

NAMES = list(pairs.NAMES)
ROUNDING = 1e-5


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.long if n == "googlenet" else ()) for n in NAMES],
)
def errors(request):
    return casting_proofs.run(request.param)


def test_a_cast_net_gives_the_scores_of_its_classifier_on_the_size_of_the_classifier(errors):
    assert errors["own_size"] <= ROUNDING


def test_every_position_of_a_net_without_padding_gives_the_scores_of_the_classifier_on_its_crop(
    errors,
):
    assert errors["every"] <= ROUNDING


def test_a_padded_cast_net_gives_the_scores_of_the_bare_classifier_inside_the_image(errors):
    assert errors["inside"] <= ROUNDING


def test_a_padded_cast_net_gives_the_scores_of_a_crop_with_the_zeros_around_the_crop(errors):
    assert errors["borders"] <= ROUNDING


def test_a_padded_cast_net_gives_other_scores_at_every_position_without_these_zeros(errors):
    assert errors["padded"] > 1e-3


@pytest.mark.parametrize("name", ["caffenet", "vgg16"])
def test_images_of_other_sizes_add_only_outputs_whose_window_reaches_past_the_image(name):
    """Caffe's Pooling rounds up, so a larger image may have outputs with an incomplete window."""
    bare = unpadded(name)
    extent = pairs.grid_extent(bare, 2) + bare.view.stride - 3
    image = pairs.draw_input(extent, extent)
    scores, expected = proofs.scores_on_crops(bare, image, 2)
    assert proofs.error(scores, expected).max() <= ROUNDING
    outputs = bare.cast_net.blobs[bare.scores].data.shape[2]
    beyond = (outputs - 1) * bare.view.stride + bare.size - extent
    assert outputs == 3 and beyond > 0


@pytest.mark.parametrize(
    ("name", "size", "stride", "field"),
    [("alexnet", 227, 32, 355), ("vgg16", 224, 32, 404), ("googlenet", 224, 32, 907)],
)
def test_a_cast_net_without_padding_has_one_output_for_its_receptive_field(
    name, size, stride, field
):
    pair, bare = small(name), unpadded(name)
    assert (pair.size, pair.view.stride, pair.view.field) == (size, stride, field)
    assert bare.view.centre == (field - 1) / 2
    outputs = Geometry(bare.cast).sizes(field)[bare.scores]
    assert (outputs, Geometry(bare.cast).sizes(field + stride)[bare.scores]) == (1, 2)


def test_an_output_depends_on_its_receptive_field_alone_up_to_rounding():
    # Winograd's algorithm computes tiles of outputs: what only others see cancels out.
    bare = unpadded("vgg16")
    image = pairs.draw_input(*[pairs.grid_extent(bare, 2)] * 2)
    before = pairs.forward(bare.cast_net, image, bare.scores)[0]
    image[:, :, bare.size :, :] += 50
    after = pairs.forward(bare.cast_net, image, bare.scores)[0]
    assert proofs.error(after[:, 0], before[:, 0]).max() <= ROUNDING
    assert proofs.error(after[:, 1], before[:, 1]).min() > 1e-3
    image[:, :, : bare.view.stride] -= 50
    again = pairs.forward(bare.cast_net, image, bare.scores)[0]
    assert proofs.error(again[:, 1], after[:, 1]).max() <= ROUNDING


@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_a_classifier_cast_from_file_to_file_keeps_its_scores(name, tmp_path):
    assert casting_proofs.chain(str(tmp_path), name) <= ROUNDING


def test_the_differences_of_a_padded_net_grow_inwards_from_the_border_layer_by_layer():
    # Weights for which no position of a border is zero in every channel under both paddings.
    classifier = net_gen.vgg16("deploy", width=casting_proofs.WIDTH, classes=CLASSES)
    pair = pairs.cast_pair("vgg16", classifier, seed=7)
    image = pairs.draw_input(*[pairs.grid_extent(pair, GRID)] * 2)
    maps = proofs.border_differences(pair, image, 1, 1)
    names = [name for name, _ in maps]
    assert names == ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3", "pool5"]
    reach = 0.0
    for _, plane in maps:
        touched = plane > 1e-5
        same = np.argwhere(~touched)
        low, high = same.min(0), same.max(0)
        inner = tuple(slice(a, b + 1) for a, b in zip(low, high))
        assert touched.any() and not touched[inner].any()
        assert low[0] / len(plane) >= reach
        reach = low[0] / len(plane)


def test_a_cast_net_has_as_many_multiplications_as_its_classifier():
    pair = small("caffenet")
    pairs.forward(pair.cast_net, pairs.draw_input(pair.size, pair.size), pair.scores)
    pairs.forward(pair.net, pairs.draw_input(pair.size, pair.size), pair.scores)
    assert pairs.multiply_adds(pair.cast_net) == pairs.multiply_adds(pair.net)
    conv1 = 55 * 55 * 6 * 3 * 11 * 11
    rest = 27 * 27 * 16 * 3 * 25 + 13 * 13 * 9 * (24 * 16 + 24 * 12 + 16 * 12)
    assert pairs.multiply_adds(pair.net) == conv1 + rest + 256 * 16 * 36 + 256 * 256 + 256 * CLASSES


def test_a_cast_layer_keeps_its_fillers_and_the_lack_of_biases():
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 3, 8, 8]})
    n.fc = L.InnerProduct(n.data, num_output=4, bias_term=False, weight_filler={"type": "xavier"})
    n.prob = L.Softmax(n.fc)
    message = n.to_proto()
    conv = surgery.convolutional(message, pairs.build(message)).layer[1]
    param = conv.convolution_param
    assert (conv.type, list(param.kernel_size), param.num_output) == ("Convolution", [8], 4)
    assert not param.bias_term and param.weight_filler.type == "xavier"
    assert not conv.HasField("inner_product_param")


def refused(**fields):
    n = NetSpec()
    n.data = L.Input(shape={"dim": [2, 3, 8, fields.pop("width", 8)]})
    below = L.Flatten(n.data) if fields.pop("flatten", False) else n.data
    n.fc = L.InnerProduct(below, num_output=4, **fields)
    n.prob = L.Softmax(n.fc)
    return n.to_proto()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"transpose": True}, "has axis 1, transposed, needs axis 1, not transposed"),
        ({"axis": 2}, "has axis 2, needs axis 1"),
        ({"width": 6}, "2 x 3 x 8 x 6, needs a square map"),
        ({"flatten": True}, "2 x 192, needs a square map"),
    ],
)
def test_an_inner_product_that_is_not_a_convolution_is_refused_by_name(fields, words):
    message = refused(**fields)
    with pytest.raises(ValueError, match="layer fc: .*" + words):
        surgery.convolutional(message, pairs.build(message))


def test_weights_over_another_window_with_the_same_count_are_refused():
    """16 x 2 x 2 and 4 x 4 x 4 have as many numbers, in another order."""

    def net(make, channels, size, **fields):
        n = NetSpec()
        n.data = L.Input(shape={"dim": [1, channels, size, size]})
        n.fc = make(n.data, num_output=8, **fields)
        return pairs.build(n.to_proto())

    old = net(L.InnerProduct, 16, 2)
    surgery.transplant(net(L.Convolution, 16, 6, kernel_size=2), old)
    words = (
        "layer fc, blob 0: is 8 x 64 over a 16 x 2 x 2 blob, needs 8 x 4 x 4 x 4, the same window"
    )
    with pytest.raises(ValueError, match=words):
        surgery.transplant(net(L.Convolution, 4, 6, kernel_size=4), old)


def test_the_bottoms_of_a_sum_are_cropped_when_their_padding_is_removed():
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 2, 20, 20]})
    n.first = L.Convolution(n.data, num_output=2, kernel_size=3, pad=5)
    n.wide = L.Convolution(n.first, num_output=2, kernel_size=5, pad=2)
    n.near = L.Convolution(n.first, num_output=2, kernel_size=3, pad_h=1, pad_w=1)
    n.sum = L.Eltwise(n.wide, n.near, operation=P.Eltwise.SUM)
    bare = surgery.without_padding(n.to_proto())
    crop = next(layer for layer in bare.layer if layer.type == "Crop")
    assert (list(crop.bottom), list(crop.crop_param.offset)) == (["near", "wide"], [1])
    assert pairs.build(bare).blobs["sum"].data.shape == (1, 2, 14, 14)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_errors_are_rounding_errors_at_full_width(name):
    pair = pairs.published_pair(name)
    every, inside = proofs.bare_errors(pair, pairs.unpadded(pair), 2)
    image = pairs.draw_input(*[pairs.grid_extent(pair, 2)] * 2)
    _, expected = proofs.scores_on_crops(pair, image, 2)
    bordered = proofs.with_borders(pair, image, 1, 1)
    errors = proofs.own_size_error(pair), every, inside, proofs.error(bordered, expected[:, 1, 1])
    assert max(errors) <= ROUNDING


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_all_errors_are_rounding_errors_under_bvlc_caffe(bvlc_caffe, name):  # noqa: F811
    result = bvlc_caffe(casting_proofs.__file__, name)
    assert result.returncode == 0, result.stderr
    errors = json.loads(result.stdout.splitlines()[-1])
    assert max(errors[key] for key in ("own_size", "every", "inside", "borders")) <= ROUNDING
    assert errors["padded"] > 1e-3


def test_published_weights_are_used_if_they_are_on_disk_and_refused_if_they_do_not_fit(
    tmp_path, monkeypatch
):
    pair = small("alexnet")
    path = tmp_path / "bvlc_alexnet.caffemodel"
    pair.net.save(str(path))
    monkeypatch.setattr(pairs, "published_weights", lambda name: str(path))
    monkeypatch.setitem(net_gen.CLASSIFIERS, "alexnet", lambda split, width: pair.classifier)
    published = pairs.published_pair("alexnet")
    assert published.weights == "published"
    for net in (published.net, published.cast_net):
        for layer, blobs in net.params.items():
            for i, blob in enumerate(blobs):
                assert np.array_equal(blob.data.ravel(), pair.net.params[layer][i].data.ravel())
    monkeypatch.undo()
    monkeypatch.setattr(pairs, "published_weights", lambda name: str(path))
    with pytest.raises(ValueError, match="bvlc_alexnet.caffemodel: layer conv1, blob 0: found 6"):
        pairs.published_pair("alexnet")


def test_published_weights_are_looked_up_in_the_folder_of_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "ROOT", str(tmp_path))
    assert pairs.published_weights("googlenet") is None
    (tmp_path / "ilsvrc-nets").mkdir()
    file = tmp_path / "ilsvrc-nets" / "bvlc_googlenet.caffemodel"
    file.write_bytes(b"x")
    assert os.path.samefile(pairs.published_weights("googlenet"), file)
