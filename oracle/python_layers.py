"""Python layers of the golden cases (`module: 'oracle.python_layers'`)."""

import ast

import caffe
import numpy as np


class Cube(caffe.Layer):
    """y = x^3 for each of any number of bottoms."""

    def setup(self, bottom, top):
        if len(bottom) != len(top):
            raise ValueError(f"Cube has {len(top)} tops, needs {len(bottom)}, one for each bottom")

    def reshape(self, bottom, top):
        for i in range(len(bottom)):
            top[i].reshape(*bottom[i].data.shape)

    def forward(self, bottom, top):
        for i in range(len(bottom)):
            top[i].data[...] = bottom[i].data ** 3

    def backward(self, top, propagate_down, bottom):
        for i in range(len(bottom)):
            if propagate_down[i]:
                bottom[i].diff[...] = 3 * bottom[i].data ** 2 * top[i].diff


class Affine(caffe.Layer):
    """y = a x + b; the scalars a and b are parameters of the layer, whose values param_str sets."""

    def setup(self, bottom, top):
        start = ast.literal_eval(self.param_str)
        self.blobs.add_blob(1)
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = start["a"]
        self.blobs[1].data[...] = start["b"]

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data[0] * bottom[0].data + self.blobs[1].data[0]

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += np.sum(top[0].diff * bottom[0].data)
        self.blobs[1].diff[...] += np.sum(top[0].diff)
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data[0] * top[0].diff


class PhaseAndLength(caffe.Layer):
    """top[0] is the phase, top[1] the length of param_str."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1)
        top[1].reshape(1)

    def forward(self, bottom, top):
        top[0].data[0] = self.phase
        top[1].data[0] = len(self.param_str)

    def backward(self, top, propagate_down, bottom):
        pass


class Endless(caffe.Layer):
    """Uses the processor, or with the param_str `memory` allocates memory, without end."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        blocks = []
        while True:
            if self.param_str == "memory":
                blocks.append(np.ones(1 << 27, np.uint8))

    def backward(self, top, propagate_down, bottom):
        pass


class EuclideanLoss(caffe.Layer):
    """sum((a - b)^2) / 2N as a scalar; a net sets `loss_weight` on the layer."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise ValueError(
                f"EuclideanLoss has bottoms of {bottom[0].count} and {bottom[1].count} values, "
                "needs equal numbers"
            )
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.0

    def backward(self, top, propagate_down, bottom):
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * top[0].diff[0] * self.diff / bottom[i].num


class SeededData(caffe.Layer):
    """Images and labels of pseudo-random numbers, which differ from forward to forward.

    param_str is a dict literal with `seed`, `classes` and `shapes`: the (H, W) of the images, in
    turn. Tops: data 1 x 3 x H x W, label 1 x 1 x H x W with 255 in a tenth of the pixels. With
    `batch` instead of `shapes`: data batch x 3 x 12 x 12, label batch.
    """

    def setup(self, bottom, top):
        self.options = ast.literal_eval(self.param_str)
        self.draws = 0

    def reshape(self, bottom, top):
        o = self.options
        rs = np.random.RandomState(o["seed"] + self.draws)
        if "batch" in o:
            shape, label = (o["batch"], 3, 12, 12), (o["batch"],)
        else:
            size = o["shapes"][self.draws % len(o["shapes"])]
            shape, label = (1, 3, *tuple(size)), (1, 1, *tuple(size))
        self.label = rs.randint(0, o["classes"], label).astype(np.float32)
        mean = self.label if "batch" not in o else self.label.reshape(-1, 1, 1, 1)
        self.data = (rs.standard_normal(shape) + mean).astype(np.float32)
        if "batch" not in o:
            self.label[rs.random_sample(label) < 0.1] = 255
        top[0].reshape(*self.data.shape)
        top[1].reshape(*self.label.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.data
        top[1].data[...] = self.label
        self.draws += 1

    def backward(self, top, propagate_down, bottom):
        pass
