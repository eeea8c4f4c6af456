"""The net surgery notebook: edit filters, and cast inner products into convolutions."""

import caffe
import numpy as np

CONV = """name: "convolution" input: "data" input_dim: 1 input_dim: 1 input_dim: 50 input_dim: 60
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 5 stride: 1
    weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0 } } }"""
open("conv.prototxt", "w").write(CONV)
net = caffe.Net("conv.prototxt", caffe.TEST)
print("blobs {}\nparams {}".format(list(net.blobs.keys()), list(net.params.keys())))
im = np.random.RandomState(1).rand(50, 60)
im_input = im[np.newaxis, np.newaxis, :, :]
net.blobs["data"].reshape(*im_input.shape)
net.blobs["data"].data[...] = im_input

# pick first filter output
net.params["conv"][0].data[...] = np.random.RandomState(2).randn(3, 1, 5, 5) * 0.1
net.forward()
conv0 = net.blobs["conv"].data[0, 0].copy()
print("pre-surgery output mean {:.2f}".format(conv0.mean()))
net.params["conv"][1].data[0] = 1.0
net.forward()
print("post-surgery output mean {:.2f}".format(net.blobs["conv"].data[0, 0].mean()))
assert np.allclose(net.blobs["conv"].data[0, 0] - conv0, 1, atol=1e-5)

ksize = net.params["conv"][0].data.shape[2:]
sigma = 1.0
y, x = np.mgrid[-ksize[0] // 2 + 1 : ksize[0] // 2 + 1, -ksize[1] // 2 + 1 : ksize[1] // 2 + 1]
g = np.exp(-((x**2 + y**2) / (2.0 * sigma**2)))
gaussian = (g / g.sum()).astype(np.float32)
net.params["conv"][0].data[0] = gaussian
net.params["conv"][0].data[1:] = 0
net.params["conv"][0].data[1, 0, 1:4, 1:4] = np.array(((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)))
net.params["conv"][0].data[2, 0, 1:4, 1:4] = net.params["conv"][0].data[1, 0, 1:4, 1:4].T
net.forward()
edges = net.blobs["conv"].data.copy()

HEAD = 'name: "net" input: "data" input_dim: 1 input_dim: 3 input_dim: %d input_dim: %d '
BODY = """layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool5" type: "Pooling" bottom: "conv1" top: "pool5" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
"""
FC = (
    BODY
    + """layer { name: "fc6" type: "InnerProduct" bottom: "pool5" top: "fc6" inner_product_param { num_output: 6 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc7" top: "prob" }"""
)
FULL = (
    BODY
    + """layer { name: "fc6-conv" type: "Convolution" bottom: "pool5" top: "fc6-conv" convolution_param { num_output: 6 kernel_size: 5 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6-conv" top: "fc6-conv" }
layer { name: "fc7-conv" type: "Convolution" bottom: "fc6-conv" top: "fc7-conv" convolution_param { num_output: 5 kernel_size: 1 } }
layer { name: "prob" type: "Softmax" bottom: "fc7-conv" top: "prob" }"""
)
open("fc.prototxt", "w").write(HEAD % (21, 21) + FC)
open("full_conv.prototxt", "w").write(HEAD % (37, 41) + FULL)
net = caffe.Net("fc.prototxt", caffe.TEST)
rng = np.random.RandomState(3)
for pr in net.params:
    net.params[pr][0].data[...] = rng.randn(*net.params[pr][0].data.shape) * 0.2
    net.params[pr][1].data[...] = rng.randn(*net.params[pr][1].data.shape) * 0.2
net.save("fc.caffemodel")
params = ["fc6", "fc7"]
fc_params = {pr: (net.params[pr][0].data, net.params[pr][1].data) for pr in params}
for fc in params:
    print(
        "{} weights are {} dimensional and biases are {} dimensional".format(
            fc, fc_params[fc][0].shape, fc_params[fc][1].shape
        )
    )
net_full_conv = caffe.Net("full_conv.prototxt", "fc.caffemodel", caffe.TEST)
params_full_conv = ["fc6-conv", "fc7-conv"]
conv_params = {
    pr: (net_full_conv.params[pr][0].data, net_full_conv.params[pr][1].data)
    for pr in params_full_conv
}
for pr, pr_conv in zip(params, params_full_conv):
    conv_params[pr_conv][0].flat = fc_params[pr][0].flat
    conv_params[pr_conv][1][...] = fc_params[pr][1]
net_full_conv.save("full_conv.caffemodel")
im = rng.rand(37, 41, 3).astype(np.float32)
transformer = caffe.io.Transformer({"data": net_full_conv.blobs["data"].data.shape})
transformer.set_mean("data", rng.rand(3))
transformer.set_transpose("data", (2, 0, 1))
transformer.set_channel_swap("data", (2, 1, 0))
transformer.set_raw_scale("data", 255.0)
out = net_full_conv.forward_all(data=np.asarray([transformer.preprocess("data", im)]))
print(out["prob"][0].argmax(axis=0))
np.savez("out.npz", conv0=conv0, edges=edges, prob=out["prob"])
