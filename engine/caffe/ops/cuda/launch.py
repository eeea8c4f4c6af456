"""CUDA kernels that are compiled at run time, and how they are launched.

NVRTC, which comes with PyTorch, compiles a kernel when it is first needed. If a kernel cannot be
compiled, one warning in the log gives the reason, and the callers use PyTorch's own operations,
which pass over memory several times. `CAFFE_FAST=0` in the environment switches the kernels off.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch

from ... import glog, mode
from ...errors import CaffeError

#: Threads of a block, and the most blocks of a launch whose threads walk over the values.
THREADS, BLOCKS = 256, 1024
#: The most blocks of a launch in which few values fall to a thread.
MANY_BLOCKS = 1 << 16


class Compiled(NamedTuple):
    """A kernel that can be launched, or None and the reason why it could not be compiled."""

    kernel: Callable[..., None] | None
    reason: str = ""


@dataclass(frozen=True)
class Kernel:
    """A kernel: the name of its function, and the CUDA source that the function stands in."""

    name: str
    source: str

    def available(self, device: int) -> bool:
        """Return whether kernels are switched on and this one compiles for a CUDA device."""
        return mode.fast() and compile_kernel(self, device).kernel is not None

    def launch(
        self,
        device: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        shared_bytes: int = 0,
    ) -> None:
        """Launch the kernel on PyTorch's current stream of the device.

        arguments: tensors and int32 numbers, in the order of the kernel's parameters. Raises
        CaffeError if the kernel cannot be compiled.
        """
        kernel, reason = compile_kernel(self, device)
        if kernel is None:
            raise CaffeError(
                f"CUDA kernel {self.name!r} cannot be compiled for device {device}: {reason}; "
                "set CAFFE_FAST=0 to compute without the engine's own kernels"
            )
        kernel(grid=grid, block=block, args=list(arguments), shared_mem=shared_bytes)


@cache
def compile_kernel(kernel: Kernel, device: int) -> Compiled:
    """Compile a kernel for a CUDA device, once; log a warning if that fails."""
    compiler = getattr(torch.cuda, "_compile_kernel", None)
    if compiler is None:
        reason = f"PyTorch {torch.__version__} has no torch.cuda._compile_kernel"
    else:
        try:
            with torch.cuda.device(device):
                return Compiled(compiler(kernel.source, kernel.name))
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
    warn_once(kernel.name, reason)
    return Compiled(None, reason)


@cache
def warn_once(name: str, reason: str) -> None:
    """Log once that a kernel is missing, for all types of values and devices."""
    glog.write(
        "launch.py:1",
        f"CUDA kernel {name!r} cannot be compiled: {reason}; PyTorch's own operations, which take "
        "longer, are used instead",
        level=1,
    )


def launch_over(out: torch.Tensor, kernel: Kernel, arguments: Sequence[Any]) -> None:
    """Launch a kernel in which a thread computes one value of `out` at a time."""
    blocks = min(-(-out.numel() // THREADS), MANY_BLOCKS)
    kernel.launch(out.device.index, (blocks, 1, 1), (THREADS, 1, 1), arguments)


def compile_for_backward(ctx: Any, device: torch.device, *kernels: Kernel) -> None:
    """Compile the kernels of a backward pass, in whose thread there may be no CUDA context."""
    if any(ctx.needs_input_grad):
        for kernel in kernels:
            compile_kernel(kernel, device.index)


def float_bits(value: float) -> int:
    """Return the integer with the bits of a float32.

    Kernels receive numbers as integers, because PyTorch's versions pass a float in different ways.
    """
    return struct.unpack("i", struct.pack("f", value))[0]
