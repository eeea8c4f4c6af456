"""The command line of the experiment; see experiments.upsampling."""

from __future__ import annotations

import argparse

from experiments import running, upsampling
from experiments.upsampling import settings
from experiments.upsampling.experiment import run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    for name, default, purpose in (
        ("--scenes", settings.SCENES, "scenes that are scored"),
        ("--dense-scenes", settings.DENSE_SCENES, "scenes of the dense map"),
        ("--iters", settings.ITERS, "iterations in which kernels are learned"),
    ):
        parser.add_argument(name, type=int, help=f"{purpose} (default: {default})")


if __name__ == "__main__":
    running.main("upsampling", run, upsampling.__doc__, add_arguments=add_arguments)
