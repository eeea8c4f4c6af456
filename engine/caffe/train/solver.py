"""Solvers: learning-rate policies, update rules, snapshots."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch

from .. import glog, graph, hdf5, launch, mode, upgrade, weights
from ..blob import Blob
from ..errors import CaffeError
from ..memory import Memory, MemoryView
from ..net import Net
from ..ops import cuda
from ..proto import caffe_pb2
from ..run.loss import Loss
from ..text import to_text
from . import parallel
from .nccl import NCCL

#: Values of a parameter that are updated at a time on the CPU: 1 MB, and as much of each history.
PIECE = 1 << 18


class Solver:
    """Trains the net of a solver prototxt, with pycaffe's interface."""

    #: How many values of history an update rule keeps for each parameter.
    histories: ClassVar[int] = 1

    def __init__(self, solver_file: str | os.PathLike) -> None:
        path = os.fspath(solver_file)
        if not os.path.isfile(path):
            raise CaffeError(f"Could not open file {path}")
        self.param = graph.read_solver(path)
        try:
            self._build()
        except CaffeError as error:
            raise CaffeError(f"{path}: {error}") from None

    @classmethod
    def from_param(cls, param: Any) -> Solver:
        """The solver of a SolverParameter of the present form."""
        solver = cls.__new__(cls)
        solver.param = param
        solver._build()
        return solver

    def _build(self) -> None:
        p = self.param
        if glog.shown():
            glog.write("solver.cpp:45", f"Initializing solver from parameters: \n{to_text(p)}")
        self._check()
        if p.random_seed >= 0:
            mode.set_random_seed(p.random_seed + launch.solver_rank())
        self.iter = 0
        #: Counts the restores.
        self.restored = 0
        self.net = self._train_net()
        self._finetune(self.net)
        self.test_nets = self._test_nets()
        self._current_step = 0
        #: The last losses, those of an iteration together.
        self._losses: list[list[Loss]] = []
        self._callbacks: list[tuple[Callable[[], None], Callable[[], None]]] = []
        #: Asked after each iteration and test batch: "none", "stop" or "snapshot".
        self.requested_action: Callable[[], str] = lambda: "none"
        self._stopped = False
        #: The solvers in other processes that this one trains with.
        self.company = parallel.company()
        self._sgd = cuda.SGD()
        self.history = [
            Blob(b.shape) for _ in range(self.histories) for b, _, _ in self.net.parameters
        ]
        glog.write("solver.cpp:57", "Solver scaffolding done.")

    def _check(self) -> None:
        p = self.param
        if p.lr_policy not in _POLICIES:
            raise CaffeError(
                f"lr_policy is {p.lr_policy!r}; it needs to be one of {', '.join(_POLICIES)}"
            )
        if p.lr_policy == "step" and p.stepsize < 1:
            raise CaffeError(f"lr_policy 'step' has stepsize {p.stepsize}; it needs at least 1")
        if p.lr_policy in ("step", "exp", "inv", "multistep", "sigmoid") and p.gamma < 0:
            raise CaffeError(f"lr_policy {p.lr_policy!r} has gamma {p.gamma}; it needs at least 0")
        if p.regularization_type not in ("L1", "L2"):
            raise CaffeError(
                f"regularization_type is {p.regularization_type!r}; L1 or L2 is needed"
            )
        folder = os.path.dirname(p.snapshot_prefix)
        if p.snapshot and folder and not os.access(folder, os.W_OK):
            raise CaffeError(
                f"snapshot_prefix is {p.snapshot_prefix!r}, but {folder!r} is not a folder that "
                "can be written; make it first"
            )

    def _train_net(self) -> Net:
        p = self.param
        given = [
            name
            for name in ("train_net_param", "train_net", "net_param", "net")
            if p.HasField(name)
        ]
        if len(given) != 1:
            raise CaffeError(
                f"the train net is given by {given or 'nothing'}; it needs exactly one of net, "
                "net_param, train_net, train_net_param"
            )
        source = getattr(p, given[0])
        words = f"from {given[0]} file: {source}"
        if not isinstance(source, str):
            words = f"specified in {given[0]}."
        glog.write("solver.cpp:102", f"Creating training net {words}")
        return self._net(source, caffe_pb2.TRAIN, p.train_state)

    def _test_nets(self) -> list[Net]:
        p = self.param
        sources: list[Any] = [*p.test_net_param, *p.test_net]
        both = [getattr(p, name) for name in ("net_param", "net") if p.HasField(name)]
        more = len(p.test_iter) - len(sources)
        if both and more > 0:
            sources += both * more
        if len(p.test_iter) != len(sources):
            raise CaffeError(
                f"{len(p.test_iter)} test_iter for {len(sources)} test nets; one each is needed"
            )
        if sources and p.test_interval < 1:
            raise CaffeError(
                f"test_interval is {p.test_interval}; with a test net it needs to be at least 1"
            )
        if len(p.test_state) not in (0, len(sources)):
            raise CaffeError(
                f"{len(p.test_state)} test_state for {len(sources)} test nets; none, or one each "
                "is needed"
            )
        states = list(p.test_state) or [None] * len(sources)
        nets = []
        for i, (source, state) in enumerate(zip(sources, states)):
            own = i < len(p.test_net_param) + len(p.test_net)
            words = f"net file: {source}" if isinstance(source, str) else "net_param"
            words = "test_" * own + words
            glog.write("solver.cpp:190", f"Creating test net (#{i}) specified by {words}")
            nets.append(self._net(source, caffe_pb2.TEST, state))
            self._finetune(nets[-1])
        return nets

    def _finetune(self, net: Net) -> None:
        """Take the weights that the solver names, in order; one entry may name several files."""
        for path in ",".join(self.param.weights).split(","):
            if path.strip():
                glog.write("solver.cpp:72", f"Finetuning from {path.strip()}")
                net.copy_from(path.strip())

    @staticmethod
    def _net(source: Any, phase: Any, state: Any) -> Net:
        """The net of a file name or a NetParameter."""
        named = isinstance(source, str)
        if named:
            param = graph.read_net(source)
        else:
            param = caffe_pb2.NetParameter()
            param.CopyFrom(source)
            upgrade.upgrade_net(param)
        full = caffe_pb2.NetState()
        full.phase = phase
        full.MergeFrom(param.state)
        if state is not None:
            full.MergeFrom(state)
        param.state.CopyFrom(full)
        try:
            return Net.from_param(param)
        except CaffeError as error:
            raise CaffeError(f"{source}: {error}" if named else str(error)) from None

    # ---- training ------------------------------------------------------------------------------

    def step(self, iters: int) -> None:
        """Train for `iters` iterations."""
        p, start = self.param, self.iter
        stop = start + iters
        self._losses = []
        self.company.start(self)
        clock, last = time.perf_counter(), start
        while self.iter < stop and not self._stopped:
            self.net.clear_param_diffs()
            if (
                p.test_interval
                and self.iter % p.test_interval == 0
                and (self.iter > 0 or p.test_initialization)
                and not launch.solver_rank()
            ):
                self._test_all()
                if self._stopped:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            self._keep([self.net.forward_backward() for _ in range(p.iter_size)], start)
            if p.display and self.iter % p.display == 0:
                now = time.perf_counter()
                rate = (self.iter - last) / (now - clock) if self.iter > last else 0
                glog.write(
                    "solver.cpp:239",
                    f"Iteration {self.iter} ({rate:g} iter/s, {now - clock:g}s/{p.display} iters), "
                    f"loss = {self._smoothed_loss:g}",
                )
                clock, last = now, self.iter
                self._log_outputs(
                    "Train", self._output_values(self.net), self.net, "solver.cpp:258"
                )
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.company.average(self)
            with self.company.whole():
                self.apply_update()
            action = self.company.action(self)
            if (p.snapshot and self.iter % p.snapshot == 0) or action == "snapshot":
                self._snapshot_of_all()
            self._stopped = action == "stop"

    def solve(self, resume_file: str | os.PathLike | None = None) -> None:
        """Train up to max_iter, from the state in `resume_file` if one is named."""
        p = self.param
        glog.write("solver.cpp:289", f"Solving {self.net.name}")
        glog.write("solver.cpp:290", f"Learning Rate Policy: {p.lr_policy}")
        if resume_file is not None:
            glog.write("solver.cpp:296", f"Restoring previous solver status from {resume_file}")
            self.restore(resume_file)
        self._stopped = False
        self.step(p.max_iter - self.iter)
        if p.snapshot_after_train and (not p.snapshot or self.iter % p.snapshot):
            self._snapshot_of_all()
        if self._stopped:
            glog.write("solver.cpp:310", "Optimization stopped early.")
            return
        if launch.solver_rank():
            return
        if p.display and self.iter % p.display == 0:
            self._keep([self.net.executor.forward_all()], self.iter)
            glog.write("solver.cpp:327", f"Iteration {self.iter}, loss = {self._smoothed_loss:g}")
        if p.test_interval and self.iter % p.test_interval == 0:
            self._test_all()
        glog.write("solver.cpp:332", "Optimization Done.")

    def _keep(self, losses: list[Loss], start: int) -> None:
        """Keep the last `average_loss` losses."""
        size = self.param.average_loss
        if len(self._losses) < size:
            self._losses.append(losses)
        else:
            self._losses[(self.iter - start) % size] = losses

    @property
    def _smoothed_loss(self) -> float:
        """The mean of the losses that are kept."""
        means = [sum(map(float, of)) / len(of) for of in self._losses]
        return sum(means) / max(1, len(means))

    def _output_values(self, net: Net) -> list[tuple[str, list[float]]]:
        blobs = net.blobs
        return [(n, blobs[n].values.tensor().reshape(-1).tolist()) for n in net.outputs]

    def _log_outputs(
        self, which: str, values: list[tuple[str, list[float]]], net: Net, place: str
    ) -> None:
        number = 0
        for name, of_blob in values:
            weight = net.blob_loss_weights[name]
            for value in of_blob:
                loss = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
                glog.write(place, f"    {which} net output #{number}: {name} = {value:g}{loss}")
                number += 1

    def _test_all(self) -> None:
        for number, (net, iters) in enumerate(zip(self.test_nets, self.param.test_iter)):
            glog.write("solver.cpp:347", f"Iteration {self.iter}, Testing net (#{number})")
            net.share_with(self.net)
            sums: list[tuple[str, list[float]]] = []
            loss = 0.0
            for _ in range(iters):
                if self._interrupted():
                    break
                loss += float(net.executor.forward_all())
                values = self._output_values(net)
                if sums:
                    values = [
                        (name, [a + b for a, b in zip(old, new)])
                        for (name, old), (_, new) in zip(sums, values)
                    ]
                sums = values
            if self._stopped:
                glog.write("solver.cpp:390", "Test interrupted.")
                return
            if self.param.test_compute_loss:
                glog.write("solver.cpp:398", f"Test loss: {loss / iters:g}")
            means = [(name, [v / iters for v in values]) for name, values in sums]
            self._log_outputs("Test", means, net, "solver.cpp:414")

    def _interrupted(self) -> bool:
        """Do what was asked for during a test; whether that is to stop.

        Workers that train together do it after the iteration, all of them.
        """
        if launch.solver_count() > 1:
            return False
        while not self._stopped and (action := self.requested_action()) != "none":
            if action == "snapshot":
                self.snapshot()
            self._stopped = action == "stop"
        return self._stopped

    # ---- the update ----------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate at the present iteration."""
        return _POLICIES[self.param.lr_policy](self)

    def apply_update(self) -> None:
        """Turn the gradients into updates by the solver's rule and take them off the weights.

        Counts as an iteration.
        """
        p, rate, on = self.param, self.lr, mode.device()
        if p.display and self.iter % p.display == 0:
            glog.write("sgd_solver.cpp:112", f"Iteration {self.iter}, lr = {rate:g}")
        self._clip(on)
        net = self.net
        decays = [p.weight_decay * mult for _, _, mult in net.parameters]
        memories = []
        for i, (blob, _, _) in enumerate(net.parameters):
            histories = self.history[i :: len(net.parameters)]
            memories.append([blob.values, blob.gradient, *(h.values for h in histories)])
        at_once = on.type == "cuda" and self._in_one_launch()
        learning = []
        for of_parameter, mult, decay in zip(
            memories, [mult for _, mult, _ in net.parameters], decays
        ):
            if at_once:
                if not self._rests(mult, of_parameter):
                    learning.append(((_alike(of_parameter, on), mult, decay), of_parameter))
                continue
            # A piece at a time on the CPU, so that all steps but the first find it in the cache.
            pieces: Iterable[Sequence[torch.Tensor]]
            if on.type == "cpu":
                data, *others = of_parameter
                tensors = [_in_order(data, on, changes=mult != 0)]
                tensors += [_in_order(m, on) for m in others]
                pieces = zip(*(tensor.view(-1).split(PIECE) for tensor in tensors))
            else:
                pieces = [_alike(of_parameter, on, changes=mult != 0)]
            for piece in pieces:
                self._update_piece(rate * mult, decay, *piece)
        if learning:
            self._sgd.update([three for three, _ in learning], rate, p.momentum)
            for _, (_, gradient, history) in learning:
                _follow(gradient, history, on)
        self.iter += 1

    def _in_one_launch(self) -> bool:
        """Whether the update is the one that a CUDA device does in one pass."""
        p = self.param
        plain = type(self) is SGDSolver and p.iter_size == 1 and p.regularization_type == "L2"
        return plain and self._sgd.possible()

    @staticmethod
    def _rests(mult: float, memories: Sequence[Memory | MemoryView]) -> bool:
        """Whether a parameter does not learn and never has; its update, zero, is its gradient."""
        rests = mult == 0 and all(m.is_zero() for m in memories[2:])
        if rests:
            memories[1].zero()
        return rests

    def _update_piece(
        self,
        rate: float,
        decay: float,
        data: torch.Tensor,
        diff: torch.Tensor,
        *history: torch.Tensor,
    ) -> None:
        p = self.param
        if p.iter_size > 1:
            diff /= p.iter_size
        if decay:
            diff.add_(data if p.regularization_type == "L2" else data.sign(), alpha=decay)
        self.update(diff, rate, *history)
        data -= diff

    def _clip(self, on: torch.device) -> None:
        """Scale all gradients down together where their L2 norm is above clip_gradients."""
        limit = self.param.clip_gradients
        if limit < 0:
            return
        diffs = [blob.gradient.tensor(on) for blob, _, _ in self.net.parameters]
        norm = math.sqrt(float(sum(torch.dot(d.flatten(), d.flatten()) for d in diffs)))
        if norm > limit:
            glog.write(
                "sgd_solver.cpp:93",
                f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g}) "
                f"by scale factor {limit / norm:g}",
            )
            for blob, _, _ in self.net.parameters:
                blob.gradient.mutable(on).mul_(limit / norm)

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        """Replace the gradient in `diff` by what is to be taken off the weights."""
        raise NotImplementedError

    # ---- files ---------------------------------------------------------------------------------

    def snapshot(self) -> None:
        """Write PREFIX_iter_N.caffemodel and, after it, PREFIX_iter_N.solverstate.

        Raises CaffeError in all but worker 0 of solvers that train together.
        """
        if rank := launch.solver_rank():
            raise CaffeError(f"worker {rank} of solvers that train together; 0 writes snapshots")
        self.write_snapshot()

    def _snapshot_of_all(self) -> None:
        if not launch.solver_rank():
            self.snapshot()

    def write_snapshot(self) -> None:
        """Write a snapshot, whichever worker this is."""
        with self.company.whole():
            self._write_snapshot()
            self.company.written(self.iter)

    def _write_snapshot(self) -> None:
        p = self.param
        base = f"{p.snapshot_prefix}_iter_{self.iter}"
        as_hdf5 = p.snapshot_format == p.HDF5
        kind, suffix, places = (
            ("HDF5", ".h5", (474, 296)) if as_hdf5 else ("binary proto", "", (464, 284))
        )
        model, state = f"{base}.caffemodel{suffix}", f"{base}.solverstate{suffix}"
        glog.write(f"solver.cpp:{places[0]}", f"Snapshotting to {kind} file {model}")
        layers = self.net.layer_weights()
        if as_hdf5:
            hdf5.write_net(model, layers, p.snapshot_diff)
        else:
            weights.write_net(model, self.net.name, layers, p.snapshot_diff)
        glog.write(
            f"sgd_solver.cpp:{places[1]}", f"Snapshotting solver state to {kind} file {state}"
        )
        write_state = hdf5.write_state if as_hdf5 else weights.write_state
        write_state(state, self.iter, model, self._current_step, self.history)

    def restore(self, state_file: str | os.PathLike) -> None:
        """Continue from a .solverstate and the weights that it names.

        The weights are looked for where the state says, then beside the state.
        """
        path = os.fspath(state_file)
        state = weights.read_state(path)
        if len(state.history) != len(self.history):
            raise CaffeError(
                f"{path}: holds the history of {len(state.history)} blobs; this solver "
                f"({self.type}) needs {len(self.history)}"
            )
        for i, (stored, blob) in enumerate(zip(state.history, self.history)):
            if not stored.fits(blob.shape):
                raise CaffeError(
                    f"{path}: history blob {i} has the shape {stored.shape}; this net needs "
                    f"{blob.shape}"
                )
        if state.learned_net:
            beside = os.path.join(os.path.dirname(path), os.path.basename(state.learned_net))
            found = [f for f in (state.learned_net, beside) if os.path.isfile(f)]
            if not found:
                raise CaffeError(
                    f"{path}: its weights {state.learned_net} are neither there nor beside it"
                )
            self.net.copy_from(found[0])
        if not weights.is_hdf5(path):
            glog.write("sgd_solver.cpp:336", f"{type(self).__name__}: restoring history")
        for stored, blob in zip(state.history, self.history):
            stored.copy_to(blob)
        self.iter, self._current_step = state.iter, state.current_step
        self.restored += 1

    # ---- the rest of pycaffe's interface -------------------------------------------------------

    @property
    def type(self) -> str:
        return type(self).__name__.removesuffix("Solver")

    def add_callback(
        self,
        on_start: Callable[[], None] | NCCL,
        on_gradients_ready: Callable[[], None] | None = None,
    ) -> None:
        """Have the two called before each iteration and before each update.

        With an NCCL alone: average the gradients over its workers before each update.
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


def _fixed(s: Solver) -> float:
    return s.param.base_lr


def _step(s: Solver) -> float:
    s._current_step = s.iter // s.param.stepsize
    return s.param.base_lr * s.param.gamma**s._current_step


def _exp(s: Solver) -> float:
    return s.param.base_lr * s.param.gamma**s.iter


def _inv(s: Solver) -> float:
    return s.param.base_lr * (1 + s.param.gamma * s.iter) ** -s.param.power


def _multistep(s: Solver) -> float:
    steps: Sequence[int] = s.param.stepvalue
    if s._current_step < len(steps) and s.iter >= steps[s._current_step]:
        s._current_step += 1
        glog.write(
            "sgd_solver.cpp:49",
            f"MultiStep Status: Iteration {s.iter}, step = {s._current_step}",
        )
    return s.param.base_lr * s.param.gamma**s._current_step


def _poly(s: Solver) -> float:
    return s.param.base_lr * (1 - s.iter / s.param.max_iter) ** s.param.power


def _sigmoid(s: Solver) -> float:
    return s.param.base_lr / (1 + math.exp(-s.param.gamma * (s.iter - s.param.stepsize)))


_POLICIES: dict[str, Callable[[Solver], float]] = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
}


class SGDSolver(Solver):
    """v = momentum * v + lr * g;  w -= v."""

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        (v,) = history
        diff.copy_(v.mul_(self.param.momentum).add_(diff, alpha=rate))


class NesterovSolver(SGDSolver):
    """v' = momentum * v + lr * g;  w -= (1 + momentum) * v' - momentum * v."""

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        (v,), momentum = history, self.param.momentum
        before = v * momentum
        v.mul_(momentum).add_(diff, alpha=rate)
        torch.mul(v, 1 + momentum, out=diff).sub_(before)


class AdaGradSolver(SGDSolver):
    """h += g^2;  w -= lr * g / (sqrt(h) + delta)."""

    def _check(self) -> None:
        super()._check()
        if self.param.momentum:
            raise CaffeError(f"momentum is {self.param.momentum:g}; AdaGrad uses none, remove it")

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        (h,) = history
        h.addcmul_(diff, diff)
        diff.div_(h.sqrt() + self.param.delta).mul_(rate)


class RMSPropSolver(SGDSolver):
    """h = decay * h + (1 - decay) * g^2;  w -= lr * g / (sqrt(h) + delta)."""

    def _check(self) -> None:
        super()._check()
        if self.param.momentum:
            raise CaffeError(f"momentum is {self.param.momentum:g}; RMSProp uses none, remove it")

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        (h,), decay = history, self.param.rms_decay
        h.mul_(decay).addcmul_(diff, diff, value=1 - decay)
        diff.div_(h.sqrt() + self.param.delta).mul_(rate)


class AdaDeltaSolver(SGDSolver):
    """h = m h + (1-m) g^2;  u = g sqrt((d + k) / (d + h));  k = m k + (1-m) u^2;  w -= lr u."""

    histories = 2

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        (h, k), m, delta = history, self.param.momentum, self.param.delta
        h.mul_(m).addcmul_(diff, diff, value=1 - m)
        diff.mul_(((k + delta) / (h + delta)).sqrt_())
        k.mul_(m).addcmul_(diff, diff, value=1 - m)
        diff.mul_(rate)


class AdamSolver(SGDSolver):
    """m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr c m / (sqrt(v) + delta).

    c = sqrt(1 - b2^t) / (1 - b1^t) at iteration t, counted from 1.
    """

    histories = 2

    def update(self, diff: torch.Tensor, rate: float, *history: torch.Tensor) -> None:
        (m, v), b1, b2 = history, self.param.momentum, self.param.momentum2
        t = self.iter + 1
        m.mul_(b1).add_(diff, alpha=1 - b1)
        v.mul_(b2).addcmul_(diff, diff, value=1 - b2)
        correction = math.sqrt(1 - b2**t) / (1 - b1**t)
        torch.div(m, v.sqrt().add_(self.param.delta), out=diff).mul_(rate * correction)


SOLVERS: dict[str, type[Solver]] = {
    "SGD": SGDSolver,
    "Nesterov": NesterovSolver,
    "AdaGrad": AdaGradSolver,
    "RMSProp": RMSPropSolver,
    "AdaDelta": AdaDeltaSolver,
    "Adam": AdamSolver,
}


def _alike(
    memories: Sequence[Memory | MemoryView], on: torch.device, changes: bool = True
) -> list[torch.Tensor]:
    """Values on a CUDA device, to be written, all laid out in memory as the first.

    The first of them stay what they are unless it `changes`.
    """
    first = memories[0].mutable(on) if changes else memories[0].tensor(on)
    return [first, *(memory.mutable_like(first) for memory in memories[1:])]


class _Update:
    """The gradient of a parameter whose history now holds the update, for whoever asks for it."""

    def __init__(self, gradient: Memory, history: Memory | MemoryView, on: torch.device) -> None:
        self._gradient, self._history, self._on = gradient, history, on

    def values(self) -> torch.Tensor:
        """A copy of the history."""
        return self._history.tensor(self._on).clone()

    def before_change(self) -> None:
        """Copy the update while the history still holds it."""
        if self._gradient.is_deferred():
            self._gradient.tensor(self._on)


def _follow(gradient: Memory | MemoryView, history: Memory | MemoryView, on: torch.device) -> None:
    """Let a gradient be the update that its history holds now, once somebody asks for it."""
    if gradient.held() or not isinstance(gradient, Memory):
        gradient.set(history.tensor(on).clone())
        return
    update = _Update(gradient, history, on)
    gradient.defer(update.values)
    history.watch(gradient, update.before_change)


def _in_order(memory: Memory | MemoryView, on: torch.device, changes: bool = True) -> torch.Tensor:
    """The values, to be written, in memory in the order of their axes.

    They stay what they are unless it `changes`.
    """
    if not changes:
        return memory.tensor(on).contiguous()
    tensor = memory.mutable(on)
    if not tensor.is_contiguous():
        memory.set(tensor.contiguous())
        tensor = memory.mutable(on)
    return tensor


def get_solver(solver_file: str | os.PathLike) -> Solver:
    """The solver of a solver prototxt, of the class that its `type` names."""
    path = os.fspath(solver_file)
    if not os.path.isfile(path):
        raise CaffeError(f"Could not open file {path}")
    return solver_class(graph.read_solver(path), path)(path)


def solver_class(param: Any, path: str) -> type[Solver]:
    """The class that the `type` of a SolverParameter names; `path` is for the error."""
    if param.type not in SOLVERS:
        known = ", ".join(SOLVERS)
        raise CaffeError(f"{path}: type is {param.type!r}; it needs to be one of {known}")
    return SOLVERS[param.type]
