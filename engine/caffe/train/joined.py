"""An iteration of a small net, forward, backward and update, as one call of the C library.

A step of a net of a few thousand values takes a few microseconds in the C library, and would take
several times as long in Python. The call counts the iteration, too: a handler of a signal, which
Python runs between two operations, never finds weights of one iteration and the count of another.
"""

from __future__ import annotations

import numpy as np

from ..errors import LayerError
from ..native import instructions as ops
from ..native.link import NativeRun, join, link
from ..run.arrays import ArrayProgram
from ..run.executor import Executor
from .update import Updater


class JoinedIterations:
    """Runs the iterations of a solver, each as one call.

    count: the number of completed iterations, an int64 array of shape (). Each call adds 1.
    """

    def __init__(self, executor: Executor, updater: Updater, count: np.ndarray) -> None:
        self._executor, self._updater, self._count = executor, updater, count
        #: The calls of forward and backward that the present run is joined from.
        self._program: ArrayProgram | None = None
        self._run: NativeRun | None = None
        self._losses: list[tuple[float, np.ndarray]] = []

    def is_ready(self) -> bool:
        """Return whether the next iteration can be one call: all memories are where they were."""
        program = self._executor.repeated_step()
        if program is None or not self._updater.repeats():
            return False
        if program is not self._program:
            self._program, self._run = program, self._join(program)
        return self._run is not None

    def _join(self, program: ArrayProgram) -> NativeRun | None:
        step, update, losses = program.step(), self._updater.calls(), self._executor.loss_arrays()
        if step is None or update is None or losses is None:
            return None
        self._losses = losses
        return join([*step, *update, *link([ops.count(self._count)])])

    def run(self, rate: float) -> None:
        """Train for an iteration at a learning rate, after `is_ready`.

        Raises LayerError for a label that is not a class.
        """
        assert self._program is not None and self._run is not None
        self._program.count_pass()
        self._updater.begin_repeated(rate)
        try:
            self._run()
        except LayerError:
            self._executor.wiring.clear_gradients()
            raise

    def loss(self) -> float:
        """Return the weighted sum of the losses of the last iteration."""
        return sum([weight * value.item() for weight, value in self._losses], 0.0)
