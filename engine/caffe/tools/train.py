"""`caffe train`: train or finetune a model, on one device or on several."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .. import glog, graph, mode
from ..errors import DeviceError, UsageError
from ..launch import place
from ..train.solver_types import solver_class
from ..train.spawn import spawn
from ..train.start_watch import StartWatch
from .flags import FLAGS, devices, log, require


def run(flags: Any) -> int:
    """Train or finetune a model; return the exit status."""
    path = require(flags, "solver", "Need a solver definition to train.")
    if flags.snapshot and flags.weights:
        raise UsageError("Give a snapshot to resume training or weights to finetune but not both.")
    param = _read_solver(path, flags)
    gpu = flags.gpu
    if not gpu and param.HasField("solver_mode") and param.solver_mode == param.GPU:
        gpu = str(param.device_id)
    numbers = devices(gpu)
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"-gpu {gpu} names a device twice; each worker needs one of its own")
    if len(numbers) > 1 and place().size == 1:
        for number in reversed(numbers):
            mode.set_device(number)
        return spawn(_arguments(flags), len(numbers))
    if numbers:
        _use_gpu(gpu, numbers, param)
    else:
        log(197, "Use CPU.")
        mode.set_mode_cpu()
    _solve(path, param, flags)
    return 0


def _read_solver(path: str, flags: Any) -> Any:
    """Return the SolverParameter of a file, with the level, the stages and weights of the flags."""
    param = graph.read_solver(path)
    param.train_state.level = flags.level
    param.train_state.stage.extend(flags.stage.split(","))
    if flags.weights:
        param.ClearField("weights")
        param.weights.append(flags.weights)
    return param


def _use_gpu(gpu: str, numbers: Sequence[int], param: Any) -> None:
    """Compute on this worker's device, and note it in the SolverParameter."""
    number = device_of_worker(gpu, numbers)
    log(204, f"Using GPUs {', '.join(map(str, numbers))}")
    mode.set_device(number)
    mode.set_mode_gpu()
    log(209, f"GPU {number}: {torch.cuda.get_device_name(number)}")
    param.device_id = number


def device_of_worker(gpu: str, numbers: Sequence[int]) -> int:
    """Return this worker's device among the `numbers` that the flag -gpu names.

    Raises DeviceError if the flag names fewer devices than workers run on this host.
    """
    _, count, local = place()
    if local >= len(numbers):
        raise DeviceError(
            f"-gpu {gpu} names {len(numbers)} devices; worker {local} on this host, of {count} in "
            "all, needs one of its own, so name as many devices as processes run here"
        )
    return numbers[local]


def _arguments(flags: Any) -> list[str]:
    """Return a command line for `caffe` that trains with these flags."""
    values = vars(flags)
    changed = [name for name, (default, _) in FLAGS.items() if values[name] != default]
    return ["train", *(f"-{name}={values[name]}" for name in changed)]


def _solve(path: str, param: Any, flags: Any) -> None:
    with _signals(flags) as requested_action:
        solver = solver_class(param, path).from_param(param)
        solver.requested_action = requested_action
        if flags.snapshot:
            log(235, f"Resuming from {flags.snapshot}")
            solver.restore(flags.snapshot)
        StartWatch(solver).attach()
        log(239, "Starting Optimization")
        try:
            solver.solve()
        except Exception:
            # Of several workers, the company saves the last iteration.
            if place().size == 1 and (saved := solver.save_last_iteration()):
                glog.write("train.py:1", f"An error ends the training; continue from {saved}", 1)
            raise
    log(250, "Optimization Done.")


@contextmanager
def _signals(flags: Any) -> Iterator[Callable[[], str]]:
    """Let SIGINT and SIGHUP request what the flags say, and SIGTERM a stop with a snapshot.

    BVLC Caffe ends at SIGTERM; clusters send it to programs that have some seconds to end.

    Yields a function that returns the oldest request that was not returned before, or "none".
    Raises UsageError for an unknown effect.
    """
    effects = {signal.SIGINT: flags.sigint_effect, signal.SIGHUP: flags.sighup_effect}
    for effect in effects.values():
        if effect not in ("stop", "snapshot", "none"):
            raise UsageError(f'Invalid signal effect "{effect}" was specified')
    if hasattr(signal, "SIGTERM"):
        effects[signal.SIGTERM] = "stop"
    received: list[int] = []

    def requested_action() -> str:
        return effects[signal.Signals(received.pop(0))] if received else "none"

    handlers = {s: signal.signal(s, lambda number, _: received.append(number)) for s in effects}
    try:
        yield requested_action
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
