"""Train FCN-AlexNet: one prediction every 32 pixels (Long, Shelhamer and Darrell 2015).

    python solve.py [GPU | cpu]

Killed at any moment, the same command continues. Snapshots, log and scores go to snapshot/.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

import solvers  # noqa: E402
from solvers import stage  # noqa: E402

# Weights: CaffeNet, trained to classify ILSVRC's thousand classes and cast into convolutions.
WEIGHTS = "../ilsvrc-nets/caffenet-fcn.caffemodel"
# Surgery: the upsampling layers are filled with bilinear kernels and stay so.
# Steps: 100,000 of 20 whole images, momentum 0.9, the rate 1e-4 on a loss averaged over pixels.
# Scores: the val split, at a snapshot every 4,000 steps. The numbers stand in solver.prototxt.

if __name__ == "__main__":
    solvers.main(lambda: stage.main(FOLDER, WEIGHTS))
