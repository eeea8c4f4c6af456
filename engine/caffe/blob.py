"""Blobs: a tensor and its gradient, seen from outside as NumPy arrays."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np
import torch

from .errors import CaffeError

CPU = torch.device("cpu")


class Head(Enum):
    """Where the newest values of a `Memory` are."""

    ZERO = "zero"  # nowhere: all zeros, not yet allocated
    HOST = "host"
    DEVICE = "device"
    SYNCED = "synced"
    DEFERRED = "deferred"  # nowhere yet: worked out when they are asked for


class Memory:
    """Values kept in step between host and one device, as Caffe's SyncedMemory does.

    They are float32, or of the lower precision that a layer left them in; as an array, float32.

    A NumPy array that `numpy` handed out stays this memory while anybody holds it: later values are
    copied into it. While nobody does, `set` takes a tensor over without a copy.
    """

    __slots__ = (
        "_deferred",
        "_device",
        "_exported",
        "_head",
        "_home",
        "_host",
        "_lent",
        "_watchers",
        "shape",
        "version",
    )

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = torch.Size(shape)
        self._host: torch.Tensor | None = None
        self._device: torch.Tensor | None = None
        self._head = Head.ZERO
        self._exported: weakref.ref | None = None
        self._deferred: Callable[[], torch.Tensor] | None = None
        self._watchers: dict[int, Callable[[], None]] = {}
        self._home: torch.Tensor | None = None
        self._lent = -1
        #: Counts the occasions on which the values may have become others.
        self.version = 0

    def defer(self, values: Callable[[], torch.Tensor]) -> None:
        """Let `values()`, of the present shape, be the values, worked out when they are needed."""
        self._changing()
        self._forget()
        self._deferred, self._head = values, Head.DEFERRED

    def is_deferred(self) -> bool:
        """Whether the values wait to be worked out."""
        return self._head is Head.DEFERRED

    def rounded(self, dtype: torch.dtype) -> torch.Tensor | None:
        """The values in a lower precision, if they wait where they can be read so, and still do."""
        read = getattr(self._deferred, "rounded", None) if self.is_deferred() else None
        return None if read is None else read(dtype)

    def settle(self, values: Callable[[], torch.Tensor], tensor: torch.Tensor) -> None:
        """Take `tensor` for what `values()` would give, if that is still waited for."""
        if self._deferred is values:
            self._take(tensor)

    def watch(self, owner: object, changing: Callable[[], None]) -> None:
        """Have `changing()` called once, before the values may next become others.

        An owner has one such call; a later one takes its place.
        """
        self._watchers[id(owner)] = changing

    def _changing(self) -> None:
        self.version += 1
        while self._watchers:
            self._watchers.popitem()[1]()

    def reshape(self, shape: Sequence[int]) -> None:
        """Take another shape; the values stay, in memory order, as far as they reach."""
        shape = torch.Size(shape)
        if shape == self.shape:
            return
        self._changing()
        if self._head is not Head.ZERO:
            # Mostly nobody asks for what was left from before a change of shape.
            left = self._deferred or (self._device if self._head is Head.DEVICE else self._host)
            assert left is not None
            self._forget()
            self._deferred = _refitting(left, shape)
            self._head = Head.DEFERRED
        self.shape = shape

    def zero(self) -> None:
        """Set every value to zero, without touching memory until the values are asked for."""
        if self._export() is None:
            self._changing()
            self._forget()
            self._head = Head.ZERO
        else:
            self.set(torch.zeros(self.shape))

    def let_go(self) -> None:
        """Free the values, which are about to be replaced, unless somebody holds them."""
        if not self.held():
            self.zero()

    def is_zero(self) -> bool:
        """Whether the values are known to be zero because nothing was written since `zero`."""
        return self._head is Head.ZERO

    def home(self, like: torch.Tensor) -> torch.Tensor:
        """A tensor laid out as `like`, kept for values that come again and again."""
        home = self._home
        if home is None or (home.shape, home.stride(), home.device) != (
            like.shape,
            like.stride(),
            like.device,
        ):
            home = self._home = torch.empty_like(like, requires_grad=False)
        return home

    def room(self, like: torch.Tensor) -> torch.Tensor | None:
        """`home`, to be filled for the next `set` or `add`; None if anything may be in there.

        Values so large are computed in place faster than in memory new to the process.
        """
        if self._head is not Head.ZERO or self._lent == self.version or self.held():
            return None
        self._lent = self.version
        return self.home(like)

    def tensor(self, on: torch.device = CPU) -> torch.Tensor:
        """The values as a tensor on device `on`, to be read."""
        if self._head is Head.ZERO:
            self._take(torch.zeros(self.shape, device=on))
        elif self._head is Head.DEFERRED:
            assert self._deferred is not None
            self._take(self._deferred())
        if on.type == "cpu":
            return self._to_host()
        if self._head is Head.HOST or self._device is None or self._device.device != on:
            self._device = self._to_host().to(on)
            self._head = Head.SYNCED
        return self._device

    def arrange(self, on: torch.device, layout: torch.memory_format) -> None:
        """Keep the values on a CUDA device in this layout of memory; they stay the same."""
        self._device = self.tensor(on).contiguous(memory_format=layout)

    def pour(self, into: torch.Tensor, stage: Stage) -> None:
        """Copy the values into a tensor on a CUDA device, which then is where they are.

        Returns before they are there, so that the device need not be waited for.
        """
        if self._head is Head.HOST:
            stage.copy(self.tensor(CPU), into)
            self._head = Head.SYNCED
        elif self.tensor(into.device) is not into:
            into.copy_(self.tensor(into.device))
        self._device = into

    def lies_in(self, tensor: torch.Tensor) -> bool:
        """Whether the values are in this tensor on a CUDA device."""
        return self._device is tensor and self._head in (Head.DEVICE, Head.SYNCED)

    def mutable(self, on: torch.device = CPU) -> torch.Tensor:
        """The values as a tensor on device `on`, to be written in place."""
        self._changing()
        tensor = self.tensor(on)
        if self._head is Head.SYNCED:
            self._head = Head.HOST if on.type == "cpu" else Head.DEVICE
        return tensor

    def set(self, tensor: torch.Tensor) -> None:
        """Let `tensor` be the values and the shape from now on."""
        self._changing()
        array = self._export()
        self.shape = tensor.shape
        if array is None or array.shape != tuple(tensor.shape):
            self._forget()
            self._take(tensor)
        elif tensor.device.type == "cpu":
            if tensor.data_ptr() != array.ctypes.data:
                np.copyto(array, tensor.detach().float().numpy())
            self._device, self._head = None, Head.HOST
        else:
            self._device, self._head = tensor, Head.DEVICE

    def add(self, tensor: torch.Tensor) -> None:
        """Add `tensor` to the values."""
        if self._head is Head.ZERO:
            self.set(tensor)
        else:
            self.mutable(tensor.device).add_(tensor)

    def held(self) -> bool:
        """Whether somebody holds an array over this memory, into which later values are copied."""
        return self._export() is not None

    def numpy(self) -> np.ndarray:
        """The values as a C-contiguous, writable float32 array over this memory."""
        self._changing()
        self.tensor(CPU)
        self._head, self._device = Head.HOST, None
        root = self._export()
        if root is None:
            assert self._host is not None
            self._host = self._host.float().contiguous()
            root = self._host.numpy()
            self._exported = weakref.ref(root)
        # A view of the root keeps the root alive; the root itself is never handed out, so that
        # nobody can change its shape.
        return root[...]

    def _export(self) -> np.ndarray | None:
        return self._exported() if self._exported is not None else None

    def _take(self, tensor: torch.Tensor) -> None:
        self._deferred = None
        if tensor.device.type == "cpu":
            self._host, self._head = tensor, Head.HOST
        else:
            self._device, self._head = tensor, Head.DEVICE

    def _forget(self) -> None:
        self._host = self._device = self._exported = self._deferred = None

    def _to_host(self) -> torch.Tensor:
        if self._head is Head.DEVICE:
            assert self._device is not None
            array = self._export()
            if array is not None:
                np.copyto(array, _fetched(self._device.float()).numpy())
            else:
                self._host = _fetched(self._device.float())
            self._head = Head.SYNCED
        assert self._host is not None
        return self._host


class Stage:
    """Page-locked memory on the way to a CUDA device.

    What is to be copied is first put here, so that it may change while the device is still busy
    with what came before.
    """

    def __init__(self) -> None:
        self._locked: torch.Tensor | None = None
        self._read: torch.cuda.Event | None = None

    def copy(self, values: torch.Tensor, into: torch.Tensor) -> None:
        """Copy from the host into a tensor of that shape on the device."""
        if self._locked is None:
            self._locked = torch.empty(values.shape, dtype=into.dtype, pin_memory=True)
            self._read = torch.cuda.Event()
        assert self._read is not None
        self._read.synchronize()
        # One thread copies faster than many that have to be woken.
        np.copyto(self._locked.numpy(), values.numpy())
        into.copy_(self._locked, non_blocking=True)
        self._read.record()


#: Bytes up to which values are copied from a device into page-locked memory, several times faster.
LOCKED = 1 << 27


def _fetched(values: torch.Tensor) -> torch.Tensor:
    """Values of a device on the host, in the order of their axes."""
    values = values.contiguous()  # many times faster there than here
    if values.device.type != "cuda" or values.nbytes > LOCKED:
        return values.cpu()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values)
    return host


def _refitting(
    left: torch.Tensor | Callable[[], torch.Tensor], shape: torch.Size
) -> Callable[[], torch.Tensor]:
    """What gives the values that are left, or that are given, in another shape."""
    return lambda: _fitted(left if isinstance(left, torch.Tensor) else left(), shape)


def _fitted(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The values in memory order as far as the shape reaches, then zeros."""
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(f"a blob takes the shape {tuple(shape)} while a graph is captured")
    flat, count = tensor.reshape(-1), math.prod(shape)
    if count > flat.numel():
        grown = flat.new_zeros(count)
        grown[: flat.numel()] = flat
        flat = grown
    return flat[:count].view(shape)


