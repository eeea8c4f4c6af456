"""python -m surgery [trunk | classifier.prototxt] [classifier.caffemodel] [deploy] [out]"""

from __future__ import annotations

import argparse
import os
from typing import List, Optional

from fcn_common import command
from surgery.bases import BASES, NETS, ROOT
from surgery.cast import cast


def main(argv: Optional[List[str]] = None) -> None:
    """Casts a classifier and prints what became of its layers."""
    parser = argparse.ArgumentParser(
        prog="python -m surgery",
        description="Cast a classifier into a fully convolutional net: copy the layers of the "
        "same names, reshape InnerProduct weights into convolution kernels.",
    )
    trunks = ", ".join(BASES)
    parser.add_argument(
        "classifier",
        nargs="?",
        default="vgg16",
        help=f"prototxt of the classifier, or a trunk: {trunks} (vgg16), of the files in "
        "ilsvrc-nets/",
    )
    for name, text in (
        ("weights", "its weights"),
        ("deploy", "prototxt of the fully convolutional net"),
        ("out", "weights file to write"),
    ):
        parser.add_argument(name, nargs="?", help=f"{text} (the trunk's)")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="cast all of the classifier, with the layer that scores; its prototxt is written "
        "beside OUT, and DEPLOY is left out",
    )
    args = parser.parse_args(argv)
    base = BASES.get(args.classifier)
    if args.whole and args.deploy and not args.out:
        args.deploy, args.out = None, args.deploy
    if base is None and None in (args.weights, args.out, args.whole or args.deploy):
        raise ValueError(
            f"{args.classifier}: no trunk ({trunks}), so weights, deploy and out are needed too"
        )
    classifier: Optional[str] = args.classifier
    if base is not None:
        args.weights = args.weights or os.path.join(NETS, base.weights)
        args.deploy = args.deploy or os.path.join(ROOT, base.variant, "deploy.prototxt")
        whole = base.cast.replace(".caffemodel", "-whole.caffemodel")
        args.out = args.out or os.path.join(NETS, whole if args.whole else base.cast)
        beside = os.path.splitext(args.weights)[0] + "_deploy.prototxt"
        classifier = beside if os.path.isfile(beside) else base.classifier
    deploy = None if args.whole else args.deploy
    print(f"{classifier} with {args.weights}, into {deploy or 'convolutions throughout'}")
    print(cast(classifier, args.weights, deploy, args.out))
    if args.whole:
        print(f"wrote {os.path.splitext(args.out)[0]}.prototxt")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    command.run(main)
