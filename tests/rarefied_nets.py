"""Small nets of random weights for the tests of filter rarefaction, under either Caffe."""

import os

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from solvers import shift_stitch

WIDTHS = {"voc-fcn32s": 1 / 32, "voc-fcn-alexnet": 1 / 16, "voc-fcn-googlenet": 1 / 16}
CHAINS = ("voc-fcn32s", "voc-fcn-alexnet")  # without branches

CONV = """
layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {pad} stride: {stride}
    group: {group} }} }}
"""
RELU = ' layer {{ name: "relu{n}" type: "ReLU" bottom: "conv{n}" top: "conv{n}" }}'
POOL = """
layer {{ name: "pool{n}" type: "Pooling" bottom: "{bottom}" top: "pool{n}"
  pooling_param {{ {fields} }} }}
"""
INPUT = """
layer { name: "input" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 20 dim: 21 } } }
"""
POOLINGS = {
    "ceil2": "kernel_size: 2 stride: 2",
    "floor2": "kernel_size: 2 stride: 2 round_mode: FLOOR",
    "ceil3": "kernel_size: 3 stride: 2",
    "floor3": "kernel_size: 3 stride: 2 round_mode: FLOOR",
    "ceil33": "kernel_size: 3 stride: 3",
    "ceil4": "kernel_size: 4 stride: 3",
    "padded3": "kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR",
    "padded4": "kernel_size: 4 stride: 2 pad: 1",
    "same3": "kernel_size: 3 stride: 1 pad: 1",
    "sides": "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1",
    "mean": "pool: AVE kernel_size: 3 stride: 2 round_mode: FLOOR",
}


def parse(text):
    return text_format.Merge(text, caffe_pb2.NetParameter())


def conv(n, bottom, outputs=4, kernel=3, pad=0, stride=1, group=1):
    return CONV.format(
        name=f"conv{n}",
        bottom=bottom,
        outputs=outputs,
        kernel=kernel,
        pad=pad,
        stride=stride,
        group=group,
    )


def pool(n, fields):
    return POOL.format(n=n, bottom=f"conv{n}", fields=fields)


def relu(n):
    return RELU.format(n=n)


def two_poolings(fields):
    """A strided convolution, then twice a pooling with these fields and a padded convolution."""
    return parse(
        INPUT
        + conv(1, "data", pad=9, stride=2)
        + relu(1)
        + pool(1, fields)
        + conv(2, "pool1", 6, pad=1, group=2)
        + relu(2)
        + pool(2, fields)
        + conv(3, "pool2", 5, kernel=2)
    )


def small(inner_pad=1):
    """A net of stride 8: a convolution of stride 2, poolings of 2 x 2 and 3 x 3."""
    return parse(
        INPUT
        + conv(1, "data", pad=20, stride=2)
        + relu(1)
        + pool(1, "kernel_size: 2 stride: 2")
        + conv(2, "pool1", 6, pad=inner_pad)
        + relu(2)
        + pool(2, "kernel_size: 3 stride: 2")
        + conv(3, "pool2", 5)
    )


FIRST = INPUT + conv(1, "data") + relu(1)
POOLED = FIRST + pool(1, "kernel_size: 2 stride: 2")
REFUSED = {
    "relu": INPUT + conv(1, "data") + pool(1, "kernel_size: 2 stride: 2"),
    "mean": FIRST + pool(1, "pool: AVE kernel_size: 2 stride: 2"),
    "behind": FIRST + pool(1, "kernel_size: 2 stride: 3"),
    "mask": (POOLED.rstrip("} \n") + ' } top: "mask" }'),
    "fc": POOLED
    + 'layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc" '
    + "inner_product_param { num_output: 2 } }",
    "within": POOLED
    + 'layer { name: "norm" type: "LRN" bottom: "pool1" top: "norm" '
    + "lrn_param { norm_region: WITHIN_CHANNEL } }",
    "global": POOLED + POOL.format(n=2, bottom="pool1", fields="pool: AVE global_pooling: true"),
    "mixed": POOLED
    + conv(2, "data", stride=3)
    + 'layer { name: "sum" type: "Eltwise" bottom: "pool1" bottom: "conv2" top: "sum" }',
}


def named(name, width=None):
    """The NetParameter of `small`, of a pooling in `POOLINGS` or of a variant."""
    if name == "small":
        return small()
    if name in POOLINGS:
        return two_poolings(POOLINGS[name])
    return net_gen.fcn(name, "deploy", width=width or WIDTHS[name])


class Case:
    """A net with an image and weights.

    factor: the stride of the net. top: the blob whose values are compared. weights: path of a
    .caffemodel; by default one with random weights is written into the folder.
    """

    def __init__(self, name, folder, size=(37, 44), weights=None, width=None):
        self.folder, self.param = folder, named(name, width)
        self.top = "score_fr" if name in WIDTHS else "conv3"
        self.factor = 32 if name in WIDTHS else 8
        rng = np.random.RandomState(1)
        self.image = rng.uniform(-100, 100, (3, *size)).astype(np.float32)
        self.weights = weights or self._weights(rng)

    def _weights(self, rng):
        net = self.build(self.param)
        for blobs in net.params.values():
            shape = blobs[0].data.shape
            fan_in = float(np.prod(shape[1:]))
            blobs[0].data[...] = rng.normal(0, np.sqrt(2 / fan_in), shape)
            for blob in list(blobs)[1:]:
                blob.data[...] = rng.uniform(-1, 1, blob.data.shape)
        path = os.path.join(self.folder, "weights.caffemodel")
        net.save(path)
        return path

    def build(self, param):
        """The pycaffe net of a NetParameter, without weights."""
        path = os.path.join(self.folder, "net.prototxt")
        net_gen.write(param, path)
        return caffe.Net(path, caffe.TEST)

    def net(self, param):
        """The pycaffe net of a NetParameter, with the weights."""
        net = self.build(param)
        net.copy_from(self.weights)
        return net

    def scores(self, param, blob=None, image=None):
        """The values of a blob, K x H x W, for an image; by default those of `top`."""
        image = self.image if image is None else image
        return np.array(shift_stitch.forward(self.net(param), image, blob or self.top))