class MemoryView:
    """A `Memory` under another shape of as many elements."""

    __slots__ = ("_base", "shape")

    def __init__(self, base: Memory | MemoryView, shape: Sequence[int]) -> None:
        self._base = base
        self.shape = torch.Size(shape)

    def reshape(self, shape: Sequence[int]) -> None:
        if torch.Size(shape) != self.shape:
            raise CaffeError(
                f"a parameter shared under the shape {tuple(self.shape)} cannot become "
                f"{tuple(shape)}"
            )

    @property
    def version(self) -> int:
        return self._base.version

    def watch(self, owner: object, changing: Callable[[], None]) -> None:
        self._base.watch(owner, changing)

    def zero(self) -> None:
        self._base.zero()

    def is_zero(self) -> bool:
        return self._base.is_zero()

    def home(self, like: torch.Tensor) -> torch.Tensor:
        """A tensor laid out as `like`; values shared under several shapes keep none."""
        return torch.empty_like(like, requires_grad=False)

    def room(self, like: torch.Tensor) -> torch.Tensor | None:
        """None: values shared under several shapes keep no room."""
        return None

    def rounded(self, dtype: torch.dtype) -> torch.Tensor | None:
        """None: values shared under several shapes are read whole."""
        return None

    def arrange(self, on: torch.device, layout: torch.memory_format) -> None:
        """Values shared under several shapes stay as they are."""

    def lies_in(self, tensor: torch.Tensor) -> bool:
        return False

    def tensor(self, on: torch.device = CPU) -> torch.Tensor:
        return self._base.tensor(on).reshape(self.shape)

    def mutable(self, on: torch.device = CPU) -> torch.Tensor:
        return self._base.mutable(on).view(self.shape)

    def set(self, tensor: torch.Tensor) -> None:
        self._base.set(tensor.reshape(self._base.shape))

    def add(self, tensor: torch.Tensor) -> None:
        self._base.add(tensor.reshape(self._base.shape))

    def held(self) -> bool:
        return self._base.held()

    def numpy(self) -> np.ndarray:
        return self._base.numpy().reshape(self.shape)


