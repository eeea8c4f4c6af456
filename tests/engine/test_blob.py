import gc

import numpy as np
import pytest
import torch
from caffe import CaffeError
from caffe.blob import Blob
from caffe.memory import Memory

from tests.engine import nets


def test_a_blob_starts_at_zero_with_a_writable_contiguous_float32_array():
    blob = Blob((2, 3))
    assert blob.data.dtype == np.float32 and blob.data.flags.c_contiguous
    assert not blob.data.any() and not blob.diff.any()
    blob.data[1, 2] = 7
    assert blob.data[1, 2] == 7


def test_legacy_sizes_are_one_beyond_the_shape():
    blob = Blob((2, 3))
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 1, 1, 6)
    with pytest.raises(CaffeError, match="at most 4 axes"):
        _ = Blob((1, 2, 3, 4, 5)).num


def test_a_shape_that_fits_keeps_all_values_and_a_larger_one_starts_from_zeros():
    blob = Blob((2, 3))
    blob.data[...] = np.arange(6).reshape(2, 3)
    blob.reshape(3, 2)
    np.testing.assert_array_equal(blob.data, np.arange(6).reshape(3, 2))
    blob.reshape(2)
    np.testing.assert_array_equal(blob.data, [0, 1])
    blob.reshape(4)
    np.testing.assert_array_equal(blob.data, [0, 1, 2, 3])
    assert blob.diff.shape == (4,)
    blob.reshape(7)
    np.testing.assert_array_equal(blob.data, np.zeros(7))


def test_values_beyond_the_shape_outlive_writes_and_reads():
    blob = Blob((6,))
    blob.data[...] = np.arange(6)
    gc.collect()
    for written in ([9], [8, 7]):
        blob.reshape(len(written))
        blob.data[...] = written
    blob.reshape(6)
    np.testing.assert_array_equal(blob.data, [8, 7, 2, 3, 4, 5])


def test_an_array_stays_the_memory_through_shapes_that_fit():
    blob = Blob((2, 3))
    held = blob.data
    held[...] = np.arange(6).reshape(2, 3)
    blob.reshape(1, 3)
    blob.values.set(torch.tensor([[7.0, 8.0, 9.0]]))
    np.testing.assert_array_equal(held, [[7, 8, 9], [3, 4, 5]])
    blob.reshape(2, 3)
    blob.data[1] = 6
    np.testing.assert_array_equal(held, [[7, 8, 9], [6, 6, 6]])
    blob.values.set(torch.ones(3, 2))
    np.testing.assert_array_equal(held, np.ones((2, 3)))


def test_an_array_of_a_smaller_shape_stays_the_memory_when_the_blob_grows_back():
    blob = Blob((4,))
    blob.reshape(2)
    held = blob.data
    blob.reshape(4)
    blob.data[...] = [1, 2, 3, 4]
    np.testing.assert_array_equal(held, [1, 2])
    blob.reshape(5)
    blob.data[...] = 0
    np.testing.assert_array_equal(held, [1, 2])


def test_results_and_gradients_that_wait_are_fitted_once_somebody_reads():
    memory = Memory((4,))
    memory.defer(lambda: torch.tensor([1.0, 2.0, 3.0, 4.0]))
    for _ in range(3):
        memory.reshape((2,))
        memory.reshape((3,))
    assert memory.is_deferred()
    assert memory.tensor().tolist() == [1, 2, 3]
    memory.mutable()[0] = 5
    memory.reshape((2, 2))
    assert memory.tensor().tolist() == [[5, 2], [3, 4]]


