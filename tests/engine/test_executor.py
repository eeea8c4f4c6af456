"""How a net runs can be read, and fast paths can be switched off."""

from __future__ import annotations

import gc
import weakref

import caffe
import numpy as np
import pytest

from tests.engine import nets
from tests.engine.test_regions import VGG, always, build, close, fill

SCRIPT = """
import sys
import caffe
import numpy as np
caffe.set_random_seed(5)
net = caffe.Net(sys.argv[1], caffe.TEST)
net.blobs["data"].data[...] = np.random.RandomState(0).randn(*net.blobs["data"].shape)
net.forward()
np.save(sys.argv[2], net.blobs["top"].data)
print(net.executor.choice.way, "|", net.executor.choice.reason)
"""


def test_the_choice_names_the_layers_of_a_region_and_its_share(tmp_path, monkeypatch):
    always(monkeypatch)
    net = build(tmp_path, VGG, True, (1, 24, 30))
    assert net.executor.choice is None
    net.forward()
    way, reason = net.executor.choice
    assert way == "regions"
    assert reason.startswith("conv1 .. ") and reason.endswith("% of the multiplications")


def test_the_choice_says_why_a_region_is_not_used(tmp_path):
    net = build(tmp_path, VGG.replace("pad: 30", "pad: 3"), True, (1, 200, 200))
    net.forward()
    way, reason = net.executor.choice
    assert way == "plan" and "which saves too little; 10 layers" in reason


def test_the_choice_says_that_callbacks_keep_a_net_from_its_fast_path(tmp_path, monkeypatch):
    always(monkeypatch)
    net = build(tmp_path, VGG, True, (1, 24, 30))
    net.before_forward(lambda layer: None)
    net.forward()
    assert net.executor.choice == ("layers", "callbacks are set")


def test_a_line_of_the_log_says_how_a_net_with_a_fast_path_runs(tmp_path, monkeypatch, capfd):
    always(monkeypatch)
    monkeypatch.setenv("GLOG_minloglevel", "0")
    net = build(tmp_path, VGG, True, (1, 24, 30))
    for height in (24, 20):
        net.blobs["data"].reshape(1, 2, height, 30)
        net.forward()
    lines = [line for line in capfd.readouterr().err.splitlines() if "choice.py" in line]
    assert len(lines) == 1 and "runs by regions: conv1 .. " in lines[0]


def test_caffe_fast_0_runs_every_layer_with_the_same_result(tmp_path, program):
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 '
    text += "dim: 24 dim: 30 } } }\n" + VGG
    path = nets.write(tmp_path, text)
    script = nets.write(tmp_path, SCRIPT, "script.py")
    results = []
    for fast in ("1", "0"):
        out = tmp_path / f"{fast}.npy"
        done = program(script, path, out, CAFFE_FAST=fast)
        assert done.returncode == 0, done.stderr
        results.append((done.stdout.split(" | ")[0], np.load(out)))
        if fast == "0":
            assert done.stdout.strip() == "layers | CAFFE_FAST=0 is set"
    assert results[0][0] == "regions"
    close(results[0][1], results[1][1])


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A net, and a function that makes another net with the same weights and runs it once."""
    always(monkeypatch)
    owner = build(tmp_path, VGG, True, (1, 24, 30))

    def visit():
        net = build(tmp_path, VGG, True, (1, 24, 30))
        net.share_with(owner)
        fill(net)
        net.forward()
        return net

    return owner, visit


def test_a_net_that_shares_weights_leaves_nothing_with_them_when_it_ends(shared):
    owner, visit = shared
    visit()
    gc.collect()
    memories = [blob.values for blob, _, _ in owner.parameters]
    assert [memory.observer_count() for memory in memories] == [0] * len(memories)


def test_a_net_that_shares_weights_is_freed_when_it_ends(shared):
    _, visit = shared
    net = visit()
    wiring = weakref.ref(net.wiring)
    del net
    gc.collect()
    assert wiring() is None


def test_a_net_that_shares_weights_keeps_the_values_of_its_last_pass(shared):
    owner, visit = shared
    net, plain = visit(), visit()
    expected = plain.blobs["conv2"].data.copy()
    owner.params["conv1"][0].data[...] *= 2
    close(net.blobs["conv2"].data, expected)


def test_the_wiring_of_a_net_cannot_be_changed(tmp_path):
    net = nets.build(tmp_path, nets.SCORER)
    with pytest.raises(AttributeError):
        net.wiring.nodes[0].backward = True
    assert isinstance(net.wiring.nodes, tuple) and isinstance(net.wiring.blobs, tuple)


def test_a_layer_that_the_net_lacks_is_refused_by_name(tmp_path):
    net = nets.build(tmp_path, nets.SCORER)
    with pytest.raises(caffe.CaffeError, match="no layer 'fc9'; it has data, conv, relu, pool"):
        net.forward(end="fc9")
