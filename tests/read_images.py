"""Prints shapes and digests of N images and labels, with either Caffe: read_images.py NET N."""

import hashlib
import json
import os
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

import caffe  # noqa: E402


def run(prototxt, n):
    net = caffe.Net(prototxt, caffe.TRAIN)
    passes = []
    for _ in range(n):
        net.forward()
        blobs = [blob.data for blob in net.blobs.values()]
        digests = [hashlib.sha256(blob.tobytes()).hexdigest() for blob in blobs]
        passes.append([[list(blob.shape), digest] for blob, digest in zip(blobs, digests)])
    return passes


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))
