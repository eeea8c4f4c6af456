"""Memory that a pass frees stays with the process."""

from __future__ import annotations

import platform

import pytest
import torch
from caffe import heap

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


#: Between passes frees 32 MB, then 400; says after each by how many megabytes the process grew.
GROWTH = """
import torch
from caffe import heap
def passes(count, pieces):
    for _ in range(count):
        made = [torch.ones(1 << 20) for _ in range(pieces)]
        del made
        heap.tidy()
passes(2, 1)
before = heap._resident()
for pieces in (8, 100, 8):
    passes(1, pieces)
    print((heap._resident() - before) >> 20)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


@glibc
def test_memory_that_was_freed_is_taken_again_without_new_pages(program):
    kept, given_back = (int(program("-c", AGAIN, how).stdout) for how in ("keep", "leave"))
    assert kept < 1000 < given_back


@glibc
def test_memory_that_has_become_much_is_given_back(program):
    few, many, after = (int(grown) for grown in program("-c", GROWTH).stdout.split())
    assert 20 < few < 60 and many < 20 and 20 < after < 60


@glibc
def test_a_process_that_needs_more_is_given_more():
    limit = heap._Limit()
    used = [heap._resident()]
    for _ in range(heap.SETTLED):
        limit.tidy()
    held = [torch.ones(1 << 18) for _ in range(3 * heap.SLACK >> 20)]
    for _ in range(1 + heap.SETTLED):
        limit.tidy()
        used.append(limit.most)
    assert limit.passes == heap.SETTLED and limit.most >= used[0] + len(held) * (1 << 20)


def test_a_setting_of_the_environment_is_left(program):
    code = "from caffe import heap; print(heap.keep())"
    assert program("-c", code, MALLOC_TRIM_THRESHOLD_="1000000").stdout.split() == ["False"]
