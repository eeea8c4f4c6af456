"""Train a small DetectNet on drawn scenes, in DIGITS' databases, and score it.

`python -m zoo.train_detectnet` takes some minutes on a CPU and writes docs/forks-detectnet.json,
from which `python -m zoo.page` writes its part of docs/forks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import caffe
import numpy as np
from caffe.data.db import Writer
from caffe.data.detectnet import label_array

from fcn_common.command import run
from fcn_common.files import write_json

from . import adam
from .nets.detectnet import train_val
from .scenes import SHAPES, draw

RESULT = Path(__file__).resolve().parents[1] / "docs" / "forks-detectnet.json"
SIZE, BATCH, WIDTH = 128, 8, 1 / 4
#: The least coverage, the group size, eps, and the least height of a detection.
CLUSTERING = "0.5, 1, 0.3, 8"
SCORES = ("precision", "recall", "mAP")


def write_databases(folder: str, phase: str, count: int, seed: int, size: int = SIZE) -> None:
    """Write images and labels of drawn scenes as DIGITS does, into two databases."""
    random = np.random.RandomState(seed)
    paths = [os.path.join(folder, f"{phase}_{kind}") for kind in ("images", "labels")]
    with Writer(paths[0]) as images, Writer(paths[1]) as labels:
        for i in range(count):
            scene = draw(random, size)
            pixels = (127 + 40 * scene.image).clip(0, 255).astype(np.uint8)
            label = label_array(np.array(scene.boxes) * size, scene.labels)
            for writer, values in ((images, pixels), (labels, label)):
                datum = caffe.io.array_to_datum(values)
                writer.put(f"{i:08d}".encode(), datum.SerializeToString())


def train(folder: str, iterations: int, width: float = WIDTH, batch: int = BATCH) -> caffe.Net:
    """Train with Adam, as DIGITS does, and return the trained net."""
    caffe.set_fork("nvidia")
    caffe.set_random_seed(1)
    path = os.path.join(folder, "train_val.prototxt")
    net = train_val(folder, width, SIZE, batch, len(SHAPES), CLUSTERING, 8)
    Path(path).write_text(str(net))
    return adam.train(path, "net", 0.0003, 1e-8, iterations, ("loss_bbox", "loss_coverage"))


def measure(folder: str, trained: caffe.Net, batches: int) -> dict[str, float]:
    """Return precision, recall and their product over scenes that training did not see."""
    path = os.path.join(folder, "train_val.prototxt")
    tested = caffe.Net(path, caffe.TEST, stages=["val"])
    tested.share_with(trained)
    kinds = []
    for _ in range(batches):
        tested.forward()
        kinds.append(tested.blobs["bbox-list-scored"].data[..., 4].copy())
    true, false, missed = (int((np.array(kinds) == kind).sum()) for kind in (1, 2, 3))
    precision, recall = (true / max(true + other, 1) for other in (false, missed))
    return dict(zip(SCORES, (precision, recall, precision * recall)))


def main() -> None:
    """Train, measure, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m zoo.train_detectnet", description=__doc__)
    parser.add_argument("--iterations", type=int, default=1500)
    arguments = parser.parse_args()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_databases(folder, "train", 2000, 1)
        write_databases(folder, "val", 32 * BATCH, 2)
        trained = train(folder, arguments.iterations)
        values = measure(folder, trained, 32)
    minutes = (time.process_time() - start) / 60
    text = (
        f"DetectNet on a GoogLeNet of a quarter of its width (`zoo/train_detectnet.py`), trained "
        f"from scratch for {arguments.iterations} iterations of {BATCH} drawn scenes of {SIZE} x "
        f"{SIZE} pixels, in {minutes:.0f} minutes of processor time. Detections at an overlap of "
        f"0.7, over {32 * BATCH} other scenes; DetectNet's mAP is the product:"
    )
    write_json(RESULT, {"text": text, "scores": values})
    print(json.dumps(values))


if __name__ == "__main__":
    run(main)
