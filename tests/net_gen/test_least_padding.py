"""Sizes and places of blobs at any padding, against nets that are built and run."""

import functools
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe.coord_map import coord_map_from_to
from caffe.proto import caffe_pb2

import net_gen
import surgery
from net_gen import padding
from net_gen.coordinates import coordinates
from net_gen.heads import HeadBuilder

VARIANTS = list(net_gen.VARIANTS)
# The nets with the most layers of each trunk; GoogLeNet's takes as long as the two others. Tests
# that take seconds run the other nets when slow.
DEEPEST = {"voc-fcn8s-atonce": (), "voc-fcn-alexnet": (), "voc-fcn-googlenet8s": pytest.mark.long}
EACH = [pytest.param(v, marks=DEEPEST.get(v, pytest.mark.slow)) for v in VARIANTS]
WIDTH = {"vgg16": 1 / 64, "alexnet": 1 / 16, "googlenet": 1 / 16}
STRIDE = 32
LARGE = 200  # pixels, more than any of the nets needs at its least padding


def small(variant, pad, side=8):
    """A narrow deploy net, its image `side` pixels a side."""
    width = WIDTH[net_gen.VARIANTS[variant].trunk]
    net = net_gen.fcn(variant, "deploy", classes=2, width=width, channels=1)
    net.layer[0].input_param.shape[0].dim[2:] = [side, side]
    return padding.with_padding(net, pad)


def build(message):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        net_gen.write(message, path)
        return caffe.Net(str(path), caffe.TEST)


def reshape(net, height, width):
    net.blobs["data"].reshape(1, net.blobs["data"].shape[1], height, width)
    net.reshape()


def shapes(net, height, width):
    """Blob -> (height, width), or None where the engine refuses the input."""
    try:
        reshape(net, height, width)
    except RuntimeError:
        return None
    return {k: tuple(b.shape[2:]) for k, b in net.blobs.items() if "_split_" not in k}


@functools.cache
def least(variant):
    """The least paddings for images from LARGE and from 1 pixel on."""
    return padding.least_padding(variant, LARGE), padding.least_padding(variant)


def check_sizes(variant, pad, sizes):
    """Check the sizes of all blobs, and that Caffe and `sizes` refuse the same inputs."""
    message = small(variant, pad, LARGE)
    net, geometry = build(message), padding.Geometry(message)
    limits = geometry.limits()
    for size in sizes:
        built = shapes(net, size, size + 5)
        if built is None:
            with pytest.raises(ValueError):
                geometry.sizes(size)
            assert limits.fault or size < limits.smallest
            continue
        high, wide = geometry.sizes(size), geometry.sizes(size + 5)
        assert built == {name: (high[name], wide[name]) for name in built}
        assert built["score"] == built["data"]
        assert size >= limits.smallest


@pytest.mark.parametrize("variant", EACH)
def test_every_blob_has_the_size_that_the_engine_makes(variant):
    for pad in {*least(variant), 100}:
        check_sizes(variant, pad, [*range(1, 70), 223, 224, 225, 499, 500])


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_blob_has_the_size_that_the_engine_makes_up_to_600_pixels(variant):
    low, high = least(variant)
    for pad in sorted({low, low + 7, high, 100}):
        check_sizes(variant, pad, range(1, 601))


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_a_padding_of_100_images_of_every_size_have_scores(variant):
    assert padding.smallest_input(variant, 100) == (1, 1)
    assert all(side.fault == "" for side in padding.limits(variant, 100))


@pytest.mark.parametrize("pad, smallest", [(0, 195), (1, 193), (96, 3), (97, 1), (100, 1)])
def test_vgg16_has_scores_from_the_smallest_input_on(pad, smallest):
    net = net_gen.fcn("voc-fcn32s", "deploy", classes=2, width=1 / 16)
    assert [side.smallest for side in padding.limits(net, pad)] == [smallest, smallest]
    del net.layer[[layer.name for layer in net.layer].index("score") :]
    padding.first_convolution(net).convolution_param.pad[:] = [pad]
    net.layer[0].input_param.shape[0].dim[2:] = [smallest, smallest]
    built = build(net)
    assert shapes(built, smallest, smallest)["score_fr"] == (1, 1)
    if smallest > 1:
        assert shapes(built, smallest - 1, smallest) is None
        assert shapes(built, smallest, smallest - 1) is None


