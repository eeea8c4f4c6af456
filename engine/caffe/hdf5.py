"""Weights and solver states as HDF5 files, laid out as BVLC Caffe's.

weights         /data/LAYER/INDEX, and /diff/LAYER/INDEX where gradients were saved
solver state    /iter, /learned_net, /current_step, /history/INDEX

A "/" in the name of a layer makes a group inside a group. A name that HDF5 cannot have as a path,
such as "a//b", is a group with an escaped name, whose attribute `layer_name` has the name.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np

from . import files
from .blob import INT_MAX, Blob
from .errors import FileError
from .records import LayerWeights, SolverState, StoredBlob, StoredLayers, contiguous_array

#: The first bytes of an HDF5 file. They may stand behind a user block of 512 bytes, 1024, ...
SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: The attribute of a group with an escaped name: the name of the layer, in UTF-8.
LAYER_NAME = "layer_name"
#: The longest name of a blob's dataset: the digits of an int.
_INDEX = re.compile(r"[0-9]{1,9}")
#: The greatest depth of groups inside groups that is read, more than a name in HDF5 can have.
MAX_DEPTH = 64
#: Bytes of values for each byte in the file from which on a dataset is refused. Deflate, the best
#: packing of HDF5 filters, reaches 1032.
MAX_RATIO = 2000


def is_hdf5(path: str) -> bool:
    """Return whether a file is HDF5, by its content as BVLC Caffe decides, whatever its name is.

    A file that is not there, or is empty, is HDF5 if its name ends with .h5.
    """
    try:
        with files.open_regular(path) as file:
            size, offset = file.seek(0, os.SEEK_END), 0
            while offset + len(SIGNATURE) <= size:
                file.seek(offset)
                if file.read(len(SIGNATURE)) == SIGNATURE:
                    return True
                offset = max(512, 2 * offset)
    except (OSError, FileError):
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
def opened(path: str, kind: str = "a complete HDF5 file of Caffe's") -> Iterator[Any]:
    """Yield an existing `h5py.File`. Raises FileError for every fault of its content."""
    import h5py  # Only programs that use HDF5 pay for the import.

    try:
        files.check_regular(path)
        with h5py.File(path, "r") as file:
            yield file
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"{path}: no memory for its values: {error}") from None
    # h5py raises exceptions of many types for damaged files.
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FileError(f"{path}: is not {kind}: {reason}") from None


def read_values(path: str, dataset: Any) -> np.ndarray:
    """Return the numbers of a dataset, once its type and size are checked. Raises FileError."""
    import h5py  # Only programs that use HDF5 pay for the import.

    if not isinstance(dataset, h5py.Dataset):
        raise FileError(f"{path}: has no dataset where one is needed")
    place, shape = f"{path}: dataset {dataset.name!r}", dataset.shape
    if shape is None or dataset.dtype.kind not in "fiu" or dataset.dtype.shape:
        raise FileError(f"{place} has the type {dataset.dtype}; numbers are needed")
    if dataset.size > INT_MAX:
        raise FileError(f"{place} has the shape {shape}; it can have at most {INT_MAX} values")
    stored = dataset.id.get_storage_size()
    if dataset.size * dataset.dtype.itemsize > MAX_RATIO * stored:
        raise FileError(
            f"{place} has the shape {shape}, but the file has {stored} bytes of its values; write "
            "the file again"
        )
    return dataset[...]


def _stored(path: str, dataset: Any) -> StoredBlob:
    values = read_values(path, dataset)
    return StoredBlob(path, values.shape, values)


def read_net(path: str) -> StoredLayers:
    """Return the layers of a weights file. Raises FileError if it cannot be read."""
    with opened(path) as file:
        return list(_layers(path, _group(path, file, "data"), None, 0))


def _group(path: str, parent: Any, name: str) -> Any:
    import h5py  # Only programs that use HDF5 pay for the import.

    group = parent[name]
    if not isinstance(group, h5py.Group):
        raise FileError(f"{path}: {name!r} is not a group; files of Caffe have a group there")
    return group


def _layers(path: str, group: Any, name: str | None, depth: int) -> Iterator[tuple]:
    """Yield the name and the blobs of each layer in a group.

    name: the name that the group has as a layer; None for the group of all layers.
    """
    import h5py  # Only programs that use HDF5 pay for the import.

    if depth > MAX_DEPTH:
        raise FileError(f"{path}: has groups inside groups, more than {MAX_DEPTH} deep")
    links = list(group)
    for link in links:
        if not isinstance(group.get(link, getlink=True), h5py.HardLink):
            raise FileError(f"{path}: {link!r} is a link to another place; the values are needed")
    blobs = [link for link in links if name is not None and _is_blob(group, link)]
    inner = [link for link in links if link not in blobs]
    # A group that holds groups alone is a part of their names, and no layer.
    if name is not None and (blobs or not inner):
        yield name, {int(link): _stored(path, group[link]) for link in blobs}
    for link in inner:
        child = _group(path, group, link)
        inner_name = link if name is None else f"{name}/{link}"
        if LAYER_NAME in child.attrs:
            inner_name = _escaped_name(path, child)
        yield from _layers(path, child, inner_name, depth + 1)


def _is_blob(group: Any, link: str) -> bool:
    import h5py  # Only programs that use HDF5 pay for the import.

    return bool(_INDEX.fullmatch(link)) and isinstance(group[link], h5py.Dataset)


def _escaped_name(path: str, group: Any) -> str:
    value = np.asarray(group.attrs[LAYER_NAME])
    if value.dtype.kind != "u" or value.ndim != 1:
        raise FileError(f"{path}: the attribute {LAYER_NAME} of {group.name!r} is not text")
    return value.astype(np.uint8).tobytes().decode("utf-8", "replace")


def group_paths(names: Sequence[str]) -> dict[str, str]:
    """Return the path of the group of each layer name.

    That is the name, if the path leads to a group of its own that is read back under this name.
    """
    paths = {name: name for name in names if _is_path(name)}
    for name in names:
        if name not in paths:
            escaped = "%" + quote(name, safe="")
            while escaped in paths.values():
                escaped = "%" + escaped
            paths[name] = escaped
    return paths


def _is_path(name: str) -> bool:
    first, *others = name.split("/")
    # A later part in digits could be the dataset of a blob.
    plain = all(part not in ("", ".") for part in (first, *others)) and "\0" not in name
    return plain and len(others) < MAX_DEPTH and not any(map(_INDEX.fullmatch, others))


def write_net(path: str, layers: Sequence[LayerWeights], with_diff: bool = False) -> None:
    """Write weights, and with `with_diff` their gradients.

    As in BVLC Caffe, the values of a shared parameter are written with its first layer alone, but
    its gradient with every layer. Raises FileError if the file cannot be written, and for two
    layers of one name.
    """
    names = [layer.param.name for layer in layers]
    for name, count in Counter(names).items():
        if count > 1:
            raise FileError(f"{path}: two layers have the name {name!r}; HDF5 holds one of a name")
    paths = group_paths(names)
    with create(path) as file:
        for layer in layers:
            group = _new_group(file, "data", layer.param.name, paths)
            for i, blob in enumerate(layer.blobs):
                if i not in layer.shared:
                    group.create_dataset(str(i), data=_values(blob))
        for layer in layers if with_diff else ():
            group = _new_group(file, "diff", layer.param.name, paths)
            for i, blob in enumerate(layer.blobs):
                if isinstance(blob, Blob):
                    group.create_dataset(str(i), data=contiguous_array(blob.gradient))


def _values(blob: Blob | StoredBlob) -> np.ndarray:
    """Return the values of a parameter of a net or of a file, in the parameter's shape."""
    if isinstance(blob, Blob):
        return contiguous_array(blob.values)
    return blob.data.reshape(blob.shape)


