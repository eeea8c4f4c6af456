"""Kernels that compile are launched with their arguments; the log names those that do not."""

from __future__ import annotations

from contextlib import nullcontext

import caffe
import pytest
import torch
from caffe.ops import cuda
from caffe.ops.cuda import launch, packed

SOURCE = 'extern "C" __global__ void twice(float* x, int n) {}'


class FakeCompiler:
    """In place of NVRTC: counts what it compiles, and refuses it with `error` if there is one."""

    def __init__(self, error=None):
        self.error, self.compiled, self.launched = error, [], []

    def __call__(self, source, name):
        self.compiled.append(name)
        if self.error is not None:
            raise self.error
        return lambda **launch: self.launched.append((name, launch))


@pytest.fixture
def compiler(monkeypatch):
    """Put a fake compiler in place; call it with the error that each compilation ends with."""
    monkeypatch.setenv("GLOG_minloglevel", "1")
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    forget()

    def install(error=None):
        fake = FakeCompiler(error)
        monkeypatch.setattr(torch.cuda, "_compile_kernel", fake, raising=False)
        return fake

    yield install
    forget()


def forget():
    """Forget what was compiled, and which warnings were logged."""
    launch.compile_kernel.cache_clear()
    launch.warn_once.cache_clear()


def test_a_kernel_is_compiled_once_for_each_device_and_launched(compiler):
    fake, kernel = compiler(), launch.Kernel("twice", SOURCE)
    assert kernel.available(0) and kernel.available(0) and kernel.available(1)
    assert fake.compiled == ["twice", "twice"]
    x = torch.zeros(3)
    kernel.launch(0, (1, 1, 1), (256, 1, 1), (x, 3), shared_bytes=64)
    ((name, arguments),) = fake.launched
    assert name == "twice" and arguments["args"] == [x, 3]
    assert (arguments["grid"], arguments["block"]) == ((1, 1, 1), (256, 1, 1))
    assert arguments["shared_mem"] == 64


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_a_kernel_that_does_not_compile_is_named_in_one_warning(compiler, capfd, error):
    compiler(error("Kernel compilation failed:\ntwice.cu(1): error"))
    kernel = launch.Kernel("twice", SOURCE)
    for device in (0, 0, 1):
        assert not kernel.available(device)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("W") and "CUDA kernel 'twice' cannot be compiled" in line
    assert "Kernel compilation failed: twice.cu(1): error" in line
    assert "PyTorch's own operations, which take longer, are used instead" in line


def test_a_pytorch_without_a_compiler_of_kernels_is_named_in_the_warning(
    compiler, capfd, monkeypatch
):
    compiler()
    monkeypatch.delattr(torch.cuda, "_compile_kernel")
    assert not launch.Kernel("twice", SOURCE).available(0)
    expected = f"PyTorch {torch.__version__} has no torch.cuda._compile_kernel"
    assert expected in capfd.readouterr().err


def test_kernels_of_one_name_for_two_types_warn_once(compiler, capfd):
    compiler(RuntimeError("no NVRTC"))
    kernel = packed.PackedKernel("twice", SOURCE)
    for dtype in (torch.float32, torch.bfloat16):
        assert not kernel.of(dtype).available(0)
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_launching_a_kernel_that_did_not_compile_is_an_error_with_the_reason(compiler):
    compiler(RuntimeError("no NVRTC"))
    with pytest.raises(caffe.CaffeError, match="'twice' cannot be compiled for device 0: no NVRTC"):
        launch.Kernel("twice", SOURCE).launch(0, (1, 1, 1), (1, 1, 1), ())


def test_without_fast_paths_no_kernel_is_compiled_and_nothing_is_logged(
    compiler, capfd, monkeypatch
):
    fake = compiler(RuntimeError("no NVRTC"))
    monkeypatch.setattr(caffe.mode, "fast", lambda: False)
    assert not launch.Kernel("twice", SOURCE).available(0)
    assert not fake.compiled and not capfd.readouterr().err


def test_a_pass_that_learns_compiles_the_kernels_of_its_backward_pass(compiler):
    fake = compiler()
    x = torch.zeros(1, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        cuda.MaxPool.apply(x, (2, 2), (2, 2), (3, 3))
    assert fake.compiled == ["max_pool"]
    top = cuda.MaxPool.apply(x.requires_grad_(), (2, 2), (2, 2), (3, 3))
    assert fake.compiled == ["max_pool", "from_max"]
    top.sum().backward()
    assert [name for name, _ in fake.launched] == ["max_pool", "max_pool", "from_max"]


def test_a_block_has_whole_positions_and_the_grid_covers_the_map(compiler):
    fake = compiler()
    # 24 channels of float32 are 6 chunks of 16 bytes; 42 of them are the most of a block of 256.
    x = torch.zeros(2, 24, 9, 9).contiguous(memory_format=torch.channels_last)
    cuda.MaxPool.apply(x, (3, 3), (3, 3), (3, 3))
    ((_, arguments),) = fake.launched
    assert arguments["block"] == (252, 1, 1)
    assert arguments["grid"] == (1, 1, 1)  # 2 x 3 x 3 positions x 6 chunks = 108 threads
    assert arguments["args"][3:] == [2, 9, 9, 6, 3, 3, 3, 3, 3, 3, 0]


def test_maps_on_the_cpu_are_left_to_pytorch(compiler):
    fake = compiler()
    x = torch.zeros(1, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    assert not cuda.takes(x) and not cuda.upsamples(x, (12, 12))
    assert not cuda.late_bias(x, [torch.zeros(8, 8, 1, 1), torch.zeros(8)])
    assert not fake.compiled
