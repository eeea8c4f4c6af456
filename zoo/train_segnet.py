"""Train a small SegNet on drawn scenes, as its authors did, and score it: mean IU.

The layers are SegNet's: DenseImageData reads the scenes, BN learns with the statistics of each
batch, Upsample takes the masks of Pooling, and the loss weighs the classes. Afterwards the mean and
variance over the training scenes are folded into each BN, whose mode then is INFERENCE.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import caffe
import cv2
import numpy as np
from caffe import layers as L
from caffe import params as P

from fcn_common.command import run
from fcn_common.files import write_json
from fcn_common.progress import ProgressBar

from .nets.segnet import encode_and_decode

CLASSES = ("ground", "disc", "box", "triangle")
#: The colour in the middle of those of each class but the ground: blue, green, red.
COLOURS = np.array([[60, 80, 200], [70, 190, 80], [200, 90, 70]], float)
SIZE = 64
MEAN = 128.0
PAGE_DATA = Path(__file__).resolve().parents[1] / "docs" / "forks-segnet.json"


def draw_scene(random: np.random.RandomState, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Return a photograph, size x size x 3 uint8, and its labels, size x size uint8.

    Two to four objects lie on a ground with soft spots of any colour. Each class has colours around
    one of its own.
    """
    spots = cv2.resize(random.uniform(40, 215, (4, 4, 3)).astype(np.float32), (size, size))
    image, labels = spots.copy(), np.zeros((size, size), np.uint8)
    for _ in range(random.randint(2, 5)):
        kind, radius = random.randint(1, 4), random.uniform(0.14, 0.24) * size
        x, y = random.uniform(0.15, 0.85, 2) * size
        colour = np.clip(COLOURS[kind - 1] + random.uniform(-50, 50, 3), 0, 255)
        turn = random.uniform(0, 2 * np.pi)
        sides = {1: 40, 2: 4, 3: 3}[kind]
        angles = turn + 2 * np.pi * np.arange(sides) / sides
        outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        corners = [np.round(outline).astype(np.int32)]
        cv2.fillPoly(image, corners, colour.tolist())
        cv2.fillPoly(labels, corners, int(kind))
    noise = random.standard_normal(image.shape) * 8
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


def write_scenes(folder: str, count: int, seed: int) -> np.ndarray:
    """Write scenes, their labels and `list.txt`; return the number of pixels of each class."""
    random = np.random.RandomState(seed)
    os.makedirs(folder)
    lines, pixels = [], np.zeros(len(CLASSES))
    for i in range(count):
        image, labels = draw_scene(random)
        names = f"{i}.png", f"{i}_labels.png"
        for name, values in zip(names, (image, labels)):
            cv2.imwrite(os.path.join(folder, name), values)
        pixels += np.bincount(labels.ravel(), minlength=len(CLASSES))
        lines.append(" ".join(names))
    with open(os.path.join(folder, "list.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    return pixels


def network(
    folder: str, weights: Sequence[float] = (), batch: int = 8, inference: bool = False
) -> Any:
    """Return the NetParameter over the scenes in `folder`: a narrow SegNet with three poolings.

    weights: of the classes in the loss; without any there is no loss. inference: the mode of BN.
    """
    n = caffe.NetSpec()
    n.data, n.label = L.DenseImageData(
        dense_image_data_param={
            "source": os.path.join(folder, "list.txt"),
            "root_folder": folder + os.sep,
            "batch_size": batch,
            "shuffle": not inference,
        },
        transform_param={"mean_value": MEAN, "scale": 1 / 64},
        ntop=2,
    )
    bn: dict[str, Any] = {"scale_filler": {"type": "constant", "value": 1}}
    bn["bn_mode"] = P.BN.INFERENCE if inference else P.BN.LEARN
    scores = encode_and_decode(n, n.data, len(CLASSES), 1 / 4, 3, bn)
    if weights:
        n.loss = L.SoftmaxWithLoss(
            scores,
            n.label,
            loss_param={"weight_by_label_freqs": True, "class_weighting": list(weights)},
        )
    else:
        n.silence = L.Silence(n.label, ntop=0)
    return n.to_proto()


def build(param: Any, folder: str, phase: int) -> caffe.Net:
    """Return the net of a NetParameter, whose prototxt is written into `folder`."""
    path = os.path.join(folder, f"net-{phase}.prototxt")
    with open(path, "w") as file:
        file.write(str(param))
    return caffe.Net(path, phase)


def fold_statistics(net: caffe.Net, batches: int) -> dict[str, list[np.ndarray]]:
    """Return scale and shift of each BN with the mean and variance over some batches in them.

    net: with BN in mode LEARN. The result is for a net with BN in mode INFERENCE.
    """
    types = dict(zip(net._layer_names, [layer.type for layer in net.layers]))
    moments: dict[str, list[np.ndarray]] = {name: [] for name, t in types.items() if t == "BN"}
    for _ in range(batches):
        for name in net._layer_names:
            if name in moments:
                x = net.blobs[net.bottom_names[name][0]].data
                moments[name].append(np.stack([x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))]))
            net.forward(start=name, end=name)
    folded = {}
    for name, values in moments.items():
        mean, square = np.mean(values, 0)
        scale, shift = (blob.data.ravel() for blob in net.params[name])
        factor = scale / (np.sqrt(np.maximum(square - mean * mean, 0)) + 1e-9)
        folded[name] = [factor, shift - mean * factor]
    return folded


