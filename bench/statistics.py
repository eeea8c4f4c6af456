"""From the measured times to medians, spreads, ratios and differences."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

Json = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """A peer in a case. seconds: the median of all passes; low, high: of the rounds' medians.

    memory: the largest of the rounds, in bytes. rounds: how many. extra: medians of what else a
    case measures.
    """

    seconds: float
    low: float
    high: float
    memory: int
    rounds: int
    extra: dict[str, float]

    @property
    def spread(self) -> float:
        """Half the distance between the fastest and the slowest round, of the median."""
        return (self.high - self.low) / 2 / self.seconds


def summary(runs: list[Json]) -> Summary:
    """The runs of a peer in a case, a round each."""
    rounds = [median(run["times"]) for run in runs]
    passes = [t for run in runs for t in run["times"]]
    memory = max(int(run.get("device_memory") or run.get("memory") or 0) for run in runs)
    extra = {
        str(name): float(median(run[name] for run in runs))
        for name in ("first", "touched")
        if name in runs[0]
    }
    return Summary(median(passes), min(rounds), max(rounds), memory, len(rounds), extra)


def summaries(results: Json) -> dict[str, dict[str, Summary]]:
    """Case -> peer -> Summary, in the order of the run."""
    groups: dict[str, dict[str, list[Json]]] = {}
    for run in sorted(results["runs"], key=lambda run: run["round"]):
        groups.setdefault(run["case"], {}).setdefault(run["peer"], []).append(run)
    return {
        case: {peer: summary(runs) for peer, runs in peers.items()}
        for case, peers in groups.items()
    }


def difference(ours: np.ndarray, theirs: np.ndarray) -> Json:
    """`scores`: the largest difference, of their largest score; `labels`: the share of pixels whose
    highest score (N x K x H x W, along axis 1) is another class, None for other arrays."""
    if ours.shape != theirs.shape:
        raise ValueError(f"scores of shape {ours.shape}, needed {theirs.shape} as the reference")
    largest = float(np.abs(theirs).max())
    off = float(np.abs(ours - theirs).max())
    labels = None
    if ours.ndim == 4 and ours.shape[1] > 1:
        labels = float((ours.argmax(1) != theirs.argmax(1)).mean())
    return {"scores": off / largest if largest else off, "labels": labels}


def line(areas: list[float], values: list[float]) -> tuple[float, float]:
    """a and b of value = a + b * area that fit best."""
    b, a = np.polyfit(areas, values, 1)
    return float(a), float(b)


def slope(areas: list[float], values: list[float]) -> float:
    """The exponent b of value = a * area ** b that fits best: 1 is linear."""
    return float(np.polyfit(np.log(areas), np.log(values), 1)[0])