def _new_group(file: Any, part: str, name: str, paths: dict[str, str]) -> Any:
    group = file.require_group(part).require_group(paths[name])
    if paths[name] != name:
        group.attrs[LAYER_NAME] = np.frombuffer(name.encode(), np.uint8)
    return group


def read_state(path: str) -> SolverState:
    """Return the content of a solver state. Raises FileError if it cannot be read."""
    with opened(path) as file:
        history = _group(path, file, "history")
        return SolverState(
            _integer(path, file["iter"]),
            _text(path, file["learned_net"]) if "learned_net" in file else "",
            _integer(path, file["current_step"]),
            [_stored(path, history[str(i)]) for i in range(len(history))],
        )


def _integer(path: str, dataset: Any) -> int:
    values = read_values(path, dataset)
    if values.size != 1 or values.dtype.kind not in "iu":
        raise FileError(f"{path}: {dataset.name!r} has {values.size} values; one integer is needed")
    return int(values.reshape(-1)[0])


def _text(path: str, dataset: Any) -> str:
    import h5py  # Only programs that use HDF5 pay for the import.

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "SO" or dataset.shape:
        raise FileError(f"{path}: {dataset.name!r} is not text")
    value = dataset[()]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def write_state(
    path: str, iteration: int, learned_net: str, current_step: int, history: Sequence[Blob]
) -> None:
    """Write a solver state. Raises FileError if the file cannot be written."""
    with create(path) as file:
        file["iter"] = np.array([iteration], np.int32)
        # One byte more than the name has, for the zero at which C programs stop reading.
        name = os.fsencode(learned_net)
        file["learned_net"] = np.array(name, f"S{len(name) + 1}")
        file["current_step"] = np.array([current_step], np.int32)
        group = file.create_group("history")
        for i, blob in enumerate(history):
            group.create_dataset(str(i), data=contiguous_array(blob.values))
