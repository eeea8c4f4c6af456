"""Command-line options that several programs share, as parents of an argparse parser.

    parser = arguments.Parser(parents=[arguments.gpu(), arguments.seed(1)])

An option has the same name as the argument of the Python function that the program calls, and the
Makefile passes on a variable of that name in capitals: `gpu=0`, `--gpu 0`, `GPU=0`.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn, Optional, Sequence

from fcn_common.command import one_line

#: The exit code of a command line that cannot be read.
MISUSED = 2


class Parser(argparse.ArgumentParser):
    """A parser of a command line whose errors are one line, as all errors are."""

    def error(self, message: str) -> NoReturn:
        """End the program with an error line that names the option."""
        line = f"error: {one_line(message)}; {self.prog} --help shows the options\n"
        self.exit(MISUSED, line)


def option(name: str, **settings: Any) -> argparse.ArgumentParser:
    """Return a parent parser with the one argument `name`; `settings` as for add_argument."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(name, **settings)
    return parent


def variant(names: Sequence[str], default: Optional[str] = None) -> argparse.ArgumentParser:
    """Return the positional VARIANT: one of `names`; required if there is no `default`."""
    return option(
        "variant",
        metavar="VARIANT",
        nargs=None if default is None else "?",
        default=default,
        help=", ".join(names) + _default(default),
    )


def gpu() -> argparse.ArgumentParser:
    """--gpu N: the number of a CUDA device, or "cpu"; None leaves the choice to the program."""
    return option("--gpu", metavar="N", help="number of a CUDA device, or cpu")


def seed(default: Optional[int] = None, purpose: str = "random numbers") -> argparse.ArgumentParser:
    """--seed N: the seed of `purpose`."""
    return option(
        "--seed",
        type=int,
        default=default,
        metavar="N",
        help=f"seed of the {purpose}{_default(default)}",
    )


def out(
    default: Any = None, purpose: str = "folder for the results", kind: type = str
) -> argparse.ArgumentParser:
    """--out DIR: where the program writes. `kind` is str or Path."""
    return option(
        "--out", type=kind, default=default, metavar="DIR", help=purpose + _default(default)
    )


def data(names: Sequence[str], default: Optional[str] = "voc") -> argparse.ArgumentParser:
    """--data NAME: a data set, one of `names`."""
    return option(
        "--data", default=default, metavar="NAME", help=", ".join(names) + _default(default)
    )


def iters(purpose: str = "iterations of each stage") -> argparse.ArgumentParser:
    """--iters N: a number of iterations; None means that of solver.prototxt."""
    return option(
        "--iters", type=int, metavar="N", help=f"{purpose} (default: max_iter of solver.prototxt)"
    )


def images() -> argparse.ArgumentParser:
    """--images N: how many images of the split are scored; None means all."""
    return option(
        "--images", type=int, metavar="N", help="score only the first N images (default: all)"
    )


def net(purpose: str) -> argparse.ArgumentParser:
    """--net FILE: a prototxt."""
    return option("--net", metavar="FILE", help=purpose)


def weights(
    purpose: str = ".caffemodel (default: the best one on this machine)",
) -> argparse.ArgumentParser:
    """--weights FILE: a .caffemodel."""
    return option("--weights", metavar="FILE", help=purpose)


def _default(value: Any) -> str:
    return "" if value is None else f" (default: {value})"