def copy_folded(source: caffe.Net, target: caffe.Net, batches: int) -> None:
    """Give `target`, in mode INFERENCE, the weights of `source`, in mode LEARN."""
    folded = fold_statistics(source, batches)
    for name, blobs in source.params.items():
        values = folded.get(name, [blob.data for blob in blobs])
        for blob, value in zip(target.params[name], values):
            blob.data[...] = np.reshape(value, blob.shape)


def score(net: caffe.Net, batches: int) -> np.ndarray:
    """Return the IU of each class over some batches of the net's scenes."""
    size = len(CLASSES)
    hist = np.zeros((size, size))
    for _ in range(batches):
        net.forward()
        truth = net.blobs["label"].data[:, 0].astype(int).ravel()
        guess = net.blobs["scores"].data.argmax(1).ravel()
        hist += np.bincount(size * truth + guess, minlength=size * size).reshape(size, size)
    return np.diag(hist) / (hist.sum(0) + hist.sum(1) - np.diag(hist))


def train(folder: str, iterations: int, scenes: int = 400, held_out: int = 80) -> np.ndarray:
    """Draw scenes, train in `folder`, and return the IU of each class on held-out scenes."""
    caffe.set_mode_cpu()
    caffe.set_random_seed(1)
    drawn = os.path.join(folder, "train")
    pixels = write_scenes(drawn, scenes, 1)
    write_scenes(os.path.join(folder, "val"), held_out, 2)
    frequencies = pixels / pixels.sum()
    # Median frequency balancing (Eigen & Fergus 2014), as in the SegNet paper, section 4.
    weights = np.median(frequencies) / frequencies
    net_path, solver_path = (os.path.join(folder, f"{n}.prototxt") for n in ("train", "solver"))
    with open(net_path, "w") as file:
        file.write(str(network(drawn, weights.tolist())))
    with open(solver_path, "w") as file:
        file.write(
            f'train_net: "{net_path}" base_lr: 0.05 lr_policy: "poly" power: 1 momentum: 0.9 '
            f"max_iter: {iterations} weight_decay: 0.0005 snapshot_after_train: false display: 0\n"
        )
    solver = caffe.SGDSolver(solver_path)
    with ProgressBar(iterations, "training") as bar:
        for _ in range(iterations):
            solver.step(1)
            bar.update(1, f"loss {float(solver.net.blobs['loss'].data):.3f}")
    val = build(network(os.path.join(folder, "val"), inference=True), folder, caffe.TEST)
    copy_folded(solver.net, val, scenes // 8)
    return score(val, held_out // 8)


def main() -> None:
    """Train, print the scores, and keep them for the page with --docs."""
    parser = argparse.ArgumentParser(prog="python -m zoo.train_segnet", description=__doc__)
    parser.add_argument("--iterations", type=int, default=750, help="of 8 scenes each")
    parser.add_argument("--docs", action="store_true", help=f"write {PAGE_DATA.name}")
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        iu = train(folder, arguments.iterations)
    minutes = (time.perf_counter() - start) / 60
    text = (
        f"`python -m zoo.train_segnet --docs`: {arguments.iterations} iterations of 8 drawn scenes "
        f"of {SIZE} x {SIZE} pixels, {minutes:.1f} minutes on the CPU, scored on 80 other scenes."
    )
    for name, value in zip(CLASSES, iu):
        print(f"{name:10} IU {value:.3f}")
    print(f"mean IU {iu.mean():.3f}")
    if arguments.docs:
        values = {name: round(float(value), 4) for name, value in zip(CLASSES, iu)}
        write_json(PAGE_DATA, {"text": text, "iu": values, "mean": round(float(iu.mean()), 4)})


if __name__ == "__main__":
    run(main)
