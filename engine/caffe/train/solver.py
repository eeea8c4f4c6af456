"""`Solver`: the training loop, with pycaffe's interface. solver_types.py has its subclasses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import glog, launch, mode
from ..blob import Blob
from ..errors import DeviceError, in_file
from ..net import Net
from ..run.wiring import Parameter
from ..text import to_text
from . import detections, meeting, nets, policies, progress, resume, rules, settings, snapshots
from .company import Alone, Company
from .interrupts import IterationHeld, UpdateHeld
from .joined import JoinedIterations
from .nccl import NCCL
from .update import Updater


class Solver:
    """Trains the net of a solver prototxt.

    net: the net that is trained; test_nets: the nets that are tested. history: the rule's history
    blobs, in the order of a .solverstate.

    Raises FileError for a file that cannot be read, and NetError for one that makes no solver.
    """

    rule: ClassVar[type[rules.Rule]] = rules.Rule

    def __init__(self, solver_file: str | os.PathLike) -> None:
        path = os.fspath(solver_file)
        self.param = settings.read(path)
        with in_file(path):
            self._build()

    @classmethod
    def from_param(cls, param: Any) -> Solver:
        """Return the solver of a SolverParameter of the present form."""
        solver = cls.__new__(cls)
        solver.param = param
        solver._build()
        return solver

    def _build(self) -> None:
        p = self.param
        if glog.shown():
            glog.write("solver.cpp:45", "Initializing solver from parameters: ", text=to_text(p))
        settings.check(p)
        rule = self.rule(p)
        if p.random_seed >= 0:
            mode.set_random_seed(p.random_seed + launch.solver_rank())
        self._count = np.zeros((), np.int64)
        #: How often the solver was restored from a snapshot.
        self.restores = 0
        self.net: Net = nets.train_net(p)
        self.test_nets: list[Net] = nets.test_nets(p)
        #: Returns "none", "stop" or "snapshot"; called after each iteration and test batch.
        self.requested_action: Callable[[], str] = lambda: "none"
        #: The solvers in other processes that this one trains with.
        self.company: Company = meeting.company()
        self.history = [
            Blob(parameter.blob.shape)
            for _ in range(rule.histories)
            for parameter in self.parameters
        ]
        self._updater = Updater(rule, p, self.parameters, self.history)
        self._joined = JoinedIterations(self.net.executor, self._updater, self._count)
        self._rate_drops = 0
        self._plateau = policies.Plateau()
        self._losses = progress.RecentLosses(p.average_loss)
        #: Whether the next call of `step` continues the average of `_losses`.
        self._losses_go_on = False
        #: Whether an iteration has begun, or was interrupted: its data and random numbers are gone.
        self._within_iteration = False
        #: The iteration at which the last call of `step` began.
        self._call_began = 0
        #: The iterations at which this training began, and of the last snapshot.
        self._first, self._saved = 0, 0
        #: An iteration, and the progress of each worker at that time, by rank.
        self._progress_of_all: tuple[int, Sequence[str]] = (-1, ())
        self._callbacks: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._stopped = False
        glog.write("solver.cpp:57", "Solver scaffolding done.")

    @property
    def iter(self) -> int:
        """The number of iterations so far."""
        return self._count.item()

    @iter.setter
    def iter(self, number: int) -> None:
        self._count[()] = number

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The learnable parameters of the net, in the order of `history`."""
        return self.net.parameters

    @property
    def type(self) -> str:
        """The solver's type, as `type` in a solver prototxt names it."""
        return type(self).__name__.removesuffix("Solver")

    @property
    def smoothed_loss(self) -> float:
        """The mean loss of the last `average_loss` iterations of this call of `step`.

        A training that is resumed continues the average of the call that was interrupted.
        """
        return self._losses.mean()

    def solve(self, resume_file: str | os.PathLike | None = None) -> None:
        """Train up to max_iter, from the .solverstate `resume_file` if one is named."""
        p = self.param
        glog.write("solver.cpp:289", f"Solving {self.net.name}")
        glog.write("solver.cpp:290", f"Learning Rate Policy: {p.lr_policy}")
        if resume_file is not None:
            glog.write("solver.cpp:296", f"Restoring previous solver status from {resume_file}")
            self.restore(resume_file)
        if p.snapshot_prefix and not launch.solver_rank():
            # Writing a snapshot does this, too, but a run that is already at max_iter writes none.
            snapshots.remove_abandoned(p.snapshot_prefix)
        self._stopped = False
        self.step(p.max_iter - self.iter)
        # From this snapshot, a training up to a later max_iter continues the average.
        self._losses_go_on = True
        if p.snapshot_after_train and not self._is_due(p.snapshot):
            self._snapshot_by_worker_0()
        self._losses_go_on = self._stopped
        if self._stopped:
            glog.write("solver.cpp:310", "Optimization stopped early.")
            return
        if launch.solver_rank():
            return
        if self._is_due(p.display):
            self._losses.add([self.net.executor.forward_all()])
            glog.write("solver.cpp:327", f"Iteration {self.iter}, loss = {self.smoothed_loss:g}")
        if self._is_due(p.test_interval):
            self._test_all()
        glog.write("solver.cpp:332", "Optimization Done.")

    def step(self, iters: int) -> None:
        """Train for `iters` iterations.

        Ctrl-C raises KeyboardInterrupt after an iteration; pressed twice, at once, but never within
        an update.
        """
        p = self.param
        end = self.iter + iters
        if not self._losses_go_on:
            self._losses.begin(p.average_loss)
        self._losses_go_on, self._call_began = True, self.iter
        self.company.start(self)
        speed = progress.Speed(self.iter)
        while self.iter < end and not self._stopped:
            if self._is_test_due():
                self.net.clear_param_diffs()
                self._test_all()
                if self._stopped:
                    break
            if self._may_join() and self._joined.is_ready():
                self._iterate_joined()
                continue
            with IterationHeld():
                self._iterate(speed)
        # A stopped training is resumed in the middle of this call.
        self._losses_go_on = self._stopped

    def _iterate(self, speed: progress.Speed) -> None:
        """Train for an iteration, then write a snapshot and note a request to stop."""
        p = self.param
        self._within_iteration = True
        if self._callbacks:
            self.net.clear_param_diffs()
        for on_start, _ in self._callbacks:
            on_start()
        # As in BVLC Caffe, the train net logs what the solver asks for, and only where the
        # iteration is displayed.
        self.net.executor.observers.debug_info = p.debug_info and self._is_due(p.display)
        # What callbacks have written to the gradients is added to.
        fresh = not self._callbacks
        self._losses.add([self.net.executor.step(fresh and not i) for i in range(p.iter_size)])
        if self._is_due(p.display):
            self._display(speed)
        for _, on_gradients_ready in self._callbacks:
            on_gradients_ready()
        self.company.average(self)
        with self.company.uninterrupted():
            self.apply_update()
        self._within_iteration = False
        action = self.company.action(self)
        if self._is_due(p.snapshot) or action == "snapshot":
            self._snapshot_by_worker_0()
        self._stopped = action == "stop"

    def _may_join(self) -> bool:
        """Return whether nothing observes this iteration between its forward and its update."""
        p = self.param
        if self._callbacks or p.iter_size != 1 or p.lr_policy == "plateau":
            return False
        if self._is_due(p.display) or type(self.company) is not Alone:
            return False
        return not (p.snapshot and (self.iter + 1) % p.snapshot == 0)

    def _iterate_joined(self) -> None:
        """Train for an iteration as one call of the C library.

        No signal has to wait: where a handler raises after the call, the iteration still ends.
        """
        before, rate = self.iter, self.lr
        losses: list[float] = []
        try:
            self._within_iteration = True
            self._joined.run(rate)
            self._end_joined(before, losses)
        except BaseException:
            self._end_joined(before, losses)
            raise

    def _end_joined(self, before: int, losses: list[float]) -> None:
        """Note that an iteration has ended, and its losses if the call has counted it.

        Called again after an interrupted call, the method completes what was begun.
        """
        if not self._within_iteration:
            return
        if self.iter > before:
            losses[:] = [self._joined.loss()]
            self._losses.add(losses)
        self._within_iteration = False
        if self.iter == before:
            return
        action = self.company.action(self)
        if action == "snapshot":
            with IterationHeld():
                self._snapshot_by_worker_0()
        self._stopped = action == "stop"

    def _is_due(self, interval: int) -> bool:
        """Return whether this iteration is one that comes every `interval` iterations; 0: never."""
        return bool(interval) and self.iter % interval == 0

    def _is_test_due(self) -> bool:
        p = self.param
        starts = self.iter == 0 and not p.test_initialization
        return self._is_due(p.test_interval) and not starts and not launch.solver_rank()

    def _display(self, speed: progress.Speed) -> None:
        rate, seconds = speed.since_last(self.iter)
        glog.write(
            "solver.cpp:239",
            f"Iteration {self.iter} ({rate:g} iter/s, {seconds:g}s/{self.param.display} iters), "
            f"loss = {self.smoothed_loss:g}",
        )
        outputs = progress.output_values(self.net)
        progress.log_outputs("Train", outputs, self.net, "solver.cpp:258")

    @property
    def lr(self) -> float:
        """The learning rate at the present iteration."""
        p = self.param
        if p.lr_policy == "plateau":
            self._plateau_drops()
        else:
            self._rate_drops = policies.count_drops(p, self.iter, self._rate_drops)
        return policies.learning_rate(self.param, self.iter, self._rate_drops)

    def _plateau_drops(self) -> None:
        """Count the drops up to this iteration. A second call in an iteration changes nothing."""
        drops = self._plateau.count_drops
        self._rate_drops = drops(self.param, self.iter, self._rate_drops, self.smoothed_loss)

    def apply_update(self) -> None:
        """Update the weights from the gradients and count an iteration.

        Afterwards the parameters' `diff` hold what was subtracted from the weights.
        """
        rate = self.lr
        if self._is_due(self.param.display):
            glog.write("sgd_solver.cpp:112", f"Iteration {self.iter}, lr = {rate:g}")
        with UpdateHeld():
            self._updater.apply(rate, self.iter)
            self.iter += 1

    def _test_all(self) -> None:
        for number, (net, iters) in enumerate(zip(self.test_nets, self.param.test_iter)):
            glog.write("solver.cpp:347", f"Iteration {self.iter}, Testing net (#{number})")
            self._test(net, iters)
            if self._stopped:
                glog.write("solver.cpp:390", "Test interrupted.")
                return

    def _test(self, net: Net, iters: int) -> None:
        """Log the mean outputs of a test net over `iters` batches, unless the test is stopped."""
        net.share_with(self.net)
        loss = 0.0
        total: progress.Outputs = []
        judged = detections.Detections(self.param, net)
        for _ in range(iters):
            if self._is_test_interrupted():
                return
            loss += float(net.executor.forward_all())
            judged.add()
            outputs = progress.output_values(net, judged.outputs)
            total = progress.add_outputs(total, outputs) if total else outputs
        if self.param.test_compute_loss:
            # BVLC Caffe divides by a test_iter of 0, too.
            mean = f"{loss / iters:g}" if iters else "-nan"
            glog.write("solver.cpp:401", f"Test loss: {mean}")
        means = [(name, [value / iters for value in values]) for name, values in total]
        progress.log_outputs("Test", means, net, "solver.cpp:414")
        judged.log()

    def _is_test_interrupted(self) -> bool:
        """Carry out the requested actions during a test; return whether to stop.

        Workers that train together carry them out after the iteration, all at once.
        """
        if launch.solver_count() > 1:
            return False
        while not self._stopped and (action := self.requested_action()) != "none":
            if action == "snapshot":
                self.snapshot()
            self._stopped = action == "stop"
        return self._stopped

    def snapshot(self) -> None:
        """Write PREFIX_iter_N.caffemodel and, after it, PREFIX_iter_N.solverstate.

        Raises DeviceError in all but worker 0 of solvers that train together.
        """
        if rank := launch.solver_rank():
            raise DeviceError(
                f"snapshot() was called in worker {rank} of solvers that train together; only "
                "worker 0 writes snapshots"
            )
        self.write_snapshot()

    def write_snapshot(self) -> None:
        """Write a snapshot, whichever worker this is."""
        with self.company.uninterrupted():
            self._write_resume_file()
            try:
                snapshots.write(self.param, self.net, self.iter, self._rate_drops, self.history)
            except (OSError, RuntimeError):
                resume.remove_alone(snapshots.base_name(self.param, self.iter))
                raise
            self._saved = self.iter
            self.company.note_snapshot(self.iter)

    def save_last_iteration(self) -> str:
        """Write a snapshot of the last complete iteration, after an error in the next one.

        Return its path without suffixes, or "" if there was no iteration, if it has a snapshot, if
        the solver writes none, or if the snapshot cannot be written.
        """
        p = self.param
        if not (self.iter > self._first and p.snapshot_prefix):
            return ""
        if not (p.snapshot or p.snapshot_after_train) or self._saved == self.iter:
            return ""
        try:
            self.write_snapshot()
        except (OSError, RuntimeError):
            return ""
        return snapshots.base_name(p, self.iter)

    def _snapshot_by_worker_0(self) -> None:
        self.company.collect(self)
        if not launch.solver_rank():
            self.write_snapshot()

    def _write_resume_file(self) -> None:
        """Write what Caffe's files cannot hold, before the files that make a snapshot complete."""
        base = snapshots.base_name(self.param, self.iter)
        iteration, texts = self._progress_of_all
        workers = {i: json.loads(t) for i, t in enumerate(texts) if t and iteration == self.iter}
        if not self._within_iteration:
            workers[launch.solver_rank()] = self._progress_values()
        elif launch.solver_rank() not in workers:
            resume.remove(base)
            return
        if self._within_iteration and self.iter == self._call_began:
            # The call of `step` that was interrupted began with an average of its own.
            workers = {rank: {**values, "losses": None} for rank, values in workers.items()}
        resume.write(base, self.iter, workers, self.history)

    def progress_text(self) -> str:
        """Return what this worker needs to go on from a snapshot, as JSON."""
        return json.dumps(self._progress_values())

    def next_progress_text(self) -> str:
        """Return `progress_text` as it will be after the update that follows."""
        if self.param.lr_policy == "plateau":
            self._plateau_drops()
        return self.progress_text()

    def _progress_values(self) -> dict[str, Any]:
        losses = self._losses.values() if self._losses_go_on else None
        where = resume.Progress([self.net, *self.test_nets], losses, self._plateau)
        return resume.values_of(where)

    def keep_progress(self, texts: Sequence[str]) -> None:
        """Keep the progress of all workers, by rank, for a snapshot of this iteration."""
        self._progress_of_all = self.iter, texts

    def restore(self, state_file: str | os.PathLike) -> None:
        """Continue from a .solverstate and the weights that it names.

        The weights are looked for where the state says, then beside the state. With the file
        PREFIX_iter_N.resume.json beside the state, the training goes on bit for bit as if it had
        not ended; without it, a warning says what starts anew. Raises FileError for a file that is
        missing or damaged, and WeightsError for one that does not fit.
        """
        path = os.fspath(state_file)
        state = snapshots.restore(path, self.net, self.history)
        self.iter, self._rate_drops = state.iter, state.current_step
        self._first = self._saved = state.iter
        losses = resume.restore(path, state, [self.net, *self.test_nets], self._plateau)
        self._losses = progress.RecentLosses(self.param.average_loss)
        for values in losses or ():
            self._losses.add(values)
        self._losses_go_on, self._within_iteration = losses is not None, False
        self.restores += 1

    def add_callback(
        self,
        on_start: Callable[[], None] | NCCL,
        on_gradients_ready: Callable[[], None] | None = None,
    ) -> None:
        """Have the two functions called before each iteration and before each update.

        With an NCCL alone, average the gradients over its workers before each update.
        """
        if isinstance(on_start, NCCL):
            self.company = on_start.group
        elif on_gradients_ready is None:
            raise TypeError("add_callback needs two functions, or an NCCL")
        else:
            self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Let `net` use this solver's weights."""
        net.share_with(self.net)
