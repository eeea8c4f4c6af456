"""Segment photographs: a label map and an overlay of each, and the classes in a single one.

    python -m solvers.infer photo.jpg [--net deploy.prototxt] [--weights f.caffemodel] [--out DIR]
    python -m solvers.infer FOLDER --out DIR

A collection (folders, lists, several photographs) is done once: the same command does what is
missing. Under torchrun, the workers share the photographs.
"""

from __future__ import annotations

import argparse
import os
from typing import Dict, Optional, Sequence

from fcn_common import arguments, command
from fcn_common.voc import MEAN
from net_gen import VARIANTS
from solvers import available, device, photograph, workers
from solvers.collection import collect, run_collection
from solvers.label_map import overlay, save_labels, shares
from solvers.metrics import class_names
from solvers.photograph import LONG_SIDE, load, predict, read, segment

__all__ = [
    "LONG_SIDE",
    "MEAN",
    "collect",
    "load",
    "overlay",
    "predict",
    "read",
    "run",
    "run_collection",
    "save_labels",
    "segment",
    "shares",
]


def run(
    photo: str,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    out: str = ".",
    gpu: device.Gpu = None,
    variant: str = available.DEFAULT_VARIANT,
    long_side: int = LONG_SIDE,
) -> Dict[str, float]:
    """Segment a photograph into out/NAME_labels.png and out/NAME_overlay.png.

    net, weights: a deploy prototxt and a .caffemodel; None means the best ones of `variant` on this
    machine (`available.select_model`). gpu: as for `device.use`. variant: a key of
    `net_gen.VARIANTS`, whose data set gives the mean, the colours and the names of the classes.
    long_side: as for `segment`.

    Return the classes in the photograph and the fraction of the pixels of each, largest first.
    Raises OSError for a file that cannot be read, ValueError for weights that do not fit.
    """
    image = read(photo)
    model = available.select_model(variant, net, weights)
    processor = device.use(gpu)
    print(f"{device.engine()}; runs on {processor}")
    print(model)
    loaded = load(model.net, model.weights)
    data_set = available.data_set_of(variant, model.weights)
    label = segment(loaded, image, long_side, data_set)
    os.makedirs(out, exist_ok=True)
    photograph.save_pictures(out, photo, image, label, data_set)
    pictures = photograph.label_path(out, photo), photograph.overlay_path(out, photo)
    print(f"wrote {' and '.join(pictures)}")
    return shares(label, class_names(photograph.score_blob(loaded).data.shape[1], data_set))


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run` and `run_collection`."""
    parser = argparse.ArgumentParser(
        prog="python -m solvers.infer",
        description="Segment a photograph, or the photographs of a collection that are not done.",
        parents=[
            arguments.option(
                "image",
                nargs="+",
                help="a photograph in any format that Pillow reads; or several photographs, "
                "folders, .txt lists",
            ),
            arguments.net("deploy prototxt (default: that of the weights)"),
            arguments.weights(),
            arguments.option(
                "--variant",
                default=available.DEFAULT_VARIANT,
                metavar="NAME",
                help=f"{', '.join(VARIANTS)} (default: {available.DEFAULT_VARIANT})",
            ),
            arguments.out(".", "folder for the pictures"),
            arguments.gpu(),
            arguments.option(
                "--long-side",
                type=int,
                default=LONG_SIDE,
                metavar="PIXELS",
                help="larger photographs are reduced to this long side; 0: never "
                f"(default: {LONG_SIDE})",
            ),
        ],
    )
    options = vars(parser.parse_args(argv))
    images = options.pop("image")
    collection = len(images) > 1 or os.path.isdir(images[0]) or images[0].lower().endswith(".txt")
    if collection or workers.count() > 1:
        run_collection(images, **options)
        return
    for name, share in run(images[0], **options).items():
        print(f"{name:<14}{100 * share:6.1f} %")


if __name__ == "__main__":
    command.run(main)
