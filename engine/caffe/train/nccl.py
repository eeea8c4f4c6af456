"""`caffe.NCCL`, with which scripts written for BVLC Caffe train on several GPUs."""

from __future__ import annotations

import torch.distributed as dist

from .. import launch
from ..errors import DeviceError
from . import meeting
from .company import Trainer


def has_nccl() -> bool:
    """Return whether this build of PyTorch has NCCL; without it, gradients travel over gloo."""
    return dist.is_available() and dist.is_nccl_available()


class NCCL:
    """A solver's connection to the solvers that train with it, a process each, on CPUs or GPUs.

    Each process calls `set_solver_count`, `set_solver_rank` and `set_multiprocess(True)`, builds
    its solver, then calls `NCCL(solver, uid)`, `bcast()` and `solver.add_callback(nccl)`. Under
    torchrun, the solver has already done all of this.

    uid: what `new_uid()` returned in one of the processes. Raises DeviceError if solver_count is
    below 2, or if not all processes come together.
    """

    def __init__(self, solver: Trainer, uid: str) -> None:
        if launch.solver_count() < 2:
            raise DeviceError(
                f"solver_count is {launch.solver_count()}; NCCL needs at least 2, set by "
                "set_solver_count in each process or by torchrun"
            )
        self._solver, self.group = solver, meeting.join(uid)

    @staticmethod
    def new_uid() -> str:
        """Return where the solvers can meet, as HOST:PORT."""
        return meeting.new_uid()

    def bcast(self) -> None:
        """Give all solvers the weights of solver 0; return once every solver has called this.

        A snapshot that solver 0 writes right afterwards has what every solver needs to go on bit
        for bit.
        """
        self.group.broadcast(self._solver)
        self.group.collect(self._solver)

    def __call__(self, layer: int) -> None:
        """Do nothing. `net.after_backward(nccl)` takes this object, as BVLC Caffe's scripts do.

        Gradients are averaged once all of them are there.
        """
