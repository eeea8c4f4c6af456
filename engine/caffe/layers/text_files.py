"""Text files that data layers read: lists of files, and of images with labels."""

from __future__ import annotations

import os

from .base import EngineLayer


def read_words(layer: EngineLayer, path: str) -> list[str]:
    """Return the words of a text file. Raises LayerFileError."""
    return _read(layer, path).split()


def read_lines(layer: EngineLayer, path: str) -> list[str]:
    """Return the lines of a text file that are not blank. Raises LayerFileError."""
    return [line for line in _read(layer, path).splitlines() if line.strip()]


def _read(layer: EngineLayer, path: str) -> str:
    if not os.path.isfile(path):
        raise layer.file_error(f"source is {path!r}, which is no file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise layer.file_error(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise layer.file_error(f"{path}: cannot be read as text: {error}") from None
