"""Boxes: overlap, suppression, and the coding of boxes relative to priors.

A box is a row (xmin, ymin, xmax, ymax) of an array or tensor N x 4. `extra` is what a side of k
pixels measures beyond xmax - xmin: 0 in normalized coordinates, 1 in pixels.
"""

from __future__ import annotations

import numpy as np
import torch

#: The codes of PriorBoxParameter.CodeType.
CORNER, CENTER_SIZE, CORNER_SIZE = 1, 2, 3


def areas(boxes: np.ndarray, extra: float = 0.0) -> np.ndarray:
    """Return the area of each box; 0 where a side is negative."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.where((sides < 0).any(1), 0, (sides + extra).prod(1))


def overlaps(boxes: np.ndarray, others: np.ndarray, extra: float = 0.0) -> np.ndarray:
    """Return the Jaccard overlap of each box (M x 4) with each other (N x 4), M x N."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = (high - low + extra).clip(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = areas(boxes, extra)[:, None] + areas(others, extra)[None] - shared
    return shared / np.where(union > 0, union, 1)


def suppress(
    boxes: np.ndarray,
    threshold: float,
    extra: float = 0.0,
    eta: float = 1.0,
    limit: int | None = None,
) -> np.ndarray:
    """Return the indices of the boxes that non-maximum suppression keeps.

    boxes: N x 4, from the highest score to the lowest. A box is kept if it overlaps each kept box
        by at most `threshold`.
    eta: below 1, the threshold is multiplied by it with each kept box while it is above 0.5.
    limit: the number of boxes after which to stop.
    """
    if eta < 1:
        return _suppress_by_steps(boxes, threshold, extra, eta, limit)
    kept: list[int] = []
    index, area = np.arange(len(boxes)), areas(boxes, extra)
    left, top, right, bottom = np.ascontiguousarray(boxes.T)
    while len(index):
        kept.append(int(index[0]))
        if len(kept) == limit:
            break
        width = np.minimum(right[0], right[1:]) - np.maximum(left[0], left[1:]) + extra
        height = np.minimum(bottom[0], bottom[1:]) - np.maximum(top[0], top[1:]) + extra
        shared = width.clip(min=0) * height.clip(min=0)
        union = area[0] + area[1:] - shared
        apart = ~(shared / np.where(union > 0, union, 1) > threshold)
        left, top, right, bottom, area, index = (
            values[1:][apart] for values in (left, top, right, bottom, area, index)
        )
    return np.array(kept, np.int64)


def _suppress_by_steps(
    boxes: np.ndarray, threshold: float, extra: float, eta: float, limit: int | None
) -> np.ndarray:
    """Return what `suppress` keeps where the threshold falls with each kept box."""
    kept: list[int] = []
    for index in range(len(boxes)):
        near = overlaps(boxes[index : index + 1], boxes[kept], extra)
        if (near > threshold).any():
            continue
        kept.append(index)
        if len(kept) == limit:
            break
        threshold = threshold * eta if threshold > 0.5 else threshold
    return np.array(kept, np.int64)


def decode(
    codes: torch.Tensor, priors: torch.Tensor, variances: torch.Tensor | None, code: int
) -> torch.Tensor:
    """Return the boxes (... x P x 4) that codes describe relative to priors (... x P x 4).

    variances: P x 4 factors of the codes, or None where the codes include them.
    code: CORNER adds the codes to the corners. CORNER_SIZE adds them in units of the prior's size.
        CENTER_SIZE moves the centre in units of the prior's size and multiplies the size by the
        codes' exponentials (Girshick et al. 2014, "Rich feature hierarchies", appendix C).
    """
    if variances is not None:
        codes = codes * variances
    sizes = priors[..., 2:] - priors[..., :2]
    if code == CORNER:
        return priors + codes
    if code == CORNER_SIZE:
        return priors + codes * torch.cat([sizes, sizes], -1)
    centers = (priors[..., :2] + priors[..., 2:]) / 2 + codes[..., :2] * sizes
    halves = codes[..., 2:].exp() * sizes / 2
    return torch.cat([centers - halves, centers + halves], -1)


def encode(
    boxes: torch.Tensor, priors: torch.Tensor, variances: torch.Tensor | None, code: int
) -> torch.Tensor:
    """Return the codes (P x 4) of boxes (P x 4) relative to priors (P x 4), as `decode` reads."""
    sizes = priors[:, 2:] - priors[:, :2]
    if code == CORNER:
        codes = boxes - priors
    elif code == CORNER_SIZE:
        codes = (boxes - priors) / sizes.repeat(1, 2)
    else:
        shift = (boxes[:, :2] + boxes[:, 2:] - priors[:, :2] - priors[:, 2:]) / 2 / sizes
        codes = torch.cat([shift, ((boxes[:, 2:] - boxes[:, :2]) / sizes).log()], 1)
    return codes if variances is None else codes / variances
