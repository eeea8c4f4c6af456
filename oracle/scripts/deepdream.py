"""DeepDream: gradient ascent on a layer, with jitter and octaves."""

import caffe
import numpy as np
import scipy.ndimage as nd
from google.protobuf import text_format

TEXT = """name: "inception" input: "data" input_dim: 10 input_dim: 3 input_dim: 24 input_dim: 24
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 6 kernel_size: 5 pad: 2 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 1e-4 } }
layer { name: "inception_1x1" type: "Convolution" bottom: "norm1" top: "inception_1x1" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "inception_3x3" type: "Convolution" bottom: "norm1" top: "inception_3x3" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "inception_output" type: "Concat" bottom: "inception_1x1" bottom: "inception_3x3" top: "inception_output" }
layer { name: "fc" type: "InnerProduct" bottom: "inception_output" top: "fc" inner_product_param { num_output: 3 } }"""
open("deploy.prototxt", "w").write(TEXT)
start = caffe.Net("deploy.prototxt", caffe.TEST)
rng = np.random.RandomState(6)
for name in start.params:
    for b in start.params[name]:
        b.data[...] = 0.2 * rng.randn(*b.data.shape)
start.save("w.caffemodel")

model = caffe.io.caffe_pb2.NetParameter()
text_format.Merge(open("deploy.prototxt").read(), model)
model.force_backward = True
open("tmp.prototxt", "w").write(str(model))
net = caffe.Classifier(
    "tmp.prototxt", "w.caffemodel", mean=np.float32([104.0, 116.0, 122.0]), channel_swap=(2, 1, 0)
)


def preprocess(net, img):
    """Return an image as the net reads it."""
    return np.float32(np.rollaxis(img, 2)[::-1]) - net.transformer.mean["data"]


def deprocess(net, img):
    """Return the image of an input of the net."""
    return np.dstack((img + net.transformer.mean["data"])[::-1])


def objective_L2(dst):
    """Enlarge what the layer sees."""
    dst.diff[:] = dst.data


def make_step(
    net, step_size=1.5, end="inception_output", jitter=8, clip=True, objective=objective_L2
):
    """Take a step of gradient ascent."""
    src = net.blobs["data"]
    dst = net.blobs[end]
    ox, oy = rng.randint(-jitter, jitter + 1, 2)
    src.data[0] = np.roll(np.roll(src.data[0], ox, -1), oy, -2)
    net.forward(end=end)
    objective(dst)
    net.backward(start=end)
    g = src.diff[0]
    src.data[:] += step_size / np.abs(g).mean() * g
    src.data[0] = np.roll(np.roll(src.data[0], -ox, -1), -oy, -2)
    if clip:
        bias = net.transformer.mean["data"]
        src.data[:] = np.clip(src.data, -bias, 255 - bias)


def deepdream(
    net, base_img, iter_n=3, octave_n=2, octave_scale=1.4, end="inception_output", **step_params
):
    """Enlarge what a layer sees, in octaves."""
    octaves = [preprocess(net, base_img)]
    for _ in range(octave_n - 1):
        octaves.append(nd.zoom(octaves[-1], (1, 1.0 / octave_scale, 1.0 / octave_scale), order=1))
    src = net.blobs["data"]
    detail = np.zeros_like(octaves[-1])
    for octave, octave_base in enumerate(octaves[::-1]):
        h, w = octave_base.shape[-2:]
        if octave > 0:
            h1, w1 = detail.shape[-2:]
            detail = nd.zoom(detail, (1, 1.0 * h / h1, 1.0 * w / w1), order=1)
        src.reshape(1, 3, h, w)
        src.data[0] = octave_base + detail
        for i in range(iter_n):
            make_step(net, end=end, **step_params)
            print(octave, i, end, deprocess(net, src.data[0]).shape)
        detail = src.data[0] - octave_base
    return deprocess(net, src.data[0])


img = np.float32(rng.rand(26, 30, 3) * 255)
dream = deepdream(net, img)
other = deepdream(net, img, end="conv1", iter_n=1, jitter=2)
guide = rng.randn(1, 8, 2, 2)


def objective_guide(dst):
    """Enlarge what looks like the guide."""
    x, y = dst.data[0].copy(), guide[0]
    ch = x.shape[0]
    x, y = x.reshape(ch, -1), y.reshape(ch, -1)
    dst.diff[0].reshape(ch, -1)[:] = y[:, x.T.dot(y).argmax(1)]


guided = deepdream(net, img, iter_n=1, octave_n=1, objective=objective_guide)
np.savez("out.npz", dream=dream, other=other, guided=guided)
