"""Memory in large pages: places, contents, and when it goes back to the system."""

import gc
import threading
from pathlib import Path

import pytest
import torch
from caffe import large_pages
from caffe.large_pages import ALIGNMENT


def test_tensors_have_memory_of_their_own():
    tensors = [large_pages.empty(count) for count in (1, 17, 1000, 1, 300_000, 5)]
    for i, tensor in enumerate(tensors):
        tensor.fill_(i)
    assert [set(tensor.tolist()) for tensor in tensors] == [{i} for i in range(len(tensors))]
    assert all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in tensors)


def test_a_tensor_larger_than_a_block_begins_with_a_page():
    tensor = large_pages.empty(large_pages.BLOCK // 4 + 1)
    tensor.fill_(3)
    assert tensor.data_ptr() % large_pages.PAGE == 0
    assert len(tensor) == large_pages.BLOCK // 4 + 1


def test_a_large_tensor_leaves_the_block_with_more_room():
    first = large_pages.empty(1)
    large_pages.empty(large_pages.BLOCK // 4)  # takes a block of its own
    second = large_pages.empty(1)
    assert second.data_ptr() - first.data_ptr() == ALIGNMENT


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_copy_has_the_values_in_their_order(dtype: torch.dtype):
    values = torch.arange(24, dtype=dtype).view(2, 3, 4).transpose(1, 2)
    copy = large_pages.copy(values)
    assert copy.is_contiguous() and copy.dtype == dtype
    assert torch.equal(copy, values)


def _flags(address: int) -> list[str]:
    """Return what the system was told about the memory at an address of this process."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if "-" in name:
            start, end = (int(part, 16) for part in name.split("-"))
            inside = start <= address < end
        elif inside and name == "VmFlags:":
            return rest
    raise ValueError(f"{address:x} is not in /proc/self/smaps")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells of its pages")
def test_tensors_up_to_the_limit_ask_for_large_pages():
    largest = large_pages.empty(large_pages.LIMIT // 4)
    larger = large_pages.empty(large_pages.LIMIT // 4 + 1)
    assert "hg" in _flags(largest.data_ptr())
    assert "hg" not in _flags(larger.data_ptr())


def test_no_values():
    assert large_pages.empty(0).shape == (0,)
    assert large_pages.copy(torch.empty(0, 3)).shape == (0, 3)


def _mapped() -> int:
    """Return the bytes of memory that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0])


def test_memory_goes_back_to_the_system():
    before = _mapped()
    for _ in range(100):
        large_pages.empty(large_pages.LIMIT // 4).fill_(1)
        gc.collect()
    assert _mapped() - before < 50 * large_pages.BLOCK // 4096


def test_threads_get_different_memory():
    tensors: list[torch.Tensor] = []

    def allocate(value: int) -> None:
        for _ in range(50):
            tensor = large_pages.empty(1000)
            tensor.fill_(value)
            tensors.append(tensor)

    threads = [threading.Thread(target=allocate, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(set(tensor.tolist())) == 1 for tensor in tensors)
    places = sorted((tensor.data_ptr(), tensor.nbytes) for tensor in tensors)
    assert all(a + size <= b for (a, size), (b, _) in zip(places, places[1:]))
