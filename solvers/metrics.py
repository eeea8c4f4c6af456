"""The four metrics of semantic segmentation (Long et al., arXiv 1411.4038, section 5).

Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU are functions of the histogram
`hist[truth, prediction]`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np

from fcn_data import VOC, DataSet, Labels
from net_gen import Head

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

    A class that is absent from the truth has NaN and does not count in the means, as in the papers.
    `predicted_absent` has the indices of such classes that are predicted all the same, and
    `mean_iu_original` the mean IU in which these count with an IU of 0. That is the number of the
    papers' published scoring program, which leaves out only what is neither in the truth nor
    predicted.
    """
    hist = np.asarray(hist, np.float64)
    correct, truth = np.diag(hist), hist.sum(1)
    present = truth > 0
    accuracy = np.full(len(hist), np.nan)
    iu = np.full(len(hist), np.nan)
    np.divide(correct, truth, out=accuracy, where=present)
    np.divide(correct, truth + hist.sum(0) - correct, out=iu, where=present)
    scores: Scores = {"accuracy": accuracy, "iu": iu}
    scores["predicted_absent"] = np.flatnonzero(~present & (hist.sum(0) > 0)).tolist()
    if not present.any():
        names = (*METRICS[1:], "mean_iu_original")
        return {**dict.fromkeys(names, float("nan")), **scores}
    total = truth.sum()
    means = {
        "pixel_accuracy": float(correct.sum() / total),
        "mean_accuracy": float(accuracy[present].mean()),
        "mean_iu": float(iu[present].mean()),
        "mean_iu_original": float(
            iu[present].sum() / (present.sum() + len(scores["predicted_absent"]))
        ),
        "fwavacc": float((truth[present] * iu[present]).sum() / total),
    }
    return {**means, **scores}


def plain(scores: Scores) -> Scores:
    """Return the scores with lists for arrays and None for NaN, as JSON needs them."""
    return {key: _plain(value) for key, value in scores.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, np.ndarray):
        return [_plain(float(number)) for number in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def score_lines(
    scores: Scores, title: str = "", data_set: DataSet = VOC, heads: Sequence[Head] = (Head(),)
) -> List[str]:
    """Return the scores as lines of text: for each head the metrics in a line, then its classes.

    scores: those of the first head; `scores[head.label]` has those of each further head.
    """
    labels = {record.name: record for record in data_set.labels}
    lines = []
    for k, head in enumerate(heads):
        record = labels.get(head.label, data_set.labels[0])
        name = f" ({head.label})" if len(heads) > 1 else ""
        lines += _head_lines(scores[head.label] if k else scores, title + name, record)
    return lines


def _head_lines(scores: Scores, title: str, labels: Labels) -> List[str]:
    words = [f"{name} {scores[name]:.4f}" for name in METRICS if name in scores]
    lines = [f"{title}{': ' if title else ''}{'   '.join(words)}"]
    absent = scores.get("predicted_absent")
    if absent:
        names = class_names(len(scores["iu"]), labels)
        lines.append(
            f"mean_iu {scores['mean_iu_original']:.4f} in the original scoring, which counts "
            f"{', '.join(names[k] for k in absent)} with IU 0: predicted, but absent from the truth"
        )
    return [*lines, *class_table(scores, labels)]


def class_table(scores: Scores, labels: Labels = VOC.labels[0]) -> List[str]:
    """Return lines with IU and accuracy of each class in percent, three classes in a line.

    A class that is absent from the truth has `-`.
    """
    names = class_names(len(scores["iu"]), labels)
    width = max(12, *(len(name) + 1 for name in names))
    cells = [
        f"{name:<{width}}{_percent(iu):>6}{_percent(accuracy):>7}"
        for name, iu, accuracy in zip(names, scores["iu"], scores["accuracy"])
    ]
    head = f"{'class':<{width}}{'IU %':>6}{'acc %':>7}"
    rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return ["    ".join(row) for row in [[head] * len(rows[0]), *rows]]


def class_names(count: int, labels: Union[DataSet, Labels] = VOC) -> Tuple[str, ...]:
    """Return the class names of a net, or numbers if the labels have another count of classes.

    labels: a record of labels, or a data set, whose first labels count.
    """
    if count == len(labels.classes):
        return labels.classes
    return tuple(f"class {k}" for k in range(count))


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"
