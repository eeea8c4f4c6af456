"""Pictures and tables of results: label maps side by side, loss curves, Markdown tables."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Set, Tuple

import numpy as np

from fcn_common import tables
from fcn_common.files import atomic_write
from fcn_common.voc import CLASSES, PALETTE
from solvers.log import losses
from solvers.metrics import METRICS, Scores, class_names

TITLES = {
    "loss": "loss",
    "pixel_accuracy": "pixel acc.",
    "mean_accuracy": "mean acc.",
    "mean_iu": "mean IU",
    "fwavacc": "f.w. IU",
}


def side_by_side(
    rows: Sequence[Tuple[np.ndarray, Sequence[np.ndarray]]], titles: Sequence[str], path: str
) -> None:
    """Write a PNG with a row for each photograph: the photograph, then its label maps.

    rows: pairs of a photograph (H x W x 3, uint8, RGB) and its label maps (H x W). titles: one for
    each column of label maps.

    The colours are VOC's, and a legend names the classes in the picture. The ignored label, 255,
    has the light colour of VOC's palette.
    """
    plt = pyplot()
    columns = 1 + len(rows[0][1])
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(2.1 * columns, 2.1 * len(rows) + 0.9), squeeze=False
    )
    present: Set[int] = set()
    for axis_row, (photo, labels) in zip(axes, rows):
        for axis, picture in zip(axis_row, [photo, *(PALETTE[label] for label in labels)]):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
        present.update(int(k) for label in labels for k in np.unique(label))
    for axis, title in zip(axes[0], ["photo", *titles]):
        axis.set_title(title, fontsize=11)
    classes = [k for k in sorted(present) if k < len(CLASSES)]
    patches = [
        plt.Rectangle((0, 0), 1, 1, facecolor=PALETTE[k] / 255.0, edgecolor="grey", linewidth=0.5)
        for k in classes
    ]
    legend = [CLASSES[k] for k in classes]
    figure.legend(patches, legend, loc="lower center", ncol=7, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.75 / figure.get_figheight(), 1, 1), pad=0.3)
    write(figure, path)


def loss_curves(logs: Mapping[str, str], path: str) -> None:
    """Write a PNG with the loss of each run by iteration. logs: title -> path of a loss.csv."""
    plt = pyplot()
    figure, axes = plt.subplots(1, len(logs), figsize=(3.2 * len(logs), 2.8), squeeze=False)
    for axis, (title, log) in zip(axes[0], logs.items()):
        rows = losses(log)
        axis.plot([r["iteration"] for r in rows], [r["loss"] for r in rows], linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("iteration", fontsize=9)
        axis.set_yscale("log" if rows and min(r["loss"] for r in rows) > 0 else "linear")
        axis.tick_params(labelsize=8)
    axes[0][0].set_ylabel("loss", fontsize=9)
    figure.tight_layout()
    write(figure, path)


def table(scores: Mapping[str, Scores], metrics: Sequence[str] = METRICS) -> List[str]:
    """Return the scores of each net as lines of a Markdown table, in percent except the loss."""
    rows = [[net, *(_cell(m, values[m]) for m in metrics)] for net, values in scores.items()]
    return tables.markdown(["net", *(TITLES[m] for m in metrics)], rows, _right(len(metrics)))


def class_rows(scores: Mapping[str, Scores]) -> List[str]:
    """Return the IU of each class as lines of a Markdown table, with a column for each net."""
    ious = [values["iu"] for values in scores.values()]
    rows = [
        [name, *(_cell("iu", iu[k]) for iu in ious)]
        for k, name in enumerate(class_names(len(ious[0])))
    ]
    return tables.markdown(["IU of", *scores], rows, _right(len(ious)))


def _cell(metric: str, value: Any) -> str:
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:,.0f}" if metric == "loss" else f"{100 * value:.1f}"


def _right(numbers: int) -> List[bool]:
    """Return which columns are right-aligned: all but the first."""
    return [False] + [True] * numbers


def pyplot() -> Any:
    """Return matplotlib's pyplot, which draws without a screen."""
    # Lazy: drawing is rare, and matplotlib takes as long to import as the rest of this package.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def write(figure: Any, path: str) -> None:
    """Save a figure as a PNG, atomically, and close the figure."""
    try:
        with atomic_write(path) as file:
            figure.savefig(file, dpi=100, format="png")
    finally:
        pyplot().close(figure)
