"""The four metrics of semantic segmentation (Long et al., arXiv 1411.4038, section 5).

Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU are functions of the histogram
`hist[truth, prediction]`.
"""

from __future__ import annotations

import csv
import io
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np

from fcn_data import VOC, DataSet, Labels
from net_gen import Head

#: The metrics by name, `loss`, `images`, `iu` and `accuracy` of each class, and `confusion`, the
#: histogram of the pixels from which they come.
Scores = Dict[str, Any]
METRICS = ("loss", "pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc")
#: Classes in a line of `class_table`.
COLUMNS = 3
#: The most classes for which a confusion matrix is printed; for more classes, only the largest
#: confusions are printed.
PRINTED = 25
#: The most classes whose confusion matrix is written as JSON with the scores.
WRITTEN = 100
#: The number of the largest confusions that are printed.
LARGEST = 20


def fast_hist(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Return the numbers of pixels by truth (rows) and prediction (columns), classes x classes.

    truth, prediction: label maps with the same number of elements, of any shape and number type.

    Pixels whose truth is not a class (255, the ignored label of VOC, for fewer than 256 classes)
    are not counted. Raises ValueError for maps of different sizes, and for a prediction that is
    not a class where the truth is a class.
    """
    truth, prediction = np.asarray(truth).ravel(), np.asarray(prediction).ravel()
    if truth.size != prediction.size:
        raise ValueError(
            f"the prediction has {prediction.size} pixels, needs {truth.size} as the truth has"
        )
    index, last = _integers(truth, classes), classes**2
    ignored = (index < 0) | (index >= classes)
    index *= classes
    index += _integers(prediction, classes)
    if prediction.size and not 0 <= prediction.min() <= prediction.max() < classes:
        wrong = prediction[~ignored & ((prediction < 0) | (prediction >= classes))]
        if wrong.size:
            raise ValueError(f"the prediction has label {wrong[0]}, needs 0..{classes - 1}")
    index[ignored] = last
    return np.bincount(index, minlength=last + 1)[:last].reshape(classes, classes)


def _integers(values: np.ndarray, classes: int) -> np.ndarray:
    """Return a copy of labels as integers: 32 bits where they hold every label and classes^2."""
    wide = values.dtype.kind in "iu" and values.dtype.itemsize >= 4
    wide = wide or classes**2 > np.iinfo(np.int32).max
    with np.errstate(invalid="ignore"):  # Other values may exceed every integer type.
        return values.astype(np.int64 if wide else np.int32)


def metrics(hist: np.ndarray) -> Scores:
    """Return the four metrics as fractions, `iu` and `accuracy` of each class, and `confusion`.

    hist: K x K, as `fast_hist` counts. With n_ij the pixels of class i predicted as class j and
    t_i = sum_j n_ij, the metrics are

        pixel_accuracy   sum_i n_ii / sum_i t_i
        mean_accuracy    mean_i n_ii / t_i
        mean_iu          mean_i n_ii / (t_i + sum_j n_ji - n_ii)
        fwavacc          sum_i t_i IU_i / sum_i t_i

    A class that is absent from the truth has NaN and does not count in the means, as in the papers.
    `predicted_absent` has the indices of absent classes that are predicted nevertheless, and
    `mean_iu_original` the mean IU in which these classes count with an IU of 0. The papers'
    published scoring program prints that number: it leaves out only classes that are neither in the
    truth nor predicted.
    """
    confusion = np.asarray(hist)
    hist = confusion.astype(np.float64)
    correct, truth = np.diag(hist), hist.sum(1)
    present = truth > 0
    accuracy = np.full(len(hist), np.nan)
    iu = np.full(len(hist), np.nan)
    np.divide(correct, truth, out=accuracy, where=present)
    np.divide(correct, truth + hist.sum(0) - correct, out=iu, where=present)
    scores: Scores = {"accuracy": accuracy, "iu": iu, "confusion": confusion.astype(np.int64)}
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
    """Return the scores with lists for arrays and None for NaN, as JSON needs them.

    The confusion matrix of more than `WRITTEN` classes is left out.
    """
    large = len(scores.get("confusion", ())) > WRITTEN
    kept = {key: value for key, value in scores.items() if not (large and key == "confusion")}
    return {key: _plain(value) for key, value in kept.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, np.ndarray):
        return [_plain(number) for number in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
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
    lines += class_table(scores, labels)
    if "confusion" in scores:
        names = class_names(len(scores["iu"]), labels)
        lines += confusion_lines(np.asarray(scores["confusion"]), names)
    return lines


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


def confusion_lines(confusion: np.ndarray, names: Sequence[str]) -> List[str]:
    """Return a confusion matrix as lines of text.

    confusion: K x K, as `fast_hist` counts. names: of the classes, by index.

    Each row is a class of the truth and has the percentages of its pixels by predicted class. Rows
    of classes that are absent from the truth are left out. Of more than `PRINTED` classes, the
    largest confusions are named instead.
    """
    truth = confusion.sum(1)
    present = np.flatnonzero(truth)
    if len(present) == 0 or len(names) < 2:
        return []
    if len(names) > PRINTED:
        return _largest_confusions(confusion, names)
    width = max(len(f"{k} {names[k]}") for k in present) + 1
    title = "confusion matrix: % of the pixels of a class (row) by predicted class (column)"
    head = " " * width + "".join(f"{k:>6}" for k in range(len(names)))
    rows = [
        f"{f'{k} {names[k]}':<{width}}"
        + "".join(f"{100 * count / truth[k]:6.1f}" if count else f"{'.':>6}" for count in row)
        for k, row in ((k, confusion[k]) for k in present)
    ]
    return [title, head, *rows]


def confusion_csv(confusion: np.ndarray, names: Sequence[str]) -> str:
    """Return a confusion matrix as CSV: pixels by truth (rows) and prediction (columns)."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["truth / prediction", *names])
    table.writerows([name, *row] for name, row in zip(names, confusion.tolist()))
    return text.getvalue()


def _largest_confusions(confusion: np.ndarray, names: Sequence[str]) -> List[str]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None)[::-1][:LARGEST]
    pairs = [divmod(int(flat), len(names)) for flat in order]
    rows = [
        f"  {100 * wrong[i, j] / confusion[i].sum():5.1f} % of {names[i]} as {names[j]} "
        f"({wrong[i, j]} pixels)"
        for i, j in pairs
        if wrong[i, j]
    ]
    return ["largest confusions:", *rows] if rows else []


def class_names(count: int, labels: Union[DataSet, Labels] = VOC) -> Tuple[str, ...]:
    """Return the class names of a net, or numbers if the labels have another count of classes.

    labels: a record of labels, or a data set, whose first labels count.
    """
    if count == len(labels.classes):
        return labels.classes
    return tuple(f"class {k}" for k in range(count))


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"
