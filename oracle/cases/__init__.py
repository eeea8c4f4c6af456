"""The golden cases, in order: single layers, small nets, training."""

from oracle.cases import (  # noqa: F401
    activations,
    calls,
    commands,
    data,
    layers,
    losses,
    nets,
    normalization,
    old_files,
    pycaffe,
    recurrent,
    solvers,
    training,
    utility,
    vision,
)
from oracle.cases.case import CASES, Case, run

__all__ = ["CASES", "Case", "run"]
