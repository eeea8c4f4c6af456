"""The memory of a blob: values that are kept in step between the host and one device."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import repeat
from operator import attrgetter, is_
from sys import getrefcount
from typing import Any

import numpy as np
import torch

from .device_copies import Stage, fetch
from .errors import CaffeError
from .lazy import ALL
from .lease import Share

CPU = torch.device("cpu")
#: Values that are set to zero in less time than a new place for them takes.
FEW = 1 << 14


class _Kept:
    """An object that has an attribute and a local variable as its only references."""

    def __init__(self) -> None:
        self.kept = np.zeros(1)

    def references(self) -> int:
        """Return the number of references that Python counts."""
        kept = self.kept
        return getrefcount(kept)


#: The references to an array that a memory alone keeps, as Python counts them in `Memory._export`.
UNHELD = _Kept().references()


class Head(Enum):
    """Where the newest values of a `Memory` are."""

    ZERO = "zero"  # nowhere: all zeros, not yet allocated
    HOST = "host"
    DEVICE = "device"
    SYNCED = "synced"
    DEFERRED = "deferred"  # nowhere yet: computed when somebody asks for them


class Memory:
    """Values kept in step between host and one device, as Caffe's SyncedMemory keeps them.

    The values are float32, or of the lower precision in which a layer left them; as an array they
    are float32.

    A NumPy array that `numpy` returned stays this memory while anybody holds the array: later
    values are copied into it. While nobody does, `set` takes a tensor over without a copy.

    A memory has room for as many values as its largest shape. A shape that fits keeps the memory,
    with the values beyond the shape, as in BVLC Caffe; a larger shape starts from zeros.

    shape: a torch.Size.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_buffer_of",
        "_capacity",
        "_deferred",
        "_device",
        "_exported",
        "_head",
        "_home",
        "_home_lent_at",
        "_host",
        "_observers",
        "_root",
        "_root_of",
        "_version",
        "leases",
        "shape",
    )

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = torch.Size(shape)
        self._version = 0
        #: The lease that the memory ends before its values move.
        self.leases: tuple[Share, ...] = ()
        #: The number of values that there is room for.
        self._capacity = math.prod(self.shape)
        #: A flat tensor of the values, followed by the values beyond the shape; None if those are
        #: zero. An exported array is over this tensor.
        self._buffer: torch.Tensor | None = None
        #: The host's tensor, if it takes up all of the buffer.
        self._buffer_of: torch.Tensor | None = None
        self._host: torch.Tensor | None = None
        self._device: torch.Tensor | None = None
        self._head = Head.ZERO
        self._exported: weakref.ref | None = None
        #: The exported array, which is slow to make, and its tensor.
        self._root: np.ndarray | None = None
        self._root_of: torch.Tensor | None = None
        self._deferred: Callable[[], torch.Tensor] | None = None
        self._observers: dict[int, weakref.WeakMethod] = {}
        self._home: torch.Tensor | None = None
        self._home_lent_at = -1

    @property
    def root(self) -> Memory:
        """This memory; see `MemoryView.root`."""
        return self

    @property
    def version(self) -> int:
        """How often the values may have changed."""
        return self._version + sum([share.passes for share in self.leases])

    def count_changes(self, count: int) -> None:
        """Add to the version."""
        self._version += count

    def end_leases(self) -> None:
        """End the leases of the memory, before its values move or somebody observes them."""
        while self.leases:
            self.leases[0].lease.end()

    def defer(self, compute: Callable[[], torch.Tensor]) -> None:
        """Let `compute()`, of the present shape, be the values, computed when they are needed.

        `compute` may have a method `rounded(dtype, rows)` that gives values in a lower precision.
        """
        self.before_change()
        self._forget()
        self._deferred, self._head = compute, Head.DEFERRED

    def is_deferred(self) -> bool:
        """Return whether the values are still to be computed."""
        return self._head is Head.DEFERRED

    def settle(self, compute: Callable[[], torch.Tensor], tensor: torch.Tensor) -> None:
        """Use `tensor` as the result of `compute()`, if the memory is deferred to this function."""
        if self._deferred is compute:
            self._take(tensor)

    def rounded(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor | None:
        """Return the values in a lower precision, or None if they cannot be read in it.

        rows: which part of the first axis.
        """
        read = getattr(self._deferred, "rounded", None) if self.is_deferred() else None
        return None if read is None else read(dtype, rows)

    def watch(self, owner: object, before_change: Callable[[], None]) -> weakref.WeakMethod:
        """Call `before_change()` once, before the values may next change.

        before_change: a bound method. The memory refers to its object weakly, so that an observer
        of weights that several nets share lives no longer than its own net.
        owner: has one observer; a later one replaces the one before.
        Return the observer, with which `watch_again` costs less.
        """
        self.end_leases()
        key, observers = id(owner), self._observers

        def remove(dead: Any) -> None:
            if observers.get(key) is dead:
                del observers[key]

        observers[key] = observer = weakref.WeakMethod(before_change, remove)
        return observer

    def watch_again(self, owner: object, observer: weakref.WeakMethod) -> None:
        """Do as `watch`, which has returned the observer for this memory and owner."""
        self.end_leases()
        self._observers[id(owner)] = observer

    def observer_count(self) -> int:
        """Return the number of observers that are registered."""
        return len(self._observers)

    def before_change(self) -> None:
        """Count a change of the values, and call the observers; called before the change."""
        self._version += 1
        if self._observers:
            self._notify()

    def _notify(self) -> None:
        while self._observers:
            before_change = self._observers.popitem()[1]()
            if before_change is not None:
                before_change()

    def reshape(self, shape: Sequence[int]) -> None:
        """Take another shape; the values stay, in memory order, if the shape fits the memory."""
        shape = torch.Size(shape)
        if shape == self.shape:
            return
        self.before_change()
        self.end_leases()
        count = math.prod(shape)
        if count > self._capacity:
            self._forget()
            self._head, self._capacity = Head.ZERO, count
        elif self.held():
            self._to_host_values()
            assert self._buffer is not None
            self._host = self._buffer[:count].view(shape)
        elif self._head is not Head.ZERO:
            # Mostly nobody asks for values from before a change of shape, so refitting waits.
            refit = self._refit(shape)
            self._forget()
            self._deferred, self._head = refit, Head.DEFERRED
        self.shape = shape

    def _refit(self, shape: torch.Size) -> _Refit:
        """Return the present values, and those beyond the shape, in another shape."""
        if isinstance(self._deferred, _Refit):
            return _Refit(self._deferred.values, self._deferred.rest, shape)
        values = self._deferred or (self._device if self._head is Head.DEVICE else self._host)
        assert values is not None
        rest = self._buffer
        if rest is not None and not callable(values) and _alias(rest, values):
            return _Refit(rest, None, shape)
        return _Refit(values, rest, shape)

    def _to_host_values(self) -> None:
        """Have the newest values on the host alone."""
        self.end_leases()
        self.tensor(CPU)
        self._head, self._device = Head.HOST, None

    def zero(self) -> None:
        """Set every value to zero, without touching memory until somebody asks for the values.

        Few values of a lease are written, so that they stay in their place.
        """
        if self.leases and self._capacity <= FEW:
            self.before_change()
            assert self._host is not None
            self._host.zero_()
        elif self._export() is None:
            self.before_change()
            self._forget()
            self._head = Head.ZERO
        else:
            self.set(torch.zeros(self.shape))

    def let_go(self) -> None:
        """Free the values, which are about to be replaced, unless somebody holds them."""
        if not self.held():
            self.end_leases()
            self.zero()

    def is_zero(self) -> bool:
        """Return whether the values are zero because nothing was written since `zero`."""
        return self._head is Head.ZERO

    def set(self, tensor: torch.Tensor) -> None:
        """Let `tensor` be the values and the shape from now on."""
        self._version += 1
        if self._observers:
            self._notify()
        self.shape, count = tensor.shape, tensor.numel()
        if self._exported is None or count > self._capacity or self._export() is None:
            if count > self._capacity:
                self._capacity = count
            self._host = self._device = self._exported = self._root = self._root_of = None
            self._take(tensor)
            return
        assert self._buffer is not None
        if self._host is None or self._host.shape != tensor.shape:
            self.end_leases()
            self._host = self._buffer[:count].view(tensor.shape)
        if tensor.device.type == "cpu":
            if tensor.data_ptr() != self._host.data_ptr():
                self._host.copy_(tensor.detach())
            self._device, self._head = None, Head.HOST
        else:
            self.end_leases()
            self._device, self._head = tensor, Head.DEVICE

    def add(self, tensor: torch.Tensor) -> None:
        """Add `tensor` to the values."""
        if self._head is Head.ZERO:
            self.set(tensor)
        else:
            self.mutable(tensor.device).add_(tensor)

    def tensor(self, on: torch.device = CPU) -> torch.Tensor:
        """Return the values as a tensor on device `on`, to be read."""
        if self._head is Head.ZERO:
            self._take(torch.zeros(self.shape, device=on))
        elif self._head is Head.DEFERRED:
            assert self._deferred is not None
            refit = self._deferred if isinstance(self._deferred, _Refit) else None
            self._take(self._deferred())
            self._buffer = None if refit is None else refit.buffer
        if on.type == "cpu":
            return self._to_host()
        if self._head is Head.HOST or self._device is None or self._device.device != on:
            self.end_leases()
            self._device = self._to_host().to(on)
            self._head = Head.SYNCED
        return self._device

    def mutable(self, on: torch.device = CPU) -> torch.Tensor:
        """Return the values as a tensor on device `on`, to be written in place."""
        self.before_change()
        tensor = self.tensor(on)
        if self._head is Head.SYNCED:
            self._head = Head.HOST if on.type == "cpu" else Head.DEVICE
        return tensor

    def is_in(self, tensor: torch.Tensor) -> bool:
        """Return whether the values are in this tensor on the host, and nowhere else."""
        return self._host is tensor and self._head is Head.HOST

    def mutable_like(self, like: torch.Tensor) -> torch.Tensor:
        """Return the values, to be written, laid out in memory as `like`, which has no gaps."""
        return _mutable_like(self, like)

    def arrange(self, on: torch.device, layout: torch.memory_format) -> None:
        """Keep the values on a CUDA device in this layout of memory; the values stay the same."""
        self._device = self.tensor(on).contiguous(memory_format=layout)

    def pour(self, into: torch.Tensor, stage: Stage) -> None:
        """Copy the values into a tensor on a CUDA device and keep them there.

        The call returns before the copy is complete, so that the caller need not wait for the
        device.
        """
        if self._head is Head.HOST:
            self.end_leases()
            stage.copy(self.tensor(CPU), into)
            self._head = Head.SYNCED
        elif self.tensor(into.device) is not into:
            into.copy_(self.tensor(into.device))
        self._device = into

    def lies_in(self, tensor: torch.Tensor) -> bool:
        """Return whether the values are in this tensor on a CUDA device."""
        return self._device is tensor and self._head in (Head.DEVICE, Head.SYNCED)

    def home(self, like: torch.Tensor) -> torch.Tensor:
        """Return a tensor laid out as `like`, kept for values that are computed again and again."""
        home = self._home
        if home is None or (home.shape, home.stride(), home.device) != (
            like.shape,
            like.stride(),
            like.device,
        ):
            home = self._home = torch.empty_like(like, requires_grad=False)
        return home

    def lend_home(self, tensor: torch.Tensor) -> None:
        """Let `home` be this tensor for values that are laid out like it."""
        self._home = tensor

    def room(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return `home`, to be filled for the next `set` or `add`; None if it may hold values.

        Large values are computed faster into old memory than into memory new to the process.
        """
        if self._head is not Head.ZERO or self._home_lent_at == self.version or self.held():
            return None
        self._home_lent_at = self.version
        return self.home(like)

    def held(self) -> bool:
        """Return whether somebody holds an array over this memory; it then gets later values."""
        return self._export() is not None

    def numpy(self) -> np.ndarray:
        """Return the values as a C-contiguous, writable float32 array over this memory."""
        self._version += 1
        if self._observers:
            self._notify()
        if self._head is not Head.HOST:
            self._to_host_values()
        self._device = None
        root = self._export()
        if root is None:
            root = self._kept_root()
        if root is None:
            root = self._new_root()
            self._exported = weakref.ref(root)
            self._root, self._root_of = root, self._host
        # A view of the root keeps the root alive. The root itself is never returned, so that nobody
        # can change its shape.
        if root.shape == self.shape:
            view: np.ndarray = root[...]
            return view
        return root.reshape(-1)[: math.prod(self.shape)].reshape(self.shape)

    def _kept_root(self) -> np.ndarray | None:
        """Return the array that was exported before, if it is over the present values."""
        root, of = self._root, self._root_of
        if root is None or self._exported is None or self._exported() is not root:
            return None
        return (
            root
            if of is self._host and of is self._buffer_of and self._buffer is not None
            else None
        )

    def _new_root(self) -> np.ndarray:
        """Return an array over the buffer, of the present shape if that takes up all of it."""
        host = self._host
        assert host is not None
        self._export_host(host)
        if self._buffer_of is host:
            return host.numpy()
        assert self._buffer is not None
        return self._buffer.numpy()

    def _export_host(self, host: torch.Tensor) -> None:
        """Have the host's values lie in the buffer, in the tensor where they are if that fits."""
        if self._buffer is not None and self._buffer_of is host:
            return
        if host.numel() == self._capacity and host.dtype == torch.float32 and host.is_contiguous():
            self._buffer, self._buffer_of = host.view(-1), host
        else:
            self.end_leases()
            self._buffer = self._host_buffer()
            self._host = self._buffer[: host.numel()].view(self.shape)

    def _host_buffer(self) -> torch.Tensor:
        """Return the host's values as a flat float32 tensor that has room for the capacity."""
        assert self._host is not None
        values, buffer = self._host.float().contiguous().view(-1), self._buffer
        if values.numel() == self._capacity:
            return values
        if buffer is not None and buffer.shape == (self._capacity,) and _alias(buffer, values):
            return buffer
        larger = torch.zeros(self._capacity)
        if buffer is not None:
            larger[: buffer.numel()] = buffer
        larger[: values.numel()] = values
        return larger

    def _export(self) -> np.ndarray | None:
        """Return the exported array if somebody holds a view of it."""
        if self._exported is None:
            return None
        root: np.ndarray | None = self._exported()
        # A view holds a reference, and so does this frame.
        if root is not None and root is self._root and getrefcount(root) <= UNHELD:
            return None
        return root

    def _take(self, tensor: torch.Tensor) -> None:
        if self.leases:
            self.end_leases()
        self._deferred = self._buffer = self._buffer_of = None
        if tensor.is_cpu:
            self._host, self._head = tensor, Head.HOST
        else:
            self._device, self._head = tensor, Head.DEVICE

    def _forget(self) -> None:
        if self.leases:
            self.end_leases()
        self._host = self._device = self._exported = self._deferred = None
        self._buffer = self._buffer_of = self._root = self._root_of = None

    def _to_host(self) -> torch.Tensor:
        if self._head is Head.DEVICE:
            assert self._device is not None
            if self.held():
                assert self._host is not None
                self._host.copy_(fetch(self._device.float()))
            else:
                self._root = self._root_of = None
                self._host = fetch(self._device.float())
            self._head = Head.SYNCED
        assert self._host is not None
        return self._host


_HOST_OF, _HEAD_OF = attrgetter("_host"), attrgetter("_head")


def all_in(memories: Sequence[Memory], tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether the values of each memory are in its tensor on the host, and nowhere else."""
    on_host = all(map(is_, map(_HEAD_OF, memories), repeat(Head.HOST)))
    return on_host and all(map(is_, map(_HOST_OF, memories), tensors))


def before_changes(memories: Sequence[Memory]) -> None:
    """Count a change of each memory and call the observers; called before the changes."""
    for memory in memories:
        memory._version += 1
        if memory._observers:
            memory._notify()


def add_all(memories: Sequence[Memory | MemoryView], tensors: Sequence[torch.Tensor]) -> None:
    """Add a tensor on the host to each memory; memories that are zero take the tensor itself."""
    for memory, tensor in zip(memories, tensors):
        if isinstance(memory, MemoryView) or memory._head is not Head.ZERO or memory._observers:
            memory.add(tensor)
        elif memory.shape != tensor.shape:
            memory.set(tensor)
        else:  # a memory that is zero has no leases
            memory._version += 1
            memory._host, memory._head = tensor, Head.HOST


class MemoryView:
    """A `Memory` under another shape with equally many values."""

    __slots__ = ("_base", "shape")

    def __init__(self, base: Memory | MemoryView, shape: Sequence[int]) -> None:
        self._base = base
        self.shape = torch.Size(shape)

    @property
    def root(self) -> Memory:
        """The memory behind the view, and behind the views between."""
        return self._base.root

    def reshape(self, shape: Sequence[int]) -> None:
        """Raise CaffeError for another shape: a view keeps the one that it was made with."""
        if torch.Size(shape) != self.shape:
            raise CaffeError(
                f"a parameter shared under the shape {tuple(self.shape)} cannot become "
                f"{tuple(shape)}"
            )

    @property
    def version(self) -> int:
        """The version of the memory behind the view."""
        return self._base.version

    def watch(self, owner: object, before_change: Callable[[], None]) -> weakref.WeakMethod:
        """As `Memory.watch`."""
        return self._base.watch(owner, before_change)

    def watch_again(self, owner: object, observer: weakref.WeakMethod) -> None:
        """As `Memory.watch_again`."""
        self._base.watch_again(owner, observer)

    def end_leases(self) -> None:
        """As `Memory.end_leases`."""
        self._base.end_leases()

    def zero(self) -> None:
        """As `Memory.zero`."""
        self._base.zero()

    def is_zero(self) -> bool:
        """As `Memory.is_zero`."""
        return self._base.is_zero()

    def home(self, like: torch.Tensor) -> torch.Tensor:
        """Return a new tensor laid out as `like`; a view keeps none."""
        return torch.empty_like(like, requires_grad=False)

    def room(self, like: torch.Tensor) -> torch.Tensor | None:
        """None: a view keeps no memory for values to come."""
        return None

    def rounded(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor | None:
        """None: a view's values are read at full precision."""
        return None

    def arrange(self, on: torch.device, layout: torch.memory_format) -> None:
        """Do nothing: values that are shared under several shapes stay as they are."""

    def lies_in(self, tensor: torch.Tensor) -> bool:
        """False: a view has no tensor of its own."""
        return False

    def is_in(self, tensor: torch.Tensor) -> bool:
        """False: a view has no tensor of its own."""
        return False

    def tensor(self, on: torch.device = CPU) -> torch.Tensor:
        """As `Memory.tensor`."""
        return self._base.tensor(on).reshape(self.shape)

    def mutable(self, on: torch.device = CPU) -> torch.Tensor:
        """As `Memory.mutable`."""
        return self._base.mutable(on).view(self.shape)

    def mutable_like(self, like: torch.Tensor) -> torch.Tensor:
        """As `Memory.mutable_like`."""
        return _mutable_like(self, like)

    def set(self, tensor: torch.Tensor) -> None:
        """As `Memory.set`."""
        self._base.set(tensor.reshape(self._base.shape))

    def add(self, tensor: torch.Tensor) -> None:
        """As `Memory.add`."""
        self._base.add(tensor.reshape(self._base.shape))

    def held(self) -> bool:
        """As `Memory.held`."""
        return self._base.held()

    def numpy(self) -> np.ndarray:
        """As `Memory.numpy`."""
        return self._base.numpy().reshape(self.shape)


def _mutable_like(memory: Memory | MemoryView, like: torch.Tensor) -> torch.Tensor:
    tensor = memory.mutable(like.device)
    if (tensor.stride(), tensor.dtype) != (like.stride(), like.dtype):
        memory.set(torch.empty_like(like).copy_(tensor))
        tensor = memory.mutable(like.device)
    return tensor


def _alias(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors start at the same place in memory."""
    return a.data_ptr() == b.data_ptr()


class _Refit:
    """Values, of a tensor or of a function, in another shape: those of a memory that was reshaped.

    values: as many as the memory's shape had. rest: a flat tensor of the values beyond that shape,
    with others in front, or None. buffer: once called, a flat tensor in which the result and what
    lies beyond it are.
    """

    def __init__(
        self,
        values: torch.Tensor | Callable[[], torch.Tensor],
        rest: torch.Tensor | None,
        shape: torch.Size,
    ) -> None:
        self.values, self.rest, self._shape = values, rest, shape
        self.buffer: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        values = self.values if isinstance(self.values, torch.Tensor) else self.values()
        if values.is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                f"a blob takes the shape {tuple(self._shape)} while a graph is captured"
            )
        flat, count = values.reshape(-1), math.prod(self._shape)
        if self.rest is not None and self.rest.numel() > flat.numel():
            flat = torch.cat([flat, self.rest[flat.numel() :].to(flat)])
        if count > flat.numel():
            larger = flat.new_zeros(count)
            larger[: flat.numel()] = flat
            flat = larger
        self.buffer = flat
        return flat[:count].view(self._shape)
