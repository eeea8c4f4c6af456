"""The solvers that prototxts name: a class for each update rule."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from ..errors import NetError, in_file
from . import rules, settings
from .solver import Solver


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    rule: ClassVar[type[rules.Rule]] = rules.SGD


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    rule: ClassVar[type[rules.Rule]] = rules.Nesterov


class AdaGradSolver(SGDSolver):
    """AdaGrad."""

    rule: ClassVar[type[rules.Rule]] = rules.AdaGrad


class RMSPropSolver(SGDSolver):
    """RMSProp."""

    rule: ClassVar[type[rules.Rule]] = rules.RMSProp


class AdaDeltaSolver(SGDSolver):
    """AdaDelta."""

    rule: ClassVar[type[rules.Rule]] = rules.AdaDelta


class AdamSolver(SGDSolver):
    """Adam."""

    rule: ClassVar[type[rules.Rule]] = rules.Adam


SOLVERS: dict[str, type[Solver]] = {
    "SGD": SGDSolver,
    "Nesterov": NesterovSolver,
    "AdaGrad": AdaGradSolver,
    "RMSProp": RMSPropSolver,
    "AdaDelta": AdaDeltaSolver,
    "Adam": AdamSolver,
}


def get_solver(solver_file: str | os.PathLike) -> Solver:
    """Return the solver of a solver prototxt, of the class that its `type` names."""
    path = os.fspath(solver_file)
    param = settings.read(path)
    named_class = solver_class(param, path)
    with in_file(path):
        return named_class.from_param(param)


def solver_class(param: Any, path: str) -> type[Solver]:
    """Return the class that the `type` of a SolverParameter names; `path` is for the error."""
    if param.type not in SOLVERS:
        raise NetError(
            f"{path}: type is {param.type!r}; it needs to be one of {', '.join(SOLVERS)}"
        )
    return SOLVERS[param.type]
