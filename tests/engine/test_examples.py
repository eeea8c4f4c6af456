"""The calls of BVLC's notebooks and examples, in their order, from start to end on drawn data."""

from __future__ import annotations

import os
import struct
import sys
import textwrap
from pathlib import Path

import caffe
import cv2
import h5py
import numpy as np
import pytest
from caffe import detect
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2
from caffe.tools import convert_mnist_data

pytest.importorskip("lmdb")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in an empty folder, with a fixed seed."""
    monkeypatch.chdir(tmp_path)
    caffe.set_mode_cpu()
    caffe.set_random_seed(1)
    return tmp_path


CLASSIFIER = """
name: "small classifier"
layer { name: "data" type: "Input" top: "data"
  input_param { shape: { dim: 10 dim: 3 dim: 19 dim: 19 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool1" top: "fc6"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc6" top: "fc8"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


def write_classifier():
    """Write the classifier, its weights, a mean, names and a picture."""
    with open("deploy.prototxt", "w") as file:
        file.write(CLASSIFIER)
    caffe.Net("deploy.prototxt", caffe.TEST).save("weights.caffemodel")
    random = np.random.RandomState(0)
    np.save("mean.npy", random.uniform(90, 120, (3, 24, 24)))
    cv2.imwrite("cat.jpg", random.randint(0, 256, (30, 40, 3)).astype(np.uint8))
    with open("synset_words.txt", "w") as file:
        file.writelines(f"n{i:04d} name {i}\n" for i in range(5))


def transformer_of(net):
    transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_mean("data", np.load("mean.npy").mean(1).mean(1))
    transformer.set_raw_scale("data", 255)
    transformer.set_channel_swap("data", (2, 1, 0))
    return transformer


def test_00_classification():
    write_classifier()
    net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)
    transformer = transformer_of(net)
    net.blobs["data"].reshape(4, 3, 19, 19)
    image = caffe.io.load_image("cat.jpg")
    net.blobs["data"].data[...] = transformer.preprocess("data", image)
    output = net.forward()
    probabilities = output["prob"][0]
    labels = np.loadtxt("synset_words.txt", str, delimiter="\t")
    top = probabilities.argsort()[::-1][:5]
    assert next(zip(probabilities[top], labels[top])) == (probabilities.max(), labels[top[0]])
    shapes = {name: blob.data.shape for name, blob in net.blobs.items()}
    assert shapes["conv1"] == (4, 6, 8, 8) and shapes["prob"] == (4, 5)
    weights = {name: (p[0].data.shape, p[1].data.shape) for name, p in net.params.items()}
    assert weights["fc8"] == ((5, 7), (5,))
    filters = net.params["conv1"][0].data.transpose(0, 2, 3, 1)
    assert filters.shape == (6, 5, 5, 3) and net.blobs["pool1"].data[0].shape == (6, 4, 4)
    counts, _ = np.histogram(net.blobs["fc6"].data[0].flat[net.blobs["fc6"].data[0].flat > 0], 10)
    assert counts.sum() == (net.blobs["fc6"].data[0] > 0).sum()
    shown = transformer.deprocess("data", net.blobs["data"].data[0])
    assert shown.shape == (19, 19, 3)


def write_digits():
    """Write two drawn digits as databases in the way of MNIST: a line and a cross."""
    random = np.random.RandomState(2)
    for name, count in (("train", 96), ("test", 40)):
        labels = random.randint(0, 2, count).astype(np.uint8)
        images = random.randint(0, 60, (count, 12, 12)).astype(np.uint8)
        images[:, 5:7] = 250
        images[labels == 1, :, 5:7] = 250
        with open(f"{name}-images", "wb") as file:
            file.write(struct.pack(">4I", 2051, count, 12, 12) + images.tobytes())
        with open(f"{name}-labels", "wb") as file:
            file.write(struct.pack(">2I", 2049, count) + labels.tobytes())
        arguments = [f"{name}-images", f"{name}-labels", f"mnist_{name}_lmdb"]
        assert convert_mnist_data.main(arguments) == 0


def lenet(source, batch_size):
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch_size,
        backend=P.Data.LMDB,
        source=source,
        transform_param=dict(scale=1.0 / 255),
        ntop=2,
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=4, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool1, num_output=10, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=2, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


def write_solver(**fields):
    """Write a solver as the notebooks do, from a SolverParameter; return its path."""
    s = caffe_pb2.SolverParameter()
    s.random_seed = 3
    s.train_net = "train.prototxt"
    s.test_net.append("test.prototxt")
    s.test_interval = 500
    s.test_iter.append(4)
    s.max_iter = 1000
    s.type = "SGD"
    s.base_lr = 0.05
    s.momentum = 0.9
    s.lr_policy = "fixed"
    s.display = 1000
    s.snapshot_prefix = "snap"
    s.solver_mode = caffe_pb2.SolverParameter.CPU
    for name, value in fields.items():
        setattr(s, name, value)
    with open("solver.prototxt", "w") as file:
        file.write(str(s))
    return "solver.prototxt"


def test_01_learning_lenet():
    write_digits()
    for name, batch in (("train", 16), ("test", 10)):
        with open(f"{name}.prototxt", "w") as file:
            file.write(str(lenet(f"mnist_{name}_lmdb", batch)))
    solver = caffe.SGDSolver(write_solver())
    shapes = {k: v.data.shape for k, v in solver.net.blobs.items()}
    assert shapes["data"] == (16, 1, 12, 12)
    solver.net.forward()
    solver.test_nets[0].forward()
    digits = solver.net.blobs["data"].data[:8, 0].transpose(1, 0, 2).reshape(12, 8 * 12)
    assert digits.max() <= 1
    solver.step(1)
    assert np.abs(solver.net.params["conv1"][0].diff[:, 0]).max() > 0
    losses, output = np.zeros(30), np.zeros((30, 8, 2))
    for it in range(30):
        solver.step(1)
        losses[it] = solver.net.blobs["loss"].data
        solver.test_nets[0].forward(start="conv1")
        output[it] = solver.test_nets[0].blobs["score"].data[:8]
    correct = 0
    for _ in range(4):
        solver.test_nets[0].forward()
        test = solver.test_nets[0].blobs
        correct += sum(test["score"].data.argmax(1) == test["label"].data)
    assert losses[-5:].mean() < losses[0] and correct == 40


def test_01_learning_lenet_with_adam():
    write_digits()
    for name, batch in (("train", 16), ("test", 10)):
        with open(f"{name}.prototxt", "w") as file:
            file.write(str(lenet(f"mnist_{name}_lmdb", batch)))
    path = write_solver(type="Adam", base_lr=0.005, momentum2=0.999, gamma=0.1, weight_decay=5e-4)
    solver = caffe.get_solver(path)
    solver.step(30)
    solver.test_nets[0].forward()
    assert float(solver.test_nets[0].blobs["loss"].data) < 0.3


def write_pictures():
    """Write twelve pictures in two styles, red and blue, and a list of them."""
    random = np.random.RandomState(4)
    for i in range(12):
        image = random.randint(0, 80, (24, 24, 3)).astype(np.uint8)
        image[..., 2 * (i % 2)] += 150
        cv2.imwrite(f"{i}.png", image)
    for name in ("train.txt", "test.txt"):
        with open(name, "w") as file:
            file.writelines(f"{os.getcwd()}/{i}.png {i % 2}\n" for i in range(12))


def style_net(train=True, learn_all=False, subset=None):
    """The notebook's net on ImageData, with a new classifier; return the path of its prototxt."""
    subset = subset or ("train" if train else "test")
    transform = dict(mirror=train, crop_size=19, mean_value=[100, 100, 100], scale=0.02)
    data, label = L.ImageData(
        transform_param=transform, source=f"{subset}.txt", batch_size=6, ntop=2
    )
    frozen = [dict(lr_mult=0)] * 2
    learned = [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]
    param = learned if learn_all else frozen
    n = caffe.NetSpec()
    n.data = data
    n.conv1 = L.Convolution(n.data, kernel_size=5, stride=2, num_output=6, param=param)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.fc6 = L.InnerProduct(n.pool1, num_output=7, param=param)
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    if train:
        n.drop6 = fc6 = L.Dropout(n.relu6, in_place=True, dropout_ratio=0.1)
    else:
        fc6 = n.relu6
    fc8 = L.InnerProduct(fc6, num_output=2, param=learned, weight_filler=dict(type="xavier"))
    n.__setattr__("fc8_flickr", fc8)
    if not train:
        n.probs = L.Softmax(fc8)
    n.label = label
    n.loss = L.SoftmaxWithLoss(fc8, n.label)
    n.acc = L.Accuracy(fc8, n.label)
    path = f"{subset}_{train}_{learn_all}.prototxt"
    with open(path, "w") as file:
        file.write(str(n.to_proto()))
    return path


def run_solvers(count, solvers):
    """Step the solvers in turn, record losses, and save their weights, as the notebook does."""
    blobs = ("loss", "acc")
    loss, accuracy = ({name: np.zeros(count) for name, _ in solvers} for _ in blobs)
    for it in range(count):
        for name, s in solvers:
            s.step(1)
            loss[name][it], accuracy[name][it] = (s.net.blobs[b].data.copy() for b in blobs)
    weights = {}
    for name, s in solvers:
        weights[name] = f"weights.{name}.caffemodel"
        s.net.save(weights[name])
    return loss, accuracy, weights


def test_02_fine_tuning():
    write_classifier()
    write_pictures()
    solvers = []
    for name in ("pretrained", "scratch"):
        path = write_solver(train_net=style_net(), base_lr=0.05)
        text = Path(path).read_text().replace('test_net: "test.prototxt"\n', "")
        text = text.replace("test_iter: 4\n", "").replace("test_interval: 500\n", "")
        with open(path, "w") as file:
            file.write(text)
        solver = caffe.get_solver(path)
        if name == "pretrained":
            solver.net.copy_from("weights.caffemodel")
        solvers.append((name, solver))
    loss, _, weights = run_solvers(25, solvers)
    assert loss["pretrained"][-5:].mean() < loss["scratch"][-5:].mean()
    test_net = caffe.Net(style_net(train=False), weights["pretrained"], caffe.TEST)
    accuracy = 0.0
    for _ in range(2):
        accuracy += float(test_net.forward()["acc"]) / 2
    assert accuracy > 0.9
    image = test_net.blobs["data"].data[0].copy()
    test_net.blobs["data"].data[0, ...] = image
    probs = test_net.forward(start="conv1")["probs"][0]
    assert probs.argmax() == test_net.blobs["label"].data[0]


def test_net_surgery():
    write_classifier()
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 20, 30]))
    n.conv = L.Convolution(n.data, num_output=3, kernel_size=5, stride=1)
    with open("conv.prototxt", "w") as file:
        file.write(str(n.to_proto()))
    net = caffe.Net("conv.prototxt", caffe.TEST)
    image = np.random.RandomState(5).rand(18, 26)[np.newaxis, np.newaxis, :, :]
    net.blobs["data"].reshape(*image.shape)
    net.blobs["data"].data[...] = image
    net.forward()
    before = net.blobs["conv"].data[0, 0].copy()
    net.params["conv"][1].data[0] = 1.0
    net.forward()
    np.testing.assert_allclose(net.blobs["conv"].data[0, 0], before + 1, rtol=1e-5)
    y, x = np.mgrid[-2:3, -2:3]
    gaussian = np.exp(-(y**2 + x**2) / 2)
    net.params["conv"][0].data[0] = gaussian / gaussian.sum()
    net.params["conv"][0].data[1:] = 0
    net.params["conv"][0].data[1, 0, 1:4, 1:4] = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    net.forward()
    assert net.blobs["conv"].data.shape == (1, 3, 14, 22) and not net.blobs["conv"].data[0, 2].any()

    full = CLASSIFIER.replace("dim: 10 dim: 3 dim: 19 dim: 19", "dim: 1 dim: 3 dim: 31 dim: 31")
    full = full.replace('"fc', '"fc_conv').replace("InnerProduct", "Convolution")
    full = full.replace(
        "inner_product_param { num_output: 7", "convolution_param { num_output: 7 kernel_size: 4"
    )
    full = full.replace(
        "inner_product_param { num_output: 5", "convolution_param { num_output: 5 kernel_size: 1"
    )
    with open("full_conv.prototxt", "w") as file:
        file.write(full)
    net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)
    fc = {pr: (net.params[pr][0].data, net.params[pr][1].data) for pr in ("fc6", "fc8")}
    net_full_conv = caffe.Net("full_conv.prototxt", "weights.caffemodel", caffe.TEST)
    conv = {pr: net_full_conv.params[pr] for pr in ("fc_conv6", "fc_conv8")}
    for pr, pr_conv in zip(fc, conv):
        conv[pr_conv][0].data.flat = fc[pr][0].flat
        conv[pr_conv][1].data[...] = fc[pr][1]
    net_full_conv.save("full_conv.caffemodel")
    transformer = transformer_of(net_full_conv)
    image = caffe.io.load_image("cat.jpg")
    out = net_full_conv.forward_all(data=np.asarray([transformer.preprocess("data", image)]))
    assert out["prob"].shape == (1, 5, 4, 4)
    corner = transformer.preprocess("data", image)[:, :19, :19]
    net.blobs["data"].data[...] = corner
    np.testing.assert_allclose(net.forward()["prob"][0], out["prob"][0, :, 0, 0], rtol=1e-4)


