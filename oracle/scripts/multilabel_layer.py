"""Python layers: a data layer with a batch loader and parameters as text, a pickled state, a loss."""

import pickle
import sys

import caffe
import numpy as np
from caffe import layers as L

open("datalayers.py", "w").write('''
import json, pickle
import numpy as np
import caffe


class MultilabelDataLayerSync(caffe.Layer):
    """A synchronous data layer for several labels."""

    def setup(self, bottom, top):
        self.top_names = ["data", "label"]
        params = eval(self.param_str)
        check_params(params)
        self.batch_size = params["batch_size"]
        self.batch_loader = BatchLoader(params, None)
        top[0].reshape(self.batch_size, 3, params["im_shape"][0], params["im_shape"][1])
        top[1].reshape(self.batch_size, 5)
        print_info("MultilabelDataLayerSync", params)

    def forward(self, bottom, top):
        for itt in range(self.batch_size):
            im, multilabel = self.batch_loader.load_next_image()
            top[0].data[itt, ...] = im
            top[1].data[itt, ...] = multilabel

    def reshape(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        pass


class BatchLoader(object):
    def __init__(self, params, result):
        self.result = result
        self.rng = np.random.RandomState(params["seed"])
        self.im_shape = params["im_shape"]
        self.indexlist = list(range(7))
        self.cur = 0

    def load_next_image(self):
        if self.cur == len(self.indexlist):
            self.cur = 0
            self.rng.shuffle(self.indexlist)
        index = self.indexlist[self.cur]
        self.cur += 1
        im = np.random.RandomState(index).rand(3, *self.im_shape)
        flip = self.rng.choice(2) * 2 - 1
        multilabel = np.zeros(5).astype(np.float32)
        multilabel[index % 5] = 1
        return im[:, :, ::flip], multilabel


def check_params(params):
    assert "split" in params.keys(), "Params must include split (train, val, or test)."
    for r in ["batch_size", "im_shape"]:
        assert r in params.keys(), "Params must include {}".format(r)


def print_info(name, params):
    print("{} initialized for split: {}, with bs: {}, im_shape: {}.".format(
        name, params["split"], params["batch_size"], params["im_shape"]))


class Counter(caffe.Layer):
    """Counts its passes; the state is kept in a pickle between processes."""

    def setup(self, bottom, top):
        self.param = json.loads(self.param_str)
        try:
            with open(self.param["file"], "rb") as f:
                self.state = pickle.load(f)
        except IOError:
            self.state = {"forward": 0, "backward": 0, "mean": np.zeros(3)}

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        self.state["forward"] += 1
        self.state["mean"] = 0.9 * self.state["mean"] + bottom[0].data.mean(axis=(0, 2, 3))
        top[0].data[...] = bottom[0].data * self.param["scale"]

    def backward(self, top, propagate_down, bottom):
        self.state["backward"] += 1
        for i in range(len(propagate_down)):
            if propagate_down[i]:
                bottom[i].diff[...] = top[i].diff * self.param["scale"]
        with open(self.param["file"], "wb") as f:
            pickle.dump(self.state, f, protocol=2)


class EuclideanLossLayer(caffe.Layer):
    """The loss of the examples, with a per-sample weight that is learned."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Need two inputs to compute distance.")
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 1.0

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("Inputs must have the same dimension.")
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        self.value = np.sum(self.diff ** 2) / bottom[0].num / 2.
        top[0].data[...] = self.value * self.blobs[0].data[0]

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] += top[0].diff[0] * self.value
        for i in range(2):
            if not propagate_down[i]:
                continue
            sign = 1 if i == 0 else -1
            bottom[i].diff[...] = top[0].diff[0] * self.blobs[0].data[0] * sign * self.diff / bottom[i].num
''')
sys.path.append(".")
import datalayers  # noqa: E402


def net(split, batch_size):
    """Return the prototxt of a split."""
    n = caffe.NetSpec()
    data_params = dict(batch_size=batch_size, im_shape=[8, 9], split=split, seed=3)
    n.data, n.label = L.Python(
        module="datalayers", layer="MultilabelDataLayerSync", ntop=2, param_str=str(data_params)
    )
    n.conv = L.Convolution(n.data, kernel_size=3, num_output=3, weight_filler=dict(type="xavier"))
    n.count = L.Python(
        n.conv,
        module="datalayers",
        layer="Counter",
        param_str='{"file": "state.pkl", "scale": 0.5}',
    )
    n.score = L.InnerProduct(n.count, num_output=5, weight_filler=dict(type="xavier"))
    n.loss = L.Python(
        n.score, n.label, module="datalayers", layer="EuclideanLossLayer", loss_weight=1
    )
    return str(n.to_proto())


open("train.prototxt", "w").write(net("train", 4))
open("val.prototxt", "w").write(net("val", 2))
open("solver.prototxt", "w").write(
    'train_net: "train.prototxt" test_net: "val.prototxt" test_iter: 1 test_interval: 1000 test_initialization: false base_lr: 0.02 lr_policy: "fixed" momentum: 0.9 max_iter: 100 snapshot_prefix: "s"'
)
rng = np.random.RandomState(11)
losses = []
for process in range(2):
    solver = caffe.SGDSolver("solver.prototxt")
    for name in ("conv", "score"):
        for b in solver.net.params[name]:
            b.data[...] = rng.randn(*b.data.shape) * 0.2
    solver.test_nets[0].share_with(solver.net)
    for i in range(4):
        solver.step(1)
        losses.append(float(np.squeeze(solver.net.blobs["loss"].data)))
    out = solver.test_nets[0].forward()
    print("test", {k: v.shape for k, v in out.items()})
    with open("state.pkl", "rb") as f:
        state = pickle.load(f)
    print(state["forward"], state["backward"])
print(["%.3f" % v for v in losses], list(solver.net.params))
layer = solver.net.layers[list(solver.net._layer_names).index("data")]
print(
    type(layer).__name__,
    layer.top_names,
    layer.batch_loader.cur,
    layer.type,
    isinstance(layer, caffe.Layer),
)
np.savez("out.npz", losses=losses, mean=state["mean"], weight=solver.net.params["loss"][0].data)
