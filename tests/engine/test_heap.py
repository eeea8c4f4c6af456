"""Memory that a pass frees stays with the process, and goes back when it has become much."""

from __future__ import annotations

import platform

import pytest
import torch
from caffe import heap

from tests.engine import nets

#: Frees 200 MB in blocks of the heap, and prints how many pages their next allocation needs.
AGAIN = """
import resource, sys
import torch
from caffe import heap
if sys.argv[1] == "keep":
    assert heap.keep()
def allocate():
    return [torch.ones(1 << 20) for _ in range(50)]
allocate(), allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
#: Frees a tensor of 64 MB, and prints how many pages the next one needs, and those of another size.
LARGE = """
import resource
import torch
from caffe import heap
def allocate(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    heap.empty((megabytes << 18,), torch.float32, torch.contiguous_format).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
allocate(64), allocate(64)
print(allocate(64), allocate(40))
"""
#: Closes all files, of which the first may be the one that says how much memory there is, and opens
#: others in their place; prints whether the memory of the process is read all the same.
CLOSED = """
import os, sys
from caffe import heap
memory = heap.resident_memory()
for path in (None, os.devnull, sys.executable):
    os.closerange(3, 256)
    files = [os.open(path, os.O_RDONLY) for _ in range(8)] if path else []
    print(heap.resident_memory() > memory / 2 > 0)
"""
#: Between passes frees 32 MB, then 400 MB; prints after each by how many MB the process has grown.
GROWTH = """
import torch
from caffe import heap
def passes(count, blocks):
    for _ in range(count):
        tensors = [torch.ones(1 << 20) for _ in range(blocks)]
        del tensors
        heap.tidy()
passes(2, 1)
before = heap.resident_memory()
for blocks in (8, 100, 8):
    passes(1, blocks)
    print((heap.resident_memory() - before) >> 20)
"""
#: Prints whether malloc's settings were changed after importing caffe, making a net, and a forward.
WHEN = """
import ctypes, sys
calls = []
class Library:
    def __getattr__(self, name):
        return lambda *arguments: calls.append(name) or 1
ctypes.CDLL = lambda name, *a, **k: Library()
import caffe
print("mallopt" in calls)
net = caffe.Net(sys.argv[1], caffe.TEST)
print("mallopt" in calls)
net.forward()
print(calls.count("mallopt"))
net.forward()
caffe.Net(sys.argv[1], caffe.TEST).forward()
print(calls.count("mallopt"))
"""
MB = 1 << 20

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


class Process:
    """A process of `memory` bytes, of which a trim leaves `needed`; its clock stands still."""

    def __init__(self, needed):
        self.needed = self.memory = needed
        self.seconds, self.trims = 0.0, 0

    def trim(self):
        self.memory, self.trims = self.needed, self.trims + 1

    def trimmer(self):
        return heap.Trimmer(lambda: self.memory, lambda: self.seconds, self.trim)


def settled(process):
    """A trimmer that knows what a pass of the process needs."""
    trimmer = process.trimmer()
    for _ in range(heap.SETTLED):
        trimmer.before_pass()
    return trimmer


def test_a_process_that_has_grown_by_more_than_the_slack_is_trimmed():
    process = Process(300 * MB)
    trimmer = settled(process)
    process.memory += heap.SLACK
    trimmer.before_pass()
    assert not process.trims
    process.memory += 1
    trimmer.before_pass()
    assert process.trims == 1 and process.memory == process.needed


def test_a_process_that_needs_more_gets_a_higher_limit():
    process = Process(300 * MB)
    trimmer = settled(process)
    process.needed = process.memory = 300 * MB + 3 * heap.SLACK
    for _ in range(1 + heap.SETTLED):
        trimmer.before_pass()
    assert process.trims == 1 and trimmer.limit == process.needed + heap.SLACK


def test_trims_wait_until_the_processor_has_worked_for_their_page_faults():
    process = Process(300 * MB)
    trimmer = settled(process)
    returned = 200 * MB
    process.memory += returned
    trimmer.before_pass()
    wait = heap.SHARE * heap.FAULT * returned
    for seconds, trims in ((0, 1), (0.9 * wait, 1), (1.1 * wait, 2)):
        process.seconds = seconds
        process.memory = process.needed
        for _ in range(heap.SETTLED):
            trimmer.before_pass()
        process.memory += returned
        trimmer.before_pass()
        assert process.trims == trims


def test_passes_over_random_sizes_spend_little_time_on_page_faults():
    """Each pass allocates another amount: 40 ms of work and the faults for what is new."""
    process = Process(100 * MB)
    trimmer, faults = process.trimmer(), 0.0
    for i in range(1000):
        pass_memory = process.needed + (i * 37 % 100) * 3 * MB
        new = max(0, pass_memory - process.memory)
        process.memory += new
        faults += heap.FAULT * new
        process.seconds += 0.04 + heap.FAULT * new
        trimmer.before_pass()
    assert 0 < process.trims < 30 and faults < 0.04 * process.seconds


@glibc
@pytest.mark.long
def test_memory_that_was_freed_is_allocated_again_without_new_pages(program):
    kept, returned = (int(program("-c", AGAIN, way).stdout) for way in ("keep", "leave"))
    assert kept < 1000 < returned


@glibc
def test_the_memory_of_large_tensors_stays_with_the_process_too(program):
    assert all(int(pages) < 1000 for pages in program("-c", LARGE).stdout.split())


@glibc
def test_large_tensors_are_aligned_and_have_the_layout_that_is_requested():
    shape = (2, 96, 300, 301)
    for layout in (torch.contiguous_format, torch.channels_last):
        for dtype in (torch.float32, torch.bfloat16):
            x = heap.empty(shape, dtype, layout)
            assert x.shape == shape and x.dtype == dtype
            assert x.is_contiguous(memory_format=layout) and x.data_ptr() % heap.ALIGNMENT == 0
            assert heap.is_large(x.nbytes)


@glibc
def test_much_free_memory_is_returned_before_a_pass(program):
    few, many, after = (int(grown) for grown in program("-c", GROWTH).stdout.split())
    assert 20 < few < 60 and many < 20 and 20 < after < 60


def test_the_first_forward_changes_malloc_s_settings_once(program, tmp_path):
    run = program("-c", WHEN, nets.write(tmp_path, nets.SCORER))
    assert run.stdout.split() == ["False", "False", "2", "2"], run.stderr


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "1000000", "MALLOC_TRIM_THRESHOLD_ is set"),
        ("CAFFE_MALLOPT", "0", "CAFFE_MALLOPT=0 is set"),
        ("CAFFE_FAST", "0", "CAFFE_FAST=0 is set"),
    ],
)
def test_a_setting_of_the_environment_leaves_malloc_alone(program, name, value, reason):
    code = "import os, sys; os.environ[sys.argv[1]] = sys.argv[2]; from caffe import heap; "
    code += "print(heap.keep(), heap.reason_against(), sep=': ')"
    assert program("-c", code, name, value).stdout.strip() == f"False: {reason}"


@pytest.mark.long
def test_the_memory_of_the_process_is_read_again_after_all_files_were_closed(program):
    assert program("-c", CLOSED).stdout.split() == ["True"] * 3
