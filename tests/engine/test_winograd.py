"""Winograd's algorithm computes the convolution and its gradients, and runs where it is faster."""

from __future__ import annotations

from contextlib import contextmanager

import caffe
import numpy as np
import pytest
import torch
from caffe.ops import fused_winograd, prepared, winograd
from caffe.run import region, strips

from tests.engine import nets
from tests.engine.test_native import native as native
from tests.engine.test_precision import full_again as full_again
from tests.engine.test_regions import INPUT, build, close, conv, fill, pool, relu


@pytest.fixture(params=["fused", "in steps"])
def way(request, monkeypatch, native):
    """The C library's algorithm, and that by PyTorch's operations."""
    library = native if request.param == "fused" else None
    monkeypatch.setattr(fused_winograd.library, "load", lambda: library)
    return request.param


@pytest.fixture
def in_steps(monkeypatch):
    """The algorithm by PyTorch's operations, as without a C library."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: None)


SHAPES = {
    "one tile": (1, 32, 32, 6, 6, 0),
    "odd sizes": (1, 40, 33, 31, 29, 1),
    "one row": (1, 32, 48, 3, 200, 0),
    "one column": (1, 32, 48, 200, 1, 1),
    "smaller than a tile": (2, 33, 40, 4, 5, 0),
    "two images": (2, 40, 56, 22, 17, 1),
    "padded by 2": (3, 32, 32, 9, 14, 2),
    "several blocks": (1, 128, 70, 50, 60, 1),
    "two groups of coordinates": (1, 2100, 100, 10, 11, 1),
    "vectors of channels": (2, 48, 80, 23, 18, 1),
    "several blocks of vectors": (1, 192, 64, 61, 59, 1),
    "more outputs than tiles": (1, 64, 208, 13, 10, 2),
}


def apart(ours, theirs):
    """The largest difference as a share of the largest value."""
    return float(
        (ours.detach().double() - theirs.detach()).abs().max() / theirs.detach().abs().max()
    )


def random_leaves(case, bias=True):
    """x, w and b in float64, and the padding."""
    n, channels, outputs, high, wide, pad = SHAPES[case]
    torch.manual_seed(3)
    x = torch.randn(n, channels, high, wide, dtype=torch.float64)
    w = torch.randn(outputs, channels, 3, 3, dtype=torch.float64)
    leaves = [x, w] + ([torch.randn(outputs, dtype=torch.float64)] if bias else [])
    return [t.float().double().requires_grad_() for t in leaves], pad


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("case", SHAPES)
def test_output_and_gradients_are_those_of_the_exact_convolution(case, bias, way):
    leaves, pad = random_leaves(case, bias)
    expected = torch.nn.functional.conv2d(*leaves, padding=pad)
    diff = torch.randn_like(expected)
    ours = [t.detach().float().requires_grad_() for t in leaves]
    y = winograd.convolve(*ours, *([] if bias else [None]), (pad, pad))
    assert y.shape == expected.shape and apart(y, expected) < 1e-5
    grads = torch.autograd.grad(y, ours, diff.float())
    for grad, exact in zip(grads, torch.autograd.grad(expected, leaves, diff)):
        assert apart(grad, exact) < 1e-5


@pytest.mark.parametrize("each", [2, 6, 12])
def test_groups_of_coordinates_give_the_same_convolution(monkeypatch, each, in_steps):
    leaves, pad = random_leaves("two images")
    x, w, b = (t.detach().float().requires_grad_() for t in leaves)
    diff = torch.randn(winograd.convolve(x, w, b, (pad, pad)).shape)
    outcomes = []
    for coordinates in (winograd.COORDINATES, each * w[:, :, 0, 0].numel()):
        monkeypatch.setattr(winograd, "COORDINATES", coordinates)
        monkeypatch.setattr(winograd, "BLOCK", (8, 16))
        y = winograd.convolve(x, w, b, (pad, pad))
        outcomes.append((y, *torch.autograd.grad(y, (x, w, b), diff)))
    assert len(winograd.coordinate_groups(w[:, :, 0, 0].numel())) == 36 // each
    for together, grouped in zip(*outcomes):
        assert apart(grouped, together.double()) < 2e-6


def test_the_axes_can_have_different_paddings(way):
    (x, w, b), _ = random_leaves("odd sizes")
    y = winograd.convolve(x.float(), w.float(), b.float(), (2, 0))
    assert apart(y, torch.nn.functional.conv2d(x, w, b, padding=(2, 0))) < 1e-5


def test_the_layout_of_the_bottom_does_not_change_the_output(way):
    (x, w, b), pad = random_leaves("two images")
    x, w, b = x.float(), w.float(), b.float()
    last = x.contiguous(memory_format=torch.channels_last)
    first = winograd.convolve(x, w, b, (pad, pad))
    assert torch.equal(first, winograd.convolve(last, w, b, (pad, pad)))


def test_a_nan_reaches_the_outputs_that_read_it_and_no_other(way):
    x, w = torch.zeros(1, 32, 20, 20), torch.ones(32, 32, 3, 3)
    x[0, 0, 0, -1] = float("nan")
    y = winograd.convolve(x, w, None, (0, 0))
    assert torch.isfinite(y[:, :, 1:]).all() and torch.isfinite(y[:, :, :, :-1]).all()
    assert y[:, :, 0, -1].isnan().all()


@contextmanager
def torch_threads(count):
    """PyTorch with a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def calls(monkeypatch):
    """Return a list that gets the shape of each bottom that Winograd's algorithm convolves."""
    shapes, pays_for = [], winograd.pays_for

    def observed(shape, *rest):
        pays = pays_for(shape, *rest)
        shapes.extend([tuple(shape)] * pays)
        return pays

    monkeypatch.setattr(winograd, "pays_for", observed)
    return shapes


