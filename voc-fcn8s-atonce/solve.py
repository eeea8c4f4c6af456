"""Train FCN-8s at once, both skips from the start (Long, Shelhamer and Darrell 2016).

    python solve.py [GPU | cpu]

Killed at any moment, the same command continues. Snapshots, log and scores go to snapshot/.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

import solvers  # noqa: E402
from solvers import stage  # noqa: E402

# Weights: VGG16, trained to classify ILSVRC's thousand classes and cast into convolutions.
WEIGHTS = "../ilsvrc-nets/vgg16-fcn.caffemodel"
# Surgery: the upsampling layers are filled with bilinear kernels and stay so; pool4 and pool3 are
# scaled by 0.01 and 0.0001 before they are scored, so that no skip drowns the others.
# Steps: 300,000 of one whole image, momentum 0.99, the rate 1e-10 on a loss summed over pixels.
# Scores: the val split, at a snapshot every 4,000 steps. The numbers stand in solver.prototxt.

if __name__ == "__main__":
    solvers.main(lambda: stage.main(FOLDER, WEIGHTS))
