"""Classifiers cast into fully convolutional nets: equal scores, heat maps, and the time.

Long et al. (arXiv 1411.4038, section 3.1): an InnerProduct layer is a convolution whose kernel
covers its whole input. So a classifier runs on an image of any size, and scores a grid of windows
at once.

    python -m experiments.casting [--out DIR] [--demo DIR] [--gpu N|cpu]
"""
