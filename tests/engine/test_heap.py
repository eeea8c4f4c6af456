"""Memory that a pass frees stays with the process."""

from __future__ import annotations

import platform

import pytest

#: Frees 200 MB in pieces that are of the heap, and says how many pages taking it again needs.
AGAIN = """
import resource, sys
import torch
from caffe import heap
if sys.argv[1] == "keep":
    assert heap.keep()
def take():
    return [torch.ones(1 << 20) for _ in range(50)]
take(), take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_is_taken_again_without_new_pages(program):
    kept, given_back = (int(program("-c", AGAIN, how).stdout) for how in ("keep", "leave"))
    assert kept < 1000 < given_back


def test_a_setting_of_the_environment_is_left(program):
    code = "from caffe import heap; print(heap.keep())"
    assert program("-c", code, MALLOC_TRIM_THRESHOLD_="1000000").stdout.split() == ["False"]
