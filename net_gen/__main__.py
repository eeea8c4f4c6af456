"""Write the folders of variants: `python -m net_gen [VARIANT ...]`."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from fcn_common import arguments, command
from fcn_data.records import ON_ERROR

from .arguments import check_choice
from .generate import generate
from .programs import write_programs
from .trunks import PAD
from .variants import VARIANTS

#: Options of the data layer; one that is not on the command line keeps the published value.
DATA_OPTIONS: Dict[str, Dict[str, Any]] = {
    "sbdd_dir": {"metavar": "DIR", "help": "SBD, as seen from the variant's folder"},
    "voc_dir": {"metavar": "DIR", "help": "VOC, as seen from the variant's folder"},
    "context_dir": {"metavar": "DIR", "help": "PASCAL-Context, as seen from the variant's folder"},
    "siftflow_dir": {"metavar": "DIR", "help": "SIFT Flow, as seen from the variant's folder"},
    "nyud_dir": {"metavar": "DIR", "help": "NYUDv2, as seen from the variant's folder"},
    "train_split": {"metavar": "NAME", "help": "split of the train net"},
    "val_split": {"metavar": "NAME", "help": "split of the val net"},
    "on_error": {"choices": ON_ERROR, "help": "what data layers do with an unreadable image"},
}


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r}: needs a number such as 1/8") from None


def _numbers(text: str) -> Tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: needs numbers such as 104,117,123") from None


def parser() -> argparse.ArgumentParser:
    """Return the parser, whose options are the arguments of `net_gen.fcn`."""
    program = arguments.Parser(
        prog="python -m net_gen",
        description="Write the prototxts of variants, and net.py and solve.py where they are "
        "missing. The defaults give the published nets.",
        parents=[
            arguments.out(Path(), "folder that holds the variants' folders", Path),
            arguments.seed(purpose="order of the training images"),
        ],
    )
    add = program.add_argument
    add("variant", nargs="*", metavar="VARIANT", help=f"{', '.join(VARIANTS)} (default: all)")
    add("--classes", type=int, metavar="N", help="number of classes with the background")
    add("--width", type=_fraction, default=1, metavar="F", help="fraction of the channels (1)")
    add("--channels", type=int, metavar="N", help="channels of the image")
    for name, settings in DATA_OPTIONS.items():
        add(f"--{name.replace('_', '-')}", **settings)
    add("--mean", type=_numbers, metavar="B,G,R", help="mean that is subtracted from the image")
    add("--dropout", type=float, metavar="F", help="ratio of the Dropout layers; 0 for none")
    add("--pad", type=int, default=PAD, metavar="N", help=f"pixels around the image ({PAD})")
    return program


def main(argv: Optional[List[str]] = None) -> None:
    """Write the folder of each variant and print the paths of the files."""
    program = parser()
    options: Dict[str, Any] = vars(program.parse_args(argv))
    variants, out = options.pop("variant") or list(VARIANTS), options.pop("out")
    changed = {name: value for name, value in options.items() if value is not None}
    other = {k: value for k, value in changed.items() if value != program.get_default(k)}
    for variant in variants:
        check_choice("variant", variant, VARIANTS)
    for variant in variants:
        folder = out / variant
        prototxts = generate(variant, folder, **changed)
        for path in (*prototxts, *write_programs(variant, folder, other)):
            print(path)


if __name__ == "__main__":
    command.run(main)
