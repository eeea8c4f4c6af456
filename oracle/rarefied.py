"""Rarefied nets under the Caffe that runs this: python rarefied.py FOLDER NAME

Writes FOLDER/NAME.npz: the blob in question of each net, with its strides and without. The first
to run writes FOLDER/*.caffemodel, the other reads them.
"""

import os
import sys

import numpy as np

import surgery
from solvers import shift_stitch
from tests import rarefied_nets as nets

STRIDES = (1, 8)


def first(folder):
    """The weights that the first to run left, if any."""
    weights = os.path.join(folder, "weights.caffemodel")
    return weights if os.path.isfile(weights) else None


def whole_maps(case):
    """A score for every pixel, by 64 shifts and by the rarefied net."""
    padded = shift_stitch.reaching(case.param, case.top)
    lines = shift_stitch.places(padded, case.top)
    stitched = shift_stitch.shift_and_stitch(case.net(padded), lines, case.image, case.top)
    dense = shift_stitch.dense_net(padded, case.top)
    return {
        "small/stitched": shift_stitch.to_pixels(stitched, *case.image.shape[1:]),
        "small/dense": case.scores(dense, "score"),
    }


def main(folder, name):
    found = {}
    for net in [*nets.CHAINS, *nets.POOLINGS]:
        place = os.path.join(folder, net)
        os.makedirs(place, exist_ok=True)
        case = nets.Case(net, place, weights=first(place))
        found[net + "/strided"] = case.scores(case.param)
        for stride in STRIDES if net in nets.CHAINS else (1,):
            rarefied = surgery.rarefy(case.param, case.top, stride)
            found[f"{net}/rarefied{stride}"] = case.scores(rarefied)
    found.update(whole_maps(nets.Case("small", folder, weights=first(folder))))
    np.savez(os.path.join(folder, name + ".npz"), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
