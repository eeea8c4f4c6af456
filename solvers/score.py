"""Scores of a segmentation: pixel accuracy, mean accuracy, mean IU, frequency-weighted IU.

The four metrics of Long et al. 2015, section 5, from the histogram `hist[truth, prediction]`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from solvers import device, workers
from solvers.log import Bar, write_text

Scores = Dict[str, Any]
METRICS = ("loss", "pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc")


def highest(planes: Iterable[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Of planes of one shape, element by element, the number of the highest and its value.

    Of equal values the first counts. Numbers are uint8 where that holds them. The values have NaN
    where a plane has, and the number is then that of a plane before.
    """
    planes = iter(planes)
    best = np.array(next(planes))
    number = np.zeros(best.shape, np.uint8)
    better, step = np.empty(best.shape, bool), np.empty_like(number)
    for k, plane in enumerate(planes, 1):
        if k == 256:
            number, step = number.astype(np.int64), np.empty(best.shape, np.int64)
        np.greater(plane, best, out=better)
        np.maximum(best, plane, out=best)
        # Numbers rise, so that the larger of two is the later one.
        np.multiply(better.view(np.uint8), number.dtype.type(k), out=step)
        np.maximum(number, step, out=number)
    return number, best


def labels(scores: np.ndarray) -> np.ndarray:
    """`scores.argmax(1)` of N x K x H x W, as uint8 up to 256 classes, several times as fast.

    Of equal scores the first class counts; of NaN the first, as in NumPy.
    """
    number, best = highest(scores[:, k] for k in range(scores.shape[1]))
    if np.isnan(best).any():
        return scores.argmax(1).astype(number.dtype)
    return number


