"""`caffe.NCCL`, with which scripts of BVLC Caffe's time train on several GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.distributed as dist

from .. import launch
from ..errors import CaffeError
from . import parallel

if TYPE_CHECKING:
    from .solver import Solver


def has_nccl() -> bool:
    """Whether this build of PyTorch has NCCL; without it, solvers train together on CPUs alone."""
    return dist.is_available() and dist.is_nccl_available()


class NCCL:
    """A solver's connection to those that train with it, one a process, on CPUs or GPUs.

    Each process calls `set_solver_count`, `set_solver_rank` and `set_multiprocess(True)`, builds
    its solver, then `NCCL(solver, uid)`, `bcast()` and `solver.add_callback(nccl)`. Under torchrun
    all this is done already.

    uid: what `new_uid()` gave one of them. Raises CaffeError if not all come together.
    """

    def __init__(self, solver: Solver, uid: str) -> None:
        if launch.solver_count() < 2:
            raise CaffeError(
                f"solver_count is {launch.solver_count()}; NCCL needs at least 2, set by "
                "set_solver_count in each process or by torchrun"
            )
        self._solver, self.group = solver, parallel.join(uid)

    @staticmethod
    def new_uid() -> str:
        """Where solvers can meet: HOST:PORT."""
        return parallel.new_uid()

    def bcast(self) -> None:
        """Give all the weights of solver 0. Returns once every one of them has come here."""
        self.group.broadcast(self._solver)

    def __call__(self, layer: int) -> None:
        """For `net.after_backward(nccl)`: nothing; gradients are averaged once all are there."""
