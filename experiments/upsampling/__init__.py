"""Four ways from coarse scores to a score for every pixel, on one net and one data set.

    python -m experiments.upsampling [--scenes N --dense-scenes N --iters N]

The net is the demo's FCN-32s. The ways are shift-and-stitch, filter rarefaction, bilinear
interpolation, and the Deconvolution with fixed or learned kernels (Long et al., arXiv 1411.4038,
sections 3.2 and 3.3). The experiment measures accuracy, time and memory of each way.
"""
