"""Layers outside regions run as a plan, and show what the layers one by one show."""

from __future__ import annotations

import gc
import re
import weakref

import caffe
import numpy as np
import pytest
from caffe.run.outside import BEFORE_PLAN, Outside

from tests.engine.test_precision import full_again as full_again
from tests.engine.test_regions import (
    VGG,
    always,
    build,
    close,
    conv,
    fill,
    layer,
    region_of,
    relu,
)

#: A region ends before normalization within channels, which has no window.
NET = (
    VGG
    + layer("LRN", "norm", "top", text="lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }")
    + conv("inner", "norm", 8, 3, 1)
    + relu("inner", "rectified")
    + conv("score", "rectified", 3, 1)
)
SHAPE, OTHER_SHAPE = (1, 2, 24, 31), (1, 2, 40, 23)


@pytest.fixture
def both(tmp_path, monkeypatch):
    """The same net with regions and layer by layer."""
    always(monkeypatch)
    return [build(tmp_path, NET, fast, SHAPE) for fast in (True, False)]


def run(nets, seed, shape=SHAPE):
    """Run both nets on the same input; return whether the first one had a plan."""
    for net in nets:
        net.blobs["data"].reshape(*shape)
        fill(net, seed)
        net.forward()
    return re.search(r" layers in \d+ calls?\b", nets[0].executor.choice.reason) is not None


def plan_of(nets):
    """Run both nets until the first one has a plan."""
    assert [run(nets, seed) for seed in range(BEFORE_PLAN + 1)] == [False] * BEFORE_PLAN + [True]


def compare(nets, tolerance=3e-6, blobs=("score",)):
    for name in blobs:
        close(nets[0].blobs[name].data, nets[1].blobs[name].data, tolerance)


def test_images_of_one_size_in_a_row_have_the_scores_of_the_layers_one_by_one(both):
    plan_of(both)
    assert both[0].executor.choice.way == "regions"
    compare(both)
    assert run(both, 9)
    compare(both)


@pytest.mark.parametrize("rest", ["", layer("Softmax", "score", "top")])
def test_every_pass_goes_through_regions_where_few_or_no_layers_are_outside(
    rest, tmp_path, monkeypatch
):
    always(monkeypatch)
    nets = [build(tmp_path, VGG + rest, fast, SHAPE) for fast in (True, False)]
    for seed in range(BEFORE_PLAN + 3):
        run(nets, seed)
        compare(nets, blobs=["score" if rest else "top"])
        choice = nets[0].executor.choice
        assert choice.way == "regions"
        assert "0 calls" not in choice.reason


def test_every_blob_is_that_of_the_last_pass(both):
    plan_of(both)
    compare(both, blobs=both[0].blobs)
    run(both, 9)
    compare(both, blobs=both[0].blobs)


def test_a_blob_asked_for_is_computed_in_later_passes(both):
    plan_of(both)
    compare(both, blobs=["inner"])
    array = both[0].blobs["inner"].data
    run(both, 9)
    close(array, both[1].blobs["inner"].data)
    compare(both)


def test_changed_weights_are_used_and_end_the_plan(both):
    plan_of(both)
    for net in both:
        net.params["inner"][0].data[...] *= -1
    assert not run(both, 9)
    compare(both, blobs=["inner", "score"])


def test_a_single_image_of_another_size_leaves_the_plan_as_it_is(both):
    plan_of(both)
    assert not run(both, 5, OTHER_SHAPE)
    compare(both)
    assert run(both, 6)
    compare(both, blobs=both[0].blobs)


def test_the_plan_of_another_size_takes_the_place_of_the_last_one(both):
    net = both[0]
    outside = Outside(net.wiring, set())
    plans = [outside.plan([region_of(net)]) for _ in range(BEFORE_PLAN + 1)]
    assert plans[:-1] == [None] * BEFORE_PLAN
    first = weakref.ref(plans.pop())
    net.blobs["data"].reshape(*OTHER_SHAPE)
    others = [outside.plan([region_of(net)]) for _ in range(BEFORE_PLAN + 1)]
    gc.collect()
    assert others[-1] is not None and first() is None


def test_bfloat16_has_a_plan_of_its_own(both):
    plan_of(both)
    caffe.set_precision("bfloat16")
    plan_of(both)
    scores = both[0].blobs["score"].data.copy()
    caffe.set_precision("float32")
    assert not run(both, BEFORE_PLAN)
    compare(both)
    error = np.abs(scores - both[0].blobs["score"].data).max()
    assert 0 < error < 0.03 * np.abs(scores).max()


def test_a_pass_with_callbacks_sees_every_layer(both):
    plan_of(both)
    names = []
    net = both[0]
    net.after_forward(lambda number: names.append(net._layer_names[number]))
    run(both, 9)
    compare(both)
    assert {"conv1", "inner", "relu_inner", "score"} <= set(names)
