"""Helpers of the classification notebook: top k, shapes, filters as a picture, a batch by reshape."""

import sys

import caffe
import numpy as np

caffe_root = "../"
sys.path.insert(0, caffe_root + "python")

DEPLOY = """
name: "TinyCaffeNet"
input: "data"
input_shape { dim: 10 dim: 3 dim: 27 dim: 27 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 5 stride: 2 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 5 alpha: 1e-4 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool1" top: "fc6" inner_product_param { num_output: 12 } }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc6" top: "fc8" inner_product_param { num_output: 7 } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""
open("deploy.prototxt", "w").write(DEPLOY)
caffe.set_mode_cpu()
net = caffe.Net("deploy.prototxt", caffe.TEST)
rng = np.random.RandomState(0)
for name, blobs in net.params.items():
    for blob in blobs:
        blob.data[...] = 0.01 * rng.randn(*blob.data.shape)
net.save("weights.caffemodel")

model_def = "deploy.prototxt"
model_weights = "weights.caffemodel"
net = caffe.Net(model_def, model_weights, caffe.TEST)

mu = rng.rand(3, 32, 32) * 255
mu = mu.mean(1).mean(1)
print("mean-subtracted values:", [(c, "%.3f" % v) for c, v in zip("BGR", mu)])

transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
transformer.set_transpose("data", (2, 0, 1))
transformer.set_mean("data", mu)
transformer.set_raw_scale("data", 255)
transformer.set_channel_swap("data", (2, 1, 0))
net.blobs["data"].reshape(50, 3, 27, 27)

image = rng.rand(40, 33, 3).astype(np.float32)
transformed_image = transformer.preprocess("data", image)
net.blobs["data"].data[...] = transformed_image
output = net.forward()
output_prob = output["prob"][0]
print("predicted class is:", output_prob.argmax())
top_inds = output_prob.argsort()[::-1][:5]
print("probabilities and labels:", ["%.4f %d" % (output_prob[i], i) for i in top_inds])

for layer_name, blob in net.blobs.items():
    print(layer_name + "\t" + str(blob.data.shape))
for layer_name, param in net.params.items():
    print(layer_name + "\t" + str(param[0].data.shape), str(param[1].data.shape))


def vis_square(data):
    """Arrange n images of (height, width) or (height, width, 3) in a square, as for imshow."""
    data = (data - data.min()) / (data.max() - data.min())
    n = int(np.ceil(np.sqrt(data.shape[0])))
    padding = ((0, n**2 - data.shape[0]), (0, 1), (0, 1)) + ((0, 0),) * (data.ndim - 3)
    data = np.pad(data, padding, mode="constant", constant_values=1)
    data = data.reshape((n, n) + data.shape[1:]).transpose(
        (0, 2, 1, 3) + tuple(range(4, data.ndim + 1))
    )
    return data.reshape((n * data.shape[1], n * data.shape[3]) + data.shape[4:])


filters = vis_square(net.params["conv1"][0].data.transpose(0, 2, 3, 1))
feat = vis_square(net.blobs["conv1"].data[0, :36])
print(filters.shape, feat.shape)
hist, _ = np.histogram(net.blobs["prob"].data[0].flat, bins=4, range=(0, 1))
print("hist", hist.tolist())
picture = transformer.deprocess("data", net.blobs["data"].data[0])

# classify.py's class: a mean, over-sampling, and crops
classifier = caffe.Classifier(
    model_def, model_weights, image_dims=(30, 30), mean=mu, raw_scale=255, channel_swap=(2, 1, 0)
)
print(classifier.crop_dims.tolist(), classifier.image_dims, classifier.inputs, classifier.outputs)
images = [image, rng.rand(31, 45, 3).astype(np.float32)]
oversampled, center = classifier.predict(images), classifier.predict(images, oversample=False)
print(oversampled.argmax(axis=1).tolist(), center.argmax(axis=1).tolist())
np.savez(
    "out.npz",
    prob=output["prob"],
    filters=filters,
    feat=feat,
    picture=picture,
    oversampled=oversampled,
    center=center,
)
