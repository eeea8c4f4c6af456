"""Writes the prototxts of the variants: `python -m net_gen [variant ...]`."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from fcn_common import command

from .arguments import one_of
from .data import MEAN
from .fcn import VARIANTS
from .generate import generate
from .trunks import PAD


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r}: a number such as 1/8 is needed") from None


def _numbers(text: str) -> Tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers as 104,117,123 are needed") from None


def parser() -> argparse.ArgumentParser:
    """The arguments are those of `net_gen.fcn`."""
    fcn = argparse.ArgumentParser(prog="python -m net_gen", description=__doc__.split(":")[0] + ".")
    fcn.add_argument("variant", nargs="*", help=f"{', '.join(VARIANTS)} (all)")
    fcn.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="over the folders (.)")
    fcn.add_argument("--classes", type=int, default=21, metavar="N", help="with background (21)")
    fcn.add_argument("--width", type=_fraction, default=1, metavar="F", help="of channels, as 1/8")
    fcn.add_argument("--channels", type=int, default=3, metavar="N", help="of the input (3)")
    fcn.add_argument("--sbdd-dir", metavar="DIR", help="SBD, as seen from the variant's folder")
    fcn.add_argument("--voc-dir", metavar="DIR", help="VOC, as seen from the variant's folder")
    fcn.add_argument("--train-split", default="train", metavar="NAME", help="(train)")
    fcn.add_argument("--val-split", default="seg11valid", metavar="NAME", help="(seg11valid)")
    fcn.add_argument("--seed", type=int, default=1337, metavar="N", help="of the order (1337)")
    fcn.add_argument("--mean", type=_numbers, default=MEAN, metavar="B,G,R", help="to subtract")
    fcn.add_argument("--dropout", type=float, metavar="F", help="0 for none (0.5; GoogLeNet 0.4)")
    fcn.add_argument("--pad", type=int, default=PAD, metavar="N", help="around the image (100)")
    return fcn


def main(arguments: Optional[List[str]] = None) -> None:
    """Writes the four files of each variant and prints their paths."""
    given: Dict[str, Any] = vars(parser().parse_args(arguments))
    variants, out = given.pop("variant") or list(VARIANTS), given.pop("out")
    for variant in variants:
        one_of("variant", variant, VARIANTS)
    for variant in variants:
        for path in generate(variant, out / variant, **given):
            print(path)


if __name__ == "__main__":
    command.run(main)
