"""Readers of weights files: layer -> arrays of its blobs, by the suffix of the file.

A new format is one function and one line in `READERS`.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping

import numpy as np
from caffe.proto import caffe_pb2

from fcn_common.caffemodel import contents
from surgery import torchvision
from surgery.tensor_files import SUFFIXES, layers_of_caffe, read_tensors
from surgery.weights import HDF5_SUFFIXES

Values = Dict[str, List[np.ndarray]]


def read_values(path: str) -> Values:
    """Return layer -> arrays of its blobs in a weights file.

    Raises OSError for a file that cannot be read, ValueError for one that is truncated or has no
    weights.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; name weights to start from")
    return READERS.get(os.path.splitext(path)[1].lower(), read_caffemodel)(path)


def read_caffemodel(path: str) -> Values:
    """Return the weights in a .caffemodel. Raises what `read_values` raises."""
    shapes = contents(path)
    message = caffe_pb2.NetParameter()
    with open(path, "rb") as file:
        message.ParseFromString(file.read())
    stored: List[Any] = [*message.layers, *message.layer]
    blobs = {layer.name: layer.blobs for layer in stored}
    return {
        name: [_array(b).reshape(shape) for b, shape in zip(blobs[name], extents)]
        for name, extents in shapes.items()
    }


def read_hdf5(path: str) -> Values:
    """Return the weights in an HDF5 file, as `Net.save_hdf5` writes it: data/LAYER/BLOB.

    Raises what `read_values` raises.
    """
    # h5py takes 0.2 s to import, and few weights are HDF5 files.
    import h5py

    values: Values = {}
    try:
        with h5py.File(path, "r") as file:
            for name, group in file.get("data", {}).items():
                keys = sorted(group, key=int)
                if keys:
                    values[name] = [np.asarray(group[key], np.float32) for key in keys]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: truncated, or not Caffe's HDF5 weights ({error})") from None
    if not values:
        raise ValueError(f"{path}: has no weights, needs a group data with a group for each layer")
    return values


def _array(blob: Any) -> np.ndarray:
    return np.array(blob.double_data or blob.data, np.float32)


def read_tensor_file(path: str) -> Values:
    """Return the weights in a .safetensors or .pth file.

    The tensors are those that `caffe export` writes, or those of torchvision's VGG16 or GoogLeNet,
    for BGR images of 0..255 minus ILSVRC's mean. Raises what `read_values` raises.
    """
    tensors = read_tensors(path)
    values = layers_of_caffe(tensors)
    return torchvision.layers_of(path, tensors)[1] if values is None else values


#: Suffix of a weights file -> its reader. Every other suffix is a .caffemodel.
READERS: Mapping[str, Callable[[str], Values]] = {
    **dict.fromkeys(HDF5_SUFFIXES, read_hdf5),
    **dict.fromkeys(SUFFIXES, read_tensor_file),
}
