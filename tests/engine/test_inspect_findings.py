"""The inspector's warnings: each on a net that has the mistake and on one that has not."""

from __future__ import annotations

import json

import pytest
from caffe import __main__ as caffe_command
from caffe.graph import read_net
from caffe.inspect import find_problems, fix_crops, inspect_net, parse_inputs
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from net_gen import padding
from tests.engine.nets import write

DATA = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 32 dim: 32 } } }
"""
LABELLED = """
layer { name: "data" type: "Input" top: "data" top: "label" input_param {
  shape { dim: 1 dim: 1 dim: 32 dim: 32 } shape { dim: 1 dim: 1 dim: 32 dim: 32 } } }
"""


def problems(text, *inputs):
    """The findings about a net as (kind, layer) -> message."""
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    return {
        (f.kind, f.layer): f.message for f in find_problems(inspect_net(net, parse_inputs(inputs)))
    }


def conv(name, bottom, settings, more=""):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {more} '
        f"convolution_param {{ num_output: 1 {settings} }} }}\n"
    )


def deconv(name, bottom, settings, more=""):
    return conv(name, bottom, settings, more).replace("Convolution", "Deconvolution")


def pool(name, bottom):
    return (
        f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" '
        "pooling_param { kernel_size: 2 stride: 2 } }\n"
    )


def crop(name, bottom, like, settings=""):
    return (
        f'layer {{ name: "{name}" type: "Crop" bottom: "{bottom}" bottom: "{like}" top: "{name}" '
        f"crop_param {{ {settings} }} }}\n"
    )


def upsampling(settings="", pad=0):
    """A net that pools once, upsamples, and cuts the result to the image."""
    return (
        DATA
        + conv("conv", "data", f"kernel_size: 3 pad: {pad}")
        + pool("pool", "conv")
        + deconv("up", "pool", 'kernel_size: 4 stride: 2 weight_filler { type: "bilinear" }')
        + crop("score", "up", "data", settings)
    )


def test_a_crop_without_an_offset_is_found_and_one_with_the_offset_is_not():
    # The place of value 0 of `up`: conv at 1 - 4, pool at -2.5, up 1.5 positions before.
    assert "need 4" in problems(upsampling("axis: 2", pad=4))["crop-at-0", "score"]
    kinds = {kind for kind, _ in problems(upsampling("axis: 2 offset: 4", pad=4))}
    assert not kinds & {"crop-at-0", "crop-offset", "off-image"}


def test_a_crop_at_another_offset_than_that_of_the_maps_is_found():
    assert (
        "cuts up to data at 3; the coordinate maps need 4"
        in (problems(upsampling("axis: 2 offset: 3", pad=4))["crop-offset", "score"])
    )


def test_a_crop_that_no_offset_aligns_is_found():
    half = DATA + pool("pool", "data") + crop("score", "data", "pool")
    assert ("crop-scale", "score") in problems(half)
    assert "need offset 1/2" in (
        problems(
            DATA + conv("a", "data", "kernel_size: 2") + crop("score", "data", "a")
        )["crop-impossible", "score"]
    )  # fmt: skip


def test_fixed_crops_have_the_offsets_of_the_generator():
    net = net_gen.fcn("voc-fcn8s", "deploy", width=1 / 16)
    without = caffe_pb2.NetParameter()
    without.CopyFrom(net)
    for layer in without.layer:
        layer.crop_param.ClearField("offset")
    fixed, offsets = fix_crops(inspect_net(without))
    assert offsets == {"score_pool4c": (5,), "score_pool3c": (9,), "score": (31,)}
    assert [x.crop_param.offset for x in fixed.layer] == [x.crop_param.offset for x in net.layer]


def test_the_command_writes_the_net_with_fixed_crops(tmp_path, capsys):
    path, out = write(tmp_path, upsampling("axis: 2", pad=4)), tmp_path / "fixed.prototxt"
    assert caffe_command.main(["inspect", path, "--fix-crops", str(out)]) == 0
    assert "score: offset 4" in capsys.readouterr().out
    assert list(read_net(out).layer[-1].crop_param.offset) == [4]
    assert caffe_command.main(["inspect", str(out), "--fix-crops", str(out)]) == 0
    assert "nothing is written" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings, more, idle",
    [
        ("", "param { lr_mult: 0 }", True),
        ('weight_filler { type: "constant" }', "param { lr_mult: 0 }", True),
        ('weight_filler { type: "bilinear" }', "param { lr_mult: 0 }", False),
        ("", "param { lr_mult: 1 }", False),
        ("", "", False),
    ],
)
def test_a_deconvolution_that_stays_at_zero_is_found(settings, more, idle):
    net = DATA + deconv("up", "data", f"kernel_size: 4 stride: 2 {settings}", more)
    assert (("idle-deconvolution", "up") in problems(net)) == idle


def test_the_sizes_with_which_scores_do_not_fit_their_labels_are_found():
    head = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "up" bottom: "label" top: "loss" }'
    net = LABELLED + pool("p1", "data") + pool("p2", "p1")
    net += deconv("up", "p2", "kernel_size: 4 stride: 4") + head
    message = problems(net)["sizes", "loss"]
    assert "up of 4, label of 1" in message
    assert "with images of 1, 2, 3 pixels a side (3 of 4 sizes, and every 4 more)" in message
    same = LABELLED + conv("up", "data", "kernel_size: 3 pad: 1") + head
    assert not {kind for kind, _ in problems(same)} & {"sizes", "off-image"}


def test_a_crop_that_reaches_past_its_bottom_for_some_sizes_is_found():
    bare = upsampling("axis: 2 offset: 0").replace("kernel_size: 4", "kernel_size: 2")
    message = problems(bare)["sizes", "score"]
    assert "do not fit into" in message and "with every image" in message
    assert ("sizes", "score") not in problems(upsampling("axis: 2 offset: 4", pad=4))


def test_a_result_beside_the_image_is_found():
    shifted = DATA + conv("score", "data", "kernel_size: 3 pad: 2")
    message = problems(shifted)["off-image", "score"]
    assert "score has not the size of the image" in message or "lies at pixel -1" in message
    assert not problems(DATA + conv("score", "data", "kernel_size: 3 pad: 1"))


@pytest.mark.parametrize("variant", ["voc-fcn8s", "voc-fcn-alexnet", "voc-fcn-googlenet8s"])
def test_the_least_padding_is_that_of_the_generator(variant):
    least = padding.least_padding(variant)
    net = net_gen.fcn(variant, "deploy", width=1 / 16)
    (message,) = [f.message for f in find_problems(inspect_net(net)) if f.kind == "padding"]
    assert message.startswith(f"pad 100: {least} is the least")
    small = padding.with_padding(net, least)
    assert not [f for f in find_problems(inspect_net(small)) if f.kind == "padding"]


def test_layers_that_no_gradient_reaches_are_found():
    scores = LABELLED + conv("a", "data", "kernel_size: 1") + conv("b", "data", "kernel_size: 1")
    one = scores + (
        'layer { name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "label" top: "loss" }'
    )
    assert "no loss depends on its tops" in problems(one)["no-gradient", "b"]
    assert ("no-gradient", "a") not in problems(one)
    assert ("no-gradient", "b") not in problems(scores)  # a net without a loss does not learn


def test_a_gradient_ends_at_a_layer_that_has_none():
    net = LABELLED + conv("a", "data", "kernel_size: 1") + (
        'layer { name: "cut" type: "Threshold" bottom: "a" top: "cut" }'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "cut" bottom: "label" top: "loss" }'
    )  # fmt: skip
    assert ("no-gradient", "a") in problems(net)
    assert ("no-gradient", "a") not in problems(net.replace("Threshold", "ReLU"))


def test_a_loss_below_which_nothing_learns_is_found():
    net = LABELLED + (
        'layer { name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "label" top: "loss" }'
    )
    assert "no layer below it learns" in problems(net)["no-gradient", "loss"]


def test_blobs_that_nothing_reads_are_found():
    net = LABELLED + conv("a", "data", "kernel_size: 1") + conv("b", "a", "kernel_size: 1")
    assert "no layer reads its top 'label'" in problems(net)["unread", "data"]
    assert ("unread", "b") not in problems(net)  # the output of a net without a loss
    trained = net + (
        'layer { name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "label" top: "loss" }'
        'layer { name: "relu" type: "ReLU" bottom: "b" top: "b" }'
    )
    assert {layer for kind, layer in problems(trained) if kind == "unread"} == {"relu"}


def test_two_layers_with_one_name_are_found():
    net = DATA + conv("a", "data", "kernel_size: 1")
    twice = net + conv("b", "a", "kernel_size: 1").replace('name: "b"', 'name: "a"')
    assert "2 layers have this name" in problems(twice)["same-name", "a"]
    assert ("same-name", "a") not in problems(net)


def test_sums_of_blobs_at_different_places_are_found():
    def net(pad):
        return (
            DATA
            + conv("a", "data", "kernel_size: 3")
            + conv("b", "data", f"kernel_size: 5 pad: {pad}")
            + 'layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }'
        )

    assert "lies at pixel 1 (stride 1), that of b at 2" in problems(net(0))["misaligned", "sum"]
    assert ("misaligned", "sum") not in problems(net(1))


def test_places_are_compared_although_the_size_of_the_images_is_unknown():
    net = net_gen.fcn("voc-fcn8s", "train", width=1 / 16)
    kinds = [f.kind for f in find_problems(inspect_net(net))]
    assert kinds.count("padding") == 1 and kinds.count("idle-deconvolution") == 3


def test_the_command_prints_the_warnings(tmp_path, capsys):
    path = write(tmp_path, upsampling("axis: 2", pad=4))
    assert caffe_command.main(["inspect", path]) == 0
    assert "crop-at-0" in capsys.readouterr().out
    assert caffe_command.main(["inspect", path, "--json"]) == 0
    kinds = [w["kind"] for w in json.loads(capsys.readouterr().out)["warnings"]]
    assert "crop-at-0" in kinds
