"""Cast a trained classifier into a fully convolutional net, file to file."""

from __future__ import annotations

import os
from typing import Any, List, Optional

from surgery.caffemodel import contents
from surgery.convolutional import convolutional
from surgery.transplant import Report, check_weights, transplant


def cast(
    classifier: Optional[str],
    weights: str,
    deploy: Optional[str],
    out: str,
) -> Report:
    """Write to `out` the weights of the net `deploy` taken from a classifier's `weights`.

    classifier: path of a prototxt, or a key of `net_gen.CLASSIFIERS`; None is the one of these
        that the layers in `weights` are of.
    deploy: path of a prototxt; None is the classifier itself as a fully convolutional net, the
        layers that score among its 1 x 1 convolutions, written beside `out` as .prototxt.
    out: appears whole, by rename.

    Raises OSError for a file that is missing, ValueError for weights that do not fit.
    """
    import caffe

    import net_gen

    named = classifier in net_gen.CLASSIFIERS
    for path in (None if named else classifier, weights, deploy):
        if path is not None and not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file; it is needed to cast the classifier")
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    made = None
    try:
        if classifier is None or named:
            names = [classifier] if classifier else classifiers_of(weights)
            if deploy is None and len(names) > 1:
                raise ValueError(
                    f"{weights}: has the layers of {' and of '.join(names)}, which differ in what "
                    "lies between; name the classifier to cast it whole"
                )
            message = _generated(names[0], weights)
            classifier = made = beside(out, ".prototxt")
            net_gen.write(message, made)
        net = caffe.Net(classifier, caffe.TEST)
        check_weights(net, weights, need=list(net.params))
        if deploy is None:
            deploy = os.path.splitext(out)[0] + ".prototxt"
            net_gen.write(convolutional(_read(classifier), net), deploy)
    finally:
        if made and os.path.exists(made):
            os.remove(made)
    net.copy_from(weights)
    new_net = caffe.Net(deploy, caffe.TEST)
    report = transplant(new_net, net)
    save(new_net, out)
    return report


def classifiers_of(weights: str) -> List[str]:
    """The keys of `net_gen.CLASSIFIERS` whose layers, but the last, a weights file has.

    AlexNet and CaffeNet have the same. Raises ValueError if there is none, OSError for a file that
    cannot be read.
    """
    import net_gen

    found = contents(weights)
    names = [
        name
        for name, classifier in net_gen.CLASSIFIERS.items()
        if all(layer in found for layer in _weighted(classifier("deploy"))[:-1])
    ]
    if names:
        return names
    raise ValueError(
        f"{weights}: has layers {', '.join(list(found)[:3])} ..., needed those of "
        f"{', '.join(net_gen.CLASSIFIERS)}; name the prototxt of this classifier"
    )


def _generated(name: str, weights: str) -> Any:
    """The NetParameter of a named classifier, with as many classes as the weights have."""
    import net_gen

    message = net_gen.CLASSIFIERS[name]("deploy")
    last = contents(weights).get(_weighted(message)[-1])
    if last:  # the bias: one number a class
        message = net_gen.CLASSIFIERS[name]("deploy", classes=last[-1][-1])
    return message


def _weighted(net: Any) -> List[str]:
    return [layer.name for layer in net.layer if layer.type in ("Convolution", "InnerProduct")]


def _read(prototxt: str) -> Any:
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    with open(prototxt) as file:
        return text_format.Parse(file.read(), caffe_pb2.NetParameter())


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
