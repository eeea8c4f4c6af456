"""Rarefied nets in the Caffe that `import caffe` gives.

    rarefied.py FOLDER NAME

FOLDER/NAME.npz gets the top of each net, with the strides and without. The first engine to run
writes FOLDER/*.caffemodel, the other one reads these files.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, Optional

import numpy as np

import surgery
from solvers import shift_stitch
from tests import rarefied_nets as nets

STRIDES = (1, 8)


def existing_weights(folder: str) -> Optional[str]:
    """Return the path of the weights that the first engine wrote, or None."""
    weights = os.path.join(folder, "weights.caffemodel")
    return weights if os.path.isfile(weights) else None


def dense_scores(case: nets.Case) -> Dict[str, np.ndarray]:
    """Return a score for every pixel, by 64 shifts and by the rarefied net."""
    padded = shift_stitch.reaching(case.param, case.top)
    lines = shift_stitch.places(padded, case.top)
    stitched = shift_stitch.shift_and_stitch(case.net(padded), lines, case.image, case.top)
    dense = shift_stitch.dense_net(padded, case.top)
    return {
        "small/stitched": shift_stitch.to_pixels(stitched, *case.image.shape[1:]),
        "small/dense": case.scores(dense, "score"),
    }


def main(folder: str, name: str) -> None:
    """Run every net and write FOLDER/NAME.npz."""
    scores: Any = {}
    for net in [*nets.CHAINS, *nets.POOLINGS]:
        place = os.path.join(folder, net)
        os.makedirs(place, exist_ok=True)
        case = nets.Case(net, place, weights=existing_weights(place))
        scores[net + "/strided"] = case.scores(case.param)
        for stride in STRIDES if net in nets.CHAINS else (1,):
            rarefied = surgery.rarefy(case.param, case.top, stride)
            scores[f"{net}/rarefied{stride}"] = case.scores(rarefied)
    scores.update(dense_scores(nets.Case("small", folder, weights=existing_weights(folder))))
    np.savez(os.path.join(folder, name + ".npz"), **scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
