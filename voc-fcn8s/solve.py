"""Train FCN-8s: a second skip, from pool3 (Long, Shelhamer and Darrell 2015, section 4).

    python solve.py [GPU | cpu]

Killed at any moment, the same command continues. Snapshots, log and scores go to snapshot/.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

import solvers  # noqa: E402
from solvers import stage  # noqa: E402

# Weights: the trained FCN-16s; the new score_pool3 starts at zero, so training
# starts from what FCN-16s sees.
WEIGHTS = "../voc-fcn16s"
# Surgery: the upsampling layers are filled with bilinear kernels and stay so.
# Steps: 100,000 of one whole image, momentum 0.99, the rate 1e-14 on a loss summed over pixels.
# Scores: the val split, at a snapshot every 4,000 steps. The numbers stand in solver.prototxt.

if __name__ == "__main__":
    solvers.main(lambda: stage.main(FOLDER, WEIGHTS))
