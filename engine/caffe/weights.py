""".caffemodel and .solverstate files, binary and HDF5, read without a detour, written whole.

Protobuf's own parser would make a Python number of each of a net's 134 million weights. The binary
files are walked here field by field in mapped pages instead. The weights are read from the file to
where they stay, by as many threads as compute, those of large layers when they are first needed.
The pages themselves do not become the weights: values begin at any byte, three times in four not at
a multiple of 4, and a program whose weights are a file's pages ends with SIGBUS when another one
cuts the file short. A file that was changed before it was read is refused; one that was replaced
(by rename, as this engine writes them) or removed stays what it was when it was loaded.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from .blob import Blob
from .errors import CaffeError
from .memory import Memory, MemoryView
from .proto import caffe_pb2

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass
class Stored:
    """A blob in a file: its shape, its values, and its gradient if that was saved too."""

    shape: tuple[int, ...]
    data: np.ndarray
    diff: np.ndarray | None = None
    #: The shape was given as num, channels, height, width.
    legacy: bool = False

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a blob of this shape can take the values."""
        if self.legacy:
            return len(shape) <= 4 and (1,) * (4 - len(shape)) + tuple(shape) == self.shape
        return tuple(shape) == self.shape

    def copy_to(self, blob: Blob) -> None:
        """Write the values, and the gradient if there is one, into `blob`.

        Many values that lie in a file are read when somebody asks for them.
        """
        for memory, values in ((blob.values, self.data), (blob.gradient, self.diff)):
            if values is None:
                continue
            read = _Reading(values, blob.shape)
            waits = values.nbytes >= LARGE and _pages(values) is not None
            if waits and isinstance(memory, Memory) and not memory.held():
                memory.defer(read)
            else:
                memory.set(read())


class _Pages(mmap.mmap):
    """The pages of a file, which stays open, under `handle`, as long as they are there."""

    handle: int
    path: str
    state: tuple[int, int]

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)

    def changed(self) -> bool:
        """Whether the file was written to since it was mapped."""
        return self.state != _state(self.handle)


def _state(handle: int) -> tuple[int, int]:
    found = os.fstat(handle)
    return found.st_size, found.st_mtime_ns


#: So many bytes are read when they are first needed, and a thread reads so many at a time.
LARGE, PIECE = 1 << 24, 1 << 23


def _pages(values: np.ndarray) -> _Pages | None:
    """The file in which the values lie as they are needed."""
    pages = getattr(values.base, "obj", None)
    able = values.dtype == np.float32 and hasattr(os, "preadv")
    return pages if able and isinstance(pages, _Pages) else None


class _Reading:
    """Stored values as a tensor in memory of its own, read once, whichever thread asks."""

    def __init__(self, values: np.ndarray, shape: Sequence[int]) -> None:
        self._values, self._shape = values, shape
        self._lock = threading.Lock()
        self._read: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        with self._lock:
            if self._read is None:
                self._read = _own(self._values).view(self._shape)
            return self._read

    def rounded(self, dtype: torch.dtype) -> torch.Tensor:
        """The values in a lower precision, of which float32 is in memory a piece at a time."""
        with self._lock:
            if self._read is not None:
                return self._read.to(dtype)
        return _own(self._values, dtype).view(self._shape)


