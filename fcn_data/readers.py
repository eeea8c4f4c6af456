"""Readers of image and label files that name the file in every error."""

from __future__ import annotations

import os
from typing import Any, Dict

import numpy as np
from PIL import Image


def read_image(path: str) -> np.ndarray:
    """Return a photograph as H x W x 3, uint8, RGB. Grey images get three equal channels.

    Raises FileNotFoundError if there is no such file, OSError if the file is not readable.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"{path}: is not a readable image ({error})") from None


def read_label_image(path: str) -> np.ndarray:
    """Return the pixels of a label image as they are stored: the indices of a palette image.

    Raises OSError if the file is not readable.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise OSError(f"{path}: is not a readable label image ({error})") from None


def read_mat(path: str) -> Dict[str, Any]:
    """Return the arrays of a .mat file by name. Raises OSError if the file is not readable."""
    # scipy.io takes 0.3 s to import, and most data sets have no .mat files.
    from scipy.io import loadmat

    try:
        return loadmat(path)
    except Exception as error:  # a truncated file raises any of a dozen types
        raise OSError(f"{path}: is not a readable .mat file ({error})") from None


def read_mat_array(path: str, name: str) -> np.ndarray:
    """Return the array `name` of a .mat file as integers, int64.

    Raises OSError if the file is not readable or has no such array.
    """
    arrays = read_mat(path)
    if name not in arrays:
        names = ", ".join(sorted(key for key in arrays if not key.startswith("__")))
        raise OSError(f"{path}: has {names or 'no array'}, needs the array {name}")
    return np.asarray(arrays[name]).astype(np.int64)


def read_class_list(path: str) -> Dict[int, str]:
    """Return number -> name of the lines `NUMBER: NAME` of a text file, without spaces.

    Raises OSError if there is no such file, ValueError if a line has another form.
    """
    if not os.path.isfile(path):
        raise OSError(f"{path}: no such file, needs lines `NUMBER: NAME`")
    classes: Dict[int, str] = {}
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            number, colon, name = line.partition(":")
            name = name.replace(" ", "").strip()
            if not line.strip():
                continue
            if not (colon and name and number.strip().isdigit()):
                raise ValueError(f"{path}: has the line {line.strip()!r}, needs `NUMBER: NAME`")
            classes[int(number)] = name
    if not classes:
        raise ValueError(f"{path}: is empty, needs lines `NUMBER: NAME`")
    return classes
