"""TensorBoard events, which the training writes without a thread or a queue.

tensorboardX encodes the events. Its own writer is not used: its queue fills when the disk is full,
and then stops the training.
"""

from __future__ import annotations

import glob
import io
import os
import platform
import struct
import sys
import time
from typing import Any, Callable, Iterator, Optional, Tuple

import numpy as np
from PIL import Image

from fcn_common.places import make_folder
from solvers.by_products import AppendedFile, guarded, truncate

#: The first event of every file, by which TensorBoard knows the format.
FORMAT = "brain.Event:2"
#: Bytes of a record beside its content: length, its checksum, and the checksum of the content.
_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")


class Events:
    """The events in a folder.

    keep: returns whether an event of an earlier run stays, by its tag and its step. The first event
        for which it is false, and all later ones, are dropped.

    Raises ImportError without tensorboardX.
    """

    def __init__(self, folder: str, keep: Callable[[str, int], bool] = lambda tag, step: True):
        # Optional, and the import takes longer than the rest of the log.
        import tensorboardX  # noqa: F401
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._checksum = masked_crc32c
        self._file: Optional[AppendedFile] = None
        self._folder = folder
        with guarded(folder):
            make_folder(folder)
            for path in files(folder):
                self._drop(path, keep)

    def _drop(self, path: str, keep: Callable[[str, int], bool]) -> None:
        """Cut a file at the first event that does not stay, and at a damaged event.

        A file without an event is removed.
        """
        end = 0
        for start, record in records(path):
            event = self._event.FromString(record)
            tags = [value.tag for value in event.summary.value]
            if not all(keep(tag, event.step) for tag in tags):
                break
            end = start + _HEAD.size + len(record) + _TAIL.size
        if end == 0:
            os.remove(path)
        elif end < os.path.getsize(path):
            truncate(path, end)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a number to the curve of `tag`."""
        self._add(step, tag=tag, simple_value=float(value))

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Add a picture, H x W x 3, uint8, RGB."""
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        height, width = picture.shape[:2]
        image = self._summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=content.getvalue()
        )
        self._add(step, tag=tag, image=image)

    def _add(self, step: int, **value: Any) -> None:
        with guarded(self._folder):
            summary = self._summary(value=[self._summary.Value(**value)])
            event = self._event(wall_time=time.time(), step=int(step), summary=summary)
            self._append(event.SerializeToString())

    def _append(self, record: bytes) -> None:
        if self._file is None:
            name = f"events.out.tfevents.{time.time():.0f}.{platform.node() or 'host'}"
            self._file = AppendedFile(os.path.join(self._folder, name))
            if self._file.is_empty():
                first = self._event(wall_time=time.time(), file_version=FORMAT)
                self._append(first.SerializeToString())
        head = struct.pack("<Q", len(record))
        head += _TAIL.pack(self._checksum(head))
        self._file.append(head + record + _TAIL.pack(self._checksum(record)))

    def sync(self) -> None:
        """Write the events to disk."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def open_events(folder: str, keep: Callable[[str, int], bool]) -> Optional[Events]:
    """Return the events in a folder; None, after a note on stderr, without tensorboardX."""
    try:
        return Events(folder, keep)
    except ImportError:
        print(
            f"note: no TensorBoard events in {folder}: tensorboardX is not installed "
            "(pip install tensorboardX)",
            file=sys.stderr,
        )
        return None


def files(folder: str) -> Tuple[str, ...]:
    """Return the files of events in a folder, the oldest first."""
    return tuple(sorted(glob.glob(os.path.join(glob.escape(folder), "*tfevents*"))))


def records(path: str) -> Iterator[Tuple[int, bytes]]:
    """Yield position and content of each complete record in a file of events."""
    with open(path, "rb") as file:
        content = file.read()
    position = 0
    while position + _HEAD.size <= len(content):
        length = _HEAD.unpack_from(content, position)[0]
        start, end = position + _HEAD.size, position + _HEAD.size + length
        if end + _TAIL.size > len(content):
            return
        yield position, content[start:end]
        position = end + _TAIL.size
