"""Rarefied nets under the Caffe that runs this: python rarefied.py FOLDER NAME

Writes FOLDER/NAME.npz: the blob in question of each net, with its strides and without. The first
to run writes FOLDER/*.caffemodel, the other reads them.
"""

import os
import sys

import numpy as np

import surgery
from tests import rarefied_nets as nets

STRIDES = (1, 8)


def main(folder, name):
    found = {}
    for net in [*nets.CHAINS, *nets.POOLINGS]:
        place = os.path.join(folder, net)
        os.makedirs(place, exist_ok=True)
        weights = os.path.join(place, "weights.caffemodel")
        case = nets.Case(net, place, weights=weights if os.path.isfile(weights) else None)
        found[net + "/strided"] = case.scores(case.param)
        for stride in STRIDES if net in nets.CHAINS else (1,):
            rarefied = surgery.rarefy(case.param, case.top, stride)
            found[f"{net}/rarefied{stride}"] = case.scores(rarefied)
    np.savez(os.path.join(folder, name + ".npz"), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
