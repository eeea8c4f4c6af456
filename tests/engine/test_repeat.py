"""A pass that repeats the last one, in its memory, shows what the layers one by one show."""

from __future__ import annotations

import threading

import caffe
import numpy as np
import pytest
import torch
from caffe.blob import Blob
from caffe.ops import chains, jobs
from caffe.run import plan, program

from tests.engine.test_graphs import joined
from tests.engine.test_joined_chains import CONVOLUTION, RELU
from tests.engine.test_joined_chains import NET as MAPS
from tests.engine.test_native import native as native
from tests.engine.test_plan import check, feed, run
from tests.engine.test_winograd import torch_threads

#: A net that is one chain, and whose result is a row of scores. The C library refuses values that
#: are not finite in the convolution "scores".
NET = (
    MAPS + 'layer { name: "pool" type: "Pooling" bottom: "scores" top: "pool"\n'
    "  pooling_param { pool: AVE global_pooling: true } }\n"
    'layer { name: "row" type: "InnerProduct" bottom: "pool" top: "row" inner_product_param {\n'
    '  num_output: 32 weight_filler { type: "xavier" } } }\n'
).replace("num_output: 21 kernel_size: 1", "num_output: 80 kernel_size: 3 pad: 1")


@pytest.fixture
def repeats(monkeypatch):
    """Whether each attempt to repeat a pass succeeded, in order."""
    results, repeat = [], program.Program.repeat
    monkeypatch.setattr(
        program.Program, "repeat", lambda self: results.append(repeat(self)) or results[-1]
    )
    return results


@pytest.fixture
def make(tmp_path, monkeypatch, native):
    """Return two nets with equal weights: one whose passes are a chain, one layer by layer."""
    monkeypatch.setattr(jobs.library, "load", lambda: native)
    return lambda text=NET: joined(tmp_path, monkeypatch, text)


@pytest.fixture
def pair(make, repeats):
    """The nets of NET, after a pass that the next one may repeat."""
    pair = make()
    run(*pair)
    repeats.clear()
    return pair


def again(pair, repeats, seed, repeated=True):
    """Run both nets with another input; the first repeats the last pass, or does not."""
    feed(*pair, seed)
    run(*pair)
    assert (True in repeats) is repeated
    repeats.clear()
    check(*pair, ["row"])


def test_a_pass_like_the_last_one_repeats_it(pair, repeats):
    for seed in range(3, 6):
        again(pair, repeats, seed)


def test_an_array_of_a_result_receives_the_results_of_each_pass(pair, repeats):
    held = pair[0].blobs["row"].data
    for seed in (3, 4):
        again(pair, repeats, seed)
        np.testing.assert_array_equal(held, pair[0].blobs["row"].data)
        assert np.shares_memory(held, pair[0].blobs["row"].data)
    copy = held.copy()
    del held
    again(pair, repeats, 5)
    assert not np.array_equal(copy, pair[0].blobs["row"].data)


def test_a_repeated_pass_counts_a_change_of_its_results_and_notifies_observers(pair, repeats):
    class Observer:
        def before_change(self):
            self.values = memory.tensor().clone()

    observer, memory = Observer(), pair[0].blobs["row"].values
    expected, before = memory.tensor().clone(), memory.version
    memory.watch(observer, observer.before_change)
    again(pair, repeats, 3)
    assert memory.version > before and torch.equal(observer.values, expected)


def test_an_input_that_the_chain_reads_in_another_layout_is_read_in_each_pass(make, repeats):
    text = NET.replace("dim: 3", "dim: 16").replace(
        "kernel_size: 3 stride: 2 pad: 1", "kernel_size: 1"
    )
    pair = make(text)
    run(*pair)
    for seed in (3, 4):
        again(pair, repeats, seed)
    # The map in that layout is a copy already.
    assert pair[0].blobs["data"].values.observer_count() == 0
    pair[0].blobs["data"].data[...] = 0
    check(*pair, ["expand"])


def test_a_chain_may_have_more_inner_values_than_a_thread_keeps_memory_for(
    pair, repeats, monkeypatch
):
    for most in (0, chains.LARGE_BLOCK, 0):
        monkeypatch.setattr(chains, "LARGE_BLOCK", most)
        for seed in (3, 4):
            again(pair, repeats, seed)


