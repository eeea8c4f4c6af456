"""Fine-tuning with solver.step, accuracies by hand, and plots that grow."""

import io
import os

import caffe
import matplotlib
import numpy as np
from caffe import layers as L
from caffe import params as P

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

rng = np.random.RandomState(7)
centers = rng.randn(3, 12) * 2
import h5py  # noqa: E402

for split, n in (("train", 60), ("test", 30)):
    y = rng.randint(0, 3, n)
    with h5py.File(split + ".h5", "w") as f:
        f["data"] = (centers[y] + rng.randn(n, 12)).astype(np.float32)
        f["label"] = y.astype(np.float32)
    open(split + ".txt", "w").write(os.path.abspath(split + ".h5") + "\n")


def logreg(source, batch_size, learn_all, name="fc8_new"):
    """Return a net of two inner products."""
    n = caffe.NetSpec()
    n.data, n.label = L.HDF5Data(batch_size=batch_size, source=source, ntop=2)
    param = (
        [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]
        if learn_all
        else [dict(lr_mult=0), dict(lr_mult=0)]
    )
    n.fc1 = L.InnerProduct(n.data, num_output=8, weight_filler=dict(type="xavier"), param=param)
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(
        n.relu1, num_output=3, weight_filler=dict(type="gaussian", std=0.01), name=name
    )
    n.acc = L.Accuracy(n.score, n.label)
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


def write_solver(train, test, base_lr=0.05):
    """Write the solver and return its path."""
    s = caffe.proto.caffe_pb2.SolverParameter()
    s.random_seed = 831486
    s.train_net = train
    s.test_net.append(test)
    s.test_interval = 10000
    s.test_iter.append(3)
    s.max_iter = 10000
    s.type = "SGD"
    s.base_lr = base_lr
    s.lr_policy = "step"
    s.gamma = 0.1
    s.stepsize = 15
    s.momentum = 0.9
    s.weight_decay = 5e-4
    s.display = 0
    s.snapshot = 10000
    s.snapshot_prefix = "style"
    s.solver_mode = caffe.proto.caffe_pb2.SolverParameter.CPU
    open("solver.prototxt", "w").write(str(s))
    return "solver.prototxt"


open("train.prototxt", "w").write(str(logreg("train.txt", 10, True)))
open("test.prototxt", "w").write(str(logreg("test.txt", 10, True)))
solver = caffe.get_solver(write_solver("train.prototxt", "test.prototxt"))
niter, test_interval = 24, 8
train_loss = np.zeros(niter)
test_acc = np.zeros(int(np.ceil(niter / float(test_interval))))
output = []
fig, ax1 = plt.subplots()
ax2 = ax1.twinx()
for it in range(niter):
    solver.step(1)
    train_loss[it] = solver.net.blobs["loss"].data
    solver.test_nets[0].forward(start="fc1")
    output.append(solver.test_nets[0].blobs["score"].data[:4].copy())
    if it % test_interval == 0:
        correct = 0
        for test_it in range(3):
            solver.test_nets[0].forward()
            correct += sum(
                solver.test_nets[0].blobs["score"].data.argmax(1)
                == solver.test_nets[0].blobs["label"].data
            )
        test_acc[it // test_interval] = correct / 30.0
        print(
            "Iteration",
            it,
            "testing... acc %.3f loss %.3f lr %g"
            % (test_acc[it // test_interval], train_loss[it], solver.lr),
        )
        ax1.plot(np.arange(it + 1), train_loss[: it + 1])
        ax2.plot(
            test_interval * np.arange(it // test_interval + 1),
            test_acc[: it // test_interval + 1],
            "r",
        )
ax1.set_xlabel("iteration")
buffer = io.BytesIO()
plt.savefig(buffer)
print("lines", [len(line.get_xdata()) for line in ax1.lines], buffer.tell() > 1000)
solver.net.save("tuned.caffemodel")

# train the classifier only, from these weights
open("train.prototxt", "w").write(str(logreg("train.txt", 10, False, "fc8_other")))
style_solver = caffe.get_solver(write_solver("train.prototxt", "test.prototxt", 0.01))
style_solver.net.copy_from("tuned.caffemodel")
before = style_solver.net.params["fc1"][0].data.copy()
style_solver.step(5)
print("fc1 moved:", bool(np.abs(style_solver.net.params["fc1"][0].data - before).max() > 0))
print("iter", style_solver.iter, "%.4f" % style_solver.net.blobs["loss"].data)
np.savez(
    "out.npz",
    train_loss=train_loss,
    test_acc=test_acc,
    output=np.array(output),
    fc8=style_solver.net.params["fc8_other"][0].data,
)
