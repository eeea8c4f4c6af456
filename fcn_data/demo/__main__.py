"""Draws the demo set: `python -m fcn_data.demo ROOT`."""

from __future__ import annotations

import argparse
from typing import List, Optional

from fcn_common import arguments, command

from .build import make


def parser() -> argparse.ArgumentParser:
    """The arguments are those of `make`."""
    result = arguments.Parser(
        prog="python -m fcn_data.demo",
        description="Draw the demo set: scenes with VOC's classes in the layouts of SBD and VOC.",
        parents=[arguments.seed(1, "drawings")],
    )
    result.add_argument("root", help="folder of the set")
    for name, value, text in (
        ("--train", 800, "scenes to train with"),
        ("--val", 80, "scenes of the split seg11valid"),
        ("--test", 120, "scenes of the split test"),
        ("--crops", 3150, "crops to train a classifier with"),
        ("--crops-val", 420, "crops to test a classifier with"),
    ):
        result.add_argument(
            name, type=int, default=value, metavar="N", help=f"{text} (default: {value})"
        )
    result.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="F",
        help="size of the scenes; 2.1 gives images of up to 500 pixels (default: 1)",
    )
    return result


def main(argv: Optional[List[str]] = None) -> None:
    """Draw the set that the arguments describe."""
    make(**vars(parser().parse_args(argv)))


if __name__ == "__main__":
    command.run(main)
