"""Layer-wise learning rates: edits of lr_mult, and updates by hand through net.layers and params."""

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

NET = """name: "net"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 6 } shape { dim: 4 } data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 5 } }
layer { name: "tanh" type: "TanH" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }"""
param = caffe_pb2.NetParameter()
text_format.Parse(NET, param)
for layer in param.layer:
    if layer.name.startswith("ip1"):
        for p in layer.param:
            p.lr_mult *= 0.1
print(text_format.MessageToString(param.layer[1]).strip())
open("net.prototxt", "w").write(text_format.MessageToString(param))
open("solver.prototxt", "w").write(
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.5 max_iter: 10 snapshot_prefix: "s"'
)
rng = np.random.RandomState(8)


def fill(net):
    """Draw all parameters."""
    for name in net.params:
        for blob in net.params[name]:
            blob.data[...] = rng.randn(*blob.data.shape)


solver = caffe.SGDSolver("solver.prototxt")
fill(solver.net)
solver.step(3)
stepped = [b.data.copy() for bs in solver.net.params.values() for b in bs]

net = caffe.Net("net.prototxt", caffe.TRAIN)
fill(net)
lr_w_mult, lr_b_mult, momentum, base_lr = 1, 2, 0.9, 0.05
momentum_hist = {layer: [np.zeros_like(b.data) for b in net.params[layer]] for layer in net.params}
losses = []
for i in range(4):
    losses.append(float(net.forward()["loss"]))
    net.backward()
    for layer in net.params:
        for k, mult in enumerate((lr_w_mult, lr_b_mult)):
            momentum_hist[layer][k] = (
                net.params[layer][k].diff * base_lr * mult + momentum_hist[layer][k] * momentum
            )
            net.params[layer][k].data[...] -= momentum_hist[layer][k]
            net.params[layer][k].diff[...] *= 0
print("losses", ["%.4f" % loss for loss in losses])
for name, layer in zip(net._layer_names, net.layers):
    print(name, layer.type, [list(b.shape) for b in layer.blobs])
index = list(net._layer_names).index("ip2")
net.layers[index].blobs[0].data[...] = 0
print(
    abs(net.params["ip2"][0].data).sum(),
    len(net.layers),
    list(net.layer_dict) == list(net._layer_names),
)
print(
    list(net._inputs),
    [list(net.blobs)[i] for i in net._outputs],
    net._blob_names[0],
    list(net.blob_loss_weights.values()),
)
print(list(net._bottom_ids(index)), list(net._top_ids(index)))
# a frozen layer, by the solver's own net
solver.net.params["ip1"][0].diff[...] = 1
solver.net.clear_param_diffs()
print(solver.net.params["ip1"][0].diff.any(), solver.iter, len(solver.test_nets))
np.savez("out.npz", losses=losses, **{"p%d" % i: b for i, b in enumerate(stepped)})
