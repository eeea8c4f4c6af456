"""A pass replayed on a CUDA device leaves what a pass layer by layer leaves."""

from __future__ import annotations

import sys

import caffe
import numpy as np
import pytest
import torch
from caffe.ops import cuda
from caffe.run import replay

from tests.engine import nets
from tests.engine.test_regions import (
    INPUT,
    TRUNKS,
    VGG,
    always,
    build,
    conv,
    fill,
    layer,
    pool,
    region_of,
    relu,
)

pytestmark = pytest.mark.cuda
PRECISIONS = ("float32", "tf32", "bfloat16")
#: Passes after which a size is replayed, and one more.
ENOUGH = replay.BEFORE + 2
#: Maps of whole 16 bytes a position, which are put together by a kernel.
WIDE = (
    conv("conv1", "data", 16, 3, 30)
    + relu("conv1")
    + conv("conv2", "conv1", 8, 3, 1)
    + relu("conv2")
    + pool("pool1", "conv2", 2, 2)
    + conv("conv3", "pool1", 24, 3, 1)
    + relu("conv3")
    + pool("pool2", "conv3", 3, 2, "pad: 1")
    + conv("top", "pool2", 8, 3, 1)
    + relu("top")
)
TRUNKS = {**TRUNKS, "wide": WIDE}
LABEL = layer("Reduction", "loss", "top", text="loss_weight: 2 reduction_param { operation: ASUM }")
DROPOUT = layer("Dropout", "dropped", "top", text="dropout_param { dropout_ratio: 0.5 }")


@pytest.fixture(autouse=True)
def gpu():
    caffe.set_device(0)
    caffe.set_mode_gpu()
    yield
    caffe.set_precision("float32")
    caffe.set_mode_cpu()


def eager(net):
    """The net, whose layers run one by one from now on."""
    net.executor.replays.refuse("a test compares with layers one by one")
    return net


def graphs(net):
    return len(net.executor.replays)


def apart(ours, theirs):
    return float(abs(ours - theirs).max() / max(1e-30, abs(theirs).max()))


def both(folder, text, shape=(1, 40, 33), fast=True):
    """A net that is replayed, and one like it that is not."""
    return build(folder, text, fast, shape), eager(build(folder, text, fast, shape))


