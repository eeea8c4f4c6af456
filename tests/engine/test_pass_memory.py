"""A pass through a region is freed when the next one begins, without a search for garbage."""

from __future__ import annotations

import gc
import weakref

import caffe
import numpy as np
import pytest
from caffe.run import passes, regions

from tests.engine.test_regions import VGG, always, build, fill


@pytest.fixture
def living(monkeypatch):
    """Return how many passes are alive, of those that begin from now on."""
    references = []

    class NotedPass(passes.Pass):
        def __init__(self, *args):
            super().__init__(*args)
            references.append(weakref.ref(self))

    always(monkeypatch)
    monkeypatch.setattr(regions, "Pass", NotedPass)
    gc.disable()
    yield lambda: sum(reference() is not None for reference in references)
    gc.enable()


def test_a_forward_frees_the_pass_before(tmp_path, living):
    net = build(tmp_path, VGG, True, (1, 60, 71))
    for i in range(3):
        fill(net, i)
        net.forward()
        assert living() == 1


def test_a_backward_frees_the_pass_before_whose_gradients_it_replaces(tmp_path, living):
    net = build(tmp_path, VGG, True, (1, 60, 71), caffe.TRAIN, force=True)
    for i in range(3):
        fill(net, i)
        net.forward()
        net.backward(top=np.ones(net.blobs["top"].shape))
        assert living() == 1
