"""Train a small SSD on drawn scenes and measure its mean average precision.

`python -m zoo.train_ssd` takes some minutes on a CPU and writes docs/forks-ssd.json, from which
`python -m zoo.page` writes its part of docs/forks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from caffe.layers.forks.evaluation import average_precision

from fcn_common.command import run
from fcn_common.files import write_json

from . import adam
from .nets import ssd
from .nets.blocks import with_batch_norm
from .scenes import SHAPES

RESULT = Path(__file__).resolve().parents[1] / "docs" / "forks-ssd.json"
SIZE, BATCH, CLASSES = 64, 8, 1 + len(SHAPES)


def net(phase: str, seed: int, count: int = BATCH) -> Any:
    """Return the NetParameter of the small SSD that ends in its loss, or in its evaluation."""
    n = caffe.NetSpec()
    n.data, n.label = L.Python(
        ntop=2, module="zoo.scenes", layer="ScenesLayer", param_str=f"{count} {SIZE} {seed}"
    )
    top, tops = n.data, []
    for i, channels in enumerate((16, 32, 48, 48, 48)):
        top = with_batch_norm(n, f"conv{i}", top, channels, 3, stride=2)
        top = with_batch_norm(n, f"conv{i}_b", top, channels, 3)
        tops += [top] if i >= 2 else []
    sizes = ((12, 16), (16, 22), (22, 30))
    sources = [
        ssd.Source(top, f"map{i}", *size, ()) for i, (top, size) in enumerate(zip(tops, sizes))
    ]
    codes, scores, priors = ssd.heads(n, n.data, sources, CLASSES)
    if phase == "train":
        n.mbox_loss = L.MultiBoxLoss(
            *(codes, scores, priors, n.label),
            multibox_loss_param={
                "num_classes": CLASSES,
                "code_type": P.PriorBox.CENTER_SIZE,
                "overlap_threshold": 0.5,
                "neg_pos_ratio": 3,
                "neg_overlap": 0.5,
            },
            propagate_down=[True, True, False, False],
        )
    else:
        out = ssd.detections(n, (codes, scores, priors), CLASSES, 0.01)
        n.detection_eval = L.DetectionEvaluate(
            out,
            n.label,
            detection_evaluate_param={"num_classes": CLASSES, "overlap_threshold": 0.5},
        )
    return n.to_proto()


def train(folder: str, iterations: int, gpu: Optional[int] = None) -> caffe.Net:
    """Train with Adam and return the trained net."""
    if gpu is not None:
        caffe.set_mode_gpu()
        caffe.set_device(gpu)
    caffe.set_random_seed(1)
    path = os.path.join(folder, "train.prototxt")
    Path(path).write_text(str(net("train", 1)))
    return adam.train(path, "train_net", 0.003, 0.0001, iterations, ("mbox_loss",))


def measure(folder: str, trained: caffe.Net, batches: int, seed: int = 2) -> dict:
    """Return the average precision of each shape over scenes that training did not see."""
    path = os.path.join(folder, "test.prototxt")
    Path(path).write_text(str(net("test", seed)))
    tested = caffe.Net(path, caffe.TEST)
    tested.share_with(trained)
    rows = [tested.forward()["detection_eval"].reshape(-1, 5).copy() for _ in range(batches)]
    by_label = average_precision(np.concatenate(rows))
    return {SHAPES[label - 1]: precision for label, precision in by_label.items()}


def main() -> None:
    """Train, measure, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m zoo.train_ssd", description=__doc__)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--gpu", type=int, metavar="N", help="the CUDA device; by default the CPU")
    arguments = parser.parse_args()
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train(folder, arguments.iterations, arguments.gpu)
        precisions = measure(folder, trained, 32)
    mean = float(np.mean(list(precisions.values())))
    place = "a GPU" if arguments.gpu is not None else "a CPU"
    text = (
        f"An SSD of ten 3 x 3 convolutions, three maps (`zoo/train_ssd.py`), "
        f"trained for {arguments.iterations} iterations of {BATCH} drawn scenes of {SIZE} x {SIZE} "
        f"pixels, in {(time.time() - start) / 60:.0f} minutes on {place}. Average precision at an "
        f"overlap of 0.5, over {32 * BATCH} other scenes:"
    )
    write_json(RESULT, {"text": text, "ap": precisions, "mean": mean})
    print(json.dumps(precisions), f"mean AP {mean:.3f}")


if __name__ == "__main__":
    run(main)
