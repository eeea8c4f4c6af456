"""Checks of the weights of pycaffe nets and of weights files."""

from __future__ import annotations

from typing import Any, Iterable, List, Sequence

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from fcn_common.caffemodel import contents, layer_bytes
from surgery.shapes import Shape, names_text, shape_text

#: Files that Caffe reads as HDF5; their contents are not checked.
HDF5_SUFFIXES = (".h5", ".hdf5")


def check_weights(net: Any, path: str, need: Sequence[str] = ()) -> List[str]:
    """Check that a weights file belongs to a net, and return the layers that it fills.

    `net.copy_from(path)` leaves layers that the file does not name as they are, without a message.

    net: a pycaffe net. need: layers that the file has to fill.

    Raises ValueError for a file that is truncated, that has no layer of `net`, that has a layer in
    another shape, or that lacks a layer in `need`; OSError for a file that cannot be read.
    """
    if path.endswith(HDF5_SUFFIXES):
        return []
    shapes = contents(path)
    common = [name for name in net.params if name in shapes]
    if not common:
        raise ValueError(
            f"{path}: has none of this net's layers: found {names_text(shapes)}, needed "
            f"{names_text(net.params)}; these are the weights of another net"
        )
    for name in common:
        _check_layer(path, name, shapes[name], [tuple(blob.shape) for blob in net.params[name]])
    missing = [name for name in need if name not in shapes]
    if missing:
        raise ValueError(
            f"{path}: lacks the layers {names_text(missing)} of this net, has "
            f"{names_text(shapes)}; these are the weights of another net"
        )
    return common


def read_blobs(path: str, layer: str) -> List[np.ndarray]:
    """Return the blobs of one layer of a .caffemodel.

    Raises OSError for a file that cannot be read, ValueError for one that is truncated or has no
    such layer.
    """
    data, v1 = layer_bytes(path, layer)
    message = caffe_pb2.V1LayerParameter() if v1 else caffe_pb2.LayerParameter()
    message.ParseFromString(data)
    return [caffe.io.blobproto_to_array(blob) for blob in message.blobs]


def zero_layers(net: Any, names: Iterable[str]) -> List[str]:
    """Return the named layers of a pycaffe net whose weights are all zero."""
    return [name for name in names if not np.any(net.params[name][0].data)]


def _check_layer(path: str, name: str, shapes: Sequence[Shape], needed: Sequence[Shape]) -> None:
    """Raise ValueError if the blobs of a layer do not have the shapes that the net needs."""
    if len(shapes) != len(needed):
        raise ValueError(
            f"{path}: layer {name} has {len(shapes)} blobs, this net needs {len(needed)}"
        )
    for i, (shape, target) in enumerate(zip(shapes, needed)):
        if not _equal(shape, target):
            raise ValueError(
                f"{path}: layer {name}, blob {i}: found {shape_text(shape)}, this net needs "
                f"{shape_text(target)}; these are the weights of another net"
            )


def _equal(shape: Shape, needed: Shape) -> bool:
    """Return whether Caffe takes a blob for a shape. Blobs in the old format have leading ones."""
    if len(shape) == 4 and len(needed) < 4:
        return shape == (1,) * (4 - len(needed)) + needed
    return shape == needed
