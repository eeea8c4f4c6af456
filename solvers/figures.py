"""Pictures and tables of results: what the nets see side by side, loss curves, Markdown."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

import numpy as np

from solvers.log import losses
from solvers.score import METRICS, Scores

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
    """A PNG with a row for each photograph: the photo, then its label maps under `titles`.

    rows: (H x W x 3 uint8, label maps H x W). VOC's colours; the classes that occur are named
    below. 255 (ignore) is white-ish, as in VOC's palette.
    """
    from fcn_common.voc import CLASSES, PALETTE

    plt = pyplot()
    columns = 1 + len(rows[0][1])
    names = list(titles)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(2.1 * columns, 2.1 * len(rows) + 0.9), squeeze=False
    )
    seen: Set[int] = set()
    for axis_row, (photo, labels) in zip(axes, rows):
        for axis, picture in zip(axis_row, [photo, *(PALETTE[label] for label in labels)]):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
        seen.update(int(k) for label in labels for k in np.unique(label))
    for axis, title in zip(axes[0], ["photo", *names]):
        axis.set_title(title, fontsize=11)
    patches = [
        plt.Rectangle((0, 0), 1, 1, facecolor=PALETTE[k] / 255.0, edgecolor="grey", linewidth=0.5)
        for k in sorted(seen)
        if k < len(CLASSES)
    ]
    legend = [CLASSES[k] for k in sorted(seen) if k < len(CLASSES)]
    figure.legend(patches, legend, loc="lower center", ncol=7, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.75 / figure.get_figheight(), 1, 1), pad=0.3)
    write(figure, path)


def loss_curves(logs: Mapping[str, str], path: str) -> None:
    """A PNG with the loss of each run over its iterations: title -> path of its loss.csv."""
    plt = pyplot()
    figure, axes = plt.subplots(1, len(logs), figsize=(3.2 * len(logs), 2.8), squeeze=False)
    for axis, (title, table) in zip(axes[0], logs.items()):
        rows = losses(table)
        axis.plot([r["iteration"] for r in rows], [r["loss"] for r in rows], linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("iteration", fontsize=9)
        axis.set_yscale("log" if rows and min(r["loss"] for r in rows) > 0 else "linear")
        axis.tick_params(labelsize=8)
    axes[0][0].set_ylabel("loss", fontsize=9)
    figure.tight_layout()
    write(figure, path)


def table(scores: Mapping[str, Scores], metrics: Sequence[str] = METRICS) -> List[str]:
    """The scores as lines of a Markdown table, in percent but for the loss."""
    head = ["net", *(TITLES[m] for m in metrics)]
    rows = [[name, *(_cell(m, values[m]) for m in metrics)] for name, values in scores.items()]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        _row(head, widths),
        "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|",
        *(_row(row, widths) for row in rows),
    ]


def class_rows(scores: Mapping[str, Scores]) -> List[str]:
    """The IU of each class as lines of a Markdown table, one column a net."""
    from solvers.score import class_names

    nets = list(scores)
    iu: Dict[str, Any] = {net: scores[net]["iu"] for net in nets}
    rows = [
        [name, *(_cell("iu", iu[net][k]) for net in nets)]
        for k, name in enumerate(class_names(len(iu[nets[0]])))
    ]
    head = ["IU of", *nets]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        _row(head, widths),
        "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|",
        *(_row(row, widths) for row in rows),
    ]


def _cell(metric: str, value: Any) -> str:
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:,.0f}" if metric == "loss" else f"{100 * value:.1f}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths)
    return (
        " | ".join(["| " + first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])
        + " |"
    )


def pyplot() -> Any:
    """matplotlib's pyplot, drawing without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def write(figure: Any, path: str) -> None:
    """Save a figure as a PNG that appears whole, and close it."""
    partial = f"{path}.{os.getpid()}.partial"
    try:
        figure.savefig(partial, dpi=100, format="png")
        os.replace(partial, path)
    finally:
        pyplot().close(figure)
        if os.path.exists(partial):
            os.remove(partial)
