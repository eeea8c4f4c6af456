"""A saliency map: the gradient of a class by backward."""

import caffe
import numpy as np
from google.protobuf import text_format

TEXT = """name: "net" force_backward: true input: "data" input_dim: 1 input_dim: 3 input_dim: 24 input_dim: 24
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 6 kernel_size: 3 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc2" type: "InnerProduct" bottom: "pool1" top: "fc2" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }"""
model = caffe.io.caffe_pb2.NetParameter()
text_format.Merge(TEXT, model)
print(
    model.force_backward, [l.name for l in model.layer], model.layer[0].convolution_param.num_output
)
open("tmp.prototxt", "w").write(str(model))
net = caffe.Net("tmp.prototxt", caffe.TEST)
rng = np.random.RandomState(5)
for name in net.params:
    for b in net.params[name]:
        b.data[:] = 0.3 * rng.randn(*b.data.shape)
im = rng.randn(3, 24, 24)
net.blobs["data"].data[...] = im
out = net.forward()
cls = out[net.outputs[0]].argmax()
label = np.zeros((1, 5))
label[0, cls] = 1
diffs = net.backward(prob=label)
saliency = np.amax(np.abs(diffs["data"][0]), axis=0)
print(
    "class",
    cls,
    list(diffs.keys()),
    saliency.shape,
    np.unravel_index(saliency.argmax(), saliency.shape)[0],
)

# the logit, through the start of backward
net.blobs["fc2"].diff[0] = 0
net.blobs["fc2"].diff[0][cls] = 1
back = net.backward(start="fc2", diffs=["conv1"])
print(sorted(back))
# occlusion
heat = np.zeros((4, 4))
for i in range(4):
    for j in range(4):
        occluded = im.copy()
        occluded[:, 6 * i : 6 * i + 6, 6 * j : 6 * j + 6] = 0
        heat[i, j] = net.forward_all(data=occluded[np.newaxis])["prob"][0, cls]
print((heat < out["prob"][0, cls]).sum())
np.savez("out.npz", saliency=saliency, data=back["data"], conv1=back["conv1"], heat=heat)