def one_layer(folder, text="", channels=128, size=60, outputs=128, kernel=3):
    head = INPUT.replace("dim: 2 ", f"dim: {channels} ").format(1, size, size)
    return nets.build(folder, head + conv("conv", "data", outputs, kernel, 1, text))


def test_a_large_map_of_many_channels_is_convolved_by_it(tmp_path, monkeypatch):
    net = one_layer(tmp_path)
    shapes = calls(monkeypatch)
    net.forward()
    assert shapes == [(1, 128, 60, 60)]


@pytest.mark.parametrize(
    "other",
    [
        {"channels": 32},
        {"outputs": 32},
        {"channels": 64, "outputs": 64},
        {"size": 12},
        {"kernel": 5},
        {"text": "stride: 2"},
        {"text": "dilation: 2"},
        {"text": "group: 2"},
    ],
    ids=str,
)
def test_other_convolutions_are_not_convolved_by_it(tmp_path, monkeypatch, in_steps, other):
    net = one_layer(tmp_path, **other)
    shapes = calls(monkeypatch)
    net.forward()
    assert not shapes


@pytest.mark.parametrize(
    ("images", "channels", "outputs", "size", "expected"),
    [
        (1, 512, 512, 28, True),
        (1, 512, 512, 14, False),
        (1, 128, 128, 112, True),
        (1, 64, 128, 56, False),  # half of the work is putting tiles into coordinates
        (1, 64, 192, 112, True),
        (8, 160, 320, 14, False),  # strips of four tiles each
        (4, 512, 512, 14, True),
    ],
)
def test_the_algorithm_is_used_where_faster(in_steps, images, channels, outputs, size, expected):
    """The times were measured on two cores; another machine has other limits."""
    x, w = torch.empty(images, channels, size, size), torch.empty(outputs, channels, 3, 3)
    assert winograd.pays(x, w, (1, 1)) is expected


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "expected"),
    [
        (512, 512, 14, True),
        (16, 16, 112, True),
        (16, 16, 6, False),  # a call takes longer than the convolution
        (2048, 2048, 3, False),  # one tile for which all kernels are put into coordinates
        (24, 64, 56, False),  # channels that are no vectors
        (64, 20, 56, False),
    ],
)
def test_the_c_library_is_used_where_it_is_faster(
    native, monkeypatch, channels, outputs, size, expected
):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, w = torch.empty(1, channels, size, size), torch.empty(outputs, channels, 3, 3)
    assert winograd.pays(x, w, (1, 1)) is expected