@pytest.mark.parametrize("variant", EACH)
@pytest.mark.parametrize("smallest", [1, 20, LARGE])
def test_the_least_padding_aligns_every_size_and_one_pixel_less_does_not(variant, smallest):
    pad = padding.least_padding(variant, smallest)
    assert max(padding.smallest_input(variant, pad)) <= smallest
    below = padding.limits(variant, pad - 1)[0]
    assert below.fault or below.smallest > smallest
    if not below.fault:
        net = build(small(variant, pad - 1, LARGE))
        assert shapes(net, smallest, smallest) is None
    elif min(below.offsets.values()) < 0:
        with pytest.raises(ValueError, match="pad"):
            net_gen.fcn(variant, "deploy", pad=pad - 1)


def test_alexnet_at_a_padding_of_82_lacks_scores_at_some_sizes_of_every_period():
    limits = padding.limits("voc-fcn-alexnet", 82)[0]
    assert limits.offsets == {"score": 0} and "do not fit into 63 of upscore" in limits.fault
    net = build(small("voc-fcn-alexnet", 82, LARGE))
    refused = [n for n in range(limits.smallest, 330) if shapes(net, n, LARGE) is None]
    assert refused and {n + limits.period for n in refused if n < 298} <= set(refused)
    assert len({n % limits.period for n in refused}) < limits.period


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_period_more_makes_every_blob_larger_by_its_scale(variant):
    net = padding.Geometry(variant, 100)
    assert net.period == STRIDE
    for size in range(net.limits().smallest, 2 * STRIDE):
        now, later = net.sizes(size), net.sizes(size + STRIDE)
        for blob in now:
            assert later[blob] - now[blob] == STRIDE * net.maps[blob][1], blob


published = functools.cache(net_gen.fcn)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pad", [98, 99, 100, 131])
def test_with_padding_gives_the_net_that_the_generator_makes_with_this_padding(variant, pad):
    for split in net_gen.SPLITS:
        net = padding.with_padding(published(variant, split), pad)
        assert net == net_gen.fcn(variant, split, pad=pad)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_maps_are_those_of_caffe_coord_map(variant):
    record = net_gen.VARIANTS[variant]
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [1, 3, 500, 500]})
    head = HeadBuilder(n, n.data, 21, record.at_once)
    head.add_branch(net_gen.TRUNKS[record.trunk](n, n.data))
    head.add_scores(record.stride)
    maps = padding.coordinate_maps(variant)
    for name, top in n.tops.items():
        if name not in maps:  # in place
            continue
        if record.trunk == "googlenet":  # has Concat, which caffe.coord_map does not pass
            scale, shift = coordinates(top)
        else:
            _, scale, shift = coord_map_from_to(n.data, top)
        assert np.ravel(scale) == pytest.approx(float(maps[name][1]), rel=1e-12), name
        assert np.ravel(shift) == pytest.approx(float(maps[name][2]), rel=1e-12), name


def test_the_maps_of_vgg16_follow_from_its_layers():
    maps = padding.coordinate_maps("voc-fcn32s")
    assert maps["data"] == (None, 1, 0)
    assert maps["conv1_1"] == (1, 1, 99)
    assert maps["pool1"] == (1, Fraction(1, 2), Fraction(197, 4))
    assert maps["score_fr"] == (1, Fraction(1, 32), Fraction(-25, 64))
    assert maps["upscore"] == (1, 1, 19)
    assert maps["score"] == (1, 1, 0)
    assert padding.Geometry("voc-fcn32s").fields["fc6"] == 404


def bilinear(net):
    surgery.interp(net, surgery.interp_layers(net))


def averaging(variant, pad, side):
    """A net whose layers compute means: its scores are the image, blurred around each pixel."""
    message = small(variant, pad, side)
    for layer in message.layer:
        if layer.type == "Pooling":
            layer.pooling_param.pool = layer.pooling_param.AVE
        if layer.type == "LRN":
            layer.lrn_param.alpha = 0
    net = build(message)
    for blobs in net.params.values():
        blobs[0].data[...] = 1 / np.prod(blobs[0].data.shape[1:])
        if len(blobs[0].data.shape) == 1:
            blobs[0].data[...] = 1
        for bias in blobs[1:]:
            bias.data[...] = 0
    bilinear(net)
    return net