def logreg(source, batch_size, hidden):
    n = caffe.NetSpec()
    n.data, n.label = L.HDF5Data(batch_size=batch_size, source=source, ntop=2)
    top = n.data
    if hidden:
        n.ip1 = L.InnerProduct(n.data, num_output=20, weight_filler=dict(type="xavier"))
        n.relu1 = top = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(top, num_output=2, weight_filler=dict(type="xavier"))
    n.accuracy = L.Accuracy(n.ip2, n.label)
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n.to_proto()


@pytest.mark.parametrize("hidden, least", [(False, 0.5), (True, 0.9)])
def test_brewing_logreg(hidden, least):
    random = np.random.RandomState(6)
    for name in ("train", "test"):
        x = random.standard_normal((300, 4)).astype(np.float32)
        y = (x[:, 0] * x[:, 1] > 0).astype(np.float32)
        with h5py.File(f"{name}.h5", "w") as file:
            file.create_dataset("data", data=x, compression="gzip", compression_opts=1)
            file.create_dataset("label", data=y, compression="gzip", compression_opts=1)
        with open(f"{name}.txt", "w") as file:
            file.write(f"{name}.h5\n")
        with open(f"{name}.prototxt", "w") as file:
            file.write(str(logreg(f"{name}.txt", 30, hidden)))
    path = write_solver(max_iter=150, stepsize=120, lr_policy="step", gamma=0.1, base_lr=0.3)
    solver = caffe.get_solver(path)
    solver.solve()
    accuracy = 0.0
    for _ in range(10):
        solver.test_nets[0].forward()
        accuracy += solver.test_nets[0].blobs["accuracy"].data / 10
    assert least <= accuracy <= 1 and (hidden or accuracy < 0.75)
    assert os.path.exists("snap_iter_150.caffemodel")


