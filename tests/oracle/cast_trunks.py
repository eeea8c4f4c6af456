"""Casts a thin classifier for every trunk, and whole: `cast_trunks.py FOLDER`, under either Caffe.

Whoever comes first draws the weights. Prints what became of the layers, and digests of the results.
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
    """Of the text of a net, the names of its layers with weights, and these."""
    with open(prototxt, "rb") as file:
        found = hashlib.sha256(file.read())
    for name, blobs in caffe.Net(prototxt, weights, caffe.TEST).params.items():
        found.update(name.encode())
        for blob in blobs:
            found.update(blob.data.tobytes())
    return found.hexdigest()


def main(folder: str) -> None:
    def place(name: str) -> str:
        return os.path.join(folder, name)

    for trunk, base in surgery.BASES.items():
        classifier, weights = place(trunk + ".prototxt"), place(trunk + ".caffemodel")
        net = net_gen.CLASSIFIERS[base.classifier]("deploy", width=WIDTH)
        net_gen.write(net, classifier)
        if not os.path.exists(weights):
            filled = place("filled.prototxt")
            net_gen.write(chain.with_fillers(net, "msra"), filled)
            chain.random_weights(filled, weights)
        deploy = place("deploy.prototxt")
        net_gen.write(net_gen.fcn(base.variant, "deploy", width=WIDTH), deploy)
        for net_path, whole in ((deploy, None), (place("cast.prototxt"), "whole")):
            out = place("cast.caffemodel")
            print(trunk, whole or base.variant)
            print(surgery.cast(classifier, weights, None if whole else deploy, out))
            print(digest(net_path, out))


if __name__ == "__main__":
    main(sys.argv[1])
