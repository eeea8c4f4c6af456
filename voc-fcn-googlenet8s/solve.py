"""Train FCN-GoogLeNet-8s: a second skip, from inception_3b, as FCN-8s has one from pool3.

    python solve.py [GPU | cpu]

Killed at any moment, the same command continues. Snapshots, log and scores go to snapshot/.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

import solvers  # noqa: E402
from solvers import stage  # noqa: E402

# Weights: the trained FCN-GoogLeNet-16s; the new score_3b starts at zero, so training
# starts from what FCN-GoogLeNet-16s sees.
WEIGHTS = "../voc-fcn-googlenet16s"
# Surgery: the upsampling layers are filled with bilinear kernels and stay so.
# Steps: 100,000 of one whole image, momentum 0.99, the rate 5e-15 on a loss summed over pixels.
# Scores: the val split, at a snapshot every 4,000 steps. The numbers stand in solver.prototxt.

if __name__ == "__main__":
    solvers.main(lambda: stage.main(FOLDER, WEIGHTS))