@pytest.mark.parametrize(
    ("channels", "size", "expected"),
    [(32, 400, False), (64, 44, False), (64, 400, True), (128, 60, True)],
)
def test_the_algorithm_trains_layers_if_much_faster(native, monkeypatch, channels, size, expected):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, w = torch.empty(1, channels, size, size), torch.empty(channels, channels, 3, 3)
    assert winograd.pays(x, w, (1, 1))
    assert winograd.pays(x, w.requires_grad_(), (1, 1)) is expected
    with torch.no_grad():
        assert winograd.pays(x, w, (1, 1))


def test_many_kernels_of_48_channels_learn_in_groups(native, monkeypatch):
    """CaffeNet's second convolution."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, w = torch.empty(2, 96, 27, 27), torch.empty(256, 48, 5, 5).requires_grad_()
    assert winograd.pays(x, w, (2, 2))
    assert not winograd.pays(x[:, :64], w[:, :32], (2, 2))


def image_between(value, channels=32, side=24, dtype=torch.float32):
    """Maps with an image in the middle of equal values, and where an output sees none of it."""
    torch.manual_seed(1)
    x = torch.full((2, channels, side, side), value, dtype=dtype)
    x[:, :, 9:15, 11:14] = torch.randn(2, channels, 6, 3, dtype=dtype)
    ones = torch.ones(1, channels, 3, 3, dtype=dtype)
    return x, torch.nn.functional.conv2d((x != value).to(dtype), ones, padding=1) == 0


@pytest.mark.parametrize("adds", [False, True], ids=["alone", "sum"])
@pytest.mark.parametrize("slope", [None, 0.0])
@pytest.mark.parametrize(("channels", "outputs"), [(16, 16), (48, 80)])
def test_an_output_of_zeros_is_exactly_the_bias(
    native, monkeypatch, channels, outputs, slope, adds
):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, zeros = image_between(0.0, channels)
    x = x * (1 - 2 * (torch.rand(x.shape) < 0.5).float())  # zeros of either sign
    w, b = torch.randn(outputs, channels, 3, 3), torch.randn(outputs)
    other = torch.randn(2, outputs, 24, 24) if adds else torch.zeros(())
    convolve = fused_winograd.Convolution(x.shape, w, b, (1, 1), slope, exact=True)
    y = convolve(x, other if adds else None)
    expected = b.view(1, -1, 1, 1) + other
    expected = (expected if slope is None else torch.relu(expected)).expand_as(y)
    zeros = zeros.expand_as(y)
    assert zeros.any() and torch.equal(y[zeros], expected[zeros])


def test_zeros_of_one_group_of_channels_do_not_change_another_group(native, monkeypatch):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, zeros = image_between(0.0, 16)
    x = torch.cat([torch.randn(2, 16, 24, 24), x], 1)
    w, b = torch.randn(64, 16, 3, 3), torch.randn(64)
    y = fused_winograd.Convolution(x.shape, w, b, (1, 1), exact=True)(x)
    expected = torch.nn.functional.conv2d(x.double(), w.double(), b.double(), padding=1, groups=2)
    assert apart(y, expected) < 1e-5
    zeros = zeros.expand(-1, 32, -1, -1)
    assert torch.equal(y[:, 32:][zeros], b[32:].view(1, -1, 1, 1).expand_as(zeros)[zeros])
    assert not torch.equal(y[:, :32][zeros], b[:32].view(1, -1, 1, 1).expand_as(zeros)[zeros])


def test_gradients_of_zeros_are_zeros(native, monkeypatch):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    diff, zeros = image_between(0.0)
    x = torch.randn(2, 16, 24, 24, requires_grad=True)
    winograd.convolve(x, torch.randn(32, 16, 3, 3), None, (1, 1)).backward(diff)
    grad = x.grad[zeros.expand_as(x)]
    assert len(grad) and not grad.any() and x.grad.any()


@pytest.mark.parametrize("value", [1e-3, 1e-5, 1e-8, 1e-30])
def test_outputs_of_small_inputs_beside_large_ones_have_small_errors(native, monkeypatch, value):
    """As in a map whose zeros became biases, around an image."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, small = image_between(value)
    x[small.expand_as(x)] *= 0.5 + torch.rand(int(small.expand_as(x).sum()))
    w = torch.randn(48, 32, 3, 3)
    y = winograd.convolve(x.requires_grad_(), w, None, (1, 1)).detach()
    expected = torch.nn.functional.conv2d(x.detach().double(), w.double(), padding=1)
    error = ((y - expected).abs() / value)[small.expand_as(y)]
    assert error.max() < 0.05