def fast_hist(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Counts of pixels, `classes` x `classes`, by truth (rows) and prediction (columns).

    Pixels whose truth is not one of the classes (255: ignore) are left out. Raises ValueError for
    maps of different sizes, and for a prediction, where the truth is known, of no class.
    """
    truth, prediction = np.asarray(truth).ravel(), np.asarray(prediction).ravel()
    if truth.size != prediction.size:
        raise ValueError(f"found {prediction.size} predicted pixels, needed {truth.size}")
    index, last = _integers(truth), classes**2
    unknown = (index < 0) | (index >= classes)
    index *= classes
    index += _integers(prediction)
    if prediction.size and not 0 <= prediction.min() <= prediction.max() < classes:
        wrong = prediction[~unknown & ((prediction < 0) | (prediction >= classes))]
        if wrong.size:
            raise ValueError(f"found a prediction {wrong[0]}, needed 0..{classes - 1}")
    index[unknown] = last
    return np.bincount(index, minlength=last + 1)[:last].reshape(classes, classes)


def _integers(values: np.ndarray) -> np.ndarray:
    """Labels as integers of an array of their own; 32 bits where those hold every label."""
    wide = values.dtype.kind in "iu" and values.dtype.itemsize >= 4
    with np.errstate(invalid="ignore"):  # what is no label may be too large for any integer
        return values.astype(np.int64 if wide else np.int32)


def metrics(hist: np.ndarray) -> Scores:
    """The four metrics as fractions, and `iu` and `accuracy` of each class.

    With n_ij the pixels of class i taken for class j, t_i = sum_j n_ij: pixel accuracy
    sum_i n_ii / sum_i t_i; mean accuracy mean_i n_ii / t_i; mean IU
    mean_i n_ii / (t_i + sum_j n_ji - n_ii); frequency-weighted IU sum_i t_i IU_i / sum_i t_i.
    A class that is absent from the truth has NaN and is left out of the means.
    """
    hist = np.asarray(hist, np.float64)
    right, truth = np.diag(hist), hist.sum(1)
    present = truth > 0
    accuracy = np.full(len(hist), np.nan)
    iu = np.full(len(hist), np.nan)
    np.divide(right, truth, out=accuracy, where=present)
    np.divide(right, truth + hist.sum(0) - right, out=iu, where=present)
    total, some = truth.sum(), bool(present.any())
    return {
        "pixel_accuracy": float(right.sum() / total) if some else float("nan"),
        "mean_accuracy": float(accuracy[present].mean()) if some else float("nan"),
        "mean_iu": float(iu[present].mean()) if some else float("nan"),
        "fwavacc": float((truth[present] * iu[present]).sum() / total) if some else float("nan"),
        "accuracy": accuracy,
        "iu": iu,
    }


def score_net(
    net: Any,
    images: int,
    layer: str = "score",
    gt: str = "label",
    out: Optional[str] = None,
    title: str = "scoring",
) -> Scores:
    """The scores of a net with a data layer over its next `images` images.

    Runs `net.forward()` and reads the blobs `layer` (N x K x H x W), `gt` and `loss`. With `out`,
    every prediction is saved there as a palette PNG. The data layers are set back to where they
    stood, so the next call scores the same images.
    """
    hist, loss = _count(net, images, layer, gt, out, title)
    return dict(metrics(hist), loss=loss / max(images, 1), images=images)


def _count(
    net: Any, images: int, layer: str, gt: str, out: Optional[str], title: str
) -> Tuple[Any, float]:
    """The histogram and the summed loss of a net over its next `images` images."""
    for blob in (layer, gt):
        if blob not in net.blobs:
            raise ValueError(f"blob {blob}: not in this net; it has {', '.join(net.blobs)}")
    hist: Any = 0
    loss = 0.0
    if out:
        os.makedirs(out, exist_ok=True)
    with workers.by_first(Bar, images, title, leave=False) as bar:
        for i in range(images):
            names = _names(net) if out else []
            net.forward()
            scores = net.blobs[layer].data
            prediction = labels(scores)
            hist = hist + fast_hist(net.blobs[gt].data, prediction, scores.shape[1])
            loss += float(net.blobs["loss"].data.sum()) if "loss" in net.blobs else float("nan")
            if out:
                from solvers.infer import save_labels

                for n, label in enumerate(prediction):
                    name = names[n] if n < len(names) else f"{i:06d}_{n}"
                    save_labels(os.path.join(out, name + ".png"), label)
            bar.update()
    _rewind(net, images)
    return hist, loss


def seg_tests(
    solver: Any,
    images: Optional[int] = None,
    layer: str = "score",
    gt: str = "label",
    out: Optional[str] = None,
    title: str = "scoring",
    parts: str = ".scored",
) -> Scores:
    """`score_net` of a solver's test net with the weights that its training net has now.

    `images` is by default the whole split of the test net's data layer. Of several workers, which
    all call this, each scores a share; worker 0 returns the scores of all, the others none.
    `parts` names the files that carry what the others counted to it.
    """
    net = solver.test_nets[0]
    net.share_with(solver.net)
    images = images or split_size(net)
    if workers.count() == 1:
        return score_net(net, images, layer, gt, out, title)
    first, mine = workers.share(images)
    _skip(net, first)
    hist, loss = _count(net, mine, layer, gt, out, title)
    _rewind(net, first)
    counts = np.zeros(net.blobs[layer].shape[1] ** 2) + np.ravel(hist)
    total = workers.sum_up(solver, np.append(counts, loss), parts)
    if workers.rank():
        return {}
    side = math.isqrt(len(counts))
    hist = total[:-1].reshape(side, side)
    return dict(metrics(hist), loss=total[-1] / images, images=images)


def split_size(net: Any) -> int:
    """How many images the split of the net's data layer has."""
    for data_layer in net.layers:
        if hasattr(data_layer, "indices"):
            return len(data_layer.indices)
    raise ValueError("no data layer of this net has a list `indices`; say how many images")


def _names(net: Any) -> List[str]:
    """The id of the image that the next forward pass reads, where the data layer tells."""
    for data_layer in net.layers:
        if hasattr(data_layer, "indices") and hasattr(data_layer, "idx"):
            return [str(data_layer.indices[data_layer.idx])]
    return []


def _skip(net: Any, images: int) -> None:
    """Pass over images; ValueError for a data layer that cannot."""
    layers = [data_layer for data_layer in net.layers if hasattr(data_layer, "skip")]
    if not layers:
        raise ValueError("no data layer of this net has `skip`; score it in one process")
    for data_layer in layers:
        data_layer.skip(images)


def _rewind(net: Any, drawn: int) -> None:
    for data_layer in net.layers:
        random = getattr(data_layer, "random", False)
        if hasattr(data_layer, "skip") and hasattr(data_layer, "indices") and not random:
            data_layer.skip(-drawn % len(data_layer.indices))


def lines(scores: Scores, title: str = "") -> List[str]:
    """The scores as lines of text: the metrics in one, then the classes."""
    found = [f"{name} {scores[name]:.4f}" for name in METRICS if name in scores]
    return [f"{title}{': ' if title else ''}{'   '.join(found)}", *class_table(scores)]


def class_table(scores: Scores) -> List[str]:
    """IU and accuracy of each class in percent, three classes a line; `-` where absent."""
    names = class_names(len(scores["iu"]))
    cells = [
        f"{name:<12}{_percent(iu):>6}{_percent(accuracy):>7}"
        for name, iu, accuracy in zip(names, scores["iu"], scores["accuracy"])
    ]
    head = f"{'class':<12}{'IU %':>6}{'acc %':>7}"
    rows = [cells[i : i + 3] for i in range(0, len(cells), 3)]
    return ["    ".join(row) for row in [[head] * len(rows[0]), *rows]]


def class_names(count: int) -> List[str]:
    """VOC's names for 21 classes, else numbers."""
    from fcn_common.voc import CLASSES

    return list(CLASSES) if count == len(CLASSES) else [f"class {i}" for i in range(count)]


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def plain(scores: Scores) -> Scores:
    """The scores as JSON can hold them: lists for arrays, None for NaN."""

    def number(value: Any) -> Any:
        return None if isinstance(value, float) and np.isnan(value) else value

    return {
        key: [number(float(v)) for v in value] if isinstance(value, np.ndarray) else number(value)
        for key, value in scores.items()
    }


def score_files(
    net: str,
    weights: str,
    images: Optional[int] = None,
    out: Optional[str] = None,
    layer: str = "score",
    title: str = "scoring",
) -> Scores:
    """The scores of a prototxt with a data layer and a weights file. Paths in the prototxt are
    taken from its own folder. Raises ValueError if the weights do not fill the net."""
    import caffe

    from solvers.stage import inside
    from surgery import check_weights

    net, weights = os.path.abspath(net), os.path.abspath(weights)
    out = os.path.abspath(out) if out else None
    for path in (net, weights):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
    with inside(os.path.dirname(net)):
        loaded = caffe.Net(net, caffe.TEST)
        check_weights(loaded, weights, need=list(loaded.params))
        loaded.copy_from(weights)
        return score_net(loaded, images or split_size(loaded), layer, out=out, title=title)


def main(argv: Optional[Sequence[str]] = None) -> None:
    from solvers import available

    parser = argparse.ArgumentParser(
        prog="python -m solvers.score",
        description="Score a net on a split: loss, pixel accuracy, mean accuracy, mean IU, "
        "frequency-weighted IU and the table of classes.",
    )
    parser.add_argument("variant", nargs="?", default="voc-fcn8s", help="voc-fcn8s by default")
    parser.add_argument("--net", help="prototxt with a data layer (the variant's val.prototxt)")
    parser.add_argument("--weights", help=".caffemodel (the variant's best one here)")
    parser.add_argument("--images", type=int, help="score only the first so many")
    parser.add_argument("--out", help="folder for predictions and scores.json")
    parser.add_argument("--gpu", help="number of a CUDA device, or cpu")
    args = parser.parse_args(argv)
    if workers.count() > 1:
        raise ValueError(
            f"{workers.count()} workers, but a net is scored in one process; training alone shares "
            "its scoring out"
        )
    found = available.pick(args.variant, args.net, args.weights, "val.prototxt")
    print(f"{device.engine()}; runs on {device.use(args.gpu)}")
    print(f"{found.net} with {found.weights} ({found.what})")
    scores = score_files(found.net, found.weights, args.images, args.out)
    print("\n".join(lines(scores, f"{scores['images']} images")))
    if args.out:
        write_text(os.path.join(args.out, "scores.json"), json.dumps(plain(scores), indent=1))


if __name__ == "__main__":
    from solvers import main as program

    program(main)
