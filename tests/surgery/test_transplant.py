from __future__ import annotations

import collections
import logging
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest

import surgery


class FakeNet(SimpleNamespace):
    """The parts of a pycaffe Net that surgery touches."""

    def __init__(self, params, bottoms=None, blobs=None):
        blob = lambda array: SimpleNamespace(data=np.array(array, np.float32))  # noqa: E731
        super().__init__(
            params=OrderedDict((k, [blob(a) for a in v]) for k, v in params.items()),
            bottom_names=bottoms or {},
            blobs={k: blob(np.zeros(v)) for k, v in (blobs or {}).items()},
        )


def numbers(*shape):
    return np.arange(1, np.prod(shape) + 1).reshape(shape)


def test_equal_shapes_are_copied():
    old = FakeNet({"conv": [numbers(2, 3, 3, 3), numbers(2)]})
    new = FakeNet({"conv": [np.zeros((2, 3, 3, 3)), np.zeros(2)]})
    report = surgery.transplant(new, old)
    assert report.copied == ["conv"] and not report.coerced
    assert np.array_equal(new.params["conv"][0].data, numbers(2, 3, 3, 3))
    assert np.array_equal(new.params["conv"][1].data, [1, 2])


def test_an_inner_product_becomes_the_convolution_over_its_window():
    old = FakeNet(
        {"fc6": [numbers(5, 4 * 7 * 7), numbers(5)]}, {"fc6": ["pool5"]}, {"pool5": (1, 4, 7, 7)}
    )
    new = FakeNet({"fc6": [np.zeros((5, 4, 7, 7)), np.zeros(5)]})
    report = surgery.transplant(new, old)
    assert report.coerced == ["fc6"]
    assert np.array_equal(new.params["fc6"][0].data, numbers(5, 4, 7, 7))


def test_the_old_four_dimensional_form_of_an_inner_product_is_coerced():
    old = FakeNet({"fc6": [numbers(1, 1, 5, 4 * 49), numbers(1, 1, 1, 5)]})
    new = FakeNet({"fc6": [np.zeros((5, 4, 7, 7)), np.zeros(5)]})
    surgery.transplant(new, old)
    assert np.array_equal(new.params["fc6"][0].data, numbers(5, 4, 7, 7))
    assert np.array_equal(new.params["fc6"][1].data, numbers(5))


@pytest.mark.parametrize(("side", "first"), [(3, 2), (4, 1), (5, 1), (6, 0)])
def test_a_smaller_window_sits_in_the_middle_with_zeros_around(side, first):
    window = numbers(5, 4, side, side)
    old = FakeNet(
        {"fc6": [window.reshape(5, -1), numbers(5)]},
        {"fc6": ["pool5"]},
        {"pool5": (1, 4, side, side)},
    )
    new = FakeNet({"fc6": [np.full((5, 4, 7, 7), 9.0), np.zeros(5)]})
    surgery.transplant(new, old)
    kernel = new.params["fc6"][0].data
    middle = slice(first, first + side)
    assert np.array_equal(kernel[:, :, middle, middle], window)
    assert np.count_nonzero(kernel) == window.size


def test_layers_and_blobs_that_the_new_net_lacks_are_reported():
    old = FakeNet({"conv": [numbers(2, 2), numbers(2)], "fc8": [numbers(9)]})
    new = FakeNet({"conv": [np.zeros((2, 2))], "score": [np.zeros(3)]})
    report = surgery.transplant(new, old)
    assert report.dropped == ["conv[1]", "fc8"]
    assert report.unfilled == ["score"]
    assert "dropped: conv[1], fc8" in str(report)


def test_a_blob_that_cannot_be_coerced_is_named_and_no_blob_is_changed():
    old = FakeNet({"conv": [numbers(2, 2)], "fc6": [numbers(5, 8)]}, {"fc6": ["p"]}, {"p": (1, 8)})
    new = FakeNet({"conv": [np.zeros((2, 2))], "fc6": [np.zeros((5, 3, 7, 7))]})
    with pytest.raises(ValueError, match=r"layer fc6, blob 0: is 5 x 8, needs 5 x 3 x 7 x 7"):
        surgery.transplant(new, old)
    assert not new.params["conv"][0].data.any()


def test_a_window_larger_than_the_new_kernel_is_refused():
    old = FakeNet({"fc6": [numbers(5, 4 * 81)]}, {"fc6": ["p"]}, {"p": (1, 4, 9, 9)})
    new = FakeNet({"fc6": [np.zeros((5, 4, 7, 7))]})
    with pytest.raises(ValueError, match="over a 4 x 9 x 9 blob"):
        surgery.transplant(new, old)


def test_a_suffix_is_put_behind_the_old_names():
    old = FakeNet({"conv": [numbers(2)]})
    new = FakeNet({"conv_rgb": [np.zeros(2)]})
    assert surgery.transplant(new, old, "_rgb").copied == ["conv_rgb"]


def test_a_trunk_of_zeros_causes_a_warning(caplog):
    old = FakeNet({"conv": [np.zeros((2, 2)), np.zeros(2)]})
    new = FakeNet({"conv": [np.ones((2, 2)), np.ones(2)]})
    with caplog.at_level(logging.WARNING):
        report = surgery.transplant(new, old)
    assert report.zero == ["conv"]
    assert "every weight that was copied is zero" in caplog.text


def test_a_single_layer_of_zeros_is_reported_without_a_warning(caplog):
    old = FakeNet({"conv": [numbers(2)], "score": [np.zeros(3)]})
    new = FakeNet({"conv": [np.zeros(2)], "score": [np.ones(3)]})
    with caplog.at_level(logging.WARNING):
        assert surgery.transplant(new, old).zero == ["score"]
    assert not caplog.text


