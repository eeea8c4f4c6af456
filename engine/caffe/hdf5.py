"""Weights and solver states as HDF5 files, laid out as BVLC Caffe's.

weights         /data/LAYER/INDEX, and /diff/LAYER/INDEX where gradients were saved
solver state    /iter, /learned_net, /current_step, /history/INDEX
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import files
from .blob import Blob
from .errors import FileError
from .records import LayerWeights, SolverState, StoredBlob, StoredLayers, contiguous_array

#: The first bytes of an HDF5 file. They may stand behind a user block of 512 bytes, 1024, ...
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: str) -> bool:
    """Return whether a file is HDF5, by its content as BVLC Caffe decides, whatever its name is.

    A file that is not there, or is empty, is HDF5 if its name ends with .h5.
    """
    try:
        with open(path, "rb") as file:
            size, offset = file.seek(0, os.SEEK_END), 0
            while offset + len(SIGNATURE) <= size:
                file.seek(offset)
                if file.read(len(SIGNATURE)) == SIGNATURE:
                    return True
                offset = max(512, 2 * offset)
    except OSError:
        size = 0
    return not size and path.endswith(".h5")


@contextmanager
def create(path: str) -> Iterator[Any]:
    """Yield a new `h5py.File`, which appears under `path` once it is complete.

    Raises FileError if the file cannot be written.
    """
    import h5py  # Only programs that use HDF5 pay for the import.

    with files.atomic(path) as temporary, h5py.File(temporary, "w") as file:
        yield file


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """Yield an existing `h5py.File`; whatever is wrong with its content is a FileError."""
    import h5py  # Only programs that use HDF5 pay for the import.

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError) as error:
        raise FileError(f"{path}: is not a complete HDF5 file of Caffe's: {error}") from None
    except MemoryError as error:
        raise FileError(f"{path}: no memory for its values: {error}") from None


def _stored(path: str, dataset: Any) -> StoredBlob:
    values = dataset[...]
    return StoredBlob(path, values.shape, values)


def read_net(path: str) -> StoredLayers:
    """Return the layers of a weights file. Raises FileError if it cannot be read."""
    with _open(path) as file:
        return [
            (name, {int(i): _stored(path, blob) for i, blob in group.items()})
            for name, group in file["data"].items()
        ]


def write_net(path: str, layers: Sequence[LayerWeights], with_diff: bool = False) -> None:
    """Write weights, and with `with_diff` their gradients.

    As in BVLC Caffe, the values of a shared parameter are written with its first layer alone, but
    its gradient with every layer. Raises FileError if the file cannot be written.
    """
    with create(path) as file:
        for layer in layers:
            group = file.require_group(f"data/{layer.param.name}")
            for i, blob in enumerate(layer.blobs):
                if i not in layer.shared:
                    group.create_dataset(str(i), data=contiguous_array(blob.values))
        for layer in layers if with_diff else ():
            group = file.require_group(f"diff/{layer.param.name}")
            for i, blob in enumerate(layer.blobs):
                group.create_dataset(str(i), data=contiguous_array(blob.gradient))


def read_state(path: str) -> SolverState:
    """Return the content of a solver state. Raises FileError if it cannot be read."""
    with _open(path) as file:
        learned_net = file["learned_net"][()] if "learned_net" in file else b""
        history = file["history"]
        return SolverState(
            int(np.ravel(file["iter"][()])[0]),
            learned_net.decode() if isinstance(learned_net, bytes) else str(learned_net),
            int(np.ravel(file["current_step"][()])[0]),
            [_stored(path, history[str(i)]) for i in range(len(history))],
        )


def write_state(
    path: str, iteration: int, learned_net: str, current_step: int, history: Sequence[Blob]
) -> None:
    """Write a solver state. Raises FileError if the file cannot be written."""
    with create(path) as file:
        file["iter"] = np.array([iteration], np.int32)
        # One byte more than the name has, for the zero at which C programs stop reading.
        name = learned_net.encode()
        file["learned_net"] = np.array(name, f"S{len(name) + 1}")
        file["current_step"] = np.array([current_step], np.int32)
        group = file.create_group("history")
        for i, blob in enumerate(history):
            group.create_dataset(str(i), data=contiguous_array(blob.values))