@pytest.mark.parametrize("name", ["stem", "expand", "project"])
@pytest.mark.parametrize("holds", [False, True])
def test_a_hidden_blob_has_the_values_of_the_last_pass(pair, repeats, name, holds):
    planned, plain = pair
    held = planned.blobs["data"].data if holds else None
    for seed in (3, 4):
        again(pair, repeats, seed)
    expected = plain.blobs[name].data.copy()
    planned.blobs["data"].data[...] = 0
    assert held is None or not held.any()
    planned.params["stem"][0].data[...] = 0
    ours = planned.blobs[name].data
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("holds", [False, True])
def test_calls_after_the_first_chain_are_made_in_each_pass(make, repeats, holds):
    further = 'layer { name: "prob" type: "Softmax" bottom: "row" top: "prob" }\n'
    further += CONVOLUTION.format("wide", "deep", 32, "kernel_size: 3 pad: 2 dilation: 2")
    further += RELU.format("wide")
    pair = make(NET + further)
    run(*pair)
    held = [pair[0].blobs[name].data for name in ("prob", "wide", "row") if holds]
    for seed in (3, 4, 5):
        feed(*pair, seed)
        repeats.clear()
        pair[0].executor.forward_all()
        pair[1].forward()
        assert repeats == [True]
        check(*pair, ["prob", "row"] if seed < 5 else pair[0].blobs)
    for array, name in zip(held, ("prob", "wide", "row")):
        np.testing.assert_array_equal(array, pair[0].blobs[name].data)


def test_a_hidden_blob_that_was_read_is_computed_by_the_next_pass(pair, repeats):
    again(pair, repeats, 3)
    check(*pair, ["deep"])
    again(pair, repeats, 4, repeated=False)
    check(*pair, ["deep"])


def test_an_array_of_a_hidden_blob_has_the_values_of_each_pass(pair, repeats):
    held = pair[0].blobs["expand"].data
    for seed in (3, 4):
        again(pair, repeats, seed, repeated=False)
        np.testing.assert_allclose(held, pair[1].blobs["expand"].data, rtol=1e-4, atol=1e-5)


def test_a_hidden_blob_of_another_shape_gets_its_own_back(pair, repeats):
    pair[0].blobs["expand"].reshape(1, 2, 3, 4)
    again(pair, repeats, 3)
    check(*pair, ["expand"])


@pytest.mark.parametrize("name", ["stem", "deep", "row"])
def test_changed_weights_are_used_at_once(pair, repeats, name):
    for net in pair:
        net.params[name][0].data[...] *= 2
    again(pair, repeats, 3, repeated=False)


def test_weights_that_another_blob_s_replace_are_used_at_once(pair, repeats):
    other = Blob(pair[0].params["row"][1].shape)
    other.data[...] = 5
    for net in pair:
        net.params["row"][1].share_data(other)
    again(pair, repeats, 3, repeated=False)


def test_an_input_that_another_blob_s_replaces_is_read(pair, repeats):
    other = Blob(pair[0].blobs["data"].shape)
    other.data[...] = 0.5
    for net in pair:
        net.blobs["data"].share_data(other)
    run(*pair)
    assert repeats == [False]
    check(*pair, ["row"])
    other.data[...] = 0.25
    run(*pair)
    check(*pair, ["row"])


def test_an_input_of_another_size_is_another_pass(pair, repeats):
    for size in (40, 58, 40, 58):
        for net in pair:
            net.blobs["data"].reshape(1, 3, 66, size)
        feed(*pair, size)
        run(*pair)
        check(*pair, ["row"])
        assert True not in repeats
    again(pair, repeats, 3)


def test_a_result_of_another_shape_gets_its_own_back(pair, repeats):
    pair[0].blobs["row"].reshape(2, 3)
    again(pair, repeats, 3, repeated=False)
    assert tuple(pair[0].blobs["row"].shape) == (1, 32)


def test_maps_that_a_read_has_arranged_in_planes_are_computed_elsewhere(make, repeats):
    pair = make(MAPS)
    pair[0].executor.forward_all()
    for reads in (False, False, True, True, False):
        feed(*pair, 3)
        repeats.clear()
        pair[0].executor.forward_all()
        assert repeats == [True]
        if reads:
            pair[1].forward()
            check(*pair, ["scores"])
            pair[0].executor.forward_all()
            assert repeats == [True, False]


