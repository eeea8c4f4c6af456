"""The golden cases, in order: single layers, small nets, programs, training, files, commands."""

from oracle.cases import (  # noqa: F401
    activations,
    commands,
    convolutions,
    data,
    inputs,
    joins,
    losses,
    net_calls,
    nets,
    normalization,
    old_files,
    products,
    programs,
    pycaffe,
    recurrent,
    softmax,
    solver_calls,
    solvers,
    training,
    utility,
    vision,
)
from oracle.cases.case import CASES, Case, run

__all__ = ["CASES", "Case", "run"]
