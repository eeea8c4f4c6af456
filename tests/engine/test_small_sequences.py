"""Whatever somebody does between the steps of a small net, bound calls show what layers show."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.blob import Blob

from tests.engine.test_small import ARITHMETIC, MIDDLES, compare, feed, layer, pair


def write_data(s, draw):
    name = draw.choice(["start", "score"])
    s.net.blobs[name].data[...] = 0.1


def write_diffs(s, draw):
    s.net.params["score"][draw.randint(2)].diff[...] = 0.05


def change_weights(s, draw):
    s.net.params["start"][0].data[...] *= 0.9


def hold(s, draw):
    name = draw.choice(["start", "score", "loss"])
    parameter = s.net.params["start"][draw.randint(2)]
    s.held = [s.net.blobs[name].data, s.net.blobs[name].diff, parameter.data, parameter.diff]


def let_go(s, draw):
    s.held = None


def scale_loss(s, draw):
    s.net.blobs["loss"].diff[...] = 1 + draw.randint(2)


def share(s, draw):
    other = Blob(tuple(s.net.params["score"][1].shape))
    other.data[...] = s.net.params["score"][1].data
    s.net.params["score"][1].share_data(other)


def batch(s, draw):
    count = int(draw.randint(1, 4))
    s.net.blobs["data"].reshape(count, *tuple(s.net.blobs["data"].shape)[1:])
    s.net.blobs["label"].reshape(count)
    feed([s], 0)


def train_partly(s, draw):
    s.net.clear_param_diffs()
    s.net.forward()
    s.net.backward(start="score")


def forward_backward(s, draw):
    s.net.forward()
    s.net.backward()


def snapshot(s, draw):
    s.snapshot()
    s.restore(f"{s.param.snapshot_prefix}_iter_{s.iter}.solverstate")


def train(s, draw):
    s.step(1)


def fail(s, draw):
    label = s.net.blobs["label"].data
    before = label.copy()
    label[0] = 99
    with pytest.raises(caffe.CaffeError, match="a label is"):
        s.step(1)
    label[...] = before


ACTIONS = [
    *(write_data, write_diffs, change_weights, hold, let_go, scale_loss, share, batch, fail),
    *(train_partly, forward_backward, snapshot),
    lambda s, draw: s.step(2),
    lambda s, draw: s.net.forward(),
    lambda s, draw: s.net.clear_param_diffs(),
    lambda s, draw: s.net.reshape(),
    lambda s, draw: s.net.forward_backward(),
    lambda s, draw: s.apply_update(),
    lambda s, draw: s.net.forward(end="start"),
]
NETS = {
    "sums and joins": ARITHMETIC,
    "slopes in place": layer(MIDDLES["prelu"], in_place=True),
    "maxima": layer(MIDDLES["overlapping maxima"]),
}


@pytest.mark.long
@pytest.mark.parametrize("rule", ["weight_decay: 0.01", "iter_size: 2", "clip_gradients: 5"])
@pytest.mark.parametrize("name", NETS)
def test_any_sequence_of_calls_gives_the_same_values(tmp_path, name, rule):
    bound, plain = pair(tmp_path, NETS[name], rule=rule, rate=0.001)
    draw = np.random.RandomState(len(name) + len(rule))
    for seed in range(45):
        # New data at each step: gradients that vanish would show nothing but rounding.
        feed([bound, plain], seed)
        action = ACTIONS[draw.randint(len(ACTIONS))] if seed % 3 == 2 else train
        for s in (bound, plain):
            action(s, np.random.RandomState(seed))
        if action is not fail:  # which leaves the blobs behind the failure as they were, or zero
            compare(bound.net, plain.net, least=0.01)
        if seed % 5 == 4:  # the rounding of many steps does not add up
            copy_parameters(bound, plain)
    assert bound.iter == plain.iter


def copy_parameters(s, other):
    """Give a net the weights, and its solver the history, of another."""
    for blobs, others in zip(s.net.params.values(), other.net.params.values()):
        for blob, source in zip(blobs, others):
            blob.data[...] = source.data
    for blob, source in zip(s.history, other.history):
        blob.data[...] = source.data