def test_a_result_that_was_overwritten_is_computed_again(pair, repeats):
    pair[0].blobs["row"].data[...] = 7
    again(pair, repeats, 3)


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_results_that_are_not_finite_are_those_of_the_layers(pair, repeats, value, holds):
    held = pair[0].blobs["row"].data if holds else None
    for net in pair:
        net.blobs["data"].data[0, 1, 4, 5] = value
    run(*pair)
    ours, theirs = (net.blobs["row"].data for net in pair)
    assert repeats == [True] and not np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert held is None or np.array_equal(held, ours, equal_nan=True)
    repeats.clear()
    del ours, theirs
    again(pair, repeats, 3, repeated=holds)
    again(pair, repeats, 4)


def test_two_nets_of_a_thread_share_memory_for_inner_values(make, repeats):
    pairs = [make(), make(NET.replace("dim: 66", "dim: 90"))]
    for pair in pairs * 3:
        feed(*pair, 3)
        run(*pair)
    assert repeats[-4:] == [True] * 4
    for pair in pairs:
        check(*pair, ["row"])


def test_a_pass_in_another_thread_is_the_same(pair, repeats):
    for seed in (3, 4):
        feed(*pair, seed)
        thread = threading.Thread(target=run, args=pair)
        thread.start()
        thread.join()
        assert repeats.pop() is True
        check(*pair, ["row"])
        again(pair, repeats, seed + 2)


def test_another_number_of_threads_may_follow(pair, repeats):
    for threads in (2, 1, 3):
        with torch_threads(threads):
            again(pair, repeats, threads)
            again(pair, repeats, threads + 1)


def test_another_precision_is_another_pass(pair, repeats):
    caffe.set_precision("bfloat16")
    try:
        for net in pair:
            net.forward()
        ours, theirs = (net.blobs["row"].data for net in pair)
        assert not repeats and abs(ours - theirs).max() < 0.05 * abs(theirs).max()
    finally:
        caffe.set_precision("float32")
    feed(*pair, 3)
    run(*pair)
    assert not repeats
    check(*pair, ["row"])


def test_a_pass_of_some_layers_or_backward_comes_between(pair, repeats):
    for seed in (3, 5):
        for net in pair:
            net.blobs["data"].data[...] = 0.1
            net.forward(end="deep")
        check(*pair, ["deep"])
        feed(*pair, seed)
        run(*pair)
        assert not repeats
        for net in pair:
            net.blobs["row"].diff[...] = 1
            net.backward()
        check(*pair, ["row"])
        feed(*pair, seed + 1)
        run(*pair)
        assert not repeats
        check(*pair, ["row", *["deep"] * (seed > 3)])


def free(pair, draw):
    pair[0].executor.free_last_pass()


def hold(pair, draw):
    name = draw.choice(["data", "row", "stem", "deep"])
    pair[0].held = pair[0].blobs[name].data


def let_go(pair, draw):
    pair[0].held = None


def hold_weights(pair, draw):
    pair[0].held_weights = pair[0].params[draw.choice(["stem", "row"])][0].data


def let_weights_go(pair, draw):
    pair[0].held_weights = None


def change_held_weights(pair, draw):
    for net in pair:
        net.params["row"][0].data[...] *= 0.9


def overwrite(pair, draw):
    pair[0].blobs[draw.choice(["row", "data", "stem", "sum"])].data[...] = 3


def read(pair, draw):
    check(*pair, [draw.choice(["row", "stem", "expand", "deep", "project", "sum"])])


def resize(pair, draw):
    size = draw.choice([40, 58])
    for net in pair:
        net.blobs["data"].reshape(1, 3, 66, size)


def run_a_part(pair, draw):
    pair[0].forward(end="deep")


def run_with_threads(pair, draw):
    with torch_threads(1 + draw.randint(3)):
        feed(*pair, 1)
        run(*pair)


ACTIONS = [free, hold, let_go, hold_weights, let_weights_go, change_held_weights]
ACTIONS += [overwrite, resize, run_a_part, run_with_threads, *[read] * 2]


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_between_passes_they_show_what_the_layers_show(
    pair, repeats, monkeypatch, seed, joins
):
    draw = np.random.RandomState(seed)
    if not joins:  # the chain then leaves all maps
        monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1000)
        change_held_weights(pair, draw)
    for step in range(40):
        if draw.rand() < 0.4:
            ACTIONS[draw.randint(len(ACTIONS))](pair, draw)
        feed(*pair, step)
        run(*pair)
        if draw.rand() < 0.3:
            read(pair, draw)
        check(*pair, ["row"])
    assert True in repeats and False in repeats