@pytest.mark.parametrize("fast", [True, False], ids=["region", "layers"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_blob_equals_that_of_plain_layers(tmp_path, monkeypatch, trunk, precision, fast):
    always(monkeypatch)
    caffe.set_precision(precision)
    ours, theirs = both(tmp_path, TRUNKS[trunk], fast=fast)
    for seed in range(ENOUGH):
        for net in (ours, theirs):
            fill(net, seed)
            net.forward()
    assert graphs(ours) == 1 and graphs(theirs) == 0
    for name in reversed(theirs.blobs):
        assert apart(ours.blobs[name].data, theirs.blobs[name].data) < 1e-6, name


@pytest.mark.parametrize("shape", [(1, 40, 33), (2, 21, 60), (1, 7, 90)], ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_region_is_the_layers_one_by_one(tmp_path, monkeypatch, trunk, precision, shape):
    always(monkeypatch)
    caffe.set_precision(precision)
    limit = dict(zip(PRECISIONS, (3e-6, 2e-3, 2e-2)))[precision]
    ours, theirs = (build(tmp_path, TRUNKS[trunk], fast, shape) for fast in (True, False))
    for _ in range(2):  # the second time the blobs are put together whole
        for net in (ours, eager(theirs)):
            fill(net)
            net.forward()
        for name in theirs.blobs:
            assert apart(ours.blobs[name].data, theirs.blobs[name].data) < limit, name
        region = region_of(ours)
        ours.executor.requested.update(region.blobs)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_the_kernel_that_joins_maps_is_used(tmp_path, monkeypatch, precision):
    always(monkeypatch)
    caffe.set_precision(precision)
    biases, join = [], cuda.Join.forward
    count = staticmethod(lambda ctx, *a: biases.append(a[1]) or join(ctx, *a))
    monkeypatch.setattr(cuda.Join, "forward", count)
    eager(build(tmp_path, WIDE, True, (1, 40, 33))).forward()
    assert len(biases) > 3 and any(bias is not None for bias in biases)


def test_changed_weights_change_the_result_of_a_replay(tmp_path):
    ours, theirs = both(tmp_path, VGG)
    for _ in range(2 * ENOUGH):
        for net in (ours, theirs):
            fill(net)
            net.forward()
            net.params["conv2"][0].data[...] *= 1.5
            net.params["top"][1].data[...] += 1
    for net in (ours, theirs):
        for _ in range(ENOUGH):
            net.forward()
    assert graphs(ours) == 1
    assert apart(ours.blobs["top"].data, theirs.blobs["top"].data) < 1e-6


def test_each_of_several_sizes_is_replayed(tmp_path):
    ours, theirs = both(tmp_path, VGG)
    for i in range(4 * ENOUGH):
        for net in (ours, theirs):
            net.blobs["data"].reshape(1, 2, *[(40, 33), (21, 60), (40, 34)][i % 3])
            fill(net, i)
            net.forward()
        for name in ("top", "conv2", "conv3"):
            assert apart(ours.blobs[name].data, theirs.blobs[name].data) < 1e-6
    # None was given up because a blob took another shape while it was captured.
    assert graphs(ours) >= 3 and not ours.executor.replays.refused


def test_training_replays_each_of_several_sizes(tmp_path):
    sizes = ((40, 33), (21, 60), (40, 34), (64, 20))
    ours, theirs = trainers(tmp_path, WIDE + LABEL)
    losses = []
    for solver in (ours, theirs):
        losses.append(learn(solver, sizes, 12))
        # What was freed goes back to the device, and may not be read any more.
        torch.cuda.empty_cache()
        losses[-1] = np.append(losses[-1], learn(solver, sizes[::-1], 12))
    assert apart(*losses) < 1e-5
    assert graphs(ours.net) == len(sizes)
    check_alike(ours, theirs)


def test_an_array_that_is_held_shows_each_result(tmp_path):
    net = build(tmp_path, VGG, True, (1, 40, 33))
    held, copies = net.forward()["top"], []
    for seed in range(ENOUGH + 2):
        fill(net, seed)
        net.forward()
        copies.append(held.copy())
    theirs = eager(build(tmp_path, VGG, True, (1, 40, 33)))
    for seed, ours in enumerate(copies):
        fill(theirs, seed)
        assert apart(ours, theirs.forward()["top"]) < 1e-6
    assert graphs(net) > 0


def test_an_input_may_change_while_the_device_computes(tmp_path):
    net = build(tmp_path, VGG, True, (1, 40, 33))
    held = net.blobs["data"].data
    last = len(net.layers) - 1
    for _ in range(ENOUGH):
        net._forward(0, last)
    tops = []
    for value in range(20):
        held = net.blobs["data"].data
        held[...] = value
        net._forward(0, last)
        held[...] = -1
        tops.append(net.blobs["top"].values.tensor(caffe.mode.device()).clone())
    theirs = eager(build(tmp_path, VGG, True, (1, 40, 33)))
    for value, top in enumerate(tops):
        theirs.blobs["data"].data[...] = value
        assert apart(top.cpu().numpy(), theirs.forward()["top"]) < 1e-6


def trainers(folder, text, more="", cls=caffe.SGDSolver):
    """A solver whose steps are replayed, and one like it whose are not."""
    results = []
    for _ in range(2):
        caffe.set_random_seed(3)
        settings = f"base_lr: 1e-5 lr_policy: 'fixed' momentum: 0.9 weight_decay: 0.01 {more}"
        settings = settings.replace("momentum: 0.9", "") if "momentum: 0" in more else settings
        results.append(nets.solver(folder, settings, INPUT.format(1, 40, 33) + text, cls))
    eager(results[1].net)
    return results


def learn(solver, sizes=((40, 33),), passes=3 * ENOUGH):
    """The losses of training on drawn images."""
    caffe.set_random_seed(9)
    losses = []
    for i in range(passes):
        solver.net.blobs["data"].reshape(1, 2, *sizes[i % len(sizes)])
        fill(solver.net, i)
        solver.step(1)
        losses.append(solver.smoothed_loss)
    return np.array(losses)


def check_alike(ours, theirs, weights=1e-5, steps=1e-3):
    for name, blobs in theirs.net.params.items():
        for mine, other in zip(ours.net.params[name], blobs):
            assert apart(mine.data, other.data) < weights, name
            assert apart(mine.diff, other.diff) < steps, name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_replays_give_the_weights_of_plain_training(tmp_path, monkeypatch, trunk, precision):
    always(monkeypatch)
    caffe.set_precision(precision)
    ours, theirs = trainers(tmp_path, TRUNKS[trunk] + LABEL)
    # Sums on a device have no fixed order; a last digit of bfloat16 is a large one.
    low = precision == "bfloat16"
    assert apart(learn(ours), learn(theirs)) < (5e-3 if low else 1e-5)
    assert graphs(ours.net) == 1 and graphs(theirs.net) == 0
    check_alike(ours, theirs, *((5e-3, 0.2) if low else (1e-5, 1e-3)))
    for name in reversed(theirs.net.blobs):
        mine, other = ours.net.blobs[name], theirs.net.blobs[name]
        assert apart(mine.data, other.data) < (5e-2 if low else 1e-4), name
        assert apart(mine.diff, other.diff) < (5e-2 if low else 1e-4), name


def test_dropout_draws_the_same(tmp_path):
    ours, theirs = trainers(tmp_path, VGG + DROPOUT + LABEL.replace('"top"', '"dropped"', 1))
    assert apart(learn(ours), learn(theirs)) < 1e-5
    assert graphs(ours.net) > 0


def test_gradients_of_several_passes_add_up(tmp_path):
    sizes = ((40, 33), (30, 41))
    ours, theirs = trainers(tmp_path, VGG + LABEL, "iter_size: 3")
    assert apart(learn(ours, sizes), learn(theirs, sizes)) < 1e-5
    assert graphs(ours.net) > 0
    check_alike(ours, theirs)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_every_solver_learns_the_same(tmp_path, kind):
    more = "momentum: 0" if kind in ("AdaGrad", "RMSProp") else ""
    cls = getattr(caffe, f"{kind}Solver")
    ours, theirs = trainers(tmp_path, VGG + LABEL, more, cls)
    assert apart(learn(ours), learn(theirs)) < 1e-4
    check_alike(ours, theirs, 1e-4)


def test_a_layer_that_reads_back_is_left_outside(tmp_path):
    text = INPUT.format(1, 1, 4) + layer(
        "Embed", "top", "data", text="embed_param { num_output: 3 input_dim: 5 }"
    )
    net = nets.build(tmp_path, text)
    for _ in range(ENOUGH):
        net.forward()
    assert not net.executor.replays.inside and graphs(net) == 0


def test_a_net_that_learns_is_not_replayed_without_its_backward(tmp_path):
    net = build(tmp_path, VGG, True, (1, 40, 33), caffe.TRAIN, force=True)
    for _ in range(ENOUGH):
        fill(net)
        net.forward()
        net.backward(top=np.ones(net.blobs["top"].shape))
    assert graphs(net) == 0


def test_the_update_in_one_pass_is_the_update_in_steps(tmp_path, monkeypatch):
    text = VGG + LABEL
    once, steps = trainers(tmp_path, text)
    learn(once, passes=4)
    assert cuda.SGD().possible()
    monkeypatch.setattr(cuda.SGD, "possible", lambda self: False)
    learn(steps, passes=4)
    check_alike(once, steps, 1e-6)
    for ours, theirs in zip(once.history, steps.history):
        assert apart(ours.data, theirs.data) < 1e-4
    # The gradient is then the update, asked for at once, or when it is about to be another.
    updates = [blob.diff.copy() for blob, _, _ in once.net.parameters]
    for ours, theirs in zip(updates, steps.net.parameters):
        assert apart(ours, theirs.diff) < 1e-4
    held = [blob.diff for blob, _, _ in once.net.parameters[:1]]
    learn(once, passes=1)
    assert once.net.parameters[0].blob.diff.ctypes.data == held[0].ctypes.data
    assert not np.array_equal(held[0], updates[0])
    assert np.array_equal(held[0], once.history[0].data)
    once.apply_update()
    before = [history.data.copy() for history in once.history]
    once.history[1].data[...] = 0
    assert np.array_equal(once.net.parameters[1].blob.diff, before[1])


def test_weights_laid_out_for_the_device_are_saved_in_the_order_of_their_axes(tmp_path):
    caffe.set_precision("bfloat16")
    net = build(tmp_path, VGG, True, (1, 40, 33))
    before = {name: blobs[0].data.copy() for name, blobs in net.params.items()}
    net.forward()
    for name, blobs in net.params.items():
        assert np.array_equal(blobs[0].data, before[name])
        assert blobs[0].data.flags.c_contiguous
    net.save(str(tmp_path / "saved.caffemodel"))
    again = build(tmp_path, VGG, True, (1, 40, 33))
    again.params["conv1"][0].data[...] = 0
    again.copy_from(str(tmp_path / "saved.caffemodel"))
    assert np.array_equal(again.params["conv1"][0].data, before["conv1"])


@pytest.mark.parametrize(
    "precision, limit", list(zip(PRECISIONS, (2e-6, 2e-3, 2e-2))), ids=PRECISIONS
)
def test_a_large_kernel_as_a_product_gives_the_convolution(tmp_path, monkeypatch, precision, limit):
    caffe.set_precision(precision)
    results = []
    for large in (1, 1 << 30):
        monkeypatch.setattr(sys.modules["caffe.ops.product"], "LARGE", large)
        text = conv("top", "data", 6, 5, 2, "stride: 2")
        net = build(tmp_path, text, True, (2, 40, 33), caffe.TRAIN, force=True)
        fill(net)
        net.forward()
        diff = np.random.RandomState(1).randn(*net.blobs["top"].shape)
        net.backward(top=diff)
        gradients = [blob.diff.copy() for blob in net.params["top"]]
        results.append([net.blobs["top"].data.copy(), net.blobs["data"].diff.copy(), *gradients])
    for ours, theirs in zip(*results):
        assert apart(ours, theirs) < limit


def test_tf32_is_near_float32_and_not_it(tmp_path):
    tops = []
    for precision in ("float32", "tf32"):
        caffe.set_precision(precision)
        net = build(tmp_path, VGG.replace("4 kernel", "64 kernel"), True, (1, 40, 33))
        fill(net)
        tops.append(net.forward()["top"].copy())
    assert 0 < apart(tops[1], tops[0]) < 5e-3
    assert torch.backends.cudnn.allow_tf32


def test_without_room_for_a_graph_layers_run_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "FREE", 2)
    ours, theirs = both(tmp_path, VGG)
    for seed in range(2 * ENOUGH):
        for net in (ours, theirs):
            fill(net, seed)
            net.forward()
    assert graphs(ours) == 0
    assert apart(ours.blobs["top"].data, theirs.blobs["top"].data) < 1e-6
