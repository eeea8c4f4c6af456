"""The update of stochastic gradient descent with momentum, for all parameters in one launch."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import torch

from .launch import BLOCKS, THREADS, Kernel, float_bits

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
        p.w[i] -= moved;
    }
}
"""
KERNEL = Kernel("sgd", _SGD)


class SGD:
    """The update v = momentum v + rate (g + decay w), w -= v of weights w with gradients g.

    The kernel reads each value once, and writes the weights and the history v.
    """

    def __init__(self) -> None:
        self._rows: Any = None
        self._table: torch.Tensor | None = None

    def possible(self) -> bool:
        """Return whether the kernel is available on the current CUDA device."""
        return KERNEL.available(torch.cuda.current_device())

    def update(
        self,
        parameters: Sequence[tuple[Sequence[torch.Tensor], float, float]],
        rate: float,
        momentum: float,
    ) -> None:
        """Update each parameter, given as ((weights, gradient, history), its rate, its decay).

        The three tensors of a parameter are float32 and have one layout. The kernel multiplies a
        parameter's rate by `rate`.
        """
        rows = [(*(t.data_ptr() for t in three), *factors) for three, *factors in parameters]
        if self._rows != rows:
            structs = [
                struct.pack("PPPqff", *row[:3], three[0].numel(), *row[3:])
                for row, (three, _, _) in zip(rows, parameters)
            ]
            packed = torch.frombuffer(bytearray(b"".join(structs)), dtype=torch.uint8)
            self._table, self._rows = packed.to(parameters[0][0][0].device), rows
        assert self._table is not None
        KERNEL.launch(
            self._table.device.index,
            (BLOCKS, len(parameters), 1),
            (THREADS, 1, 1),
            [self._table, float_bits(rate), float_bits(momentum)],
        )