@pytest.mark.parametrize("bias", [0.0, 1e-6])
def test_narrow_layers_around_an_image_have_the_gradients_of_plain_ones(native, monkeypatch, bias):
    """Beside the image, signs decide what a ReLU passes on, and roundings would change signs."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    torch.manual_seed(1)
    x = torch.nn.functional.pad(100 * torch.randn(1, 16, 10, 10), (30, 30, 30, 30))
    weights = [torch.randn(32, 16, 3, 3) / 12, *(torch.randn(32, 32, 3, 3) / 12 for _ in range(3))]
    ways = (
        lambda x, w, b: torch.nn.functional.conv2d(x, w, b, padding=1),
        lambda x, w, b: winograd.convolve(x, w, b, (1, 1)),
    )
    grads = []
    for convolve in ways:
        biases = [(bias * torch.linspace(-1, 1, 32)).requires_grad_() for _ in weights]
        y = x
        for w, b in zip(weights, biases):
            y = convolve(y, w, b).relu()
        y = torch.nn.functional.max_pool2d(y, 2)
        grads.append(torch.autograd.grad(y.sum(), biases))
    for plain, ours in zip(*grads):
        assert apart(ours, plain.double()) < 1e-4


def test_small_outputs_in_bfloat16_are_exact_too(native, monkeypatch):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, small = image_between(2.0**-20)
    x, w = x.bfloat16(), torch.randn(16, 32, 3, 3).bfloat16()
    y = winograd.convolve(x.requires_grad_(), w, None, (1, 1)).detach().float()
    expected = torch.nn.functional.conv2d(x.detach().double(), w.double(), padding=1)
    error = ((y - expected).abs() / 2.0**-20)[small.expand_as(y)]
    assert error.max() < 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_zeros_times_weights_that_are_not_finite_are_nan(native, monkeypatch, value):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, zeros = image_between(0.0)
    w = torch.randn(16, 32, 3, 3)
    w[3, 5, 1, 1] = value
    assert fused_winograd.Convolution(x.shape, w, None, (1, 1), exact=True).compute(x) is None
    y = winograd.convolve(x, w, None, (1, 1))
    assert y[:, 3].isnan()[zeros[:, 0]].all()
    assert torch.isfinite(y[:, 4:]).all()


def test_beside_zeros_the_algorithm_in_steps_gives_roundings(in_steps):
    torch.manual_seed(1)
    x, zeros = image_between(0.0)
    y = winograd.convolve(x.requires_grad_(), torch.randn(32, 32, 3, 3), None, (1, 1))
    assert 0 < y[zeros.expand_as(y)].abs().max() < 1e-3


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [7, 40])
def test_the_threads_of_the_c_library_do_not_change_the_bits(native, monkeypatch, threads, size):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    torch.manual_seed(1)
    x, w = torch.randn(2, 48, size, size), torch.randn(80, 48, 3, 3)
    convolve = fused_winograd.Convolution(x.shape, w, None, (1, 1))
    one = convolve(x)
    with torch_threads(threads):
        assert torch.equal(convolve(x), one)


@pytest.mark.parametrize(
    ("groups", "channels", "outputs", "size"), [(2, 32, 64, 21), (3, 48, 96, 7)]
)
def test_the_c_library_convolves_each_group_of_channels(
    native, monkeypatch, groups, channels, outputs, size
):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    torch.manual_seed(1)
    x = torch.randn(2, channels * groups, size, size + 3, dtype=torch.float64)
    w = torch.randn(outputs * groups, channels, 3, 3, dtype=torch.float64)
    exact = [x.requires_grad_(), w.requires_grad_(), torch.randn(outputs * groups).double()]
    ours = [t.detach().float().requires_grad_(t.requires_grad) for t in exact]
    expected = torch.nn.functional.conv2d(*exact, padding=1, groups=groups)
    y = winograd.convolve(*ours, (1, 1))
    assert apart(y, expected) < 1e-5
    diff = torch.randn_like(expected)
    expected.backward(diff)
    y.backward(diff.float())
    assert all(apart(a.grad, e.grad) < 2e-5 for a, e in zip(ours[:2], exact[:2]))
    with torch_threads(3):
        assert torch.equal(winograd.convolve(*ours, (1, 1)), y)


@pytest.mark.parametrize("slope", [None, 0.0, 0.25, -0.5])
@pytest.mark.parametrize("adds", [False, True], ids=["alone", "sum"])
def test_the_c_library_adds_a_map_and_rectifies(native, monkeypatch, slope, adds):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    torch.manual_seed(1)
    x, w, b = torch.randn(2, 32, 9, 14), torch.randn(48, 32, 3, 3), torch.randn(48)
    other = torch.randn(2, 48, 9, 14) if adds else None
    y = fused_winograd.Convolution(x.shape, w, b, (1, 1), slope)(x, other)
    expected = torch.nn.functional.conv2d(x.double(), w.double(), b.double(), padding=1)
    expected = expected if other is None else expected + other
    expected = expected if slope is None else torch.where(expected > 0, expected, slope * expected)
    assert apart(y, expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_prepared_convolution_treats_special_values_as_a_plain_one(
    native, monkeypatch, value, dtype
):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, w = torch.ones(1, 64, 30, 30), torch.ones(64, 64, 3, 3)
    x[0, 3, 4, 29] = value
    geometry = prepared.Geometry((1, 1), (1, 1), (1, 1), 1)
    assert prepared.choose_algorithm(x.shape, w.shape, geometry, dtype) == "winograd"
    y = prepared.convolution(x.shape, w, None, geometry, slope=0.0, dtype=dtype)(x)
    assert y.dtype == dtype
    expected = torch.relu(torch.nn.functional.conv2d(x, w, padding=1))
    assert torch.equal(y.isnan(), expected.isnan())
    assert apart(y.nan_to_num(0, 1, -1), expected.nan_to_num(0, 1, -1)) < 1e-5


def test_without_fast_paths_nothing_is_convolved_by_it(tmp_path, monkeypatch):
    net = one_layer(tmp_path)
    shapes = calls(monkeypatch)
    monkeypatch.setattr(caffe.mode, "fast", lambda: False)
    net.forward()
    assert not shapes


def test_without_the_c_library_a_lower_precision_is_not_convolved_by_it(
    tmp_path, monkeypatch, in_steps
):
    net = one_layer(tmp_path)
    shapes = calls(monkeypatch)
    caffe.set_precision("bfloat16")
    net.forward()
    assert not shapes


def test_a_lower_precision_is_convolved_by_the_c_library(tmp_path, monkeypatch, native):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    net = one_layer(tmp_path)
    shapes = calls(monkeypatch)
    caffe.set_precision("bfloat16")
    net.blobs["data"].data[...] = np.random.RandomState(1).randn(1, 128, 60, 60)
    weights, bias = (blob.data.copy() for blob in net.params["conv"])
    net.forward()
    assert set(shapes) == {(1, 128, 60, 60)}
    x = torch.from_numpy(net.blobs["data"].data).bfloat16().double()
    exact = torch.nn.functional.conv2d(
        x, torch.from_numpy(weights).double(), torch.from_numpy(bias).double(), padding=1
    )
    assert within_a_rounding(torch.from_numpy(net.blobs["conv"].data), exact)


def within_a_rounding(y, exact):
    """Whether values are exact ones, rounded to 8 bits, but for float32's own roundings."""
    half = 2.0**-8
    return bool(((y.double() - exact).abs() <= half * exact.abs() + 1e-5 * exact.abs().max()).all())