@pytest.mark.parametrize("variant", EACH)
def test_the_scores_of_an_averaging_net_for_a_ramp_are_that_ramp_at_any_padding(variant):
    """Means and linear interpolation keep x + 2 y: a score one pixel off would be off by 1 or 2."""
    sees = padding.Geometry(variant).fields["score"]
    side = sees + 33
    ramp = np.arange(side)[None, :] + 2.0 * np.arange(side)[:, None]
    for pad in (least(variant)[0], 100):
        net = averaging(variant, pad, side)
        net.blobs["data"].data[...] = ramp
        net.forward()
        inside = slice(sees // 2 + 1, side - sees // 2 - 1)
        scores = net.blobs["score"].data[0, 0][inside, inside]
        sums = 1 + sum(layer.type == "Eltwise" for layer in net_gen.fcn(variant, "val").layer)
        np.testing.assert_allclose(scores / sums, ramp[inside, inside], atol=0.03)


def random_net(variant, pad, side):
    message = small(variant, pad, side)
    rng = np.random.RandomState(3)
    net = build(message)
    for blobs in net.params.values():
        weights = blobs[0].data
        fan_in = np.prod(weights.shape[1:])
        weights[...] = rng.randn(*weights.shape) * np.sqrt(2 / fan_in)
    bilinear(net)
    return net


@pytest.mark.parametrize("variant", EACH)
def test_the_scores_of_the_least_padding_are_those_of_100_inside_the_image(variant):
    """Two views of a scene start as many pixels apart as the paddings differ, so that both meet the
    strides in the same phase. Then a pixel of the scene has the same scores in both."""
    pad = least(variant)[0]
    sees, apart = math.ceil(padding.Geometry(variant).farthest("score")), 100 - pad
    side = 2 * sees + apart + 18
    scene = np.random.RandomState(1).randn(side, side)
    views = []
    for around, start in ((pad, 0), (100, apart)):
        net = random_net(variant, around, side - start)
        net.blobs["data"].data[...] = scene[start:, start:]
        net.forward()
        first, last = apart + sees + 1 - start, side - sees - 1 - start
        views.append(net.blobs["score"].data[0][:, first:last, first:last].copy())
    largest = np.abs(views[1]).max()
    assert largest > 0 and views[1].std() > 1e-3 * largest
    np.testing.assert_allclose(views[0], views[1], rtol=0, atol=2e-5 * largest)


@pytest.mark.parametrize("variant", EACH)
def test_moving_the_image_by_the_stride_moves_the_scores_as_far_at_the_least_padding(variant):
    pad = least(variant)[0]
    sees = padding.Geometry(variant).fields["score"]
    side = sees + STRIDE + 17
    scene = np.random.RandomState(2).randn(side, side + STRIDE)
    net = random_net(variant, pad, side)
    views = []
    for start in (0, STRIDE):
        net.blobs["data"].data[...] = scene[:, start : start + side]
        net.forward()
        rows = slice(sees // 2 + 1, side - sees // 2 - 1)
        columns = slice(rows.start + STRIDE - start, rows.stop - start)
        views.append(net.blobs["score"].data[0][:, rows, columns].copy())
    largest = np.abs(views[1]).max()
    assert views[0].shape[2] > 10 and largest > 0
    np.testing.assert_allclose(views[0], views[1], rtol=0, atol=2e-5 * largest)


def layer(net, type_, bottom, top, **fields):
    added = net.layer.add(type=type_, name=top, bottom=bottom, top=[top])
    param = {"Pooling": "pooling_param", "Crop": "crop_param"}.get(type_, "convolution_param")
    for name, value in fields.items():
        target = getattr(added, param)
        if hasattr(getattr(target, name), "extend"):
            getattr(target, name).extend(value if isinstance(value, list) else [value])
        else:
            setattr(target, name, value)
    return added


def odd_net(side=40):
    """Other kernels, strides and paddings along the height than along the width."""
    net = caffe_pb2.NetParameter(name="odd")
    net.layer.add(type="Input", name="data", top=["data"])
    net.layer[0].input_param.shape.add().dim.extend([1, 1, side, side])
    layer(net, "Convolution", ["data"], "conv1", num_output=1, kernel_size=[5, 3], pad=[4, 9])
    layer(net, "Pooling", ["conv1"], "pool1", kernel_h=3, kernel_w=4, stride_h=2, stride_w=3)
    layer(net, "Pooling", ["pool1"], "pool2", kernel_size=3, stride=2, pad=1)
    layer(net, "Convolution", ["pool2"], "conv2", num_output=1, kernel_size=3, dilation=2, pad=1)
    layer(
        *(net, "Deconvolution", ["conv2"], "up"),
        num_output=1,
        kernel_size=[7, 12],
        stride=[4, 6],
        pad=[1, 1],
    )
    layer(net, "Crop", ["up", "data"], "score", offset=[0, 0])
    return net


def test_height_and_width_may_differ():
    net = odd_net()
    sides = [padding.Geometry(net, 16, side) for side in padding.SIDES]
    assert [side.period for side in sides] == [4, 6]
    offsets = [side.offsets["score"] for side in sides]
    assert offsets[0] != offsets[1]
    pad = padding.least_padding(net)
    padded = padding.with_padding(net, pad)
    assert list(padding.first_convolution(padded).convolution_param.pad) == [pad]
    built, high, wide = build(padded), *(padding.Geometry(padded, side=s) for s in padding.SIDES)
    for size in range(1, 50):
        rows, columns = high.sizes(size), wide.sizes(size + 2)
        assert shapes(built, size, size + 2) == {b: (rows[b], columns[b]) for b in rows}
    below = padding.limits(net, pad - 1)
    assert any(side.fault or side.smallest > 1 for side in below)


def edited(change):
    net = net_gen.fcn("voc-fcn8s", "deploy")
    change({layer.name: layer for layer in net.layer}, net)
    return net


REFUSED = [
    (
        lambda at, net: at["score"].crop_param.offset.__setitem__(0, 30),
        "layer score (Crop): offset is 30 along the height, the coordinate maps need 31",
    ),
    (
        lambda at, net: at["upscore8"].convolution_param.kernel_size.__setitem__(0, 15),
        "layer score (Crop): offset is 31 along the height, the coordinate maps need 61/2",
    ),
    (
        lambda at, net: at["upscore8"].convolution_param.stride.__setitem__(0, 4),
        "layer score (Crop): upscore8 has 1/2 times the values of data along the height",
    ),
    (
        lambda at, net: at["fuse_pool4"].bottom.__setitem__(1, "score_pool4"),
        "layer fuse_pool4 (Eltwise): upscore2 lies at x / 16 + 23/32, score_pool4 at",
    ),
    (
        lambda at, net: at["conv1_1"].bottom.__setitem__(0, "label"),
        "no convolution reads the image",
    ),
    (
        lambda at, net: at["conv2_1"].convolution_param.ClearField("kernel_size"),
        "layer conv2_1 (Convolution): has no kernel_size",
    ),
]


@pytest.mark.parametrize("change, message", REFUSED)
def test_a_net_that_is_not_aligned_is_refused_with_its_layer(change, message):
    with pytest.raises(ValueError) as refusal:
        padding.smallest_input(edited(change))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_classifier_and_a_bad_padding_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"layer fc6 \(InnerProduct\)"):
        padding.smallest_input(net_gen.vgg16("deploy"))
    for pad in (-1, 2.5, True):
        with pytest.raises(ValueError, match="pad is .*needs an integer of at least 0"):
            padding.smallest_input("voc-fcn8s", pad)
    with pytest.raises(ValueError, match="smallest is 0, needs an integer of at least 1"):
        padding.least_padding("voc-fcn8s", 0)
    with pytest.raises(ValueError, match="side is 'depth', needs one of height, width"):
        padding.Geometry("voc-fcn8s", side="depth")
    with pytest.raises(ValueError, match="variant is 'voc-fcn4s'"):
        padding.least_padding("voc-fcn4s")
    with pytest.raises(ValueError, match=r"pad 68: layer score \(Crop\) would have offset -1"):
        padding.with_padding("voc-fcn8s", 68)
    with pytest.raises(ValueError, match=r"pad 68: layer score \(Crop\): offset is -1"):
        padding.smallest_input("voc-fcn8s", 68)


def test_no_padding_aligns_a_bilinear_kernel_that_lies_between_pixels():
    net = net_gen.fcn("voc-fcn32s", "deploy")
    at = {layer.name: layer for layer in net.layer}
    at["upscore"].convolution_param.kernel_size[0] = 63
    with pytest.raises(ValueError, match=r"no padding up to \d+ aligns every size; .*offset"):
        padding.least_padding(net)


def test_a_pooling_padded_along_the_width_alone_is_clipped_along_the_height_too():
    net = caffe_pb2.NetParameter(name="clipped")
    net.layer.add(type="Input", name="data", top=["data"])
    net.layer[0].input_param.shape.add().dim.extend([1, 1, 8, 8])
    layer(net, "Convolution", ["data"], "conv1", num_output=1, kernel_size=3, pad=1)
    layer(
        *(net, "Pooling", ["conv1"], "pool1"),
        kernel_h=1,
        kernel_w=2,
        stride=2,
        pad_h=0,
        pad_w=1,
    )
    built, high, wide = build(net), *(padding.Geometry(net, side=s) for s in padding.SIDES)
    for size in range(3, 12):
        rows, columns = high.sizes(size), wide.sizes(size)
        assert shapes(built, size, size) == {b: (rows[b], columns[b]) for b in rows}