LAYERS = '''
import caffe
import numpy as np
from threading import Thread


class MultilabelSync(caffe.Layer):
    """Images of bars with a label for each bar."""

    def setup(self, bottom, top):
        self.top_names = ["data", "label"]
        params = eval(self.param_str)
        assert "batch_size" in params.keys()
        self.batch_size = params["batch_size"]
        self.random = np.random.RandomState(params["seed"])
        top[0].reshape(self.batch_size, 3, params["im_shape"][0], params["im_shape"][1])
        top[1].reshape(self.batch_size, 4)

    def forward(self, bottom, top):
        for itt in range(self.batch_size):
            multilabel = self.random.randint(0, 2, 4)
            im = 0.1 * self.random.standard_normal(top[0].data.shape[1:])
            for i in np.flatnonzero(multilabel):
                im[:, 2 * i : 2 * i + 2] += 1
            top[0].data[itt, ...] = im
            top[1].data[itt, ...] = multilabel

    def reshape(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        pass
'''


def multilabel(batch_size, seed):
    n = caffe.NetSpec()
    params = dict(batch_size=batch_size, im_shape=[8, 8], seed=seed)
    n.data, n.label = L.Python(
        module="multilabel_layers", layer="MultilabelSync", ntop=2, param_str=str(params)
    )
    n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=4, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=4, weight_filler=dict(type="xavier"))
    n.loss = L.SigmoidCrossEntropyLoss(n.score, n.label)
    return str(n.to_proto())