VECTORS = [case for case, (_, c, k, *_) in SHAPES.items() if c % 16 == k % 16 == 0]


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", VECTORS)
def test_bfloat16_maps_are_rounded_once(native, monkeypatch, case, weights):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    (x, w, b), pad = random_leaves(case)
    x, w, b = x.detach().bfloat16(), w.detach().to(weights), b.detach()
    convolve = fused_winograd.Convolution(x.shape, w, b.float(), (pad, pad), dtype=x.dtype)
    y = convolve(x)
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)
    exact = torch.nn.functional.conv2d(x.double(), w.double(), b, padding=pad)
    assert within_a_rounding(y, exact)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(convolve(last), y) and torch.equal(convolve(x.float()), y)


def test_bfloat16_results_are_rounded_to_even_as_by_pytorch(native, monkeypatch):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    bits = torch.randint(-(2**31), 2**31, (4096,), dtype=torch.int64).to(torch.int32)
    bits[:1024] = bits[:1024] & ~0xFFFF | 0x8000  # halfway between two values
    biases = bits.view(torch.float32)
    biases = biases[biases.isfinite()][: 16 * (4000 // 16)]
    zeros, w = torch.zeros(1, 16, 4, 4).bfloat16(), torch.zeros(len(biases), 16, 3, 3)
    y = fused_winograd.Convolution(zeros.shape, w, biases, (1, 1), dtype=zeros.dtype)(zeros)
    assert torch.equal(y[0, :, 1, 2], biases.bfloat16())


@pytest.mark.parametrize("slope", [None, 0.0, 0.25])
def test_bfloat16_maps_are_added_before_the_rounding(native, monkeypatch, slope):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    torch.manual_seed(1)
    x, w, b = torch.randn(2, 32, 9, 14).bfloat16(), torch.randn(48, 32, 3, 3), torch.randn(48)
    other = torch.randn(2, 48, 9, 14).bfloat16()
    other[1, 3, 2, 1] = float("nan")
    y = fused_winograd.Convolution(x.shape, w, b, (1, 1), slope, x.dtype)(x, other)
    exact = torch.nn.functional.conv2d(x.double(), w.double(), b.double(), padding=1) + other
    exact = exact if slope is None else torch.where(exact > 0, exact, slope * exact)
    assert torch.equal(y.isnan(), other.isnan())
    assert within_a_rounding(y.nan_to_num(0), exact.nan_to_num(0))


def test_gradients_in_bfloat16_are_those_of_the_rounded_maps(native, monkeypatch):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    leaves, pad = random_leaves("vectors of channels")
    ours = [t.detach().bfloat16().requires_grad_() for t in leaves]
    leaves = [t.detach().double().requires_grad_() for t in ours]
    expected = torch.nn.functional.conv2d(*leaves, padding=pad)
    y = winograd.convolve(*ours, (pad, pad))
    diff = torch.randn_like(y)
    grads = torch.autograd.grad(y, ours, diff)
    exact = torch.autograd.grad(expected, leaves, diff.double())
    assert within_a_rounding(y.detach(), expected.detach()) and within_a_rounding(
        grads[0], exact[0]
    )
    assert apart(grads[1], exact[1]) < 0.01 and apart(grads[2], exact[2]) < 0.01


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "expected"),
    [
        (64, 64, 224, True),
        (512, 512, 28, True),
        (512, 512, 7, False),  # most of the work is putting kernels into coordinates
        (16, 16, 64, False),
        (24, 64, 56, False),  # channels that are no vectors
    ],
)
def test_the_algorithm_convolves_bfloat16_where_faster(
    native, monkeypatch, channels, outputs, size, expected
):
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)
    x, w = torch.empty(1, channels, size, size).bfloat16(), torch.empty(outputs, channels, 3, 3)
    assert winograd.pays(x, w, (1, 1)) is expected


