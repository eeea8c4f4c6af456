"""The flags of the `caffe` command, and what its actions have in common."""

from __future__ import annotations

from typing import Any

import torch

from .. import glog, mode
from ..errors import UsageError
from . import command

FLAGS: command.Flags = {
    "allow_python_layers": (
        "",
        "Optional; the modules that a prototxt may import beside the project's own, separated by "
        "','. CAFFE_PYTHON_LAYERS in the environment does the same.",
    ),
    "fork": ("", "Optional; the fork of Caffe that decides what words with several meanings mean."),
    "gpu": ("", "Optional; run in GPU mode on the given device ID. '-gpu all' takes the only one."),
    "iterations": (50, "The number of iterations to run."),
    "layers": (
        "",
        "Optional; modules with classes of layer types, which caffe.register_layer registers, "
        "separated by ','. CAFFE_LAYERS in the environment does the same.",
    ),
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
    "strict": (
        False,
        "Optional; import no modules but the project's own for Python layers, and write no files "
        "outside the working folder. CAFFE_STRICT=1 in the environment does the same.",
    ),
    "weights": (
        "",
        "Optional; the pretrained weights to initialize finetuning, separated by ','. Cannot be "
        "set simultaneously with snapshot.",
    ),
}


def log(line: int, message: str, level: int = 0) -> None:
    """Log a line that BVLC Caffe's `caffe` logs in this line of caffe.cpp."""
    glog.write(f"caffe.cpp:{line}", message, level)


def require(flags: Any, name: str, reason: str) -> str:
    """Return the flag `name`, a file. Raises UsageError with `reason` if the flag is not set."""
    value = getattr(flags, name)
    if not value:
        raise UsageError(f"{reason} Give it with -{name} FILE.")
    return value


def check_iterations(flags: Any) -> None:
    """Raise UsageError for a number of iterations below 1."""
    if flags.iterations < 1:
        raise UsageError(f"-iterations is {flags.iterations}; it needs to be at least 1")


def devices(flag: str) -> list[int]:
    """Return the numbers of the devices that -gpu names. Raises UsageError if it names none."""
    if flag == "all":
        return list(range(torch.cuda.device_count()))
    try:
        return [int(part) for part in flag.split(",")] if flag else []
    except ValueError:
        raise UsageError(f"-gpu is {flag!r}; it needs to be 'all' or device numbers") from None


def use_one_device(flag: str, lines: tuple[int, int]) -> None:
    """Compute on the first device that -gpu names, or on the CPU.

    lines: where caffe.cpp logs the one or the other. Raises DeviceError for a missing device.
    """
    numbers = devices(flag)
    if numbers:
        log(lines[0], f"Use GPU with device ID {numbers[0]}")
        mode.set_device(numbers[0])
        mode.set_mode_gpu()
    else:
        log(lines[1], "Use CPU.")
        mode.set_mode_cpu()
