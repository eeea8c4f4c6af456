"""The `caffe` command: train, test, time, device_query, with BVLC Caffe's flags and log."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from . import glog, graph, mode
from .errors import CaffeError
from .launch import place
from .net import Net
from .proto import caffe_pb2
from .timer import Timer
from .tools import command
from .train import parallel
from .train.solver import solver_class

USAGE = """command line brew
usage: caffe <command> <args>

commands:
  train           train or finetune a model
  test            score a model
  device_query    show GPU diagnostic information
  time            benchmark model execution time"""

FLAGS: command.Flags = {
    "gpu": ("", "Optional; run in GPU mode on the given device ID. '-gpu all' takes the only one."),
    "iterations": (50, "The number of iterations to run."),
    "level": (0, "Optional; network level."),
    "model": ("", "The model definition protocol buffer text file."),
    "phase": ("", "Optional; network phase (TRAIN or TEST). Only used for 'time'."),
    "sighup_effect": (
        "snapshot",
        "Optional; action to take when a SIGHUP signal is received: snapshot, stop or none.",
    ),
    "sigint_effect": (
        "stop",
        "Optional; action to take when a SIGINT signal is received: snapshot, stop or none.",
    ),
    "snapshot": ("", "Optional; the snapshot solver state to resume training."),
    "solver": ("", "The solver definition protocol buffer text file."),
    "stage": (
        "",
        "Optional; network stages (not to be confused with phase), separated by ','.",
    ),
    "weights": (
        "",
        "Optional; the pretrained weights to initialize finetuning, separated by ','. Cannot be "
        "set simultaneously with snapshot.",
    ),
}


def _log(line: int, message: str, level: int = 0) -> None:
    glog.write(f"caffe.cpp:{line}", message, level)


def _need(flags: Any, name: str, why: str) -> str:
    value = getattr(flags, name)
    if not value:
        raise CaffeError(f"{why} Give it with -{name} FILE.")
    return value


def _devices(flag: str) -> list[int]:
    """The devices that -gpu names. Raises CaffeError for what is no list of numbers."""
    if flag == "all":
        return list(range(torch.cuda.device_count()))
    try:
        return [int(part) for part in flag.split(",")] if flag else []
    except ValueError:
        raise CaffeError(f"-gpu is {flag!r}; it needs to be 'all' or device numbers") from None


def _use_one_device(flag: str, lines: tuple[int, int]) -> None:
    """Choose the mode for `test` and `time`."""
    devices = _devices(flag)
    if devices:
        _log(lines[0], f"Use GPU with device ID {devices[0]}")
        mode.set_device(devices[0])
        mode.set_mode_gpu()
    else:
        _log(lines[1], "Use CPU.")
        mode.set_mode_cpu()


def _own_device(gpu: str, devices: Sequence[int]) -> int:
    """Of the devices that -gpu names, this worker's."""
    _, count, local = place()
    if local >= len(devices):
        raise CaffeError(
            f"-gpu {gpu} names {len(devices)} devices; worker {local} on this host of {count} in "
            "all needs one of its own, so name as many as processes run here"
        )
    return devices[local]


def _arguments(flags: Any) -> list[str]:
    """A command line for `train` with these flags."""
    given = vars(flags)
    return [
        "train",
        *(
            f"-{name}={given[name]}"
            for name, (default, _) in FLAGS.items()
            if given[name] != default
        ),
    ]


@contextmanager
def _signals(flags: Any) -> Iterator[Callable[[], str]]:
    """While open, SIGINT and SIGHUP ask for what the flags say; yields what asks and forgets."""
    effects = {signal.SIGINT: flags.sigint_effect, signal.SIGHUP: flags.sighup_effect}
    for effect in effects.values():
        if effect not in ("stop", "snapshot", "none"):
            raise CaffeError(f'Invalid signal effect "{effect}" was specified')
    received: list[int] = []

    def requested_action() -> str:
        return effects[signal.Signals(received.pop(0))] if received else "none"

    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in effects}
    try:
        yield requested_action
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(flags: Any) -> int:
    """Train or finetune a model."""
    path = _need(flags, "solver", "Need a solver definition to train.")
    if flags.snapshot and flags.weights:
        raise CaffeError("Give a snapshot to resume training or weights to finetune but not both.")
    param = graph.read_solver(path)
    param.train_state.level = flags.level
    param.train_state.stage.extend(flags.stage.split(","))
    if flags.weights:
        param.ClearField("weights")
        param.weights.append(flags.weights)
    gpu = flags.gpu
    if not gpu and param.HasField("solver_mode") and param.solver_mode == param.GPU:
        gpu = str(param.device_id)
    devices = _devices(gpu)
    if len(set(devices)) < len(devices):
        raise CaffeError(f"-gpu {gpu} names a device twice; each worker needs one of its own")
    if len(devices) > 1 and place().size == 1:
        for device in reversed(devices):
            mode.set_device(device)
        return parallel.spawn(_arguments(flags), len(devices))
    if devices:
        device = _own_device(gpu, devices)
        _log(204, f"Using GPUs {', '.join(map(str, devices))}")
        mode.set_device(device)
        mode.set_mode_gpu()
        _log(209, f"GPU {device}: {torch.cuda.get_device_name(device)}")
        param.device_id = device
    else:
        _log(197, "Use CPU.")
        mode.set_mode_cpu()
    with _signals(flags) as requested_action:
        solver = solver_class(param, path).from_param(param)
        solver.requested_action = requested_action
        if flags.snapshot:
            _log(235, f"Resuming from {flags.snapshot}")
            solver.restore(flags.snapshot)
        _log(239, "Starting Optimization")
        solver.solve()
    _log(250, "Optimization Done.")
    return 0


