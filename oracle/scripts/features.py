"""Feature extraction with the tools and an LMDB, and a mean file turned into .npy."""

import os
import subprocess

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from PIL import Image

rng = np.random.RandomState(4)
os.mkdir("images")
with open("list.txt", "w") as f:
    for i in range(6):
        Image.fromarray((rng.rand(20, 24, 3) * 255).astype(np.uint8)).save("images/%d.png" % i)
        f.write("%d.png %d\n" % (i, i % 3))
quiet = dict(os.environ, GLOG_minloglevel="2")
subprocess.check_call(
    [
        "convert_imageset",
        "--resize_height=16",
        "--resize_width=16",
        "images/",
        "list.txt",
        "train_lmdb",
    ],
    env=quiet,
)
subprocess.check_call(["compute_image_mean", "train_lmdb", "mean.binaryproto"], env=quiet)

# binaryproto to npy
blob = caffe.proto.caffe_pb2.BlobProto()
data = open("mean.binaryproto", "rb").read()
blob.ParseFromString(data)
arr = np.array(caffe.io.blobproto_to_array(blob))
out = arr[0]
np.save("mean.npy", out)
print(
    "mean",
    blob.num,
    blob.channels,
    blob.height,
    blob.width,
    arr.shape,
    np.load("mean.npy").mean(1).mean(1).round(3).tolist(),
)

open("net.prototxt", "w").write("""
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "train_lmdb" backend: LMDB batch_size: 3 }
  transform_param { mean_file: "mean.binaryproto" scale: 0.00390625 crop_size: 12 } }
layer { name: "fc7" type: "InnerProduct" bottom: "data" top: "fc7" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc7" top: "prob" }""")
net = caffe.Net("net.prototxt", caffe.TEST)
net.params["fc7"][0].data[...] = rng.randn(5, 432) * 0.1
net.params["fc7"][1].data[...] = rng.randn(5)
net.save("w.caffemodel")
features, labels = [], []
for _ in range(2):
    net.forward(end="fc7")
    features.append(net.blobs["fc7"].data.copy())
    labels += [int(label) for label in net.blobs["label"].data]
features = np.vstack(features)
print("features", features.shape, labels)

subprocess.check_call(
    [
        "extract_features",
        "w.caffemodel",
        "net.prototxt",
        "fc7,prob",
        "fc7_lmdb,prob_lmdb",
        "2",
        "lmdb",
    ],
    env=quiet,
)
open("read.prototxt", "w").write("""layer { name: "data" type: "Data" top: "data" top: "label"
data_param { source: "fc7_lmdb" backend: LMDB batch_size: 6 } }""")
reader = caffe.Net("read.prototxt", caffe.TEST)
again = reader.forward()["data"]
print("from lmdb", again.shape, bool(np.allclose(again[:, :, 0, 0], features, atol=1e-5)))

# datums by hand, as in create_dataset.py
X = rng.randint(0, 256, (4, 3, 8, 9)).astype(np.uint8)
strings = []
for i in range(4):
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = X.shape[1:]
    datum.data = X[i].tobytes()
    datum.label = i
    strings.append(datum.SerializeToString())
datum = caffe_pb2.Datum()
datum.ParseFromString(strings[2])
flat_x = np.frombuffer(datum.data, dtype=np.uint8)
x = flat_x.reshape(datum.channels, datum.height, datum.width)
print(datum.label, bool((x == X[2]).all()), bool((caffe.io.datum_to_array(datum) == X[2]).all()))
float_datum = caffe.io.array_to_datum(rng.rand(2, 3, 4), 5)
print(float_datum.label, len(float_datum.float_data), caffe.io.datum_to_array(float_datum).shape)
np.savez(
    "out.npz", features=features, again=again, mean=out, float=caffe.io.datum_to_array(float_datum)
)
