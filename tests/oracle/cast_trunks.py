"""Casts a thin classifier of every trunk, for its FCN and without one, under either Caffe.

    cast_trunks.py FOLDER

The first engine draws the weights. The script prints the reports and digests of the results.
"""

import hashlib
import os
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]

import caffe  # noqa: E402

import net_gen  # noqa: E402
import surgery  # noqa: E402
from solvers import chain  # noqa: E402

WIDTH = 1 / 16


def digest(prototxt: str, weights: str) -> str:
    """Return a digest of a net's text, the names of its layers with weights, and the weights."""
    with open(prototxt, "rb") as file:
        sha256 = hashlib.sha256(file.read())
    for name, blobs in caffe.Net(prototxt, weights, caffe.TEST).params.items():
        sha256.update(name.encode())
        for blob in blobs:
            sha256.update(blob.data.tobytes())
    return sha256.hexdigest()


def main(folder: str) -> None:
    os.chdir(folder)
    for trunk, base in surgery.BASES.items():
        classifier, weights = trunk + ".prototxt", trunk + ".caffemodel"
        net = net_gen.CLASSIFIERS[base.classifier]("deploy", width=WIDTH)
        net_gen.write(net, classifier)
        if not os.path.exists(weights):
            filled = "filled.prototxt"
            net_gen.write(chain.with_fillers(net, "msra"), filled)
            chain.random_weights(filled, weights)
        deploy = "deploy.prototxt"
        net_gen.write(net_gen.fcn(base.variant, "deploy", width=WIDTH), deploy)
        for net_path, target in ((deploy, base.variant), ("cast.prototxt", "whole")):
            out = "cast.caffemodel"
            print(trunk, target)
            print(surgery.cast(classifier, weights, deploy if target != "whole" else None, out))
            print(digest(net_path, out))


if __name__ == "__main__":
    main(sys.argv[1])
