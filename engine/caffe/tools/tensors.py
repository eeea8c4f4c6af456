"""Weights as safetensors files, and back.

A parameter is the tensor `<layer>/<index>`: `conv1/0` has the weights of conv1, `conv1/1` its bias.
Shapes and values are kept exactly. The file's metadata has the net's other fields as prototxt text,
so that the .caffemodel that is written from them is the one that was read, byte for byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from google.protobuf import text_format

from .. import weights
from ..errors import CaffeError, FileError
from ..files import make_folder_of, reading, replace, writable
from ..proto import caffe_pb2
from ..records import StoredBlob

#: Keys of the metadata: the NetParameter without blobs, and the tensors whose shape is in the form
#: of num, channels, height and width.
STRUCTURE, LEGACY = "prototxt", "legacy_shapes"
#: Keys under which a training program may keep the state dict in its file.
NESTED = ("state_dict", "model", "model_state_dict")


def to_safetensors(path: str, out: str) -> int:
    """Write the weights of a .caffemodel or .h5 file as safetensors; return how many tensors.

    Raises FileError if a file cannot be read or written.
    """
    values: dict[str, np.ndarray] = {}
    legacy = []
    for layer, blobs in weights.read_net(path):
        for index, blob in blobs.items():
            name = f"{layer}/{index}"
            if name in values:
                raise FileError(f"{path}: has two layers {layer!r}; layers need different names")
            values[name] = np.array(blob.data).reshape(blob.shape)
            if blob.legacy:
                legacy.append(name)
    structure = weights.read_structure(path)
    metadata = {STRUCTURE: text_format.MessageToString(structure), LEGACY: json.dumps(legacy)}
    _save(values, out, metadata)
    return len(values)


def to_caffemodel(path: str, out: str) -> int:
    """Write the tensors of a file of `to_safetensors` as a .caffemodel; return how many tensors.

    Files of other programs do as well, if their tensors have the names. Raises FileError for other
    names, or if a file cannot be read or written.
    """
    values, metadata = read_tensors(path)
    blobs: dict[str, dict[int, StoredBlob]] = {}
    legacy = json.loads(metadata.get(LEGACY, "[]"))
    for name, array in values.items():
        layer, _, index = name.rpartition("/")
        if not layer or not index.isdigit():
            raise FileError(
                f"{path}: has a tensor {name!r}; its name needs to be LAYER/INDEX, such as conv1/0 "
                "for the weights and conv1/1 for the bias of conv1"
            )
        kind = np.float64 if array.dtype == np.float64 else np.float32
        flat = np.ascontiguousarray(array, kind).reshape(-1)
        blob = StoredBlob(path, array.shape, flat, legacy=name in legacy)
        blobs.setdefault(layer, {})[int(index)] = blob
    structure = _structure(path, metadata, blobs)
    for layer, by_index in blobs.items():
        if sorted(by_index) != list(range(len(by_index))):
            raise FileError(
                f"{path}: layer {layer!r} has the blobs {sorted(by_index)}; needs 0 to "
                f"{len(by_index) - 1}"
            )
    layers = []
    for param in structure.layer:
        by_index = blobs.get(param.name, {})
        stored = [by_index[i] for i in range(len(by_index))]
        layers.append(weights.LayerWeights(param, stored))
    make_folder_of(out)
    weights.write_net(out, structure.name, layers)
    return len(values)


def _structure(path: str, metadata: Mapping[str, str], blobs: Mapping[str, Any]) -> Any:
    """Return the NetParameter of a file's metadata, with a layer for each layer of the tensors."""
    structure = caffe_pb2.NetParameter()
    if STRUCTURE in metadata:
        try:
            text_format.Parse(metadata[STRUCTURE], structure)
        except text_format.ParseError as error:
            raise FileError(f"{path}: the {STRUCTURE} in its metadata is wrong ({error})") from None
    names = {layer.name for layer in structure.layer}
    for name in blobs:
        if name not in names:
            structure.layer.add(name=name)
    return structure


def read_tensors(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors of a .safetensors file and its metadata. Raises FileError."""
    package = _package()
    with reading(path), open(path, "rb"):
        pass
    try:
        with package.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (package.SafetensorError, TypeError) as error:
        raise FileError(f"{path}: is not a usable safetensors file ({error})") from None


def state_dict_to_safetensors(path: str, out: str) -> int:
    """Write the tensors of a PyTorch state dict (.pth) as safetensors, under their names.

    Only tensors are read; programs in the file do not run. Half precision becomes float32; other
    values than tensors are left out. Returns how many tensors were written. Raises FileError if a
    file cannot be read or written.
    """
    try:
        with reading(path):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileError:
        raise
    except Exception:
        # PyTorch's own text advises to run what is in the file.
        raise FileError(
            f"{path}: is not a PyTorch file of tensors alone; needs what torch.save writes of a "
            "state_dict()"
        ) from None
    for key in NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    items = loaded.items() if isinstance(loaded, dict) else ()
    named = {str(name): value for name, value in items if isinstance(value, torch.Tensor)}
    if not named:
        raise FileError(f"{path}: holds no tensors by name; a state dict is needed")
    _save({name: _array(value) for name, value in named.items()}, out, {})
    return len(named)


def _array(value: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array; bfloat16 and float16, which Caffe lacks, as float32."""
    value = value.detach()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    return value.contiguous().numpy()


def _save(values: Mapping[str, np.ndarray], out: str, metadata: Mapping[str, str]) -> None:
    """Write tensors; the file appears complete, by rename."""
    package = _package()
    make_folder_of(out)
    temporary = f"{writable(out)}.{os.urandom(4).hex()}"
    try:
        with reading(temporary):
            package.numpy.save_file(dict(values), temporary, metadata=dict(metadata))
        replace(temporary, out)
    except package.SafetensorError as error:
        raise FileError(f"{out}: cannot be written: {error}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _package() -> ModuleType:
    # The package is optional: only these conversions need it.
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise CaffeError(
            "the Python package safetensors is not installed; pip install safetensors, then try "
            "again"
        ) from None
    return safetensors