def _own(values: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The values in memory of their own, read from their file where they lie in one."""
    pages = _pages(values)
    if pages is None:
        own = torch.from_numpy(values.astype(np.float32, copy=not values.flags.writeable))
        return own.to(dtype)
    first = values.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    exact, each = dtype == torch.float32, max(1, PIECE // values.itemsize)
    # NumPy's arrays ask for pages of 2 MB, which a virtual machine may take 0.5 s longer to find.
    own = torch.empty(values.size, dtype=dtype)

    def read(start: int) -> None:
        part = own[start : start + each]
        piece = part if exact else torch.empty(len(part))
        room, at = piece.numpy().view(np.uint8).data, 0
        while at < len(room):
            count = os.preadv(pages.handle, [room[at:]], first + start * values.itemsize + at)
            if not count:
                break
            at += count
        if not exact:
            part.copy_(piece)

    try:
        _for_each(read, range(0, len(own), each))
    except OSError as error:
        raise CaffeError(f"{pages.path}: cannot be read: {error.strerror}") from None
    if pages.changed():
        raise CaffeError(f"{pages.path}: was changed before its weights were read; load it again")
    return own


def _for_each(call: Callable[[int], None], items: Sequence[int]) -> None:
    """`call` of each item, in as many threads as compute."""
    if len(items) > 1:
        with suppress(RuntimeError):  # no thread begins while Python ends
            with ThreadPoolExecutor(torch.get_num_threads()) as threads:
                list(threads.map(call, items))
            return
    for item in items:
        call(item)


class _TruncatedError(Exception):
    """The bytes end, or stop making sense, in the middle of a field."""


def _varint(buffer: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(buffer) or shift > 63:
            raise _TruncatedError
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(buffer: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The (number, wire type, value) of each field; values are integers or memoryviews."""
    at = 0
    while at < len(buffer):
        tag, at = _varint(buffer, at)
        wire = tag & 7
        if wire == VARINT:
            value, at = _varint(buffer, at)
            yield tag >> 3, wire, value
            continue
        if wire == BYTES:
            size, at = _varint(buffer, at)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise _TruncatedError
        if at + size > len(buffer):
            raise _TruncatedError
        yield tag >> 3, wire, buffer[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _varints(buffer: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(buffer):
        value, at = _varint(buffer, at)
        values.append(_signed(value))
    return values


def _blob(buffer: memoryview) -> Stored:
    """A BlobProto."""
    shape: list[int] | None = None
    legacy = {1: 0, 2: 0, 3: 0, 4: 0}
    old = False
    parts: dict[int, list[memoryview]] = {5: [], 6: [], 8: [], 9: []}
    for number, wire, value in _fields(buffer):
        if number == 7 and wire == BYTES:
            shape = []
            for inner, inner_wire, dim in _fields(value):
                if inner == 1:
                    shape += _varints(dim) if inner_wire == BYTES else [_signed(dim)]
        elif number in parts and wire != VARINT:
            parts[number].append(value)
        elif number in legacy and wire == VARINT:
            legacy[number], old = _signed(value), True
    arrays = {}
    for number, pieces in parts.items():
        kind = np.dtype("<f4" if number < 7 else "<f8")
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(whole) % kind.itemsize:
            raise _TruncatedError
        arrays[number] = np.frombuffer(whole, kind)
    # double_data is what a double-precision solver wrote; it counts before data, as in Caffe.
    data = arrays[8] if arrays[8].size else arrays[5]
    diff = arrays[9] if arrays[9].size else arrays[6]
    use_legacy = old and shape is None
    size = tuple(legacy.values()) if use_legacy else tuple(shape or ())
    if data.size != math.prod(size):
        raise CaffeError(f"a blob of shape {size} holds {data.size} values")
    return Stored(size, data, diff if diff.size == data.size else None, use_legacy)


def _map(path: str) -> memoryview:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            pages = _Pages(file.fileno(), 0, access=mmap.ACCESS_READ)
            pages.handle, pages.path = os.dup(file.fileno()), path
            pages.state = _state(pages.handle)
            return memoryview(pages)
    except OSError as error:
        raise CaffeError(f"{path}: cannot be read: {error.strerror}") from None


@contextmanager
def _about(path: str, kind: str, size: int) -> Iterator[None]:
    """Name the file in whatever is found wrong with its bytes."""
    try:
        yield
    except _TruncatedError:
        raise CaffeError(
            f"{path}: is not a whole {kind} file ({size} bytes); it is truncated, or not a {kind} "
            "file at all; fetch or write it again"
        ) from None
    except CaffeError as error:
        raise CaffeError(f"{path}: {error}") from None


def _text(buffer: memoryview) -> str:
    return bytes(buffer).decode("utf-8", "replace")


def is_hdf5(path: str) -> bool:
    """Whether Caffe takes the file for HDF5: by its name, as BVLC Caffe does."""
    return path.endswith(".h5")


def read_net(path: str) -> list[tuple[str, dict[int, Stored]]]:
    """The layers of a .caffemodel (of any age) or .h5 file: names, and blobs by index.

    The arrays lie over the file's pages; `Stored.copy_to` reads them. Raises CaffeError for a file
    that is not whole.
    """
    if is_hdf5(path):
        return _read_net_hdf5(path)
    buffer = _map(path)
    now, v1, v0 = [], [], []
    with _about(path, ".caffemodel", len(buffer)):
        for number, wire, value in _fields(buffer):
            if number == 100 and wire == BYTES:
                now.append(_layer(value, 1, 7))
            elif number == 2 and wire == BYTES:
                v1.append(_layer(value, 4, 6))
                inner = [part for n, w, part in _fields(value) if n == 1 and w == BYTES]
                v0 += [_layer(part, 1, 50) for part in inner]
        if now and v1 and not v0:
            raise CaffeError("has both `layer` and `layers`, and is thus of no known form")
        if not (now or v1):
            raise CaffeError("has no layers; a .caffemodel file is needed")
    return [(name, dict(enumerate(blobs))) for name, blobs in v0 or v1 or now]


def _layer(buffer: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[Stored]]:
    """The name and the blobs of a layer message, which are fields of these numbers."""
    name, blobs = "", []
    for number, wire, value in _fields(buffer):
        if number == name_field and wire == BYTES:
            name = _text(value)
        elif number == blobs_field and wire == BYTES:
            blobs.append(_blob(value))
    return name, blobs


@dataclass
class State:
    """A solver's state in a file."""

    iter: int
    learned_net: str
    current_step: int
    history: list[Stored]


def read_state(path: str) -> State:
    """The content of a .solverstate or .solverstate.h5 file."""
    if is_hdf5(path):
        return _read_state_hdf5(path)
    buffer = _map(path)
    state = State(0, "", 0, [])
    seen = False
    with _about(path, ".solverstate", len(buffer)):
        for number, wire, value in _fields(buffer):
            if number == 1 and wire == VARINT:
                state.iter, seen = value, True
            elif number == 2 and wire == BYTES:
                state.learned_net = _text(value)
            elif number == 3 and wire == BYTES:
                state.history.append(_blob(value))
            elif number == 4 and wire == VARINT:
                state.current_step = value
        if not seen:
            raise CaffeError("has no iteration; a .solverstate file is needed")
    return state


# ---- writing -----------------------------------------------------------------------------------


@contextmanager
def atomic(path: str) -> Iterator[IO[bytes]]:
    """A file that appears under `path` only once it is whole and on disk."""
    folder = os.path.dirname(path) or "."
    try:
        handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=folder)
    except OSError as error:
        raise CaffeError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        raise CaffeError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _encode_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _header(number: int, size: int) -> bytes:
    return _encode_varint(number << 3 | BYTES) + _encode_varint(size)


Chunks = list[Any]  # of bytes and arrays


def _size(chunks: Chunks) -> int:
    return sum(c.nbytes if isinstance(c, np.ndarray) else len(c) for c in chunks)


def _wrap(number: int, chunks: Chunks) -> Chunks:
    """`chunks` as the content of one length-delimited field."""
    return [_header(number, _size(chunks)), *chunks]


def _floats(memory: Memory | MemoryView) -> np.ndarray:
    return memory.tensor().contiguous().numpy()


def _blob_chunks(blob: Blob, with_diff: bool) -> Chunks:
    dims = b"".join(_encode_varint(n) for n in blob.shape)
    chunks: Chunks = []
    if blob.count:
        chunks += _wrap(5, [_floats(blob.values)])
        if with_diff:
            chunks += _wrap(6, [_floats(blob.gradient)])
    return chunks + _wrap(7, _wrap(1, [dims]) if dims else [])


def _write(path: str, chunks: Chunks) -> None:
    with atomic(path) as file:
        for chunk in chunks:
            file.write(chunk.data if isinstance(chunk, np.ndarray) else chunk)


class LayerWeights(NamedTuple):
    """A layer to be written: its LayerParameter, its parameters, and those owned by other layers.

    shared: the indices of the parameters that belong to an earlier layer.
    """

    param: Any
    blobs: Sequence[Blob]
    shared: frozenset[int] = frozenset()


def write_net(
    path: str, name: str, layers: Sequence[LayerWeights], with_diff: bool = False
) -> None:
    """Write a net as a .caffemodel, byte for byte as BVLC Caffe writes it."""
    chunks: Chunks = _wrap(1, [name.encode()])
    for layer in layers:
        before, after = caffe_pb2.LayerParameter(), caffe_pb2.LayerParameter()
        before.CopyFrom(layer.param)
        after.CopyFrom(layer.param)
        for field, _ in layer.param.ListFields():
            (after if field.number < 7 else before).ClearField(field.name)
            if field.number == 7:
                after.ClearField(field.name)
        content: Chunks = [before.SerializeToString()]
        for blob in layer.blobs:
            content += _wrap(7, _blob_chunks(blob, with_diff))
        content.append(after.SerializeToString())
        chunks += _wrap(100, content)
    _write(path, chunks)


def write_state(
    path: str, iteration: int, learned_net: str, current_step: int, history: Sequence[Blob]
) -> None:
    """Write a solver's state as a .solverstate, the bytes that BVLC Caffe writes."""
    chunks: Chunks = [b"\x08", _encode_varint(iteration), *_wrap(2, [learned_net.encode()])]
    for blob in history:
        chunks += _wrap(3, _blob_chunks(blob, False))
    chunks += [b"\x20", _encode_varint(current_step)]
    _write(path, chunks)


# ---- HDF5 --------------------------------------------------------------------------------------


@contextmanager
def _open_hdf5(path: str) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError) as error:
        raise CaffeError(f"{path}: is not a whole HDF5 file of Caffe's: {error}") from None


@contextmanager
def new_hdf5(path: str) -> Iterator[Any]:
    import h5py

    with atomic(path) as whole, h5py.File(whole, "w") as file:
        yield file


def _read_net_hdf5(path: str) -> list[tuple[str, dict[int, Stored]]]:
    with _open_hdf5(path) as file:
        return [
            (name, {int(i): _stored(blob) for i, blob in group.items()})
            for name, group in file["data"].items()
        ]


def _stored(dataset: Any) -> Stored:
    values = dataset[...]
    return Stored(values.shape, values)


def write_net_hdf5(path: str, layers: Sequence[LayerWeights], with_diff: bool = False) -> None:
    """Write weights as HDF5: /data/LAYER/INDEX, and /diff/LAYER/INDEX with `with_diff`.

    As in BVLC Caffe, a shared parameter's weights are with its first layer alone.
    """
    with new_hdf5(path) as file:
        for what in ("data", "diff") if with_diff else ("data",):
            for layer in layers:
                group = file.require_group(f"{what}/{layer.param.name}")
                for i, blob in enumerate(layer.blobs):
                    if what == "data" and i in layer.shared:
                        continue
                    memory = blob.values if what == "data" else blob.gradient
                    group.create_dataset(str(i), data=_floats(memory))


def _read_state_hdf5(path: str) -> State:
    with _open_hdf5(path) as file:
        name = file["learned_net"][()] if "learned_net" in file else b""
        history = file["history"]
        return State(
            int(np.ravel(file["iter"][()])[0]),
            name.decode() if isinstance(name, bytes) else str(name),
            int(np.ravel(file["current_step"][()])[0]),
            [_stored(history[str(i)]) for i in range(len(history))],
        )


def write_state_hdf5(
    path: str, iteration: int, learned_net: str, current_step: int, history: Sequence[Blob]
) -> None:
    """Write a solver's state as HDF5: iter, learned_net, current_step, /history/INDEX."""
    with new_hdf5(path) as file:
        file["iter"] = np.array([iteration], np.int32)
        # With room for the zero byte at which C programs stop reading.
        name = learned_net.encode()
        file["learned_net"] = np.array(name, f"S{len(name) + 1}")
        file["current_step"] = np.array([current_step], np.int32)
        group = file.create_group("history")
        for i, blob in enumerate(history):
            group.create_dataset(str(i), data=_floats(blob.values))
