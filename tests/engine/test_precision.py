"""A lower precision is the user's choice by name, and stays inside."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch

from tests.engine import nets
from tests.engine.test_regions import INPUT, TRUNKS, always, build, fill, layer


@pytest.fixture(autouse=True)
def full_again():
    yield
    caffe.set_precision("float32")


def passes(folder, trunk, precision, fast=True):
    """What a net that learns shows after a pass at this precision."""
    caffe.set_precision(precision)
    net = build(folder, TRUNKS[trunk], fast, (1, 40, 33), caffe.TRAIN, force=True)
    fill(net)
    net.forward()
    net.backward(top=np.random.RandomState(1).randn(*net.blobs["top"].shape))
    return net


def apart(ours, theirs):
    return float(abs(ours - theirs).max() / abs(theirs).max())


def test_float32_is_the_default():
    assert caffe.precision() == "float32"


@pytest.mark.parametrize("trunk", TRUNKS)
def test_bfloat16_is_near_float32_and_not_it(tmp_path, monkeypatch, trunk):
    always(monkeypatch)
    low, full = (passes(tmp_path, trunk, p) for p in ("bfloat16", "float32"))
    for ours, theirs in ((b, full.blobs[n]) for n, b in low.blobs.items() if n != "data"):
        assert ours.data.dtype == np.float32
        assert 0 < apart(ours.data, theirs.data) < 0.03
    for name, (weight, bias) in low.params.items():
        assert weight.diff.dtype == np.float32
        assert 0 < apart(weight.diff, full.params[name][0].diff) < 0.3
        assert 0 < apart(bias.diff, full.params[name][1].diff) < 0.3


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_fast_path_rounds_like_the_layers_one_by_one(tmp_path, monkeypatch, trunk):
    always(monkeypatch)
    fast, plain = (passes(tmp_path, trunk, "bfloat16", f) for f in (True, False))
    assert apart(fast.blobs["top"].data, plain.blobs["top"].data) < 0.01


def test_a_blob_asked_for_late_has_the_precision_that_was_run(tmp_path, monkeypatch):
    always(monkeypatch)
    net = passes(tmp_path, "vgg", "bfloat16")
    assert net.blobs["conv2"].values.is_deferred()
    caffe.set_precision("float32")
    late = net.blobs["conv2"].data
    assert np.array_equal(late, torch.from_numpy(late).bfloat16().float().numpy())


def test_weights_stay_float32_when_bfloat16_trains(tmp_path):
    caffe.set_precision("bfloat16")
    text = INPUT.format(1, 20, 20) + TRUNKS["vgg"]
    text += layer(
        "Reduction", "loss", "top", text="loss_weight: 1 reduction_param { operation: SUMSQ }"
    )
    solver = nets.solver(tmp_path, "base_lr: 1e-6 lr_policy: 'fixed' momentum: 0.9", text)
    fill(solver.net)
    before = solver.net.params["conv1"][0].data.copy()
    solver.step(2)
    after = solver.net.params["conv1"][0].data
    moved = torch.from_numpy(after - before)
    assert moved.abs().max() > 0
    assert not np.array_equal(after, torch.from_numpy(after).bfloat16().float().numpy())


def test_rounded_weights_follow_the_weights(tmp_path):
    caffe.set_precision("bfloat16")
    net = nets.build(tmp_path, nets.SCORER)
    fill(net)
    net.forward()
    first = net.blobs["score"].data.copy()
    net.params["score"][0].data[...] *= 2
    net.forward()
    assert apart(net.blobs["score"].data, 2 * first) < 0.01


@pytest.mark.parametrize("name", ["float16", "", "BFLOAT16"])
def test_another_precision_is_refused(name):
    with pytest.raises(caffe.CaffeError, match="it needs to be float32, tf32, bfloat16"):
        caffe.set_precision(name)


def test_tf32_is_refused_on_the_cpu():
    with pytest.raises(caffe.CaffeError, match="CUDA"):
        caffe.set_precision("tf32")
    assert caffe.precision() == "float32"


@pytest.mark.parametrize("setting, precision", [("", "float32"), ("bfloat16", "bfloat16")])
def test_the_environment_chooses_a_precision(program, setting, precision):
    done = program("-c", "import caffe; print(caffe.precision())", CAFFE_PRECISION=setting)
    assert done.stdout.split() == [precision]


def test_tf32_from_the_environment_is_not_for_the_cpu(program):
    done = program("-c", "import caffe; print(caffe.precision())", CAFFE_PRECISION="tf32")
    assert done.stdout.split() == ["float32"]


def test_a_script_has_the_last_word_on_precision(program):
    code = "import caffe; caffe.set_precision('float32'); print(caffe.precision())"
    assert program("-c", code, CAFFE_PRECISION="bfloat16").stdout.split() == ["float32"]


def test_another_precision_in_the_environment_is_refused_in_one_line(program):
    done = program("-c", "import caffe", CAFFE_PRECISION="half")
    needed = "CAFFE_PRECISION is 'half'; it needs to be float32, tf32, bfloat16"
    assert done.returncode and needed in done.stderr.splitlines()[-1]
