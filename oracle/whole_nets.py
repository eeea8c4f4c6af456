"""The generated FCNs on whatever `import caffe` gives: scores of a photograph, and training.

    whole_nets.py FOLDER NAME [--width F] [--size N] [--variants ...] [--steps N]

FOLDER/data holds the pictures (tests/tiny.py draws them if they are not there). The first engine
that runs in FOLDER draws the weights and saves them, FOLDER/VARIANT.caffemodel; the other one reads
them. The numbers go to FOLDER/NAME.npz:

    VARIANT/score             of a photograph, by the deploy net
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
from typing import Any

import caffe
import numpy as np

import net_gen
import surgery
from oracle.cases.case import Numbers, copy, fill_params
from tests import tiny

SOLVER = dict(
    base_lr=1e-6, momentum=0.9, snapshot=1000, display=0, max_iter=1000, test_interval=1000
)


def weights(net: caffe.Net, path: str) -> None:
    """Fills `net` from the file, or draws the weights and writes the file."""
    if os.path.exists(path):
        net.copy_from(path)
        return
    fill_params(net, np.random.RandomState(0))
    for name, blobs in net.params.items():
        blobs[0].data[...] *= 2**0.5
        for bias in blobs[1:]:
            bias.data[...] = 0
        if name.startswith("score"):
            blobs[0].data[...] -= blobs[0].data.mean(1, keepdims=True)
    surgery.interp(net, surgery.interp_layers(net))
    net.save(path)


def photograph(size: int) -> np.ndarray:
    rows, columns = np.mgrid[:size, : size + 12].astype(np.float32)
    waves = [np.sin(rows / (5 + i) + i) * np.cos(columns / (9 - i)) for i in range(3)]
    return (90 * np.stack(waves))[np.newaxis].astype(np.float32)


def scores(variant: str, folder: str, numbers: Numbers, width: float, size: int) -> None:
    """Runs the deploy net once; prints its seconds."""
    path = os.path.join(folder, variant + "-deploy.prototxt")
    net_gen.write(net_gen.fcn(variant, "deploy", width=width), path)
    net = caffe.Net(path, caffe.TEST)
    weights(net, os.path.join(folder, variant + ".caffemodel"))
    image = photograph(size)
    net.blobs["data"].reshape(*image.shape)
    net.blobs["data"].data[...] = image
    start = time.time()
    net.forward()
    numbers[variant + "/score"] = copy(net.blobs["score"].data)
    print(f"{variant}: forward {image.shape[2]} x {image.shape[3]} in {time.time() - start:.1f} s")


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
        for blob in ("data", "label", "loss"):
            numbers[prefix + blob] = copy(solver.net.blobs[blob].data)
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
    parser.add_argument("--size", type=int, default=134)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--variants", nargs="*", default=list(net_gen.VARIANTS))
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    pictures = os.path.join(folder, "data")
    if not os.path.exists(pictures):
        tiny.data(pictures)
    caffe.set_mode_cpu()
    numbers: Any = {}
    for variant in args.variants:
        scores(variant, folder, numbers, args.width, args.size)
        if args.steps:
            training(variant, folder, numbers, args.width, args.steps)
    np.savez(os.path.join(folder, args.name + ".npz"), **numbers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"caffe {caffe.__version__} from {caffe.__file__}: peak {peak:.1f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
