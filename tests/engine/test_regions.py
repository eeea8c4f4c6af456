"""The fast path gives what the layers one by one give, wherever a script can look."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
from caffe.run import border, executor, region

from tests.engine import nets

FILLER = 'weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.2 }'


def layer(kind, name, bottom, top=None, text=""):
    bottoms = " ".join(f'bottom: "{b}"' for b in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {text} }}\n'


def conv(name, bottom, outputs, kernel, pad=0, text=""):
    text = f"num_output: {outputs} kernel_size: {kernel} pad: {pad} {text} {FILLER}"
    return layer("Convolution", name, bottom, text=f"convolution_param {{ {text} }}")


def relu(bottom, top=None, text=""):
    return layer("ReLU", f"relu_{bottom}", bottom, top or bottom, text)


def pool(name, bottom, kernel, stride, text=""):
    text = f"pooling_param {{ kernel_size: {kernel} stride: {stride} {text} }}"
    return layer("Pooling", name, bottom, text=text)


VGG = (
    conv("conv1", "data", 4, 3, 30)
    + relu("conv1")
    + conv("conv2", "conv1", 4, 3, 1)
    + relu("conv2")
    + pool("pool1", "conv2", 2, 2)
    + conv("conv3", "pool1", 6, 3, 1)
    + relu("conv3")
    + pool("pool2", "conv3", 2, 2)
    + conv("top", "pool2", 5, 3, 1)
    + relu("top")
)
ALEX = (
    conv("conv1", "data", 6, 7, 40, "stride: 4")
    + relu("conv1")
    + pool("pool1", "conv1", 3, 2)
    + layer("LRN", "norm1", "pool1", text="lrn_param { local_size: 3 alpha: 0.5 }")
    + conv("top", "norm1", 4, 5, 2, "group: 2")
    + relu("top")
)
INCEPTION = (
    conv("conv1", "data", 4, 5, 25, "stride: 2")
    + relu("conv1", "relu1", "relu_param { negative_slope: 0.1 }")
    + conv("a", "relu1", 3, 1)
    + conv("b", "relu1", 3, 3, 2, "dilation: 2")
    + pool("c", "relu1", 3, 1, "pad: 1")
    + layer("Concat", "joined", "a b c")
    + conv("d", "relu1", 10, 1)
    + layer("Eltwise", "sum", "joined d")
    + relu("sum")
    + pool("top", "sum", 3, 2, "pad: 1")
)
TRUNKS = {"vgg": VGG, "alex": ALEX, "inception": INCEPTION}
INPUT = (
    'layer {{ name: "data" type: "Input" top: "data" input_param '
    "{{ shape {{ dim: {0} dim: 2 dim: {1} dim: {2} }} }} }}\n"
)


@pytest.fixture(params=TRUNKS)
def trunk(request):
    return request.param


def build(folder, text, fast, shape, phase=caffe.TEST, force=False):
    """The net of a trunk, its weights from one seed, with or without the fast path."""
    caffe.set_random_seed(5)
    text = INPUT.format(*shape) + text
    net = nets.build(folder, ("force_backward: true\n" if force else "") + text, phase)
    return net if fast else by_layers(net)


def by_layers(net):
    """The net, whose passes run layer by layer from now on."""
    net.executor = executor.Executor(net.wiring, fast=False)
    return net


def fill(net, seed=0):
    rng = np.random.RandomState(seed)
    net.blobs["data"].data[...] = rng.randn(*net.blobs["data"].shape)


def region_of(net):
    starts = region.region_starts(net.wiring)
    patches, _ = net.executor.regions.at(min(starts))
    return patches and patches.region


def close(ours, theirs, tolerance=3e-6):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, abs(theirs).max()))


def always(monkeypatch):
    monkeypatch.setattr(region, "WORTHWHILE", 100)


SIZES = [(1, 21, 34), (2, 40, 17), (1, 64, 64), (1, 1, 1), (1, 7, 90)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_every_blob_holds_what_the_layers_one_by_one_give(tmp_path, monkeypatch, trunk, shape):
    always(monkeypatch)
    fast, plain = (build(tmp_path, TRUNKS[trunk], f, shape) for f in (True, False))
    assert region_of(fast) is not None
    for _ in range(2):  # the second time the blobs are asked for again, and kept
        for net in (fast, plain):
            fill(net)
            net.forward()
        for name in plain.blobs:
            close(fast.blobs[name].data, plain.blobs[name].data)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_every_blob_put_together_from_patch_and_border_is_right(
    tmp_path, monkeypatch, trunk, shape
):
    always(monkeypatch)
    fast, plain = (build(tmp_path, TRUNKS[trunk], f, shape) for f in (True, False))
    inside = region_of(fast).blobs
    fast.executor.requested.update(inside)
    for net in (fast, plain):
        fill(net)
        net.forward()
    assert not any(fast.wiring.blobs[b].values.is_deferred() for b in inside)
    for b in inside:
        close(fast.wiring.blobs[b].data, plain.wiring.blobs[b].data)


# Of sizes for which no two values in a pooling's window are equal but for rounding: either may then
# get the gradient, in every engine.
@pytest.mark.parametrize("shape", [(1, 21, 34), (2, 40, 17), (1, 64, 66)], ids=str)
def test_gradients_are_those_of_the_layers_one_by_one(tmp_path, monkeypatch, trunk, shape):
    always(monkeypatch)
    nets_of_both = [
        build(tmp_path, TRUNKS[trunk], fast, shape, caffe.TRAIN, force=True)
        for fast in (True, False)
    ]
    rng = np.random.RandomState(1)
    diff = rng.randn(*nets_of_both[1].blobs["top"].shape)
    for net in nets_of_both:
        fill(net)
        net.forward()
        net.backward(top=diff)
    fast, plain = nets_of_both
    assert fast.executor.choice.way == "regions"
    for name, blobs in plain.params.items():
        for ours, theirs in zip(fast.params[name], blobs):
            close(ours.diff, theirs.diff, 1e-5)
    for name in plain.blobs:
        close(fast.blobs[name].diff, plain.blobs[name].diff, 1e-5)


@pytest.mark.parametrize("iter_size", [1, 2])
def test_training_gives_the_same_weights_and_shows_the_same_blobs(
    tmp_path, monkeypatch, trunk, iter_size
):
    always(monkeypatch)
    shape = (1, 26, 37)
    trained = []
    for fast in (True, False):
        caffe.set_random_seed(5)
        net = f"{INPUT.format(*shape)}{TRUNKS[trunk]}" + layer(
            "Reduction",
            "loss",
            "top",
            text="loss_weight: 0.01 reduction_param { operation: SUMSQ }",
        )
        solver = nets.solver(tmp_path, f"base_lr: 1e-5 lr_policy: 'fixed' momentum: 0.9 "
                             f"iter_size: {iter_size}", net)  # fmt: skip
        if not fast:
            by_layers(solver.net)
        fill(solver.net)
        solver.step(3)
        trained.append(solver.net)
    fast, plain = trained
    assert fast.executor.choice.way == "regions"
    for name, blobs in plain.params.items():
        for ours, theirs in zip(fast.params[name], blobs):
            close(ours.data, theirs.data, 1e-5)
            close(ours.diff, theirs.diff, 1e-5)
    for name in plain.blobs:
        close(fast.blobs[name].data, plain.blobs[name].data, 1e-5)
        close(fast.blobs[name].diff, plain.blobs[name].diff, 1e-5)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A net after a forward whose inner blobs wait, and what `conv2` must be."""
    always(monkeypatch)
    net = build(tmp_path, VGG, True, (1, 24, 30))
    plain = build(tmp_path, VGG, False, (1, 24, 30))
    for each in (net, plain):
        fill(each)
        each.forward()
    assert net.blobs["conv2"].values.is_deferred()
    return net, plain.blobs["conv2"].data.copy()


