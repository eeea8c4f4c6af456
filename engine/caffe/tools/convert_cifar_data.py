"""Writes the binary files of CIFAR-10 into LMDB databases.

convert_cifar_data input_folder output_folder db_type
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import files, glog
from ..data import db
from ..errors import FileError
from ..proto import caffe_pb2
from . import command

USAGE = """This script converts the CIFAR dataset to
the leveldb format used by caffe to perform classification.
Usage:
    convert_cifar_data input_folder output_folder db_type
Where the input folder should contain the binary batch files.
The CIFAR dataset could be downloaded at
    http://www.cs.toronto.edu/~kriz/cifar.html
You should gunzip them after downloading."""

#: A record is a label and 3 x 32 x 32 values.
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
BATCHES = 5


def read_batch(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return labels N and images N x 3 x 32 x 32 of a batch file, uint8. Raises FileError."""
    values = np.frombuffer(files.read_bytes(path), np.uint8)
    if not values.size or values.size % RECORD:
        raise FileError(f"{path}: {values.size} bytes; records of {RECORD} bytes are needed")
    records = values.reshape(-1, RECORD)
    return records[:, 0], records[:, 1:].reshape(-1, *SHAPE)


def _write(path: str, batches: Sequence[str]) -> None:
    number = 0
    with db.Writer(path) as writer:
        for i, batch in enumerate(batches):
            if len(batches) > 1:
                glog.write("convert_cifar_data.cpp:54", f"Training Batch {i + 1}")
            for label, image in zip(*read_batch(batch)):
                channels, height, width = image.shape
                datum = caffe_pb2.Datum(
                    channels=channels, height=height, width=width, label=int(label)
                )
                datum.data = image.tobytes()
                writer.put(b"%05d" % number, datum.SerializeToString())
                number += 1


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) != 3:
        command.show_usage("convert_cifar_data", USAGE, {})
        return 0
    source, target, backend = arguments
    db.check_backend(backend)
    training = [os.path.join(source, f"data_batch_{i + 1}.bin") for i in range(BATCHES)]
    glog.write("convert_cifar_data.cpp:51", "Writing Training data")
    _write(os.path.join(target, f"cifar10_train_{backend}"), training)
    glog.write("convert_cifar_data.cpp:75", "Writing Testing data")
    _write(
        os.path.join(target, f"cifar10_test_{backend}"), [os.path.join(source, "test_batch.bin")]
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return command.run("convert_cifar_data", USAGE, {}, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
