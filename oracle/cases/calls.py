"""How a call of pycaffe becomes a golden case, and the nets and solvers that the calls use.

A case records the results and changes of a call, or that the call raises. Calls at which BVLC Caffe
ends the process are left out.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

import caffe
import numpy as np

from oracle.cases.blocks import fc
from oracle.cases.case import (
    CUBE,
    Case,
    Numbers,
    RandomState,
    add,
    copy,
    draw,
    fill_params,
    layer,
    net,
    write,
)
from oracle.cases.training import SOLVER, TRAIN_NET, start

#: A net of three layers, the second of which is a Python layer.
CHAIN = net(
    {"x": (2, 4)}, fc("x", "a", 3) + layer("Python", "a", "b", CUBE) + fc("b", "c", 2), False
)
RULE = SOLVER + "net: 'train.prototxt' base_lr: 0.05 momentum: 0.9 lr_policy: 'fixed' "


def call(name: str) -> Callable[[Callable[[Numbers, RandomState], object]], None]:
    """Return a decorator that makes a function of numbers and a random state a case."""

    def add_case(run: Callable[[Numbers, RandomState], object]) -> None:
        def program(case: Case, rs: RandomState, numbers: Numbers) -> None:
            # The two Caffes raise different exceptions with different messages.
            ending = "returned"
            try:
                run(numbers, rs)
            except Exception:
                ending = "raised"
            numbers["ended"] = np.array(ending)

        add("calls." + name, "", program=program)

    return add_case


def text_of(values: Any) -> np.ndarray:
    """Return the representation of a Python value as an array that can be recorded."""
    return np.array(repr(values))


def build_net(text: str = CHAIN, phase: int = caffe.TEST, **options: Any) -> Any:
    """Return a net with drawn weights and inputs."""
    n = caffe.Net(write(".", "net.prototxt", text), phase, **options)
    fill_params(n, RandomState(7))
    for blob in n.inputs:
        shape = tuple(n.blobs[blob].data.shape)
        n.blobs[blob].data[...] = draw(RandomState(8), "normal", shape)
    return n


def record_arrays(numbers: Numbers, arrays: Dict[str, np.ndarray], prefix: str = "") -> None:
    """Copy arrays into `numbers`, in the order of their names."""
    numbers.update({prefix + name: copy(array) for name, array in sorted(arrays.items())})


def build_solver(rule: str = RULE, text: str = TRAIN_NET) -> Any:
    """Return a solver whose net has drawn weights."""
    solver = start(Case("calls", text, solver=rule))
    fill_params(solver.net, RandomState(9))
    return solver
