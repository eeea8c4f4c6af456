"""Writes the mean of the images in a database.

compute_image_mean [FLAGS] INPUT_DB [OUTPUT_FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import glog
from ..data import db
from ..data.transformer import decode
from ..errors import FileError
from ..proto import caffe_pb2
from ..wire import parse_binary, write_binary
from . import command

USAGE = """Compute the mean_image of a set of images given by a lmdb
Usage:
    compute_image_mean [FLAGS] INPUT_DB [OUTPUT_FILE]"""

FLAGS: command.Flags = {"backend": ("lmdb", "The backend {lmdb} containing the images")}


def _log(line: int, message: str) -> None:
    glog.write(f"compute_image_mean.cpp:{line}", message)


def mean(path: str) -> np.ndarray:
    """Return the mean image, C x H x W, of an LMDB database.

    The images are added up in float32, as in BVLC Caffe. Raises FileError for images of different
    sizes.
    """
    total, count = np.zeros(0, np.float32), 0
    reader = db.Reader(path)
    _log(70, "Starting iteration")
    for value in reader:
        datum = parse_binary(value, caffe_pb2.Datum(), path)
        image = decode(datum, caffe_pb2.TransformationParameter(), path)
        if not count:
            total = np.zeros(image.shape, np.float32)
        elif image.shape != total.shape:
            raise FileError(
                f"{path}: image {count} has the shape {image.shape}, the first image "
                f"{total.shape}; all images need one size, so convert them with "
                "convert_imageset -resize_height H -resize_width W"
            )
        total += image
        count += 1
        if count % 10000 == 0:
            _log(86, f"Processed {count} files.")
    if count % 10000:
        _log(101, f"Processed {count} files.")
    return total / np.float32(count)


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        command.show_usage("compute_image_mean", USAGE, FLAGS)
        return 1
    db.check_backend(flags.backend)
    image = mean(arguments[0])
    blob = caffe_pb2.BlobProto(num=1, channels=image.shape[0], data=image.reshape(-1).tolist())
    blob.height, blob.width = image.shape[1:]
    if len(arguments) == 2:
        _log(108, f"Write to {arguments[1]}")
        write_binary(arguments[1], blob)
    _log(114, f"Number of channels: {len(image)}")
    for i, channel in enumerate(image):
        _log(119, f"mean_value channel [{i}]: {channel.mean():g}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return command.run("compute_image_mean", USAGE, FLAGS, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
