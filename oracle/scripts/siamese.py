"""A siamese net with shared weights, a contrastive loss, and embeddings from one branch."""

import caffe
import numpy as np

BRANCH = """
layer { name: "conv1%(s)s" type: "Convolution" bottom: "%(data)s" top: "conv1%(s)s" param { name: "conv1_w" lr_mult: 1 } param { name: "conv1_b" lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "pool1%(s)s" type: "Pooling" bottom: "conv1%(s)s" top: "pool1%(s)s" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1%(s)s" type: "InnerProduct" bottom: "pool1%(s)s" top: "ip1%(s)s" param { name: "ip1_w" lr_mult: 1 } param { name: "ip1_b" lr_mult: 2 }
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "relu1%(s)s" type: "ReLU" bottom: "ip1%(s)s" top: "ip1%(s)s" }
layer { name: "feat%(s)s" type: "InnerProduct" bottom: "ip1%(s)s" top: "feat%(s)s" param { name: "feat_w" lr_mult: 1 } param { name: "feat_b" lr_mult: 2 }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
TRAIN = """name: "mnist_siamese_train_test"
layer { name: "pair_data" type: "Input" top: "pair_data" top: "sim" input_param { shape { dim: 6 dim: 2 dim: 10 dim: 10 } shape { dim: 6 } } }
layer { name: "slice_pair" type: "Slice" bottom: "pair_data" top: "data" top: "data_p" slice_param { slice_dim: 1 slice_point: 1 } }
"""
text = TRAIN + BRANCH % {"s": "", "data": "data"} + BRANCH % {"s": "_p", "data": "data_p"}
text += """layer { name: "loss" type: "ContrastiveLoss" bottom: "feat" bottom: "feat_p" bottom: "sim" top: "loss" contrastive_loss_param { margin: 1 } }"""
open("train.prototxt", "w").write(text)
open("solver.prototxt", "w").write(
    'net: "train.prototxt" base_lr: 0.05 lr_policy: "inv" gamma: 0.0001 power: 0.75 momentum: 0.9 weight_decay: 0.0005 max_iter: 100 snapshot_prefix: "siamese"'
)
solver = caffe.SGDSolver("solver.prototxt")
rng = np.random.RandomState(10)
for name in ("conv1", "ip1", "feat"):
    for b in solver.net.params[name]:
        b.data[...] = rng.randn(*b.data.shape) * 0.3
print(list(solver.net.params), [k for k in solver.net.blobs if "split" in k])
losses = []
for it in range(10):
    solver.net.blobs["pair_data"].data[...] = rng.rand(6, 2, 10, 10)
    solver.net.blobs["sim"].data[...] = rng.randint(0, 2, 6)
    solver.step(1)
    losses.append(solver.net.blobs["loss"].data.item())
shared = all(
    (solver.net.params[a][i].data == solver.net.params[a + "_p"][i].data).all()
    for a in ("conv1", "ip1", "feat")
    for i in (0, 1)
)
print("shared", shared)
solver.net.params["feat_p"][1].data[0] = 7.5
print("one memory", solver.net.params["feat"][1].data[0])
solver.net.params["feat"][1].data[0] = 0.5
solver.snapshot()

deploy = (
    'name: "siamese" input: "data" input_dim: 1 input_dim: 1 input_dim: 10 input_dim: 10 '
    + BRANCH % {"s": "", "data": "data"}
)
open("deploy.prototxt", "w").write(deploy)
net = caffe.Net("deploy.prototxt", "siamese_iter_10.caffemodel", caffe.TEST)
raw = rng.randint(0, 256, (20, 100)).astype(np.uint8)
caffe_in = raw.reshape(20, 1, 10, 10) * 0.00390625
out = net.forward_all(data=caffe_in)
feat = out["feat"]
print(
    feat.shape,
    net.blobs["data"].num,
    net.blobs["data"].channels,
    net.blobs["data"].height,
    net.blobs["data"].width,
)
d = np.sqrt(((feat[:, np.newaxis] - feat[np.newaxis]) ** 2).sum(2))
print("nearest", np.argsort(d + 1e9 * np.eye(20), axis=1)[:5, 0].tolist())
np.savez("out.npz", losses=losses, feat=feat)
