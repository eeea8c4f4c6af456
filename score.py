"""Scoring by the names that the scripts of the published FCNs use: `import score`.

    score.seg_tests(solver, False, val, layer="score", gt="label")

The numbers are those of `solvers.metrics`.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, Sequence, Tuple, Union

import numpy as np

from solvers import metrics
from solvers.label_map import labels, save_labels

#: A folder for the predictions, with {} for the iteration; False means none.
Folder = Union[str, bool, None]


def fast_hist(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Return the n x n numbers of pixels by truth `a` (rows) and prediction `b` (columns)."""
    return metrics.fast_hist(a, b, n)


def compute_hist(
    net: Any, save_dir: Folder, dataset: Sequence[str], layer: str = "score", gt: str = "label"
) -> Tuple[np.ndarray, float]:
    """Return the histogram of a net over a split, and its mean loss.

    net: a net whose data layer reads the split in order. save_dir: a folder for the predictions as
    PNGs, or False. dataset: the ids of the split. layer: the blob of scores, N x K x H x W. gt: the
    blob of label maps.
    """
    classes = net.blobs[layer].data.shape[1]
    hist, loss = np.zeros((classes, classes)), 0.0
    for idx in dataset:
        net.forward()
        prediction = labels(net.blobs[layer].data)
        hist += metrics.fast_hist(net.blobs[gt].data, prediction, classes)
        if save_dir:
            save_labels(os.path.join(str(save_dir), f"{idx}.png"), prediction[0])
        if "loss" in net.blobs:
            loss += float(net.blobs["loss"].data.sum())
    return hist, loss / max(len(dataset), 1)


def seg_tests(
    solver: Any,
    save_format: Folder,
    dataset: Sequence[str],
    layer: str = "score",
    gt: str = "label",
) -> np.ndarray:
    """Score a solver's test net with the weights of its training net; print the scores.

    save_format: a folder with {} for the iteration, or False. Returns the histogram.
    """
    print(">>>", datetime.now(), "Begin seg tests")
    solver.test_nets[0].share_with(solver.net)
    return do_seg_tests(solver.test_nets[0], solver.iter, save_format, dataset, layer, gt)


def do_seg_tests(
    net: Any,
    iter: int,
    save_format: Folder,
    dataset: Sequence[str],
    layer: str = "score",
    gt: str = "label",
) -> np.ndarray:
    """Score a net over a split and print the loss and the four metrics; return the histogram.

    iter: the iteration, for the lines and the folder. The other arguments are those of
    `compute_hist`; save_format has {} for the iteration.
    """
    folder = save_format.format(iter) if isinstance(save_format, str) else save_format
    hist, loss = compute_hist(net, folder, dataset, layer, gt)
    scores = metrics.metrics(hist)
    for name, value in (
        ("loss", loss),
        ("overall accuracy", scores["pixel_accuracy"]),
        ("mean accuracy", scores["mean_accuracy"]),
        ("mean IU", scores["mean_iu"]),
        ("fwavacc", scores["fwavacc"]),
    ):
        print(">>>", datetime.now(), "Iteration", iter, name, value)
    return hist
