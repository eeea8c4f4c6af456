"""Holding arrays of blobs changes no number."""

from __future__ import annotations

import weakref

import caffe
import numpy as np
import pytest
import torch
from caffe.memory import FEW, Memory

from oracle.cases.case import fill_params, layer, net

IMAGES = {"x": (2, 3, 4, 4)}
NETS = {
    "in place": net(
        IMAGES,
        layer("Convolution", "x", "y", "convolution_param { num_output: 3 kernel_size: 1 }")
        + layer("BatchNorm", "y", "y", "batch_norm_param { use_global_stats: false }", name="norm")
        + layer("Scale", "y", "y", name="scale")
        + layer("Swish", "y", "y", name="swish"),
    ),
    "in place under another shape": net(
        IMAGES,
        layer("PReLU", "x", "y")
        + layer("Flatten", "y", "f")
        + layer("Swish", "f", "f", name="swish")
        + layer("Reshape", "f", "g", "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }")
        + layer("PReLU", "g", "g", name="last"),
    ),
    "gradients handed on": net(
        IMAGES,
        layer("PReLU", "x", "a")
        + layer("Swish", "x", "b")
        + layer("Eltwise", "a b", "s")
        + layer("Bias", "s", "y", "bias_param { axis: 0 num_axes: -1 }"),
    ),
}


def numbers(path, hold):
    """Data and gradients of two rounds, in which parameter gradients add up."""
    net, rs, values = caffe.Net(str(path), caffe.TEST), np.random.RandomState(1), []
    fill_params(net, rs)
    held = [(b.data, b.diff) for b in net.blobs.values()] if hold else []
    for _ in range(2):
        net.blobs["x"].data[...] = rs.standard_normal((2, 3, 4, 4))
        net.forward()
        for name in net.outputs:
            net.blobs[name].diff[...] = rs.standard_normal(net.blobs[name].shape)
        net.backward()
        blobs = [*net.blobs.values(), *(b for layer in net.params.values() for b in layer)]
        values += [array.copy() for b in blobs for array in (b.data, b.diff)]
    assert len(held) == (len(net.blobs) if hold else 0)
    return values


@pytest.mark.parametrize("name", NETS)
def test_holding_arrays_of_blobs_changes_no_number(name, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NETS[name])
    for held, free in zip(numbers(path, True), numbers(path, False)):
        np.testing.assert_allclose(held, free, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [3, FEW + 1])
def test_an_array_that_was_let_go_does_not_keep_later_values_from_moving(count):
    memory = Memory((count,))
    memory.numpy()[...] = 1
    tensor = torch.full((count,), 2.0)
    memory.set(tensor)
    assert memory.is_in(tensor)
    array = memory.numpy()
    array[0] = 5
    assert tensor[0] == 5 and array[1] == 2
    memory.set(torch.full((count,), 7.0))
    assert (array == 7).all()


@pytest.mark.parametrize("count", [3, FEW + 1])
def test_values_that_were_read_are_freed_when_others_take_their_place(count):
    for replace in (lambda m: m.set(torch.ones(count)), lambda m: m.let_go()):
        memory, tensor = Memory((count,)), torch.zeros(count)
        storage = weakref.ref(tensor.untyped_storage())
        memory.set(tensor)
        memory.numpy()[...] = 1
        assert memory.numpy().base is memory.numpy().base
        del tensor
        replace(memory)
        assert storage() is None


def test_an_observer_is_called_once_each_time_it_watches():
    calls = []

    class Observer:
        def before_change(self):
            calls.append(memory.tensor().sum().item())

    memory, observer = Memory((2,)), Observer()
    reference = memory.watch(observer, observer.before_change)
    for value in (1, 2, 3):
        memory.numpy()[...] = value
    memory.watch_again(observer, reference)
    memory.watch_again(observer, reference)
    for value in (4, 5):
        memory.set(torch.full((2,), float(value)))
    assert calls == [0, 6]
    memory.watch_again(observer, reference)
    del observer
    assert memory.observer_count() == 0


@pytest.mark.parametrize("count", [3, FEW + 1])
def test_any_reference_to_an_array_holds_the_array(count):
    memory = Memory((count,))
    for refer in (lambda a: a, lambda a: a[1:], memoryview, torch.from_numpy, lambda a: a.T[:1]):
        reference = refer(memory.numpy())
        assert memory.held()
        memory.set(torch.full((count,), 3.0))
        assert float(np.asarray(reference)[0]) == 3
        del reference
        assert not memory.held()
