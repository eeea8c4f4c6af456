"""Copies between the host and a CUDA device, through page-locked memory."""

from __future__ import annotations

import numpy as np
import torch

#: Bytes up to which values are copied from a device through page-locked memory, which is several
#: times faster; page-locked memory is scarce.
PAGE_LOCKED_BYTES = 1 << 27


class Stage:
    """Page-locked memory on the way to a CUDA device.

    Values are copied here first, so that their source may change while the device is still busy
    with earlier work.
    """

    def __init__(self) -> None:
        self._locked: torch.Tensor | None = None
        self._read: torch.cuda.Event | None = None

    def copy(self, values: torch.Tensor, into: torch.Tensor) -> None:
        """Copy from the host into a tensor of that shape on the device."""
        if self._locked is None:
            self._locked = torch.empty(values.shape, dtype=into.dtype, pin_memory=True)
            self._read = torch.cuda.Event()
        assert self._read is not None
        self._read.synchronize()
        # One thread copies faster than many that have to be woken.
        np.copyto(self._locked.numpy(), values.numpy())
        into.copy_(self._locked, non_blocking=True)
        self._read.record()


def fetch(values: torch.Tensor) -> torch.Tensor:
    """Copy values from a device to the host, in the order of their axes."""
    values = values.contiguous()  # many times faster on the device than on the host
    if values.device.type != "cuda" or values.nbytes > PAGE_LOCKED_BYTES:
        return values.cpu()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values)
    return host
