"""The drawings of docs/padding.md. Each PNG also contains the numbers that it shows."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from experiments.padding import settings
from experiments.padding.positions import (
    BlobRow,
    blob_rows,
    drawn_paddings,
    limit_lines,
    limit_nets,
)
from fcn_common import files
from net_gen import VARIANTS
from net_gen.trunks import PAD
from solvers import figures

PLACES, HEAD, LIMITS = "places.png", "head.png", "limits.png"
#: The key of a PNG's numbers in its metadata.
NUMBERS = "Numbers"
BLUE, RED, GREEN, GREY = "#2b6ca3", "#b5402a", "#3c8d4f", "#777777"
TRUNK_COLOURS = {"vgg16": BLUE, "alexnet": RED, "googlenet": GREEN}


def drawing_numbers() -> Dict[str, Any]:
    """Return file -> the numbers that the drawing shows, as JSON gives them back."""
    size, blobs = settings.DRAWN_SIZE, settings.DRAWN_BLOBS
    numbers = {
        PLACES: [
            [pad, *blob_rows(settings.DRAWN_NET, pad, size, blobs)] for pad in drawn_paddings()
        ],
        HEAD: blob_rows(settings.HEAD_NET, PAD, settings.HEAD_SIZE, settings.HEAD_BLOBS),
        LIMITS: limit_lines(limit_nets()),
    }
    return json.loads(json.dumps(numbers))


def draw(folder: str) -> None:
    """Write the three drawings into a folder."""
    numbers = drawing_numbers()
    _draw_places(numbers[PLACES], os.path.join(folder, PLACES))
    _draw_head(numbers[HEAD], os.path.join(folder, HEAD))
    _draw_limits(numbers[LIMITS], os.path.join(folder, LIMITS))


def numbers_in(path: str) -> Any:
    """Return the numbers that a drawing contains."""
    with Image.open(path) as image:
        return json.loads(image.info[NUMBERS])


def _draw_places(panels: Sequence[Any], path: str) -> None:
    plt = figures.pyplot()
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 2.55 * len(panels) + 0.5), sharex=True)
    for axis, (pad, values, offsets) in zip(axes, panels):
        _draw_panel(axis, pad, [BlobRow(*value) for value in values], offsets["score"])
    axes[-1].set_xlabel(
        f"pixels of an image of {settings.DRAWN_SIZE}; dotted: the edges of the padding",
        fontsize=9,
    )
    figure.tight_layout()
    _save(figure, path, panels)


def _draw_panel(axis: Any, pad: int, rows: List[BlobRow], offset: int) -> None:
    """Draw the blobs at one padding, and the crop of `upscore`."""
    if offset < 0:
        # Without a crop the row of `score` stays empty.
        rows[-1] = rows[-1]._replace(size=0)
    _draw_rows(axis, rows, settings.DRAWN_SIZE)
    upscore = next(row for row in rows if row.blob == "upscore")
    y = rows.index(upscore) + 0.5
    ends = (upscore.first - 0.5, -0.5)
    axis.plot(ends, (y, y), color="black", linewidth=1.4, marker="|")
    axis.annotate(
        f"crop offset {offset}" if offset >= 0 else f"offset {offset}: no crop",
        (min(ends), y),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=9,
    )
    for edge in (-0.5 - pad, settings.DRAWN_SIZE - 0.5 + pad):
        axis.axvline(edge, color=GREY, linestyle=":", linewidth=1)
    axis.set_title(f"{settings.DRAWN_NET}, pad {pad}", fontsize=10, loc="left")


def _draw_rows(axis: Any, rows: Sequence[BlobRow], size: int) -> None:
    """Draw each blob as a row of cells around its values, over the extent of the image."""
    axis.axvspan(-0.5, size - 0.5, color="#f0e6c8", zorder=0)
    for y, row in enumerate(rows):
        if not row.size:
            continue
        start, width = row.first - row.pitch / 2, row.pitch
        colour = RED if row.blob in ("data", "score") else BLUE
        axis.broken_barh(
            [(start, width * row.size)], (y - 0.33, 0.66), facecolor=colour, alpha=0.22
        )
        if width > 3:
            centres = row.first + width * np.arange(row.size)
            edges = start + width * np.arange(row.size + 1)
            axis.vlines(edges, y - 0.33, y + 0.33, color=colour, linewidth=0.7)
            axis.plot(centres, [y] * row.size, ".", color=colour, markersize=3.5)
        else:
            axis.vlines([start, start + width * row.size], y - 0.33, y + 0.33, color=colour)
    axis.set_yticks(range(len(rows)))
    axis.set_yticklabels([f"{row.blob}  {row.size or '-'}" for row in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=9)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _draw_head(numbers: Any, path: str) -> None:
    values, offsets = numbers
    rows = [BlobRow(*value) for value in values]
    plt = figures.pyplot()
    figure, axis = plt.subplots(figsize=(9, 4.4))
    _draw_rows(axis, rows, settings.HEAD_SIZE)
    by_name = {row.blob: row for row in rows}
    for crop, offset in offsets.items():
        cropped, uncropped = by_name[crop], rows[rows.index(by_name[crop]) - 1]
        y = rows.index(cropped)
        starts = [row.first - row.pitch / 2 for row in (uncropped, cropped)]
        axis.plot(starts, (y, y), color="black", linewidth=1.4, marker="|")
        axis.annotate(
            f"offset {offset}",
            (sum(starts) / 2, y),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
        )
    axis.set_xlabel(f"pixels of an image of {settings.HEAD_SIZE}", fontsize=9)
    axis.set_title(f"The head of {settings.HEAD_NET}, pad {PAD}", fontsize=10, loc="left")
    figure.tight_layout()
    _save(figure, path, numbers)


def _draw_limits(lines: Any, path: str) -> None:
    plt = figures.pyplot()
    figure, axis = plt.subplots(figsize=(7.5, 4))
    starts: Dict[Tuple[str, int, int], List[str]] = {}
    for net, line in lines.items():
        trunk, short = VARIANTS[net].trunk, net.replace("voc-fcn", "").lstrip("-")
        pads, sizes, aligned = (np.array(column) for column in zip(*line))
        colour = TRUNK_COLOURS[trunk]
        label = None if any(key[0] == trunk for key in starts) else trunk
        axis.step(pads, sizes, where="mid", color=colour, linewidth=0.9, label=label)
        axis.plot(pads[aligned], sizes[aligned], color=colour, linewidth=3.2, alpha=0.35)
        start = trunk, int(pads[aligned][0]), int(sizes[aligned][0])
        starts.setdefault(start, []).append(short)
    for (trunk, pad, size), names in starts.items():
        axis.plot([pad], [size], "o", color=TRUNK_COLOURS[trunk], markersize=5)
        axis.annotate(
            f"{', '.join(names)}: {pad}",
            (pad, size),
            xytext=(5, 6),
            textcoords="offset points",
            fontsize=8,
            rotation=30,
        )
    axis.set_xlabel("padding of the first convolution, pixels", fontsize=9)
    axis.set_ylabel("smallest input, pixels a side", fontsize=9)
    axis.set_ylim(0, None)
    axis.legend(fontsize=9, frameon=False, title="no scores below the line")
    figure.tight_layout()
    _save(figure, path, lines)


def _save(figure: Any, path: str, numbers: Any) -> None:
    """Write a PNG with the numbers that it shows in its metadata."""
    metadata = {NUMBERS: json.dumps(numbers), "Software": ""}
    try:
        with files.atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png", metadata=metadata)
    finally:
        figures.pyplot().close(figure)