def test_nets_without_a_common_layer_cause_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        surgery.transplant(FakeNet({"a": [numbers(2)]}), FakeNet({"b": [numbers(2)]}))
    assert "share no layer name" in caplog.text


@pytest.mark.parametrize("size", [3, 4, 16, 32, 63, 64])
def test_the_bilinear_kernel_interpolates_a_straight_line(size):
    factor = (size + 1) // 2
    line, kernel = np.arange(6.0), surgery.bilinear(size)
    assert np.allclose(kernel, kernel.T) and np.allclose(kernel, kernel[::-1, ::-1])
    row = kernel.sum(0) / factor
    out = np.zeros(factor * 5 + size)
    for i, value in enumerate(line):
        out[i * factor : i * factor + size] += value * row
    inner = out[size : factor * 5]
    assert np.allclose(np.diff(inner), 1 / factor)


def test_interp_fills_the_kernels_of_each_class_into_itself_and_zeros_elsewhere():
    net = FakeNet({"upscore": [np.ones((3, 3, 4, 4))]})
    surgery.interp(net, ["upscore"])
    weights = net.params["upscore"][0].data
    for i in range(3):
        for j in range(3):
            assert np.allclose(weights[i, j], surgery.bilinear(4) if i == j else 0)


def test_interp_fills_a_kernel_for_each_group():
    net = FakeNet({"up": [np.ones((3, 1, 4, 4))]})
    surgery.interp(net, ["up"])
    assert np.allclose(net.params["up"][0].data, surgery.bilinear(4))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((3, 3, 4, 5), "square"), ((3, 2, 4, 4), "3 to 2 channels"), ((3,), "square")],
)
def test_interp_refuses_kernels_that_are_not_square_and_other_channel_counts(shape, words):
    with pytest.raises(ValueError, match=f"layer up.*{words}"):
        surgery.interp(FakeNet({"up": [np.zeros(shape)]}), ["up"])


def test_interp_of_an_unknown_layer_names_it():
    with pytest.raises(ValueError, match="layer upscore: not in this net, which has conv"):
        surgery.interp(FakeNet({"conv": [np.zeros(1)]}), ["upscore"])


def test_the_layers_to_interpolate_are_those_with_up_in_their_names():
    net = FakeNet({n: [np.zeros(1)] for n in ("conv", "upscore2", "score_pool4", "upscore16")})
    assert surgery.interp_layers(net) == ["upscore2", "upscore16"]


def test_expand_score_fills_the_first_classes_and_leaves_the_rest():
    old = FakeNet({"score": [numbers(21, 4, 1, 1), numbers(21)]})
    new = FakeNet({"score60": [np.full((60, 4, 1, 1), -1), np.full(60, -1)]})
    surgery.expand_score(new, "score60", old, "score")
    weights, bias = (blob.data for blob in new.params["score60"])
    assert np.array_equal(weights[:21], numbers(21, 4, 1, 1)) and (weights[21:] == -1).all()
    assert np.array_equal(bias[:21], numbers(21)) and (bias[21:] == -1).all()


@pytest.mark.parametrize("shape", [(20, 4, 1, 1), (60, 5, 1, 1)])
def test_expand_score_refuses_fewer_classes_or_another_kernel(shape):
    old, new = FakeNet({"s": [numbers(21, 4, 1, 1)]}), FakeNet({"t": [np.zeros(shape)]})
    with pytest.raises(ValueError, match="layer t, blob 0: is 21 x 4 x 1 x 1 in s"):
        surgery.expand_score(new, "t", old, "s")


@pytest.mark.parametrize("size", [3, 4, 63, 64])
def test_upsample_filt_is_the_bilinear_kernel_under_the_name_of_the_published_scripts(size):
    """The formula is the one of these scripts: (1 - |y - c| / f) (1 - |x - c| / f)."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    y, x = np.ogrid[:size, :size]
    kernel = (1 - abs(y - centre) / factor) * (1 - abs(x - centre) / factor)
    assert np.allclose(surgery.upsample_filt(size), kernel, rtol=0, atol=1e-15)
    assert np.array_equal(surgery.upsample_filt(size), surgery.bilinear(size))


class Parameters:
    """A net with one layer, as far as `extend_channels` looks at a net."""

    def __init__(self, *shapes):
        blob = collections.namedtuple("blob", "data")
        self.params = {"conv": [blob(np.zeros(shape, np.float32)) for shape in shapes]}


def test_further_channels_get_the_mean_of_the_others():
    net = Parameters((2, 5, 1, 1), (2,))
    weights = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
    surgery.extend_channels(net, "conv", [weights, np.array([7, 8], np.float32)])
    filled, bias = (blob.data for blob in net.params["conv"])
    assert filled[:, :, 0, 0].tolist() == [[0, 1, 2, 1, 1], [3, 4, 5, 4, 4]]
    assert bias.tolist() == [7, 8]


@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(2, 2, 1, 1), (2,)], "is 2 x 2 x 1 x 1, needs 2 x 3 x 1 x 1, or more channels"),
        ([(2, 4, 3, 3), (2,)], "is 2 x 4 x 3 x 3, needs 2 x 3 x 1 x 1"),
        ([(2, 4, 1, 1), (3,)], "blob 1: is 3, needs 2"),
        ([(2, 4, 1, 1)], "has 1 blobs, needs 2"),
    ],
)
def test_weights_of_other_shapes_are_not_extended(shapes, message):
    net = Parameters(*shapes)
    with pytest.raises(ValueError, match=message):
        surgery.extend_channels(net, "conv", [np.ones((2, 3, 1, 1)), np.ones(2)])
    assert not any(blob.data.any() for blob in net.params["conv"])