def test_a_blob_asked_for_late_is_of_the_input_that_was_run(ran):
    net, expected = ran
    net.blobs["data"].data[...] = 7
    close(net.blobs["conv2"].data, expected)


def test_a_blob_asked_for_late_is_of_the_weights_that_were_run(ran):
    net, expected = ran
    net.params["conv1"][0].data[...] *= 2
    net.params["conv2"][1].data[...] = 9
    close(net.blobs["conv2"].data, expected)


def test_weights_written_through_an_array_held_since_before_do_not_change_what_was_run(
    tmp_path, monkeypatch
):
    always(monkeypatch)
    net = build(tmp_path, VGG, True, (1, 24, 30))
    held = net.params["conv1"][0].data
    fill(net)
    net.forward()
    expected = build(tmp_path, VGG, False, (1, 24, 30))
    fill(expected)
    expected.forward()
    held[...] = 0
    close(net.blobs["conv2"].data, expected.blobs["conv2"].data)


def test_the_border_follows_weights_written_through_a_held_array(tmp_path, monkeypatch):
    always(monkeypatch)
    net, plain = (build(tmp_path, VGG, fast, (1, 24, 30)) for fast in (True, False))
    for each in (net, plain):
        held = each.params["conv1"][1].data
        fill(each)
        each.forward()
        held[...] = 3
        each.forward()
    close(net.blobs["top"].data, plain.blobs["top"].data)


