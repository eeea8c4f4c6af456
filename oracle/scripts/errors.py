"""Calls that go wrong, and the exceptions by which scripts know it; arrays held over reshapes."""

import functools

import caffe
import numpy as np

print = functools.partial(print, flush=True)

open(
    "net.prototxt", "w"
).write("""name: "net" input: "data" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }""")
net = caffe.Net("net.prototxt", caffe.TEST)
rng = np.random.RandomState(12)
net.params["ip"][0].data[...] = rng.rand(2, 60)


def attempt(name, call, expected):
    """Make a call that may raise an exception."""
    try:
        result = call()
        print(name, "returned", getattr(result, "shape", None) or type(result).__name__)
    except expected:
        print(name, "raised", expected.__name__)
    except Exception as error:
        print(name, "raised", type(error).__name__, "and not", expected.__name__)


attempt("blob", lambda: net.blobs["nothing"], KeyError)
attempt("param", lambda: net.params["ip"][2], IndexError)
attempt("negative param", lambda: net.params["ip"][-1].data, TypeError)
attempt("assign param", lambda: net.params["ip"].__setitem__(0, np.zeros((2, 60))), TypeError)
attempt("data", lambda: setattr(net.blobs["data"], "data", np.zeros(3)), AttributeError)
attempt("reshape str", lambda: net.blobs["data"].reshape("2", 3), TypeError)
attempt("reshape float", lambda: net.blobs["data"].reshape(2.0, 3, 4, 5), TypeError)
attempt("reshape tuple", lambda: net.blobs["data"].reshape((2, 3, 4, 5)), TypeError)
attempt("forward unknown", lambda: net.forward(nothing=np.zeros(3)), Exception)
attempt("forward end", lambda: net.forward(end="nothing"), ValueError)
attempt("forward blobs", lambda: net.forward(blobs=["nothing"]), KeyError)
attempt("forward batch", lambda: net.forward(data=np.zeros((3, 3, 4, 5))), Exception)
attempt("forward shape", lambda: net.forward(data=np.zeros((2, 3, 4, 6))), ValueError)
attempt("backward unknown", lambda: net.backward(nothing=np.zeros(3)), Exception)
attempt("forward_all", lambda: net.forward_all(data=np.zeros((5, 3, 4, 5)))["prob"], TypeError)
attempt(
    "set", lambda: net.blobs["data"].data.__setitem__(Ellipsis, np.zeros((3, 3, 4, 5))), ValueError
)
attempt("missing net", lambda: caffe.Net("nothing.prototxt", caffe.TEST), RuntimeError)
attempt(
    "missing weights",
    lambda: caffe.Net("net.prototxt", "nothing.caffemodel", caffe.TEST),
    RuntimeError,
)
attempt("no phase", lambda: caffe.Net("net.prototxt"), TypeError)
attempt("phase str", lambda: caffe.Net("net.prototxt", "TEST"), TypeError)
attempt("missing solver", lambda: caffe.SGDSolver(None), TypeError)
attempt(
    "transformer",
    lambda: caffe.io.Transformer({"data": (1, 3, 4, 5)}).set_mean("other", np.zeros(3)),
    Exception,
)
attempt(
    "transpose",
    lambda: caffe.io.Transformer({"data": (1, 3, 4, 5)}).set_transpose("data", (0, 1)),
    Exception,
)
attempt(
    "swap",
    lambda: caffe.io.Transformer({"data": (1, 3, 4, 5)}).set_channel_swap("data", (0, 1)),
    Exception,
)
attempt(
    "mean channels",
    lambda: caffe.io.Transformer({"data": (1, 3, 4, 5)}).set_mean("data", np.zeros(4)),
    ValueError,
)
attempt(
    "mean shape",
    lambda: caffe.io.Transformer({"data": (1, 3, 4, 5)}).set_mean("data", np.zeros((3, 9, 9))),
    TypeError,
)
attempt("image", lambda: caffe.io.load_image("nothing.png"), IOError)
attempt("array_to_datum", lambda: caffe.io.array_to_datum(np.zeros((3, 4))), ValueError)
attempt("netspec list", lambda: caffe.layers.ReLU([1]), TypeError)
attempt("netspec field", lambda: caffe.to_proto(caffe.layers.ReLU(nothing=1)), AttributeError)
attempt("Python layer", lambda: caffe.Layer(), TypeError)
attempt("blobs int", lambda: net.blobs[0], KeyError)
attempt("layer index", lambda: net.layers[99].type, IndexError)
attempt("save", lambda: net.save(3), TypeError)
attempt("params attribute", lambda: net.params.ip, TypeError)
attempt("set attribute", lambda: setattr(net, "anything", 3), TypeError)
attempt("set_mode", lambda: caffe.set_mode_cpu(1), TypeError)
attempt("seed str", lambda: caffe.set_random_seed("1"), TypeError)
attempt("seed float", lambda: caffe.set_random_seed(1.5), TypeError)
attempt("seed negative", lambda: caffe.set_random_seed(-1), OverflowError)

held = net.blobs["data"].data
held[...] = 1
net.blobs["data"].reshape(1, 3, 4, 5)
print(held.shape, net.blobs["data"].data.shape, float(held[1, 2, 3, 4]))
net.blobs["data"].data[...] = 7
print("held sees", float(held[0, 0, 0, 0]), float(held[1, 0, 0, 0]))
net.blobs["data"].reshape(2, 3, 4, 5)
print("kept", float(net.blobs["data"].data[1, 0, 0, 0]))
net.blobs["data"].reshape(3, 3, 4, 5)
net.reshape()
print(net.blobs["prob"].data.shape, held.shape)
net.blobs["data"].data[...] = rng.rand(3, 3, 4, 5)
first = net.forward()["prob"]
second = net.forward(data=rng.rand(3, 3, 4, 5))["prob"]
print("views of one memory", first is second or bool((first == second).all()))
print(
    net.blobs["data"].data is net.blobs["data"].data,
    net.blobs["data"].data.flags["OWNDATA"],
    net.blobs["data"].data.dtype,
)
np.savez("out.npz", prob=first)
