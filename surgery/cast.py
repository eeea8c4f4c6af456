"""Cast a trained classifier into a fully convolutional net, file to file."""

from __future__ import annotations

import os
from typing import Any, List, Optional

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from fcn_common.caffemodel import contents, write_without
from fcn_common.files import atomic_path, errors_about, read_text
from fcn_common.places import make_folder, temporary_folder
from surgery.convolutional import convolutional
from surgery.shapes import names_text
from surgery.transplant import Report, transplant
from surgery.weights import check_weights, zero_layers


def cast(classifier: Optional[str], weights: str, deploy: Optional[str], out: str) -> Report:
    """Write to `out` the weights of the net `deploy`, taken from those of a classifier.

    classifier: path of a prototxt, or a key of `net_gen.CLASSIFIERS`; None is the key whose layers
        are in `weights`.
    weights: path of the classifier's .caffemodel.
    deploy: path of a prototxt; None is the complete classifier as a fully convolutional net, whose
        layers that score are 1 x 1 convolutions too. Its prototxt is written beside `out`.
    out: path of a .caffemodel, written atomically, without the layers that stay zero.

    Returns what became of each layer. Raises OSError for a missing file, and ValueError for weights
    that do not fit, or for nets that share no layer name.
    """
    named = classifier in net_gen.CLASSIFIERS
    for path in (None if named else classifier, weights, deploy):
        if path is not None and not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file; it is needed to cast the classifier")
    make_folder(os.path.dirname(os.path.abspath(out)))
    with temporary_folder() as folder:
        prototxt = classifier
        if prototxt is None or named:
            prototxt = os.path.join(folder, "classifier.prototxt")
            name = classifier or _single_classifier(weights, complete=deploy is None)
            net_gen.write(_generated(name, weights), prototxt)
        net = caffe.Net(prototxt, caffe.TEST)
        check_weights(net, weights, need=list(net.params))
        message = read_net(prototxt) if deploy is None else None
    net.copy_from(weights)
    if deploy is not None:
        return _cast_into(deploy, net, out)
    # The prototxt appears after the weights: a cast that fails leaves neither.
    with atomic_path(os.path.splitext(out)[0] + ".prototxt") as beside:
        net_gen.write(convolutional(message, net), beside)
        return _cast_into(beside, net, out)


def _cast_into(deploy: str, net: Any, out: str) -> Report:
    """Write the weights of the net `deploy`, taken from `net`; return what became of each layer."""
    new_net = caffe.Net(deploy, caffe.TEST)
    if not set(new_net.params) & set(net.params):
        raise ValueError(
            f"{deploy}: has layers {names_text(new_net.params)}, needs some with the names of the "
            f"classifier's: {names_text(net.params)}; nothing was written"
        )
    report = transplant(new_net, net)
    # A new score layer without weights would not fit a net with another number of classes.
    empty = zero_layers(new_net, report.unfilled)
    folder = os.path.dirname(os.path.abspath(out))
    with atomic_path(out) as temporary, temporary_folder(folder) as folder:
        complete = os.path.join(folder, "complete.caffemodel")
        with errors_about(out, complete):
            new_net.save(complete)
        write_without(complete, temporary, empty)
    return report


def classifiers_of(weights: str) -> List[str]:
    """Return the keys of `net_gen.CLASSIFIERS` whose layers, but the last, a weights file has.

    AlexNet and CaffeNet have the same layers. Raises ValueError if there is no such key, OSError
    for a file that cannot be read.
    """
    layers = contents(weights)
    names = [
        name
        for name, classifier in net_gen.CLASSIFIERS.items()
        if all(layer in layers for layer in _weighted(classifier("deploy"))[:-1])
    ]
    if names:
        return names
    raise ValueError(
        f"{weights}: has layers {names_text(layers)}, needs those of one of "
        f"{', '.join(net_gen.CLASSIFIERS)}; name the prototxt of this classifier"
    )


def save(net: Any, path: str) -> None:
    """Write the weights of a pycaffe net, as `net.save(path)` does, but atomically."""
    with atomic_path(path) as temporary:
        net.save(temporary)


def read_net(prototxt: str) -> Any:
    """Return the NetParameter in a prototxt.

    Raises OSError for a file that cannot be read, ValueError for text that is no NetParameter.
    """
    try:
        return text_format.Parse(read_text(prototxt), caffe_pb2.NetParameter())
    except text_format.ParseError as error:
        raise ValueError(f"{prototxt}: {error} (reading a NetParameter)") from None


def _single_classifier(weights: str, complete: bool) -> str:
    """Return the classifier whose layers are in a weights file.

    complete: refuse weights of two classifiers; they differ in layers without weights.
    """
    names = classifiers_of(weights)
    if complete and len(names) > 1:
        raise ValueError(
            f"{weights}: has the layers of {' and of '.join(names)}, which differ in layers "
            "without weights; name the classifier to cast all of it"
        )
    return names[0]


def _generated(name: str, weights: str) -> Any:
    """Return the NetParameter of a classifier with as many classes as the weights have."""
    message = net_gen.CLASSIFIERS[name]("deploy")
    blobs = contents(weights).get(_weighted(message)[-1])
    if blobs:  # The last blob is the bias, a number for each class.
        message = net_gen.CLASSIFIERS[name]("deploy", classes=blobs[-1][-1])
    return message


def _weighted(net: Any) -> List[str]:
    return [layer.name for layer in net.layer if layer.type in ("Convolution", "InnerProduct")]
