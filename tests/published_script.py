"""A training script in the form of the published FCNs', run in a variant's folder.

It imports `surgery`, `score` and `vis` as modules of the repository's root.
"""

import sys

import caffe
import numpy as np

import score
import surgery
import vis

weights, ids, root = sys.argv[1:]

caffe.set_mode_cpu()
solver = caffe.SGDSolver("solver.prototxt")
solver.net.copy_from(weights)

interp_layers = [k for k in solver.net.params if "up" in k]
surgery.interp(solver.net, interp_layers)

val = np.loadtxt(ids, dtype=str)

for _ in range(2):
    solver.step(2)
    hist = score.seg_tests(solver, "seg.{}", val, layer="score")
assert hist.shape == (21, 21) and hist.sum() > 0

score.do_seg_tests(solver.test_nets[0], solver.iter, False, val, "score", "label")
again, loss = score.compute_hist(solver.test_nets[0], False, val, "score", "label")
assert (again == hist).all() and loss > 0
assert (score.fast_hist(np.array([0, 1]), np.array([0, 0]), 2) == [[1, 0], [1, 0]]).all()

filt = surgery.upsample_filt(4)
assert (solver.net.params["upscore"][0].data.shape[2] == 64) and filt.shape == (4, 4)

net = solver.test_nets[0]
out = net.blobs["score"].data[0].argmax(axis=0)
palette = vis.make_palette(21)
color = vis.color_seg(out, palette)
blend = vis.vis_seg(np.zeros((*out.shape, 3), np.uint8), out, palette)
assert color.shape == blend.shape and color.dtype == blend.dtype == np.uint8
print("done")
