"""Writes the files of MNIST into an LMDB database.

convert_mnist_data [FLAGS] input_image_file input_label_file output_db_file
"""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import files, glog
from ..data import db
from ..errors import FileError
from ..proto import caffe_pb2
from . import command

USAGE = """This script converts the MNIST dataset to
the lmdb format used by Caffe to load data.
Usage:
    convert_mnist_data [FLAGS] input_image_file input_label_file output_db_file
The MNIST dataset could be downloaded at
    http://yann.lecun.com/exdb/mnist/
You should gunzip them after downloading, or directly use data/mnist/get_mnist.sh"""

FLAGS: command.Flags = {"backend": ("lmdb", "The backend for storing the result")}
#: The first number of a file of images, and of a file of labels.
IMAGES, LABELS = 2051, 2049


def read_idx(path: str) -> np.ndarray:
    """Return the array of an IDX file, uint8, gzipped or not: N x rows x columns, or N labels.

    Raises FileError for a file of another kind or size.
    """
    data = files.read_bytes(path)
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    magic = struct.unpack(">I", data[:4])[0] if len(data) >= 8 else 0
    kind = {IMAGES: 3, LABELS: 1}.get(magic, 0)
    if not kind:
        raise FileError(f"{path}: begins with {magic}; {IMAGES} (images) or {LABELS} is needed")
    shape = struct.unpack(f">{kind}I", data[4 : 4 + 4 * kind])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * kind)
    if values.size != np.prod(shape):
        raise FileError(f"{path}: holds {values.size} values; a file of {shape} is needed")
    return values.reshape(shape)


def _log(line: int, message: str) -> None:
    glog.write(f"convert_mnist_data.cpp:{line}", message)


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) != 3:
        command.show_usage("convert_mnist_data", USAGE, FLAGS)
        return 0
    db.check_backend(flags.backend)
    images, labels = (read_idx(path) for path in arguments[:2])
    if images.ndim != 3:
        raise FileError(f"{arguments[0]}: Incorrect image file magic.")
    if labels.ndim != 1:
        raise FileError(f"{arguments[1]}: Incorrect label file magic.")
    if len(images) != len(labels):
        raise FileError(f"{len(images)} images and {len(labels)} labels; equally many are needed")
    rows, columns = images.shape[1:]
    _log(88, f"A total of {len(images)} items.")
    _log(89, f"Rows: {rows} Cols: {columns}")
    with db.Writer(arguments[2]) as writer:
        for number, (image, label) in enumerate(zip(images, labels)):
            datum = caffe_pb2.Datum(channels=1, height=rows, width=columns, label=int(label))
            datum.data = image.tobytes()
            writer.put(b"%08d" % number, datum.SerializeToString())
    _log(107, f"Processed {len(images)} files.")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return command.run("convert_mnist_data", USAGE, FLAGS, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
