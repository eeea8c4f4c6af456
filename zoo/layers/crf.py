"""A case of MultiStageMeanfield, with the lattice as a dictionary, point by point."""

from __future__ import annotations

import numpy as np

from .case import Arrays, Case

THETAS = {"alpha": 8.0, "beta": 0.8, "gamma": 2.0}


def simplex(feature: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
    """Return the corners around a point, all d + 1 coordinates, with their weights."""
    d = len(feature)
    x, total = np.zeros(d + 1), 0.0
    for j in range(d, 0, -1):
        part = feature[j - 1] * (np.sqrt(2 / 3) * (d + 1) / np.sqrt(j * (j + 1)))
        x[j] = total - j * part
        total += part
    x[0] = total
    nearest = np.array([(d + 1) * int(np.ceil(c / (d + 1) - 0.5)) for c in x])
    # Move the coordinates that are farthest off by one step until the sum is 0. Of equal ones, a
    # lower coordinate counts as the one with the larger rest.
    while nearest.sum():
        rest = x - nearest
        if nearest.sum() > 0:
            nearest[d - int(np.argmin(rest[::-1]))] -= d + 1
        else:
            nearest[int(np.argmax(rest))] += d + 1
    rest = x - nearest
    order = np.argsort(-rest, kind="stable")
    ordered = rest[order]
    result = []
    for k in range(d + 1):
        corner = nearest + k
        for i in order[d + 1 - k :]:
            corner[i] -= d + 1
        if k == 0:
            weight = 1 - (ordered[0] - ordered[d]) / (d + 1)
        else:
            weight = (ordered[d - k] - ordered[d + 1 - k]) / (d + 1)
        result.append((tuple(int(c) for c in corner), float(weight)))
    return result


def filtered(values: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Filter values, C x N, of points with features, N x d, on a lattice in a dictionary."""
    d = features.shape[1]
    simplices = [simplex(feature) for feature in features]
    sums: dict[tuple[int, ...], np.ndarray] = {}
    for n, corners in enumerate(simplices):
        for corner, weight in corners:
            sums[corner] = sums.get(corner, 0) + weight * values[:, n]
    for axis in range(d + 1):
        blurred = {}
        for corner, value in sums.items():
            step = np.full(d + 1, 1)
            step[axis] = -d
            before, after = (tuple(int(c) for c in corner + sign * step) for sign in (-1, 1))
            blurred[corner] = value + 0.5 * (sums.get(before, 0) + sums.get(after, 0))
        sums = blurred
    columns = [sum(weight * sums[corner] for corner, weight in corners) for corners in simplices]
    return np.stack(columns, 1) / (1 + 2.0**-d)


def mean_field(
    bottoms: Arrays, parameters: Arrays, iterations: int, alpha: float, beta: float, gamma: float
) -> np.ndarray:
    """Iterate over each image. The last three are the standard deviations."""
    unary, first, image = bottoms
    s, b, m = (p[0, 0] for p in parameters)
    y = np.empty_like(unary)
    for n in range(len(unary)):
        rows, columns = np.indices(image.shape[2:]).reshape(2, -1)
        places = np.stack([columns, rows], 1)
        colours = image[n].reshape(3, -1).T
        features = [places / gamma, np.hstack([places / alpha, colours / beta])]
        ones = np.ones((1, len(places)))
        responses = [filtered(ones, f) for f in features]
        q = first[n].reshape(len(first[n]), -1)
        for _ in range(iterations):
            p = np.exp(q - q.max(0))
            p /= p.sum(0)
            parts = [filtered(p, f) / response for f, response in zip(features, responses)]
            q = unary[n].reshape(q.shape) - m @ (s @ parts[0] + b @ parts[1])
        y[n] = q.reshape(y[n].shape)
    return y


def drawn(random: np.random.RandomState) -> list[np.ndarray]:
    """Scores of three classes, and an image."""
    return [random.standard_normal(shape) for shape in ((2, 3, 5, 6), (2, 3, 5, 6), (2, 3, 5, 6))]


CASES = [
    Case(
        "MultiStageMeanfield",
        "multi_stage_meanfield_param { num_iterations: 2 "
        + " ".join(f"theta_{name}: {value}" for name, value in THETAS.items())
        + " spatial_filter_weight: 3 bilateral_filter_weight: 5 }",
        drawn,
        "Zheng et al. 2015, CRF-RNN; torrvision/crfasrnn",
        lambda b, p: mean_field(b, p, 2, **THETAS),
        smooth=(0, 1),
        learns=(0, 1, 2),
    ),
]
