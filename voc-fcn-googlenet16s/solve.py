"""Train FCN-GoogLeNet-16s: a skip from inception_4e, as FCN-16s has one from pool4.

    python solve.py [GPU | cpu]

Killed at any moment, the same command continues. Snapshots, log and scores go to snapshot/.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

import solvers  # noqa: E402
from solvers import stage  # noqa: E402

# Weights: the trained FCN-GoogLeNet; the new score_4e starts at zero, so training
# starts from what FCN-GoogLeNet sees.
WEIGHTS = "../voc-fcn-googlenet"
# Surgery: the upsampling layers are filled with bilinear kernels and stay so.
# Steps: 100,000 of one whole image, momentum 0.99, the rate 5e-13 on a loss summed over pixels.
# Scores: the val split, at a snapshot every 4,000 steps. The numbers stand in solver.prototxt.

if __name__ == "__main__":
    solvers.main(lambda: stage.main(FOLDER, WEIGHTS))
