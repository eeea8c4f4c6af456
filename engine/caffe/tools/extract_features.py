"""Writes what a trained net computes of a data layer's images into LMDB databases.

extract_features WEIGHTS NET BLOB[,BLOB...] DB[,DB...] BATCHES lmdb [CPU|GPU] [DEVICE_ID=0]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from .. import glog, mode
from ..data import db
from ..errors import CaffeError
from ..net import Net
from ..proto import caffe_pb2
from . import command

USAGE = (
    "This program takes in a trained network and an input data layer, and then extract features "
    "of the input data produced by the net.\n"
    "Usage: extract_features  pretrained_net_param  feature_extraction_proto_file  "
    "extract_feature_blob_name1[,name2,...]  save_feature_dataset_name1[,name2,...]  "
    "num_mini_batches  db_type  [CPU/GPU] [DEVICE_ID=0]\n"
    "Note: you can extract multiple features in one pass by specifying multiple feature blob names "
    "and dataset names separated by ','. The names cannot contain white space characters and the "
    "number of blobs and datasets must be equal."
)


def _log(line: int, message: str, level: int = 2) -> None:
    glog.write(f"extract_features.cpp:{line}", message, level)


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CaffeError(f"{what} is {text!r}; a number is needed") from None


def _datums(blob: np.ndarray) -> Iterator[bytes]:
    """Each of a batch's features as a Datum of floats."""
    if blob.ndim > 4:
        raise CaffeError(f"a blob of shape {blob.shape} cannot be saved; it has more than 4 axes")
    channels, height, width = (*blob.shape[1:], 1, 1, 1)[:3]
    for values in blob.reshape(len(blob), -1):
        yield caffe_pb2.Datum(
            channels=channels, height=height, width=width, float_data=values.tolist()
        ).SerializeToString()


def _use(arguments: list[str]) -> None:
    if arguments and arguments[0] == "GPU":
        device = _number(arguments[1], "DEVICE_ID") if len(arguments) > 1 else 0
        _log(51, "Using GPU")
        mode.set_device(device)
        mode.set_mode_gpu()
    else:
        _log(62, "Using CPU")
        mode.set_mode_cpu()


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) < 6:
        _log(35, USAGE)
        return 1
    weights, model, blobs, datasets, batches, backend = arguments[:6]
    names, paths = blobs.split(","), datasets.split(",")
    if len(names) != len(paths):
        raise CaffeError(f"{len(names)} blobs for {len(paths)} databases; as many of each, please")
    db.check_backend(backend)
    _use(arguments[6:])
    for path in paths:
        if os.path.exists(path):
            raise CaffeError(f"{path}: is there already; remove it or name another")
    count = _number(batches, "num_mini_batches")
    net = Net(model, caffe_pb2.TEST)
    net.copy_from(weights)
    for name in names:
        if name not in net.blobs:
            raise CaffeError(f"Unknown feature blob name {name} in the network {model}")
    with ExitStack() as stack:
        writers = []
        for path in paths:
            _log(125, f"Opening dataset {path}", 0)
            writers.append(stack.enter_context(db.Writer(path)))
        _log(133, "Extracting Features")
        for _ in range(count):
            float(net.executor.forward_all())
            for name, writer in zip(names, writers):
                for value in _datums(net.blobs[name].data):
                    writer.put(f"{writer.count:010d}".encode(), value)
    for name, writer in zip(names, writers):
        _log(176, f"Extracted features of {writer.count} query images for feature blob {name}")
    _log(181, "Successfully extracted the features!")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("extract_features", USAGE, {}, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
