"""Several labels in HDF5: written with h5py, sliced, a sigmoid loss each, results through HDF5Output."""

import os

import caffe
import h5py
import numpy as np
from caffe import layers as L
from caffe import params as P

rng = np.random.RandomState(9)
N, C = 22, 4
X = rng.rand(N, 3, 6, 6).astype("f4")
labels = (rng.rand(N, C) > 0.5).astype("f4")
age = rng.rand(N, 1).astype("f4")
with open("train_h5_list.txt", "w") as L_file:
    for part, rows in enumerate((slice(0, 12), slice(12, N))):
        name = "train%d.h5" % part
        with h5py.File(name, "w") as H:
            H.create_dataset("X", data=X[rows], compression="gzip", compression_opts=1)
            H.create_dataset("y", data=labels[rows])
            H.create_dataset("age", data=age[rows].astype("f8"))
        L_file.write(os.path.abspath(name) + "\n")

n = caffe.NetSpec()
n.X, n.y, n.age = L.HDF5Data(source="train_h5_list.txt", batch_size=5, ntop=3)
n.conv = L.Convolution(n.X, kernel_size=3, num_output=4, weight_filler=dict(type="xavier"))
n.pool = L.Pooling(n.conv, pool=P.Pooling.AVE, global_pooling=True)
n.score = L.InnerProduct(n.pool, num_output=C, weight_filler=dict(type="xavier"))
n.reg = L.InnerProduct(n.pool, num_output=1, weight_filler=dict(type="xavier"))
n.loss_y = L.SigmoidCrossEntropyLoss(n.score, n.y, loss_weight=1)
n.loss_age = L.EuclideanLoss(n.reg, n.age, loss_weight=0.5)
n.y1, n.y2 = L.Slice(n.y, slice_dim=1, slice_point=2, ntop=2)
n.silence = L.Silence(n.y1, n.y2, ntop=0)
print(str(n.to_proto())[:420])
open("net.prototxt", "w").write(str(n.to_proto()))
open("solver.prototxt", "w").write(
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "inv" gamma: 0.1 power: 0.75 max_iter: 20 type: "Adam" momentum: 0.9 momentum2: 0.999 snapshot_prefix: "s"'
)
solver = caffe.get_solver("solver.prototxt")
for name in solver.net.params:
    for b in solver.net.params[name]:
        b.data[...] = rng.randn(*b.data.shape) * 0.3
history = []
for i in range(8):
    solver.step(1)
    history.append([float(solver.net.blobs[b].data) for b in ("loss_y", "loss_age")])
print(["%.3f %.3f" % tuple(h) for h in history])


def hamming_distance(gt, est):
    """Return the share of equal labels."""
    return sum([1 for (g, e) in zip(gt, est) if g == e]) / float(len(gt))


def check_accuracy(net, num_batches, batch_size=5):
    """Return the accuracy over batches."""
    acc = 0.0
    for _ in range(num_batches):
        net.forward()
        gts = net.blobs["y"].data
        ests = net.blobs["score"].data > 0
        for gt, est in zip(gts, ests):
            acc += hamming_distance(gt, est)
    return acc / (num_batches * batch_size)


print("accuracy %.3f" % check_accuracy(solver.net, 4))
open(
    "out.prototxt", "w"
).write("""layer { name: "d" type: "HDF5Data" top: "X" top: "y" hdf5_data_param { source: "train_h5_list.txt" batch_size: 7 } }
layer { name: "r" type: "Reshape" bottom: "y" top: "y4" reshape_param { shape { dim: 0 dim: -1 dim: 1 dim: 1 } } }
layer { name: "o" type: "HDF5Output" bottom: "X" bottom: "y4" hdf5_output_param { file_name: "result.h5" } }""")
net = caffe.Net("out.prototxt", caffe.TEST)
net.forward()
del net
with h5py.File("result.h5", "r") as f:
    result = {k: f[k][...] for k in f}
print({k: (v.shape, str(v.dtype)) for k, v in sorted(result.items())})
np.savez("out.npz", history=history, **result)
