"""python -m surgery [classifier.prototxt classifier.caffemodel deploy.prototxt out.caffemodel]"""

from __future__ import annotations

import argparse
import os
from typing import List, Optional

import command
from surgery.cast import cast

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VGG = os.path.join(ROOT, "ilsvrc-nets", "VGG_ILSVRC_16_layers")


def main(argv: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m surgery",
        description="Cast a classifier into a fully convolutional net: copy the layers of the "
        "same names, reshape InnerProduct weights into convolution kernels.",
    )
    deploy = os.path.join(ROOT, "voc-fcn32s", "deploy.prototxt")
    out = os.path.join(ROOT, "ilsvrc-nets", "vgg16-fcn.caffemodel")
    for name, default, text in (
        ("classifier", VGG + "_deploy.prototxt", "prototxt of the classifier"),
        ("weights", VGG + ".caffemodel", "its weights"),
        ("deploy", deploy, "prototxt of the fully convolutional net"),
        ("out", out, "weights file to write"),
    ):
        parser.add_argument(name, nargs="?", default=default, help=f"{text} ({default})")
    args = parser.parse_args(argv)
    named = args.classifier != parser.get_default("classifier")
    classifier = args.classifier if named or os.path.isfile(args.classifier) else None
    print(cast(classifier, args.weights, args.deploy, args.out))
    print(f"wrote {args.out}")


if __name__ == "__main__":
    command.run(main)