WIDE = (
    conv("conv1", "data", 64, 3, 30)
    + relu("conv1")
    + conv("conv2", "conv1", 128, 3, 1)
    + relu("conv2")
    + pool("pool1", "conv2", 2, 2)
    + conv("conv3", "pool1", 64, 3, 1)
    + relu("conv3")
    + pool("pool2", "conv3", 2, 2)
    + conv("top", "pool2", 128, 3, 1)
    + relu("top")
)


def fast_and_plain(folder, phase=caffe.TEST):
    """A net with regions, and one that runs layer by layer."""
    return (build(folder, WIDE, fast, (1, 60, 71), phase, force=True) for fast in (True, False))


def test_regions_with_the_algorithm_agree_with_plain_convolutions(tmp_path, monkeypatch):
    monkeypatch.setattr(region, "WORTHWHILE", 100)
    fast, plain = fast_and_plain(tmp_path, caffe.TRAIN)
    for net, cost in ((fast, 1.0), (plain, 0.0)):
        monkeypatch.setattr(winograd, "PLAIN", cost)
        monkeypatch.setattr(fused_winograd, "PLAIN", {torch.float32: cost})
        shapes = calls(monkeypatch)
        fill(net)
        net.forward()
        net.backward(top=np.random.RandomState(1).randn(*net.blobs["top"].shape))
        assert bool(shapes) == (net is fast)
    close(fast.blobs["top"].data, plain.blobs["top"].data, 1e-5)
    close(fast.blobs["data"].diff, plain.blobs["data"].diff, 1e-5)
    for name, (weight, bias) in plain.params.items():
        close(fast.params[name][0].diff, weight.diff, 1e-5)
        close(fast.params[name][1].diff, bias.diff, 1e-5)


@pytest.mark.parametrize("requested", [None, "pool1", "conv2"])
@pytest.mark.parametrize("batch", [1, 2])
def test_strips_of_rows_give_the_values_of_entire_maps(tmp_path, monkeypatch, requested, batch):
    monkeypatch.setattr(region, "WORTHWHILE", 100)
    monkeypatch.setattr(strips, "STRIP", 128 * 60 * 12)
    ran = []
    run = strips.run_strips
    monkeypatch.setattr(
        strips, "run_strips", lambda p, stage, *a: ran.append(stage) or run(p, stage, *a)
    )
    tops = []
    for large in (1, 1 << 40):
        monkeypatch.setattr(strips, "LARGE", large)
        net = build(tmp_path, WIDE, True, (batch, 60, 71))
        for _ in range(2):
            fill(net)
            net.forward()
            tops.append(net.blobs["top"].data.copy())
            if requested:
                tops.append(net.blobs[requested].data.copy())
    assert ran[:2] == [range(5), range(5, 8)]
    assert ran[2:] == ([range(4, 8)] if requested == "conv2" else ran[:2])
    half = len(tops) // 2
    for ours, theirs in zip(tops[:half], tops[half:]):
        close(ours, theirs)
