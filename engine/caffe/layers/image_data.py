"""ImageData: image files with labels, from a list of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import glog, mode
from ..data import image_list
from ..data import opencv as cv2
from ..data.transformer import Random, draw, planes, read_image
from .prefetching import Prefetching, Record
from .registry import register
from .text_files import Turns, read_lines


@register
class ImageData(Prefetching):
    """Image files with labels, in the order of `source` or shuffled (image_data_layer.cpp).

    Each line of `source` is a path below root_folder, a space, and a label (see image_list.py).
    new_height and new_width resize the images; so does short_side of NVCaffe, the size of the
    shorter side, which keeps the proportions. With label_dim, label_num or label_size, names of
    several forks for one number n, a line ends in n labels, any numbers, and the labels are
    batch_size x n.
    """

    settings = "image_data_param"
    log_place = "image_data_layer.cpp:90"

    def open(self) -> Sequence[int]:
        p = self.layer_param.image_data_param
        if bool(p.new_height) != bool(p.new_width):
            raise self.error(
                f"new_height {p.new_height}, new_width {p.new_width}; it needs both or none"
            )
        glog.write("image_data_layer.cpp:38", f"Opening file {p.source}")
        lines = self._read_list(p.source)
        random = Random() if p.shuffle else None
        if random:
            glog.write("image_data_layer.cpp:53", "Shuffling data")
        self.turns = Turns(lines, random)
        glog.write("image_data_layer.cpp:63", f"A total of {len(lines)} images.")
        if p.rand_skip:
            start = draw(mode.rng()) % p.rand_skip
            glog.write("image_data_layer.cpp:70", f"Skipping first {start} data points.")
            if start >= len(lines):
                raise self.error(
                    f"rand_skip skips {start} of {len(lines)} images; "
                    f"set it to at most {len(lines)}"
                )
            self.turns.place = start
        return self._read_image(self.turns.line[0]).shape

    def _read_list(self, source: str) -> list[tuple[str, Any]]:
        """Return the paths and labels in `source`, at least one."""
        p, lines = self.layer_param.image_data_param, read_lines(self, source)
        count = p.label_dim or p.label_num or p.label_size
        if count:
            self.label_shape = (count,)
            try:
                pairs: list[tuple[str, Any]] = list(image_list.parse_rows(lines, count))
            except ValueError as error:
                raise self.file_error(f"{source}: {error}") from None
        else:
            pairs = list(image_list.parse(lines, "image_data_layer.cpp:45"))
        if not pairs:
            raise self.file_error(f"{source}: is empty; it needs lines of a path and a label")
        return pairs

    def records(self) -> Iterator[Record]:
        for path, label in self.turns.lines():
            record = self.attempt(partial(self._transformed, path, label))
            if record is not None:
                yield record

    def source_position(self) -> dict[str, Any]:
        return self.turns.position()

    def set_source_position(self, values: dict[str, Any]) -> None:
        self.turns.set_position(values)

    def _transformed(self, path: str, label: Any) -> Record:
        return self.transformer(self._read_image(path)), label

    def _read_image(self, path: str) -> np.ndarray:
        """Return the image, uint8, C x H x W."""
        p = self.layer_param.image_data_param
        with self.using_files():
            image = read_image(p.root_folder + path, p.is_color, p.new_height, p.new_width)
        if image is None:
            raise self.file_error(
                f"{p.root_folder + path}: no image that can be read; mend the file or the list"
            )
        if p.short_side and not p.new_height:
            rows, columns = image.shape[:2]
            factor = p.short_side / min(rows, columns)
            image = cv2.resize(image, (round(columns * factor), round(rows * factor)))
        return planes(image)
