"""Readers of image and label files that name the file in every error."""

from __future__ import annotations

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