def test_pascal_multilabel_with_a_python_data_layer(folder, monkeypatch):
    (folder / "multilabel_layers.py").write_text(textwrap.dedent(LAYERS))
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("multilabel_layers", None)
    for name, batch in (("train", 16), ("test", 20)):
        with open(f"{name}.prototxt", "w") as file:
            file.write(multilabel(batch, len(name)))
    solver = caffe.SGDSolver(write_solver(base_lr=0.05))
    solver.test_nets[0].share_with(solver.net)
    solver.step(1)

    def check_accuracy(net, batches):
        accuracy = 0.0
        for _ in range(batches):
            net.forward()
            truths, ests = net.blobs["label"].data, net.blobs["score"].data > 0
            for gt, est in zip(truths, ests):
                accuracy += sum(g == e for g, e in zip(gt, est)) / float(len(gt))
        return accuracy / (len(truths) * batches)

    before = check_accuracy(solver.test_nets[0], 3)
    solver.step(60)
    assert check_accuracy(solver.test_nets[0], 3) > max(before, 0.95)
    sys.modules.pop("multilabel_layers", None)


SIAMESE = """
layer { name: "pair_data" type: "Input" top: "pair_data" top: "sim"
  input_param { shape { dim: 16 dim: 2 dim: 12 dim: 12 } shape { dim: 16 } } }
layer { name: "slice" type: "Slice" bottom: "pair_data" top: "data" top: "data_p"
  slice_param { slice_dim: 1 slice_point: 1 } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  param { name: "ip1_w" lr_mult: 1 } param { name: "ip1_b" lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "feat" type: "InnerProduct" bottom: "ip1" top: "feat"
  param { name: "feat_w" lr_mult: 1 } param { name: "feat_b" lr_mult: 2 }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "ip1_p" type: "InnerProduct" bottom: "data_p" top: "ip1_p"
  param { name: "ip1_w" lr_mult: 1 } param { name: "ip1_b" lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "relu1_p" type: "ReLU" bottom: "ip1_p" top: "ip1_p" }
layer { name: "feat_p" type: "InnerProduct" bottom: "ip1_p" top: "feat_p"
  param { name: "feat_w" lr_mult: 1 } param { name: "feat_b" lr_mult: 2 }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "ContrastiveLoss" bottom: "feat" bottom: "feat_p" bottom: "sim"
  top: "loss" contrastive_loss_param { margin: 1 } }
"""
DEPLOY = """
input: "data" input_dim: 10 input_dim: 1 input_dim: 12 input_dim: 12
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 10 } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "feat" type: "InnerProduct" bottom: "ip1" top: "feat"
  inner_product_param { num_output: 2 } }
"""


