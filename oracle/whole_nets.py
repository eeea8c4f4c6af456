"""Whole nets on whatever `import caffe` gives: scores of a photograph, and training of the FCNs.

    whole_nets.py FOLDER NAME [--width F] [--size H W] [--nets ...] [--steps N]

FOLDER/data holds the pictures (tests/tiny.py draws them if they are not there). The first engine
that runs in FOLDER draws the weights and saves them, FOLDER/VARIANT.caffemodel; the other one reads
them. The nets are the generated FCNs and the classifiers of oracle/classifiers.py, the latter with
scores only. The numbers go to FOLDER/NAME.npz:

    NET/score                 of photographs, by the deploy net
    VARIANT/STEP/data|label|loss
    VARIANT/STEP/update/LAYER/I     what the step took from the weights
    VARIANT/trained/LAYER/I   weights after the steps
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from typing import Any, Sequence, Tuple

import caffe
import numpy as np

import net_gen
import surgery
from oracle.cases.case import Numbers, copy, fill_params
from oracle.classifiers import CLASSES, CLASSIFIERS
from tests import tiny

#: Pictures shown to a classifier at once.
BATCH = 2
SOLVER = dict(
    base_lr=1e-6, momentum=0.9, snapshot=1000, display=0, max_iter=1000, test_interval=1000
)


def weights(net: caffe.Net, path: str) -> None:
    """Fills `net` from the file, or draws the weights and writes the file.

    Activations keep their size from layer to layer (He et al., arXiv 1502.01852); the scores of a
    place spread around zero.
    """
    if os.path.exists(path):
        net.copy_from(path)
        return
    fill_params(net, np.random.RandomState(0))
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
    """1 x 3 x height x width, about as large as a photograph less its mean."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(rows / (5 + i) + i) * np.cos(columns / (9 - i)) for i in range(3)]
    return (90 * np.stack(waves))[np.newaxis].astype(np.float32)


def photographs(count: int, size: int) -> np.ndarray:
    """count x 3 x size x size, windows of one photograph."""
    whole = photograph(size, size + 16 * count)[0]
    return np.stack([whole[:, :, 16 * i : 16 * i + size] for i in range(count)])


def deployed(name: str, folder: str, width: float, size: Sequence[int]) -> Tuple[Any, np.ndarray]:
    """The deploy net of a variant or a classifier with its weights, and the pictures to show it.

    Writes folder/NAME-deploy.prototxt, and folder/NAME.caffemodel where it is not there. `size` is
    the height and width of a variant's input.
    """
    path = os.path.join(folder, name + "-deploy.prototxt")
    if name in CLASSIFIERS:
        message = CLASSIFIERS[name][0](width, BATCH)
        images = photographs(BATCH, message.layer[0].input_param.shape[0].dim[2])
    else:
        message = net_gen.fcn(name, "deploy", width=width)
        images = photograph(*size)
    net_gen.write(message, path)
    net = caffe.Net(path, caffe.TEST)
    weights(net, os.path.join(folder, name + ".caffemodel"))
    net.blobs["data"].reshape(*images.shape)
    net.blobs["data"].data[...] = images
    return net, images


def score_blob(name: str) -> str:
    return CLASSIFIERS[name][1] if name in CLASSIFIERS else "score"


def scores(name: str, folder: str, numbers: Numbers, width: float, size: Sequence[int]) -> None:
    """Runs the deploy net once; prints its seconds."""
    net, images = deployed(name, folder, width, size)
    start = time.time()
    net.forward()
    numbers[name + "/score"] = copy(net.blobs[score_blob(name)].data)
    shape = " x ".join(map(str, images.shape))
    print(f"{name}: forward {shape} in {time.time() - start:.1f} s", file=sys.stderr)


def training(variant: str, folder: str, numbers: Numbers, width: float, steps: int) -> None:
    """Takes `steps` steps with the generated solver, without dropout."""
    here = os.path.join(folder, variant)
    pictures = os.path.join(folder, "data")
    net_gen.generate(
        variant,
        here,
        dict(SOLVER, test_iter=[1]),
        width=width,
        dropout=0,
        sbdd_dir=os.path.join(pictures, "sbdd"),
        voc_dir=os.path.join(pictures, "voc"),
    )
    os.makedirs(os.path.join(here, "snapshot"), exist_ok=True)
    before = os.getcwd()
    os.chdir(here)
    try:
        solver = caffe.SGDSolver("solver.prototxt")
    finally:
        os.chdir(before)
    weights(solver.net, os.path.join(folder, variant + ".caffemodel"))
    for step in range(1, steps + 1):
        solver.step(1)
        prefix = f"{variant}/{step}/"
        for shown in ("data", "label", "loss"):
            numbers[prefix + shown] = copy(solver.net.blobs[shown].data)
        for name, blobs in solver.net.params.items():
            for i, blob in enumerate(blobs):
                numbers[f"{prefix}update/{name}/{i}"] = copy(blob.diff)
    for name, blobs in solver.net.params.items():
        for i, blob in enumerate(blobs):
            numbers[f"{variant}/trained/{name}/{i}"] = copy(blob.data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("--width", type=float, default=tiny.WIDTH)
    parser.add_argument("--size", type=int, nargs=2, default=[134, 146])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--nets", nargs="*", default=list(net_gen.VARIANTS))
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    pictures = os.path.join(folder, "data")
    if not os.path.exists(pictures):
        tiny.data(pictures)
    caffe.set_mode_cpu()
    numbers: Any = {}
    for name in args.nets:
        scores(name, folder, numbers, args.width, args.size)
        if args.steps and name in net_gen.VARIANTS:
            training(name, folder, numbers, args.width, args.steps)
    np.savez(os.path.join(folder, args.name + ".npz"), **numbers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"caffe {caffe.__version__} from {caffe.__file__}: peak {peak:.1f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
