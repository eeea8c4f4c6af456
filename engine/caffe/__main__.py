"""The `caffe` command: train, test, time, device_query, with BVLC Caffe's flags and log."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import start
from .errors import UsageError
from .inspect import command as inspector
from .tools import command, device_query, export, test, time, train
from .tools.flags import FLAGS

USAGE = """command line brew
usage: caffe <command> <args>

commands:
  train           train or finetune a model
  test            score a model
  device_query    show GPU diagnostic information
  time            benchmark model execution time
  inspect         show what a prototxt means; caffe inspect --help
  export          write ONNX models and safetensors files; caffe export --help"""

#: The commands with options of their own, apart from the flags of BVLC Caffe's actions.
OTHERS: dict[str, Callable[[Sequence[str]], int]] = {
    "export": export.main,
    "inspect": inspector.main,
}

ACTIONS: dict[str, Callable[[Any], int]] = {
    "device_query": device_query.run,
    "test": test.run,
    "time": time.run,
    "train": train.run,
}


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) != 1:
        command.show_usage("caffe", USAGE, FLAGS)
        return 0
    (action,) = arguments
    if action not in ACTIONS:
        names = ", ".join([*ACTIONS, *OTHERS])
        raise UsageError(f"Unknown action: {action}. Available caffe actions: {names}")
    return ACTIONS[action](flags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `caffe` command on a command line (sys.argv if None); return the exit status."""
    start.ready()
    if argv is None:
        # The end of the interpreter would walk all objects of PyTorch's modules, for 0.4 s.
        gc.freeze()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in OTHERS:
        return OTHERS[arguments[0]](arguments[1:])
    return command.run("caffe", USAGE, FLAGS, _body, arguments)


if __name__ == "__main__":
    sys.exit(main())