def test_a_blob_can_be_reshaped_100000_times_before_it_is_read():
    blob = Blob((1, 1, 40, 40))
    blob.data[...] = 1
    for i in range(100_000):
        blob.reshape(1, 1, 1 + i % 40, 1 + i // 2500)
    assert blob.data.sum() == 1600


@pytest.mark.parametrize("side", [3000, pytest.param(30000, marks=pytest.mark.long)])
def test_a_large_blob_can_be_reshaped_to_a_few_values_before_it_is_read(side):
    large = Blob((side, side))
    large.reshape(2, 3)
    large.reshape(100)
    assert large.data.shape == (100,)


@pytest.mark.parametrize("shape", [(65536, 32768), (2**31,), (1,) * 33])
def test_a_shape_that_no_blob_can_have_is_refused_at_the_reshape(shape):
    blob = Blob((2, 3))
    with pytest.raises(CaffeError, match="INT_MAX|at most 32"):
        blob.reshape(*shape)
    assert blob.shape == (2, 3)
    blob.reshape(0, 65536, 32768)
    assert blob.count == 0


def test_an_array_of_an_output_shows_the_results_of_a_smaller_batch(tmp_path):
    net = nets.build(tmp_path, nets.SCORER)
    net.blobs["data"].reshape(4, 3, 8, 8)
    net.reshape()
    score = net.blobs["score"].data
    net.forward(data=np.ones((4, 3, 8, 8)))
    last = score[3].copy()
    net.blobs["data"].reshape(1, 3, 8, 8)
    net.forward(data=np.full((1, 3, 8, 8), 2.0))
    np.testing.assert_array_equal(score[0], net.blobs["score"].data[0])
    assert not np.array_equal(score[0], last)
    np.testing.assert_array_equal(score[3], last)


def test_a_shape_with_negative_or_fractional_sizes_is_refused():
    for shape in ((-1, 2), (1.5,)):
        with pytest.raises(CaffeError, match="integers >= 0"):
            Blob().reshape(*shape)
        with pytest.raises(CaffeError, match="integers >= 0"):
            Blob(shape)


def test_an_array_that_somebody_holds_receives_later_results():
    memory = Memory((3,))
    held = memory.numpy()[1:]
    memory.set(torch.tensor([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(held, [2, 3])
    held[0] = 9
    assert memory.tensor()[1] == 9


def test_a_result_is_taken_over_without_a_copy_when_nobody_holds_an_array():
    memory = Memory((3,))
    memory.numpy()[...] = 5
    gc.collect()
    result = torch.tensor([1.0, 2.0, 3.0])
    memory.set(result)
    assert memory.tensor().data_ptr() == result.data_ptr()


def test_a_result_with_other_strides_is_seen_as_a_contiguous_array():
    memory = Memory((2, 3))
    memory.set(torch.arange(6.0).reshape(3, 2).t())
    assert memory.numpy().flags.c_contiguous
    memory.numpy().reshape(-1)[1] = 9
    np.testing.assert_array_equal(memory.numpy(), [[0, 9, 4], [1, 3, 5]])


def test_adding_to_zeros_takes_the_addend_and_adds_afterwards():
    memory = Memory((2,))
    memory.add(torch.ones(2))
    memory.add(torch.ones(2))
    np.testing.assert_array_equal(memory.numpy(), [2, 2])
    memory.zero()
    assert memory.is_zero()
    np.testing.assert_array_equal(memory.numpy(), [0, 0])


def test_a_held_array_sees_the_zeros():
    memory = Memory((2,))
    held = memory.numpy()
    held[...] = 3
    memory.zero()
    assert not held.any()


def test_a_view_shares_values_both_ways():
    blob = Blob((2, 3))
    view = blob.view((6,))
    view.data[4] = 8
    assert blob.data[1, 1] == 8
    blob.gradient.set(torch.ones(2, 3))
    np.testing.assert_array_equal(view.diff, np.ones(6))
    with pytest.raises(CaffeError, match="cannot become"):
        view.reshape(5)


@pytest.mark.cuda
def test_host_and_device_are_kept_in_step():
    cuda = torch.device("cuda", 0)
    memory = Memory((3,))
    held = memory.numpy()
    held[...] = [1, 2, 3]
    memory.mutable(cuda).mul_(2)
    np.testing.assert_array_equal(memory.numpy(), [2, 4, 6])
    np.testing.assert_array_equal(held, [2, 4, 6])
    memory.set(torch.full((3,), 7.0, device=cuda))
    np.testing.assert_array_equal(memory.numpy(), [7, 7, 7])
    memory.numpy()[0] = 1
    np.testing.assert_array_equal(memory.tensor(cuda).cpu(), [1, 7, 7])
