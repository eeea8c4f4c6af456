"""A lease ends before the values of one of its memories move, and counts changes until then."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from caffe.blob import Blob
from caffe.lease import Lease
from caffe.memory import Memory

SHAPE = (2, 3)


class Observer:
    def before_change(self):
        """Do nothing."""


def leased():
    """A memory with values on the host, its tensor, and its lease."""
    memory, tensor = Memory(SHAPE), torch.ones(SHAPE)
    memory.set(tensor)
    return memory, tensor, Lease([memory])


#: What moves the values of a memory, or makes somebody wait for their change.
ENDS = {
    "let go": lambda m: m.let_go(),
    "defer": lambda m: m.defer(lambda: torch.zeros(m.shape)),
    "set": lambda m: m.set(torch.zeros(SHAPE)),
    "larger": lambda m: m.reshape((4, 5)),
    "smaller": lambda m: m.reshape((1, 3)),
    "watch": lambda m: m.watch(m, OBSERVER.before_change),
    "watch again": lambda m: m.watch_again(m, weakref.WeakMethod(OBSERVER.before_change)),
}
OBSERVER = Observer()
STAYS = {
    "zero": lambda m: m.zero(),
    "tensor": lambda m: m.tensor(),
    "mutable": lambda m: m.mutable().add_(1),
    "add": lambda m: m.add(torch.ones(m.shape)),
    "numpy": lambda m: m.numpy().fill(3),
    "same shape": lambda m: m.reshape(SHAPE),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_lease_ends_when_values_move_or_are_observed(name):
    memory, _, lease = leased()
    ENDS[name](memory)
    assert not lease.intact and memory.leases == ()


@pytest.mark.parametrize("name", STAYS)
def test_a_lease_stays_while_values_stay_in_place(name):
    memory, tensor, lease = leased()
    STAYS[name](memory)
    assert lease.intact and memory.is_in(tensor)


def test_after_any_calls_an_intact_lease_means_values_in_place():
    draw, calls = np.random.RandomState(2), [*ENDS.values(), *STAYS.values()]
    for _ in range(60):
        memory, tensor, lease = leased()
        arrays = [memory.numpy()] if draw.rand() < 0.5 else []
        for number in draw.randint(0, len(calls), 5):
            calls[number](memory)
            assert not lease.intact or memory.is_in(tensor)
        del arrays


def test_a_held_array_that_takes_values_over_keeps_the_lease():
    memory, tensor, lease = leased()
    array = memory.numpy()
    memory.set(torch.full(SHAPE, 5.0))
    assert lease.intact and memory.is_in(tensor) and array.tolist() == [[5] * 3] * 2


def test_the_version_counts_passes_during_and_after_a_lease():
    memory, _, lease = leased()
    other = Memory(SHAPE)
    reading = Lease([other], [memory])
    before = memory.version
    for part in (lease, lease, reading):
        part.count_pass()
    assert memory.version == before + 2 and other.version == 1
    memory.set(torch.zeros(SHAPE))
    assert memory.version >= before + 2 and not (lease.intact or reading.intact)
    assert other.version == 1 and other.leases == ()


def test_many_values_of_a_lease_move_when_they_become_zero():
    memory, values = Memory((1 << 15,)), torch.ones(1 << 15)
    memory.set(values)
    lease = Lease([memory])
    memory.zero()
    assert not lease.intact and memory.is_zero() and values.all()


def test_few_values_of_a_lease_become_zero_in_their_place():
    memory, tensor, lease = leased()
    array = memory.numpy()
    memory.zero()
    assert lease.intact and not tensor.any() and not array.any()


def test_a_blob_that_shares_others_values_ends_its_lease():
    a, b = Blob(SHAPE), Blob(SHAPE)
    a.values.set(torch.ones(SHAPE))
    lease = Lease([a.values])
    a.share_data(b)
    assert not lease.intact


def test_a_lease_keeps_no_memory_alive():
    memory, _, lease = leased()
    reference = weakref.ref(memory)
    gc.disable()
    try:
        del memory
        assert reference() is None and lease.intact
    finally:
        gc.enable()
    lease.end()
