"""NCCL, which BVLC Caffe trains on several GPUs with; as in its CPU build, it is not there."""

from __future__ import annotations

from .errors import CaffeError


def has_nccl() -> bool:
    """Whether solvers can train together through NCCL."""
    return False


class NCCL:
    """Refuses to be made: there is no NCCL here."""

    def __init__(self, solver: object, uid: str) -> None:
        raise CaffeError(
            "this engine trains on one device and has no NCCL (caffe.has_nccl() says so); leave "
            "NCCL out of the script"
        )
