"""Gaussian filtering in many dimensions on the permutohedral lattice (Adams et al. 2010).

Each point spreads its value over the d + 1 corners of the simplex that it lies in, the corners are
blurred along the d + 1 axes of the lattice, and each point reads its corners again.
"""

from __future__ import annotations

import numpy as np
import torch


class Lattice:
    """The lattice of N points with d features each, whose unit is the standard deviation.

    features: N x d.
    """

    def __init__(self, features: np.ndarray, on: torch.device) -> None:
        d = features.shape[1]
        keys, weights = corners(np.asarray(features, np.float64))
        index, neighbours = _numbered(keys, d)
        #: The number of corners; one more, the last, stands for all that do not exist.
        self.size = neighbours.shape[2]
        self.index = torch.from_numpy(index).to(on)
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(on)
        self.neighbours = torch.from_numpy(neighbours).to(on)
        self.scale = 1 / (1 + 2.0**-d)

    def filter(self, values: torch.Tensor) -> torch.Tensor:
        """Return the filtered values, C x N, of values C x N. The result is not normalized."""
        channels = values.shape[0]
        spread = (values[:, :, None] * self.weights).reshape(channels, -1)
        sums = values.new_zeros(channels, self.size + 1)
        sums = sums.index_add(1, self.index.reshape(-1), spread)
        exists = torch.ones(self.size + 1, device=values.device)
        exists[-1] = 0
        for before, after in self.neighbours:
            blurred = sums[:, :-1] + 0.5 * (sums[:, before] + sums[:, after])
            sums = torch.cat([blurred, sums[:, -1:]], 1) * exists
        return (sums[:, self.index] * self.weights).sum(2) * self.scale


def corners(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the simplex of each point, N x (d + 1) x d, and their weights.

    A corner is the first d of its d + 1 integer coordinates; the weights, N x (d + 1), are the
    point's barycentric coordinates (section 3.1 and the supplement of the paper).
    """
    n, d = features.shape
    # The blur has variance 2 (d + 1)^2 / 3, which the scale turns into 1.
    scale = np.sqrt(2 / 3) * (d + 1) / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2))
    scaled = features * scale
    elevated = np.zeros((n, d + 1))
    below = np.cumsum(scaled[:, ::-1], 1)[:, ::-1]
    elevated[:, 0] = below[:, 0]
    for j in range(1, d + 1):
        elevated[:, j] = (below[:, j] if j < d else 0) - j * scaled[:, j - 1]
    down = np.floor(elevated / (d + 1)) * (d + 1)
    up = np.ceil(elevated / (d + 1)) * (d + 1)
    nearest = np.where(up - elevated < elevated - down, up, down).astype(np.int64)
    rest = elevated - nearest
    rank = np.zeros((n, d + 1), np.int64)
    for i in range(d + 1):
        for j in range(i + 1, d + 1):
            less = rest[:, i] < rest[:, j]
            rank[:, i] += less
            rank[:, j] += ~less
    # Where the coordinates do not sum to 0, the nearest point is that of the next simplex.
    excess = nearest.sum(1, keepdims=True) // (d + 1)
    rank += excess
    nearest += np.where(rank < 0, d + 1, 0) - np.where(rank > d, d + 1, 0)
    rank += np.where(rank < 0, d + 1, 0) - np.where(rank > d, d + 1, 0)
    shares = (elevated - nearest) / (d + 1)
    weights = np.zeros((n, d + 2))
    rows = np.arange(n)
    for i in range(d + 1):
        weights[rows, d - rank[:, i]] += shares[:, i]
        weights[rows, d + 1 - rank[:, i]] -= shares[:, i]
    weights[:, 0] += 1 + weights[:, d + 1]
    remainder = np.arange(d + 1)[None, :, None]
    first = rank[:, None, :d]
    keys = nearest[:, None, :d] + np.where(first <= d - remainder, remainder, remainder - d - 1)
    return keys, weights[:, : d + 1]


def _numbered(keys: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the corners, and return the number of each, N x (d + 1), and of their neighbours.

    The neighbours, (d + 1) x 2 x corners, lie before and after along each axis; a neighbour that
    does not exist has the number of corners as its own.
    """
    flat = keys.reshape(-1, d)
    low = flat.min(0) - d - 1
    spans = flat.max(0) + d + 2 - low
    strides = np.cumprod([1, *spans[:-1]])
    codes, index = np.unique((flat - low) @ strides, return_inverse=True)
    neighbours = np.empty((d + 1, 2, len(codes)), np.int64)
    for axis in range(d + 1):
        step = np.ones(d, np.int64)
        if axis < d:
            step[axis] = -d
        for side, sign in enumerate((-1, 1)):
            sought = codes + sign * (step @ strides)
            place = np.minimum(np.searchsorted(codes, sought), len(codes) - 1)
            neighbours[axis, side] = np.where(codes[place] == sought, place, len(codes))
    return index.reshape(keys.shape[:2]), neighbours