def test(flags: Any) -> int:
    """Score a model: the mean of each output over the iterations."""
    model = _need(flags, "model", "Need a model definition to score.")
    weights = _need(flags, "weights", "Need model weights to score.")
    if flags.iterations < 1:
        raise CaffeError(f"-iterations is {flags.iterations}; it needs to be at least 1")
    _use_one_device(flags.gpu, (267, 275))
    net = Net(model, caffe_pb2.TEST, level=flags.level, stages=flags.stage.split(","))
    net.copy_from(weights)
    _log(281, f"Running for {flags.iterations} iterations.")
    loss, sums = 0.0, np.zeros(0)
    for i in range(flags.iterations):
        loss += float(net.executor.forward_all())
        scores = [
            (name, value)
            for name in net.outputs
            for value in net.blobs[name].values.tensor().reshape(-1).tolist()
        ]
        for name, value in scores:
            _log(304, f"Batch {i}, {name} = {value:g}")
        sums = np.array([value for _, value in scores]) + (sums if i else 0)
    _log(309, f"Loss: {loss / flags.iterations:g}")
    for (name, _), total in zip(scores, sums):
        mean, weight = total / flags.iterations, net.blob_loss_weights[name]
        words = f" (* {weight:g} = {weight * mean:g} loss)" if weight else ""
        _log(321, f"{name} = {mean:g}{words}")
    return 0


def time(flags: Any) -> int:
    """Measure each layer's forward and backward."""
    model = _need(flags, "model", "Need a model definition to time.")
    if flags.phase not in ("", "TRAIN", "TEST"):
        raise CaffeError('phase must be "TRAIN" or "TEST"')
    if flags.iterations < 1:
        raise CaffeError(f"-iterations is {flags.iterations}; it needs to be at least 1")
    _use_one_device(flags.gpu, (339, 343))
    phase = caffe_pb2.Phase.Value(flags.phase or "TRAIN")
    net = Net(model, phase, level=flags.level, stages=flags.stage.split(","))
    count = len(net.layers)
    _log(351, "Performing Forward")
    _log(356, f"Initial loss: {float(net.executor.forward_all()):g}")
    _log(357, "Performing Backward")
    net.executor.backward(count - 1, 0)
    _log(365, "*** Benchmark begins ***")
    _log(366, f"Testing for {flags.iterations} iterations.")
    layers: list[list[float]] = [[0.0] * count, [0.0] * count]
    passes, total = [0.0, 0.0], 0.0
    whole, one_pass, one = Timer(), Timer(), Timer()
    runs: tuple[tuple[Callable[[int, int], Any], list[int]], ...] = (
        (net.executor.forward, list(range(count))),
        (net.executor.backward, list(reversed(range(count)))),
    )
    for iteration in range(1, flags.iterations + 1):
        whole.start()
        for which, (run, order) in enumerate(runs):
            one_pass.start()
            for i in order:
                one.start()
                run(i, i)
                layers[which][i] += one.ms
            passes[which] += one_pass.ms
        spent = whole.ms
        _log(394, f"Iteration: {iteration} forward-backward time: {spent:g} ms.")
        total += spent
    n = flags.iterations
    _log(397, "Average time per layer: ")
    for name, ahead, back in zip(net.layer_names, *layers):
        _log(400, f"{name:>10}\tforward: {ahead / n:g} ms.")
        _log(403, f"{name:>10}\tbackward: {back / n:g} ms.")
    _log(408, f"Average Forward pass: {passes[0] / n:g} ms.")
    _log(410, f"Average Backward pass: {passes[1] / n:g} ms.")
    _log(412, f"Average Forward-Backward: {total / n:g} ms.")
    _log(414, f"Total Time: {total:g} ms.")
    _log(415, "*** Benchmark ends ***")
    return 0


def device_query(flags: Any) -> int:
    """Show what is known of each GPU."""
    _log(138, f"Querying GPUs {flags.gpu}")
    for device in _devices(flags.gpu):
        mode.set_device(device)
        p = torch.cuda.get_device_properties(device)
        for what, value in {
            "Device id:": device,
            "Major revision number:": p.major,
            "Minor revision number:": p.minor,
            "Name:": p.name,
            "Total global memory:": p.total_memory,
            "Total shared memory per block:": p.shared_memory_per_block,
            "Warp size:": p.warp_size,
            "Number of multiprocessors:": p.multi_processor_count,
        }.items():
            glog.write("common.cpp:186", f"{what:<30} {value}")
    return 0


COMMANDS: dict[str, Callable[[Any], int]] = {
    "device_query": device_query,
    "test": test,
    "time": time,
    "train": train,
}


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) != 1:
        command.show_usage("caffe", USAGE, FLAGS)
        return 0
    if arguments[0] not in COMMANDS:
        raise CaffeError(
            f"Unknown action: {arguments[0]}. Available caffe actions: {', '.join(COMMANDS)}"
        )
    return COMMANDS[arguments[0]](flags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `caffe` command; the exit status."""
    return command.run("caffe", USAGE, FLAGS, _body, argv)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    sys.exit(main())