@pytest.mark.filterwarnings("ignore:The binary mode of fromstring")
def test_siamese():
    write_digits()
    images = convert_mnist_data.read_idx("train-images") / 256.0
    labels = convert_mnist_data.read_idx("train-labels")
    for name, text in (("train", SIAMESE), ("test", SIAMESE), ("deploy", DEPLOY)):
        with open(f"{name}.prototxt", "w") as file:
            file.write(text)
    solver = caffe.SGDSolver(write_solver(base_lr=0.05))
    random = np.random.RandomState(7)
    for _ in range(80):
        a, b = random.randint(0, len(images), (2, 16))
        solver.net.blobs["pair_data"].data[...] = np.stack([images[a], images[b]], 1)
        solver.net.blobs["sim"].data[...] = labels[a] == labels[b]
        solver.step(1)
    solver.net.save("siamese.caffemodel")
    net = caffe.Net("deploy.prototxt", "siamese.caffemodel", caffe.TEST)
    raw = np.fromstring(Path("test-images").read_bytes(), dtype=np.uint8)[16:]
    caffe_in = raw.reshape(40, 1, 12, 12) * 0.00390625
    feat = net.forward_all(data=caffe_in)["feat"]
    classes = convert_mnist_data.read_idx("test-labels")
    centres = [feat[classes == c].mean(0) for c in (0, 1)]
    nearest = np.argmin([((feat - centre) ** 2).sum(1) for centre in centres], 0)
    assert feat.shape == (40, 2) and (nearest == classes).mean() > 0.95


def test_detection():
    write_classifier()
    rows = np.array([[2, 3, 20, 25], [0, 0, 29, 39], [5, 5, 22, 30]])
    with open("det_input.csv", "w") as file:
        file.write("filename,ymin,xmin,ymax,xmax\n")
        file.writelines("cat.jpg," + ",".join(map(str, row)) + "\n" for row in rows)
    options = ["--crop_mode", "list", "--model_def", "deploy.prototxt", "--mean_file", "mean.npy"]
    options += ["--pretrained_model", "weights.caffemodel", "--raw_scale", "255"]
    assert detect.main(["det_input.csv", "out.csv", *options, "--context_pad", "2"]) == 0
    table = np.genfromtxt("out.csv", delimiter=",", skip_header=1)[:, 1:]
    boxes, scores = table[:, :4], table[:, 4:]
    assert np.array_equal(boxes, rows)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    order = scores.max(1).argsort()[::-1]
    assert len(order) == 3
