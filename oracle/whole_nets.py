"""Whole nets in the Caffe that `import caffe` gives: scores of an image, training of the FCNs.

    whole_nets.py FOLDER NAME [--width F] [--size H W] [--nets ...] [--steps N]

FOLDER/data holds the images, which tests/tiny.py draws if the folder does not exist. The first
engine that runs in FOLDER draws the weights and saves them as FOLDER/VARIANT.caffemodel. The other
engine reads these files. The nets are the generated FCNs and the classifiers of
oracle/classifiers.py; classifiers are not trained. The numbers go to FOLDER/NAME.npz:

    NET/score                 the deploy net's scores of an image, or of several
    VARIANT/STEP/data|label|loss
    VARIANT/STEP/update/LAYER/I     the step's change of the weights
    VARIANT/trained/LAYER/I   weights after the steps
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any, Sequence, Tuple

import caffe
import numpy as np

import net_gen
import surgery
from fcn_common.memory import peak_memory
from oracle.cases.case import Numbers, copy, fill_params
from oracle.classifiers import CLASSES, CLASSIFIERS
from tests import tiny

#: The FCNs that are compared: those with one image and one map of scores.
FCNS = tuple(name for name, v in net_gen.VARIANTS.items() if v.data_set == "voc")
#: The number of images in a classifier's input.
BATCH = 2
SOLVER = dict(
    base_lr=1e-6, momentum=0.9, snapshot=1000, display=0, max_iter=1000, test_interval=1000
)


def read_or_draw_weights(net: caffe.Net, path: str) -> None:
    """Fill `net` from the file, or draw the weights and write the file.

    Activations keep their size from layer to layer (He et al., arXiv 1502.01852), and the scores
    of a place spread around zero.
    """
    if os.path.exists(path):
        net.copy_from(path)
        return
    # A draw in which no value lies so close to 0 that the order of a sum decides its sign.
    fill_params(net, np.random.RandomState(12))
    last = [name for name, blobs in net.params.items() if len(blobs[0].data) == CLASSES]
    for name, blobs in net.params.items():
        blobs[0].data[...] *= 2**0.5
        for bias in blobs[1:]:
            bias.data[...] = 0
        if name.startswith("score"):
            blobs[0].data[...] -= blobs[0].data.mean(1, keepdims=True)
        elif name in last:
            blobs[0].data[...] /= 30
    surgery.interp(net, surgery.interp_layers(net))
    net.save(path)


def photograph(height: int, width: int) -> np.ndarray:
    """Return an image, 1 x 3 x height x width, with values like a photograph's less its mean."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(rows / (5 + i) + i) * np.cos(columns / (9 - i)) for i in range(3)]
    return (90 * np.stack(waves))[np.newaxis].astype(np.float32)


def photographs(count: int, size: int) -> np.ndarray:
    """Return images, count x 3 x size x size, which are windows of one photograph."""
    image = photograph(size, size + 16 * count)[0]
    return np.stack([image[:, :, 16 * i : 16 * i + size] for i in range(count)])


def deployed(name: str, folder: str, width: float, size: Sequence[int]) -> Tuple[Any, np.ndarray]:
    """Return the deploy net of a variant or classifier with its weights, and the input images.

    size: the height and width of a variant's input. Writes folder/NAME-deploy.prototxt, and
    folder/NAME.caffemodel if the file does not exist.
    """
    path = os.path.join(folder, name + "-deploy.prototxt")
    if name in CLASSIFIERS:
        message = CLASSIFIERS[name].build(width, BATCH)
        images = photographs(BATCH, message.layer[0].input_param.shape[0].dim[2])
    else:
        message = net_gen.fcn(name, "deploy", width=width)
        images = photograph(*size)
    net_gen.write(message, path)
    net = caffe.Net(path, caffe.TEST)
    read_or_draw_weights(net, os.path.join(folder, name + ".caffemodel"))
    net.blobs["data"].reshape(*images.shape)
    net.blobs["data"].data[...] = images
    return net, images


def score_blob(name: str) -> str:
    """Return the name of the blob of scores of a variant or classifier."""
    return CLASSIFIERS[name].scores if name in CLASSIFIERS else "score"


def record_scores(
    name: str, folder: str, numbers: Numbers, width: float, size: Sequence[int]
) -> None:
    """Run the deploy net once, record its scores, and print its seconds."""
    net, images = deployed(name, folder, width, size)
    start = time.time()
    net.forward()
    numbers[name + "/score"] = copy(net.blobs[score_blob(name)].data)
    shape = " x ".join(map(str, images.shape))
    print(f"{name}: forward {shape} in {time.time() - start:.1f} s", file=sys.stderr)


def record_training(variant: str, folder: str, numbers: Numbers, width: float, steps: int) -> None:
    """Run `steps` steps with the generated solver, without dropout, and record them."""
    variant_folder = os.path.join(folder, variant)
    images = os.path.join(folder, "data")
    net_gen.generate(
        variant,
        variant_folder,
        dict(SOLVER, test_iter=[1]),
        width=width,
        dropout=0,
        sbdd_dir=os.path.join(images, "sbdd"),
        voc_dir=os.path.join(images, "voc"),
    )
    os.makedirs(os.path.join(variant_folder, "snapshot"), exist_ok=True)
    before = os.getcwd()
    os.chdir(variant_folder)
    try:
        solver = caffe.SGDSolver("solver.prototxt")
    finally:
        os.chdir(before)
    read_or_draw_weights(solver.net, os.path.join(folder, variant + ".caffemodel"))
    for step in range(1, steps + 1):
        solver.step(1)
        prefix = f"{variant}/{step}/"
        for blob_name in ("data", "label", "loss"):
            numbers[prefix + blob_name] = copy(solver.net.blobs[blob_name].data)
        for name, blobs in solver.net.params.items():
            for i, blob in enumerate(blobs):
                numbers[f"{prefix}update/{name}/{i}"] = copy(blob.diff)
    for name, blobs in solver.net.params.items():
        for i, blob in enumerate(blobs):
            numbers[f"{variant}/trained/{name}/{i}"] = copy(blob.data)


def main() -> None:
    """Run the nets of the command line and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("--width", type=float, default=tiny.WIDTH)
    parser.add_argument("--size", type=int, nargs=2, default=[134, 146])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--nets", nargs="*", default=list(FCNS))
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    images = os.path.join(folder, "data")
    if not os.path.exists(images):
        tiny.data(images)
    caffe.set_mode_cpu()
    numbers: Any = {}
    for name in args.nets:
        record_scores(name, folder, numbers, args.width, args.size)
        if args.steps and name in FCNS:
            record_training(name, folder, numbers, args.width, args.steps)
    np.savez(os.path.join(folder, args.name + ".npz"), **numbers)
    peak = peak_memory() / 2**30
    print(f"caffe {caffe.__version__} from {caffe.__file__}: peak {peak:.1f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
