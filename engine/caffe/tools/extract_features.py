"""Writes the blobs that a trained net computes from its data layer into LMDB databases.

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
from ..errors import FileError, UsageError
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


def _parse_number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} is {text!r}; it needs to be a number") from None


def _datums(blob: np.ndarray) -> Iterator[bytes]:
    """Yield the features of each item of a batch, as a Datum of floats."""
    if blob.ndim > 4:
        raise UsageError(
            f"a blob of shape {blob.shape} cannot be saved; a Datum holds an item of at most 3 axes"
        )
    channels, height, width = (*blob.shape[1:], 1, 1, 1)[:3]
    for values in blob.reshape(len(blob), -1):
        yield caffe_pb2.Datum(
            channels=channels, height=height, width=width, float_data=values.tolist()
        ).SerializeToString()


def _set_mode(arguments: list[str]) -> None:
    """Compute where the arguments [CPU|GPU] [DEVICE_ID] say."""
    if arguments and arguments[0] == "GPU":
        device = _parse_number(arguments[1], "DEVICE_ID") if len(arguments) > 1 else 0
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
        raise UsageError(
            f"{len(names)} blobs for {len(paths)} databases; each blob needs one database"
        )
    db.check_backend(backend)
    _set_mode(arguments[6:])
    for path in paths:
        if os.path.exists(path):
            raise FileError(f"{path}: already exists; remove it or name another database")
    count = _parse_number(batches, "num_mini_batches")
    net = Net(model, caffe_pb2.TEST)
    net.copy_from(weights)
    for name in names:
        if name not in net.blobs:
            raise UsageError(f"Unknown feature blob name {name} in the network {model}")
    _extract(net, count, names, paths)
    _log(181, "Successfully extracted the features!")
    return 0


def _extract(net: Net, batches: int, names: Sequence[str], paths: Sequence[str]) -> None:
    """Run the net and write each named blob of each batch into the database of its path."""
    with ExitStack() as stack:
        writers = []
        for path in paths:
            _log(125, f"Opening dataset {path}", 0)
            try:
                writers.append(stack.enter_context(db.Writer(path)))
            except OSError as error:
                raise FileError(f"{path}: cannot be written: {error.strerror}") from None
        _log(133, "Extracting Features")
        for _ in range(batches):
            net.executor.forward_all()
            for name, writer in zip(names, writers):
                for value in _datums(net.blobs[name].data):
                    writer.put(f"{writer.count:010d}".encode(), value)
    for name, writer in zip(names, writers):
        _log(176, f"Extracted features of {writer.count} query images for feature blob {name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return command.run("extract_features", USAGE, {}, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
