"""Train FCN-32s on SIFT Flow: one prediction every 32 pixels, for 33 sem and 3 geo classes.

    python solve.py [GPU | cpu] [--iters N] [--images N]

The method is that of Long, Shelhamer and Darrell (arXiv 1605.06211, section 4). A run that was
killed continues with the same command. snapshot/ has the weights, the log and the scores.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

from fcn_common import command

command.require_caffe()

from solvers.stage import Stage, main


def solve(gpu=None, iters=None, images=None):
    """Train the net and return its last scores. The arguments are those of the command line."""
    with Stage(FOLDER, iters, images) as stage:
        stage.choose_device(gpu)

        # solver.prototxt: 300,000 iterations of one whole image, momentum 0.99,
        # learning rate 1e-10 on a loss that is summed over the pixels.
        stage.make_solver()

        # Layers are copied by name, and new score layers start at zero. The weights are those of
        # VGG16, trained to classify ILSVRC's thousand classes and cast into convolutions.
        stage.start_from("../ilsvrc-nets/vgg16-fcn.caffemodel")

        # Bilinear kernels, which are not learned.
        stage.fill_upsampling()

        for _ in stage.steps(2000):  # 2,000 iterations and a snapshot
            stage.score()  # loss, pixel accuracy, mean accuracy and mean IU on the test split
    return stage.scores


if __name__ == "__main__":
    command.run(lambda: main(solve, FOLDER))
