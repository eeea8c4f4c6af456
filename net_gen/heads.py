"""From a trunk to a score for every pixel (Long et al., arXiv 1411.4038, section 4.2)."""

from __future__ import annotations

from caffe.coord_map import crop
from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

from .layers import score, upsample
from .trunks import Trunk

# The stride that a skip brings the scores to -> its upsampling layer and the blob it scores.
SKIPS = {16: ("upscore2", "pool4"), 8: ("upscore_pool4", "pool3")}


def skip(n: NetSpec, top: Top, trunk: Trunk, stride: int, classes: int) -> Top:
    """Doubles the resolution of the scores `top` to `stride` and adds those of a finer blob."""
    up, pool = SKIPS[stride]
    coarse = upsample(n, up, top, classes, 2)
    fine = score(n, f"score_{pool}", trunk.skips[stride], classes)
    n[f"score_{pool}c"] = crop(fine, coarse)
    n[f"fuse_{pool}"] = L.Eltwise(coarse, n[f"score_{pool}c"], operation=P.Eltwise.SUM)
    return n[f"fuse_{pool}"]


def pixelwise(n: NetSpec, trunk: Trunk, data: Top, stride: int, classes: int) -> Top:
    """Adds everything from `score_fr` to `score`, the scores of every pixel of `data`."""
    top, at = score(n, "score_fr", trunk.top, classes), trunk.stride
    while at > stride:
        at //= 2
        top = skip(n, top, trunk, at, classes)
    name = "upscore" if at == trunk.stride else f"upscore{at}"
    n.score = crop(upsample(n, name, top, classes, at), data)
    return n.score
