"""Cast a trained classifier into a fully convolutional net, file to file."""

from __future__ import annotations

import os
from typing import Optional

from surgery.transplant import Report, check_weights, transplant


def cast(classifier: Optional[str], weights: str, deploy: str, out: str) -> Report:
    """Write to `out` the weights of the net `deploy` taken from a classifier's `weights`.

    classifier, deploy: paths of prototxts; None is the VGG16 of `net_gen.vgg16`. `out` appears
    whole, by rename.

    Raises OSError for a file that is missing, ValueError for weights that do not fit.
    """
    import caffe

    import net_gen

    for path in (classifier, weights, deploy):
        if path is not None and not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file; it is needed to cast the classifier")
    made = None
    if classifier is None:
        os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
        classifier = made = beside(out, ".prototxt")
        net_gen.write(net_gen.vgg16("deploy"), made)
    try:
        net = caffe.Net(classifier, caffe.TEST)
    finally:
        if made:
            os.remove(made)
    check_weights(net, weights, need=list(net.params))
    net.copy_from(weights)
    new_net = caffe.Net(deploy, caffe.TEST)
    report = transplant(new_net, net)
    save(new_net, out)
    return report


def save(net: object, path: str) -> None:
    """`net.save(path)`, but the file appears whole or not at all."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = beside(path, ".caffemodel")
    try:
        net.save(partial)  # type: ignore[attr-defined]
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def beside(path: str, suffix: str) -> str:
    """A name in the same folder for a file that is not finished."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(folder, f".{name}.{os.getpid()}{suffix}")
