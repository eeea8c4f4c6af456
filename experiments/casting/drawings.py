"""The figures of the experiment: heat maps, and differences at the borders of crops."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from matplotlib.colors import LogNorm

from experiments.casting import settings
from experiments.casting.heat_maps import Row
from experiments.casting.proofs import Proof
from solvers import figures


def draw_heat_maps(rows: Sequence[Row], path: str) -> None:
    """Draw a PNG: each row's image, then the scores of its class at every one of SIZES.

    The colours of each map range from its lowest score to its highest.
    """
    plt = figures.pyplot()
    columns = 1 + len(settings.SIZES)
    heights = [0.3 + 2.2 * min(1.0, r.image.shape[0] / r.image.shape[1]) for r in rows]
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(2.2 * columns, sum(heights) + 0.2),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for line, row in zip(axes, rows):
        height, width = row.image.shape[:2]
        line[0].set_title(row.name, fontsize=9)
        line[0].imshow(row.image)
        for axis, factor, heat in zip(line[1:], settings.SIZES, row.maps):
            shape = " x ".join(str(n) for n in heat.scores.shape[1:])
            axis.set_title(f"{factor:g}x: {shape} outputs", fontsize=9)
            axis.imshow(row.image.mean(2), cmap="gray", vmin=0, vmax=255)
            axis.imshow(heat.scores[0], cmap="inferno", alpha=0.65, extent=heat.extent())
        for axis in line:
            if row.mask is not None:
                axis.contour(row.mask, levels=[0.5], colors="cyan", linewidths=0.8)
            axis.set_xlim(-0.5, width - 0.5)
            axis.set_ylim(height - 0.5, -0.5)
            axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    figures.write(figure, path)


def draw_borders(proofs: Sequence[Proof], path: str) -> None:
    """Draw a PNG with a row for each net: how its maps differ from the classifier's, by stride."""
    plt = figures.pyplot()
    columns = max(len(proof.differences) for proof in proofs)
    figure, axes = plt.subplots(
        len(proofs), columns, figsize=(1.9 * columns, 2.1 * len(proofs)), squeeze=False
    )
    colours = plt.get_cmap("viridis").with_extremes(under="black")
    for line, proof in zip(axes, proofs):
        for axis in line:
            axis.set_axis_off()
        for axis, (blob, plane) in zip(line, proof.differences):
            image = axis.imshow(np.maximum(plane, 1e-9), cmap=colours, norm=LogNorm(1e-4, 1))
            axis.set_title(f"{blob}, {' x '.join(map(str, plane.shape))}", fontsize=7)
        line[0].text(
            -0.08, 0.5, proof.pair.name, rotation=90, fontsize=9,
            ha="right", va="center", transform=line[0].transAxes,
        )  # fmt: skip
    figure.tight_layout(rect=(0.02, 0, 0.93, 1), pad=0.4)
    bar = figure.colorbar(image, cax=figure.add_axes((0.94, 0.2, 0.012, 0.6)), extend="min")
    bar.ax.tick_params(labelsize=7)
    figures.write(figure, path)
