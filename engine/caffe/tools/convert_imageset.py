"""Writes image files and their labels into an LMDB database.

convert_imageset [FLAGS] ROOTFOLDER/ LISTFILE DB_NAME
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import cv2

from .. import files, glog
from ..data import db, image_list
from ..data.transformer import planes, read_image
from ..errors import FileError, UsageError
from ..proto import caffe_pb2
from . import command

USAGE = """Convert a set of images to the lmdb
format used as input for Caffe.
Usage:
    convert_imageset [FLAGS] ROOTFOLDER/ LISTFILE DB_NAME"""

FLAGS: command.Flags = {
    "backend": ("lmdb", "The backend {lmdb} for storing the result"),
    "check_size": (False, "When this option is on, check that all the datum have the same size"),
    "encode_type": ("", "Optional: What type should we encode the image as ('png','jpg',...)."),
    "encoded": (False, "When this option is on, the encoded image will be save in datum"),
    "gray": (False, "When this option is on, treat images as grayscale ones"),
    "resize_height": (0, "Height images are resized to"),
    "resize_width": (0, "Width images are resized to"),
    "shuffle": (False, "Randomly shuffle the order of images and their labels"),
}


def _log(line: int, message: str, level: int = 0) -> None:
    glog.write(f"convert_imageset.cpp:{line}", message, level)


def _encoding(path: str, encode_type: str) -> str:
    """Return the file type to encode an image as: `encode_type`, or the type of the image file."""
    _, dot, suffix = path.rpartition(".")
    if not encode_type and not dot:
        _log(120, f"Failed to guess the encoding of '{path}'", 1)
    return (encode_type or (suffix if dot else "")).lower()


def to_datum(path: str, label: int, flags: Any) -> Any | None:
    """Return the Datum of an image file, encoded if the flags say so; None if it cannot be read.

    Raises UsageError for an encoding that OpenCV does not know.
    """
    image = read_image(path, not flags.gray, flags.resize_height, flags.resize_width)
    if image is None:
        glog.write("io.cpp:83", f"Could not open or find file {path}", 2)
        return None
    encoding = _encoding(path, flags.encode_type) if flags.encoded or flags.encode_type else ""
    if encoding and _is_encoded(path, encoding, flags):
        return caffe_pb2.Datum(data=files.read_bytes(path), label=label, encoded=True)
    if encoding:
        try:
            data = cv2.imencode("." + encoding, image)[1].tobytes()
        except cv2.error:
            raise UsageError(
                f"{path}: cannot be encoded as {encoding!r}; use -encode_type png or jpg"
            ) from None
    else:
        data = planes(image).tobytes()
    channels, height, width = planes(image).shape
    return caffe_pb2.Datum(
        channels=channels,
        height=height,
        width=width,
        data=data,
        label=label,
        encoded=bool(encoding),
    )


def _is_encoded(path: str, encoding: str, flags: Any) -> bool:
    """Return whether the bytes of an image file are already what the flags ask for."""
    suffix = path.rpartition(".")[2].lower()
    same = suffix == encoding or (encoding, suffix) == ("jpg", "jpeg")
    return same and not flags.gray and not (flags.resize_height and flags.resize_width)


def _datums(root: str, lines: list[tuple[str, int]], flags: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield a key and a Datum for each listed image that can be read."""
    size, count = None, 0
    for number, (name, label) in enumerate(lines):
        datum = to_datum(root + name, label, flags)
        if datum is None:
            continue
        if flags.check_size:
            if size is not None and len(datum.data) != size:
                raise FileError(
                    f"{root + name}: has {len(datum.data)} values, the first image has {size}; "
                    "resize the images, or leave -check_size out"
                )
            size = len(datum.data)
        count += 1
        if count % 1000 == 0:
            _log(147, f"Processed {count} files.")
        yield f"{number:08d}_{name}".encode(), datum.SerializeToString()
    if count % 1000:
        _log(153, f"Processed {count} files.")


def _read_list(path: str) -> list[tuple[str, int]]:
    """Return the image names and labels of a list file. Raises FileError if it cannot be read."""
    with files.reading(path), files.open_text(path) as file:
        return image_list.parse(file, "convert_imageset.cpp:79")


def _body(flags: Any, arguments: list[str]) -> int:
    if len(arguments) != 3:
        command.show_usage("convert_imageset", USAGE, FLAGS)
        return 1
    db.check_backend(flags.backend)
    root, list_file, path = arguments
    lines = _read_list(list_file)
    if flags.shuffle:
        _log(86, "Shuffling data")
        random.shuffle(lines)
    _log(89, f"A total of {len(lines)} images.")
    if flags.encode_type and not flags.encoded:
        _log(92, "encode_type specified, assuming encoded=true.")
    with db.Writer(path) as writer:
        for key, value in _datums(root, lines, flags):
            writer.put(key, value)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return command.run("convert_imageset", USAGE, FLAGS, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
