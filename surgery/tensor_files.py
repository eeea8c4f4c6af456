"""Weights in .safetensors files and in PyTorch's state dicts (.pth)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Dict, List, Optional

import numpy as np

from fcn_common.places import temporary_folder

#: Suffixes of such files.
SUFFIXES = (".safetensors", ".pth", ".pt")
#: What is before the names where a net was trained on several devices.
PREFIX = "module."

Arrays = Dict[str, np.ndarray]


def read_tensors(path: str) -> Arrays:
    """Return the tensors of a .safetensors or .pth file by name, in float32.

    Raises OSError or ValueError for a file that cannot be read, and ImportError without the package
    safetensors.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    if not path.endswith(".safetensors"):
        return _read_state_dict(path)
    # The package is optional: only these weights need it.
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise ImportError(
            "the Python package safetensors is not installed; pip install safetensors"
        ) from None
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: is not a usable safetensors file ({error})") from None
    return {
        name[len(PREFIX) :] if name.startswith(PREFIX) else name: np.asarray(values, np.float32)
        for name, values in tensors.items()
    }


def _read_state_dict(path: str) -> Arrays:
    """Return the tensors of a .pth file, read as `caffe export` does: no code in it runs."""
    with temporary_folder() as folder:
        out = os.path.join(folder, "weights.safetensors")
        arguments = ["export", "--from", path, "--to", "safetensors", "--out", out]
        done = subprocess.run(
            [sys.executable, "-m", "caffe", *arguments], capture_output=True, text=True
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["python -m caffe export failed"]
            text = lines[-1]
            raise ValueError(text[len("error: ") :] if text.startswith("error: ") else text)
        return read_tensors(out)


def layers_of_caffe(tensors: Arrays) -> Optional[Dict[str, List[np.ndarray]]]:
    """Return layer -> arrays of its blobs for tensors named LAYER/INDEX, as `caffe export` does.

    None for tensors with other names.
    """
    layers: Dict[str, Dict[int, np.ndarray]] = {}
    for name, values in tensors.items():
        layer, _, index = name.rpartition("/")
        if not layer or not index.isdigit():
            return None
        layers.setdefault(layer, {})[int(index)] = values
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in layers.items()}
