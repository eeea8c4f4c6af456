"""The four metrics of semantic segmentation (Long et al., arXiv 1411.4038, section 5).

Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU are functions of the histogram
`hist[truth, prediction]`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np

from fcn_data import VOC, DataSet

#: The metrics by name, and `loss`, `images`, and `iu` and `accuracy` of each class.
Scores = Dict[str, Any]
METRICS = ("loss", "pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc")
#: Classes in a line of `class_table`.
COLUMNS = 3


def fast_hist(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Return the numbers of pixels by truth (rows) and prediction (columns), classes x classes.

    truth, prediction: label maps with the same number of elements, of any shape and number type.

    Pixels whose truth is not a class (255, the ignored label of VOC, for fewer than 256 classes)
    are not counted. Raises ValueError for maps of different sizes, and for a prediction that is
    not a class where the truth is a class.
    """
    truth, prediction = np.asarray(truth).ravel(), np.asarray(prediction).ravel()
    if truth.size != prediction.size:
        raise ValueError(f"found {prediction.size} predicted pixels, needed {truth.size}")
    index, last = _integers(truth, classes), classes**2
    ignored = (index < 0) | (index >= classes)
    index *= classes
    index += _integers(prediction, classes)
    if prediction.size and not 0 <= prediction.min() <= prediction.max() < classes:
        wrong = prediction[~ignored & ((prediction < 0) | (prediction >= classes))]
        if wrong.size:
            raise ValueError(f"found a prediction {wrong[0]}, needed 0..{classes - 1}")
    index[ignored] = last
    return np.bincount(index, minlength=last + 1)[:last].reshape(classes, classes)


def _integers(values: np.ndarray, classes: int) -> np.ndarray:
    """Return a copy of labels as integers: 32 bits where they hold every label and classes^2."""
    wide = values.dtype.kind in "iu" and values.dtype.itemsize >= 4
    wide = wide or classes**2 > np.iinfo(np.int32).max
    with np.errstate(invalid="ignore"):  # A value that is no label may exceed every integer type.
        return values.astype(np.int64 if wide else np.int32)


def metrics(hist: np.ndarray) -> Scores:
    """Return the four metrics as fractions, and `iu` and `accuracy` of each class.

    hist: K x K, as `fast_hist` counts. With n_ij the pixels of class i predicted as class j and
    t_i = sum_j n_ij, the metrics are

        pixel_accuracy   sum_i n_ii / sum_i t_i
        mean_accuracy    mean_i n_ii / t_i
        mean_iu          mean_i n_ii / (t_i + sum_j n_ji - n_ii)
        fwavacc          sum_i t_i IU_i / sum_i t_i

    A class that is absent from the truth has NaN and does not count in the means.
    """
    hist = np.asarray(hist, np.float64)
    correct, truth = np.diag(hist), hist.sum(1)
    present = truth > 0
    accuracy = np.full(len(hist), np.nan)
    iu = np.full(len(hist), np.nan)
    np.divide(correct, truth, out=accuracy, where=present)
    np.divide(correct, truth + hist.sum(0) - correct, out=iu, where=present)
    scores: Scores = {"accuracy": accuracy, "iu": iu}
    if not present.any():
        return {**dict.fromkeys(METRICS[1:], float("nan")), **scores}
    total = truth.sum()
    means = {
        "pixel_accuracy": float(correct.sum() / total),
        "mean_accuracy": float(accuracy[present].mean()),
        "mean_iu": float(iu[present].mean()),
        "fwavacc": float((truth[present] * iu[present]).sum() / total),
    }
    return {**means, **scores}


def plain(scores: Scores) -> Scores:
    """Return the scores with lists for arrays and None for NaN, as JSON needs them."""

    def number(value: Any) -> Any:
        return None if isinstance(value, float) and np.isnan(value) else value

    return {
        key: [number(float(v)) for v in value] if isinstance(value, np.ndarray) else number(value)
        for key, value in scores.items()
    }


def score_lines(scores: Scores, title: str = "", data_set: DataSet = VOC) -> List[str]:
    """Return the scores as lines of text: the metrics in one line, then `class_table`."""
    words = [f"{name} {scores[name]:.4f}" for name in METRICS if name in scores]
    return [f"{title}{': ' if title else ''}{'   '.join(words)}", *class_table(scores, data_set)]


def class_table(scores: Scores, data_set: DataSet = VOC) -> List[str]:
    """Return lines with IU and accuracy of each class in percent, three classes in a line.

    A class that is absent from the truth has `-`.
    """
    names = class_names(len(scores["iu"]), data_set)
    cells = [
        f"{name:<12}{_percent(iu):>6}{_percent(accuracy):>7}"
        for name, iu, accuracy in zip(names, scores["iu"], scores["accuracy"])
    ]
    head = f"{'class':<12}{'IU %':>6}{'acc %':>7}"
    rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return ["    ".join(row) for row in [[head] * len(rows[0]), *rows]]


def class_names(count: int, data_set: DataSet = VOC) -> Tuple[str, ...]:
    """Return the class names of a net, or numbers if the data set has another count of classes."""
    if count == len(data_set.classes):
        return data_set.classes
    return tuple(f"class {k}" for k in range(count))


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"
