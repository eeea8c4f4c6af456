"""Make the first weights of a net.

python -m surgery [TRUNK | CLASSIFIER.prototxt] [WEIGHTS] [DEPLOY] [OUT]     casts a classifier
python -m surgery adapt WEIGHTS DEPLOY OUT [--layers NAMES]                  copies what fits
python -m surgery torchvision WEIGHTS [OUT] [--mean B,G,R]                   converts weights
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import List, NamedTuple, Optional

from fcn_common import command
from fcn_common.arguments import Parser
from surgery.adapt import main as adapt_weights
from surgery.bases import BASES, NETS, ROOT, Base
from surgery.cast import cast
from surgery.torchvision import main as convert_weights


class Files(NamedTuple):
    """The arguments of `surgery.cast`."""

    classifier: str
    weights: str
    deploy: Optional[str]
    out: str


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    program = Parser(
        prog="python -m surgery",
        description="Cast a classifier into a fully convolutional net: copy the layers of the "
        "same names and reshape the weights of InnerProduct layers into convolution kernels.",
    )
    program.add_argument(
        "classifier",
        nargs="?",
        default="vgg16",
        metavar="CLASSIFIER",
        help=f"prototxt of the classifier, or a trunk: {', '.join(BASES)} (default: vgg16); a "
        "trunk has defaults for all other arguments",
    )
    for name, text in (
        ("weights", "weights of the classifier"),
        ("deploy", "prototxt of the fully convolutional net"),
        ("out", "weights file to write"),
    ):
        program.add_argument(name, nargs="?", metavar=name.upper(), help=text)
    program.add_argument(
        "--whole",
        action="store_true",
        help="cast all of the classifier, with the layer that scores the classes; leave out "
        "DEPLOY, the prototxt is written beside OUT",
    )
    return program


def files(arguments: argparse.Namespace) -> Files:
    """Return the files to cast, with the defaults of the trunk if the classifier is a trunk.

    Raises ValueError if a classifier that is not a trunk lacks another argument.
    """
    classifier, weights = arguments.classifier, arguments.weights
    deploy, out = arguments.deploy, arguments.out
    if arguments.whole and deploy and not out:
        deploy, out = None, deploy
    base = BASES.get(classifier)
    if base is not None:
        weights = weights or os.path.join(NETS, base.weights)
        classifier = _classifier(base, weights)
        deploy = deploy or os.path.join(ROOT, base.variant, "deploy.prototxt")
        stem, suffix = os.path.splitext(base.cast)
        out = out or os.path.join(NETS, f"{stem}{'-whole' * arguments.whole}{suffix}")
    elif None in (weights, out, arguments.whole or deploy):
        raise ValueError(
            f"classifier {classifier}: is not a trunk ({', '.join(BASES)}), needs WEIGHTS, DEPLOY "
            "and OUT too"
        )
    return Files(classifier, weights, None if arguments.whole else deploy, out)


def _classifier(base: Base, weights: str) -> str:
    """Return the prototxt beside the weights if there is one, else the name of the classifier."""
    beside = os.path.splitext(weights)[0] + "_deploy.prototxt"
    return beside if os.path.isfile(beside) else base.classifier


def main(argv: Optional[List[str]] = None) -> None:
    """Cast a classifier, or adapt or convert any weights, and print what became of the layers."""
    argv = sys.argv[1:] if argv is None else argv
    others = {"adapt": adapt_weights, "torchvision": convert_weights}
    if argv and argv[0] in others:
        others[argv[0]](argv[1:])
        return
    arguments = parser().parse_args(argv)
    paths = files(arguments)
    target = paths.deploy or "convolutions throughout"
    print(f"{paths.classifier} with {paths.weights}, into {target}")
    print(cast(*paths))
    if arguments.whole:
        print(f"wrote {os.path.splitext(paths.out)[0]}.prototxt")
    print(f"wrote {paths.out}")


if __name__ == "__main__":
    command.run(main)