def test_the_border_follows_weights_loaded_from_a_file(tmp_path, monkeypatch):
    always(monkeypatch)
    net, plain = (build(tmp_path, VGG, fast, (1, 24, 30)) for fast in (True, False))
    for name in net.params:
        net.params[name][1].data[...] = 1.5
    net.save(str(tmp_path / "w.caffemodel"))
    caffe.set_random_seed(9)
    other = build(tmp_path, VGG, True, (1, 24, 30))
    fill(other)
    other.forward()
    other.copy_from(str(tmp_path / "w.caffemodel"))
    plain.copy_from(str(tmp_path / "w.caffemodel"))
    for each in (other, plain):
        fill(each)
        each.forward()
    close(other.blobs["top"].data, plain.blobs["top"].data)


def test_an_array_of_an_inner_blob_that_somebody_holds_is_written(ran):
    net, _ = ran
    held = net.blobs["conv2"].data
    fill(net, seed=1)
    net.forward()
    fast = net.executor
    by_layers(net).forward()
    expected = net.blobs["conv2"].data.copy()
    net.executor = fast
    held[...] = 0
    net.forward()
    close(held, expected)


def test_a_net_run_from_an_inner_layer_starts_from_what_it_holds(ran):
    net, expected = ran
    net.blobs["data"].data[...] = 7
    net.forward(start="pool1")
    pooled = torch.nn.functional.max_pool2d(torch.from_numpy(expected), 2, ceil_mode=True)
    close(net.blobs["pool1"].data, pooled.numpy())


def test_a_blob_that_changes_its_shape_keeps_its_values_in_memory_order(ran):
    net, expected = ran
    count = expected.size
    net.blobs["conv2"].reshape(1, 1, 1, count - 5)
    close(net.blobs["conv2"].data.ravel(), expected.ravel()[: count - 5])


def test_backward_of_a_net_that_does_not_learn_works_from_an_inner_blob(ran, tmp_path):
    net, _ = ran
    plain = build(tmp_path, VGG, False, (1, 24, 30))
    fill(plain)
    plain.forward()
    diff = np.random.RandomState(3).randn(*plain.blobs["top"].shape)
    for each in (net, plain):
        each.blobs["top"].diff[...] = diff
        each.backward(start="relu_top", end="conv2")
    for name in ("conv3", "conv2"):
        close(net.params[name][0].diff, plain.params[name][0].diff, 1e-5)


def test_callbacks_see_every_layer(ran):
    net, _ = ran
    numbers = []
    net.after_forward(numbers.append)
    net.forward()
    assert numbers == list(range(len(net.layers)))


def test_a_net_without_a_wide_border_has_no_region(tmp_path):
    net = build(tmp_path, VGG.replace("pad: 30", "pad: 1"), True, (1, 24, 30))
    assert not region.region_starts(net.wiring)


def test_a_region_that_does_not_pay_is_not_used(tmp_path):
    net = build(tmp_path, VGG.replace("pad: 30", "pad: 3"), True, (1, 200, 200))
    assert region.region_starts(net.wiring) and region_of(net) is None


def test_a_long_run_keeps_no_more_than_a_few_borders(tmp_path, monkeypatch):
    always(monkeypatch)
    monkeypatch.setitem(border.BORDERS, "cpu", 3)
    net = build(tmp_path, VGG, True, (1, 24, 30))
    for height in range(10, 40):
        net.blobs["data"].reshape(1, 2, height, 20)
        net.forward()
    assert len(net.executor.regions.borders) == 3
