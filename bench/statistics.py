"""From measured times to medians, spreads, ratios, and differences of scores."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, Dict, List, Tuple

import numpy as np

Json = Dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """A peer in a case.

    seconds: the median of all passes. low, high: the lowest and highest median of a round. memory:
    the largest of the rounds, in bytes. rounds: how many were measured. extra: medians of the
    case's further measurements, by name.
    """

    seconds: float
    low: float
    high: float
    memory: int
    rounds: int
    extra: Dict[str, float]

    @property
    def spread(self) -> float:
        """Half the distance between the fastest and the slowest round, as a share of the median."""
        return (self.high - self.low) / 2 / self.seconds


#: By case, by peer.
Summaries = Dict[str, Dict[str, Summary]]


def summary(runs: List[Json]) -> Summary:
    """Return the summary of a peer's runs in a case, one for each round."""
    rounds = [median(run["times"]) for run in runs]
    passes = [t for run in runs for t in run["times"]]
    memory = max(int(run.get("device_memory") or run.get("memory") or 0) for run in runs)
    extra = {
        str(name): float(median(run[name] for run in runs))
        for name in ("first", "touched")
        if name in runs[0]
    }
    return Summary(median(passes), min(rounds), max(rounds), memory, len(rounds), extra)


def summaries(results: Json) -> Summaries:
    """Return the summaries of a run's results, in the order of the run."""
    groups: Dict[str, Dict[str, List[Json]]] = {}
    for run in sorted(results["runs"], key=lambda run: run["round"]):
        groups.setdefault(run["case"], {}).setdefault(run["peer"], []).append(run)
    return {
        case: {peer: summary(runs) for peer, runs in peers.items()}
        for case, peers in groups.items()
    }


def round_ratios(runs: List[Json], theirs: List[Json]) -> List[float]:
    """Return the ratios of the medians of `runs` to those of `theirs`, a ratio for each round."""
    medians = {run["round"]: median(run["times"]) for run in theirs}
    both = sorted((r for r in runs if r["round"] in medians), key=lambda r: r["round"])
    return [median(run["times"]) / medians[run["round"]] for run in both]


def difference(ours: np.ndarray, theirs: np.ndarray) -> Json:
    """Return how far scores are from those of the reference, `theirs`.

    scores: the largest difference, divided by the largest reference score. labels: the share of
    pixels whose highest score (N x K x H x W, along axis 1) is another class; None for other
    arrays. Raises ValueError for arrays of different shapes.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"scores of shape {ours.shape}, needs {theirs.shape} as the reference has")
    largest = float(np.abs(theirs).max())
    off = float(np.abs(ours - theirs).max())
    labels = None
    if ours.ndim == 4 and ours.shape[1] > 1:
        labels = float((ours.argmax(1) != theirs.argmax(1)).mean())
    return {"scores": off / largest if largest else off, "labels": labels}


def line(areas: List[float], values: List[float]) -> Tuple[float, float]:
    """Return a and b of the best fit of value = a + b * area."""
    b, a = np.polyfit(areas, values, 1)
    return float(a), float(b)


def power(areas: List[float], values: List[float]) -> float:
    """Return the exponent b of the best fit of value = a * area ** b; 1 is linear growth."""
    return float(np.polyfit(np.log(areas), np.log(values), 1)[0])