def laid_out_as(memory: Memory | MemoryView, like: torch.Tensor) -> torch.Tensor:
    """The values, to be written, where and as `like` lies in memory, which is without gaps."""
    tensor = memory.mutable(like.device)
    if (tensor.stride(), tensor.dtype) != (like.stride(), like.dtype):
        memory.set(torch.empty_like(like).copy_(tensor))
        tensor = memory.mutable(like.device)
    return tensor


def _check(shape: Sequence[int]) -> None:
    if any(not isinstance(n, (int, np.integer)) or n < 0 for n in shape):
        raise CaffeError(f"a blob cannot take the shape {tuple(shape)}; it needs integers >= 0")


class Blob:
    """An N-dimensional array of float32 `data` with its gradient `diff` of the same shape."""

    __slots__ = ("__weakref__", "_data", "_diff")

    def __init__(self, shape: Sequence[int] = ()) -> None:
        _check(shape)
        self._data: Memory | MemoryView = Memory(shape)
        self._diff: Memory | MemoryView = Memory(shape)

    @property
    def data(self) -> np.ndarray:
        """The values, a writable float32 array that is the blob's own memory."""
        return self._data.numpy()

    @property
    def diff(self) -> np.ndarray:
        """The gradient, a writable float32 array that is the blob's own memory."""
        return self.gradient.numpy()

    @property
    def memories(self) -> tuple[Memory | MemoryView, Memory | MemoryView]:
        """Those behind `data` and `diff`, as they are."""
        return self._data, self._diff

    @property
    def values(self) -> Memory | MemoryView:
        """The memory behind `data`, for layers."""
        return self._data

    @property
    def gradient(self) -> Memory | MemoryView:
        """The memory behind `diff`, for layers and solvers."""
        self.resize_gradient()
        return self._diff

    def resize_gradient(self) -> None:
        """Give the gradient the values' shape, as asking for it does."""
        if self._diff.shape != self._data.shape:
            self._diff.reshape(self._data.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._data.shape)

    @property
    def count(self) -> int:
        return math.prod(self._data.shape)

    @property
    def num(self) -> int:
        return self._legacy(0)

    @property
    def channels(self) -> int:
        return self._legacy(1)

    @property
    def height(self) -> int:
        return self._legacy(2)

    @property
    def width(self) -> int:
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self.shape) > 4:
            raise CaffeError(
                f"a blob of shape {self.shape} has no num, channels, height, width; these need at "
                "most 4 axes, use shape instead"
            )
        return self.shape[axis] if axis < len(self.shape) else 1

    def reshape(self, *shape: int) -> None:
        """Take the shape given as separate integers; values stay in memory order."""
        self.resize(shape)

    def resize(self, shape: Sequence[int]) -> None:
        """Take the shape given as one sequence."""
        _check(shape)
        self._data.reshape(shape)

    def share_data(self, other: Blob) -> None:
        """Have `other`'s data as this blob's data, now and later."""
        self._data = other._data

    def share_diff(self, other: Blob) -> None:
        """Have `other`'s gradient as this blob's gradient, now and later."""
        self._diff = other._diff

    def view(self, shape: Sequence[int]) -> Blob:
        """A blob over the same data and gradient, under another shape of as many elements."""
        blob = Blob()
        blob._data = MemoryView(self.values, shape)
        blob._diff = MemoryView(self.gradient, shape)
        return blob


class BlobVec(list):
    """The parameters of a layer, a list of Blob that can grow by a shape."""

    def add_blob(self, *shape: int) -> None:
        """Append a blob of zeros of this shape."""
        self.append(Blob(shape))
