"""Arrays among the values that a layer keeps for a resumed training, as text of a JSON file."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch

#: The key of an array among the values of a JSON file.
_KEY = "uint32"


def encode_arrays(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with each array of integers in base64."""
    return {
        key: {_KEY: base64.b64encode(value.astype("<u4").tobytes()).decode()}
        if isinstance(value, np.ndarray)
        else value
        for key, value in values.items()
    }


def decode_arrays(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that `encode_arrays` took. Raises ValueError for a damaged array."""
    return {
        key: np.frombuffer(base64.b64decode(value[_KEY]), "<u4").astype(np.int64)
        if isinstance(value, dict)
        else value
        for key, value in values.items()
    }


def encode_floats(values: torch.Tensor) -> list[Any]:
    """Return a tensor as its shape and its float32 values in base64."""
    array = values.detach().cpu().float().contiguous().numpy()
    return [list(array.shape), base64.b64encode(array.astype("<f4").tobytes()).decode()]


def decode_floats(values: list[Any]) -> torch.Tensor:
    """Return the tensor that `encode_floats` took. Raises ValueError for damaged values."""
    shape, text = values
    array = np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)
    return torch.from_numpy(array.astype(np.float32))
