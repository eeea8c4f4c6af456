"""Text files that data layers read: lists of files, and of images with labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ..data.transformer import Random
from .base import EngineLayer

Line = TypeVar("Line")


class Turns(Generic[Line]):
    """The lines of a list, turn after turn without end.

    random: shuffles the lines before each turn; None keeps their order.
    place: of the next line in the present turn.
    """

    def __init__(self, lines: Sequence[Line], random: Random | None) -> None:
        self._lines, self._random = lines, random
        self._order: np.ndarray = np.arange(len(lines))
        self.place = 0
        self._shuffle()

    @property
    def line(self) -> Line:
        """The next line."""
        return self._lines[self._order[self.place]]

    def lines(self) -> Iterator[Line]:
        """Yield the lines from the present place on."""
        while True:
            if self.place == len(self._lines):
                self.place = 0
                self._shuffle()
            line = self.line
            self.place += 1
            yield line

    def _shuffle(self) -> None:
        if self._random is not None:
            order = self._order.tolist()
            self._random.shuffle(order)
            # A new array, because `position` has returned the old one.
            self._order = np.array(order)

    def position(self) -> dict[str, Any]:
        """Return the order of the present turn, and the place of the next line in the turn."""
        if self._random is None:
            return {"place": self.place}
        return {"place": self.place, "order": self._order, "random": self._random.state()}

    def set_position(self, values: dict[str, Any]) -> None:
        """Continue where `position` was called. Raises ValueError for those of another list."""
        order = values.get("order", self._order)
        if len(order) != len(self._lines) or not 0 <= values["place"] <= len(order):
            raise ValueError(f"a position in {len(order)} lines; the list has {len(self._lines)}")
        self.place, self._order = values["place"], order
        if self._random is not None:
            self._random.set_state(values["random"])


def read_words(layer: EngineLayer, path: str) -> list[str]:
    """Return the words of a text file. Raises LayerFileError."""
    return _read(layer, path).split()


def read_lines(layer: EngineLayer, path: str) -> list[str]:
    """Return the lines of a text file that are not blank. Raises LayerFileError."""
    return [line for line in _read(layer, path).splitlines() if line.strip()]


def _read(layer: EngineLayer, path: str) -> str:
    if not os.path.isfile(path):
        raise layer.file_error(f"source is {path!r}, which is not a file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise layer.file_error(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise layer.file_error(f"{path}: cannot be read as text: {error}") from None
