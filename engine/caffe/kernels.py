"""Kernels for CUDA devices where PyTorch's own operations would pass over memory several times.

They are compiled at run time by NVRTC, which comes with PyTorch. Where that, or the device, is
missing, the caller computes in separate operations.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

THREADS, BLOCKS = 256, 1024

_SGD = """
struct Parameter { float *w, *g, *v; long long n; float rate, decay; };

extern "C" __global__ void sgd(const Parameter* parameters, int rate_, int momentum_)
{
    const Parameter p = parameters[blockIdx.y];
    const float rate = p.rate * __int_as_float(rate_), momentum = __int_as_float(momentum_);
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += step) {
        const float moved = momentum * p.v[i] + rate * (p.g[i] + p.decay * p.w[i]);
        p.v[i] = moved;
        p.g[i] = moved;
        p.w[i] -= moved;
    }
}
"""


@cache
def _compiled(source: str, name: str, device: int) -> Any:
    """A kernel of this source for a device; None where it cannot be compiled."""
    compile_kernel = getattr(torch.cuda, "_compile_kernel", None)
    if compile_kernel is None:
        return None
    try:
        with torch.cuda.device(device):
            return compile_kernel(source, name)
    except (RuntimeError, OSError):
        return None


def _bits(value: float) -> int:
    """A float32 as the integer of the same bits: what a launch makes of a float has changed."""
    return struct.unpack("i", struct.pack("f", value))[0]


class SGD:
    """The update of stochastic gradient descent with momentum, of all parameters in one launch.

    v = momentum v + rate (g + decay w);  w -= v;  g = v: each value is read and written once.
    """

    def __init__(self) -> None:
        self._known: Any = None
        self._table: torch.Tensor | None = None

    def possible(self) -> bool:
        """Whether the kernel can be compiled for the present device."""
        return _compiled(_SGD, "sgd", torch.cuda.current_device()) is not None

    def update(
        self,
        parameters: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
        rates: Sequence[float],
        decays: Sequence[float],
        rate: float,
        momentum: float,
    ) -> None:
        """Update (weights, gradient, history) of each parameter, float32 and laid out alike.

        A parameter's learning rate is its own of `rates` times `rate`.
        """
        places = [tuple(t.data_ptr() for t in tensors) for tensors in parameters]
        known = places, list(rates), list(decays)
        if self._known != known:
            rows = [
                struct.pack("PPPqff", *place, tensors[0].numel(), r, d)
                for place, tensors, r, d in zip(places, parameters, rates, decays)
            ]
            packed = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8)
            self._table, self._known = packed.to(parameters[0][0].device), known
        assert self._table is not None
        kernel = _compiled(_SGD, "sgd", self._table.device.index)
        kernel(
            grid=(BLOCKS, len(parameters), 1),
            block=(THREADS, 1, 1),
            args=[self._table, _bits(rate), _bits(momentum)],
        )
