"""`Function`: a layer that is a function of tensors, whose gradient comes from autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Union

import torch

from .. import mode
from ..blob import Blob
from ..memory import Memory, MemoryView
from ..ops.affine import affine_call
from .base import EngineLayer
from .windows import POINT, Window

__all__ = ["POINT", "Call", "Function", "Shape", "Tensors", "Traced", "Window", "in_dtype"]

Tensors = tuple[torch.Tensor, ...]
Shape = Sequence[int]
Call = Callable[..., Union[torch.Tensor, Tensors]]
#: `Function.pure` counts for layers with at most this many values in bottoms and parameters.
SMALL = 1 << 22


class Traced(NamedTuple):
    """A layer as operations of PyTorch without decisions that depend on values.

    finite: whether the results are those of the layer only where their sum is finite. aliases:
    whether they may share memory with the bottoms.
    """

    call: Call
    finite: bool = False
    aliases: bool = False


class Function(EngineLayer):
    """A layer that computes its tops as a function of its bottoms and its parameters.

    A subclass writes `compute`. The shapes of the tops come from `compute` on meta tensors, which
    have a shape and no values, or on zeros. The gradients come from autograd through `compute`.
    """

    #: `compute` keeps nothing and draws nothing: the shapes may come from `compute` of zeros.
    pure: ClassVar[bool] = False
    #: Computing the gradient from the top of an in-place layer, in place of the bottom that the
    #: top has overwritten, gives the same gradient.
    idempotent: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    #: The numbers of the bottoms that have no gradient: labels and indices.
    no_gradient: ClassVar[tuple[int, ...]] = ()
    #: The gradients of these bottoms are left as they are, as the layer's fork does it; otherwise
    #: a net that asks for them is refused.
    leaves_gradients: ClassVar[bool] = False
    #: The top has the shape of the bottom, whatever the shape is.
    keeps_shape: ClassVar[bool] = False
    replayable = True
    #: "full" computes in float32; "low" computes in the precision of `mode.set_precision`; "kept"
    #: moves or compares values and keeps the precision of the bottoms.
    precision: ClassVar[str] = "full"
    #: `compute` derives tensors from the first parameter while the parameter does not learn, and
    #: keeps them in `derived` together with the state of the parameter.
    derives: ClassVar[bool] = False

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        #: The parameters, in the precision that `compute` uses.
        self.weights: Tensors = ()
        #: Whether forward records the graph for backward. The wiring sets it.
        self.record = False
        self.derived: tuple[Any, Any] | None = None
        self._rounded: tuple[Any, Tensors] | None = None
        # Bottoms, tops and parameters of the last recorded `compute`.
        self._tape: tuple[Sequence[torch.Tensor], Tensors, Tensors] | None = None
        self._shapes: tuple[Any, Sequence[Sequence[int]]] | None = None

    def compute(self, *x: Any, **more: Any) -> torch.Tensor | Tensors:
        """Return the top, or the tops, for these bottoms. The parameters are in `weights`.

        A subclass names its bottoms; the tensors may be meta tensors.
        """
        raise NotImplementedError(f"{self.type} has no compute")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        key = [b.shape for b in bottom]
        if self._shapes is None or self._shapes[0] != key:
            self._shapes = key, self.shapes(key)
        for blob, shape in zip(top, self._shapes[1]):
            blob.resize(shape)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        """Return the shapes of the tops for bottoms of these shapes."""
        if self.keeps_shape:
            return bottoms
        weights = [b.shape for b in self.blobs]
        # Some functions of PyTorch import its compiler for meta tensors, which takes a second.
        size = sum(map(math.prod, [*bottoms, *weights]))
        real = self.pure and not self.stateful and size <= SMALL
        device = "cpu" if real else "meta"
        self.weights = tuple(torch.zeros(shape, device=device) for shape in weights)
        x = [torch.zeros(shape, device=device) for shape in bottoms]
        with torch.no_grad():
            return [y.shape for y in _as_tuple(self.compute(*x))]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        on = mode.device()
        x = [b.values.tensor(on) for b in bottom]
        self._tape = None
        if self.record:
            # The tape must not hold memory that the tops are written into.
            x = [t.clone() if b in top and b.values.held() else t for b, t in zip(bottom, x)]
            self._tape = self._run_recorded(x, on)
            y = self._tape[1]
        else:
            self.weights = self.ready_weights(on)
            with torch.no_grad():
                y = _as_tuple(self.compute(*self.rounded(x)))
        for blob, value in zip(top, y):
            value = value.detach()
            if any(_same_memory(value, t) for b, t in zip(bottom, x) if b is not blob):
                value = value.clone(memory_format=torch.contiguous_format)
            blob.values.set(value)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        on = mode.device()
        if self.leaves_gradients:
            propagate_down = [
                go and i not in self.no_gradient for i, go in enumerate(propagate_down)
            ]
        if not self._has_gradients(propagate_down, len(bottom)):
            return
        tape = self._tape
        if tape is None:
            tape = self._run_recorded([b.values.tensor(on) for b in bottom], on)
            # A plan, which runs pure layers alone, does not say that a forward has passed.
            self._tape = None if self.is_pure() else tape
        x, y, weights = tape
        to_bottoms = [(b.gradient, t) for b, t, go in zip(bottom, x, propagate_down) if go]
        learned = zip(self.blobs, weights, self.param_propagate_down)
        to_weights = [(b.gradient, w) for b, w, go in learned if go]
        if not to_bottoms + to_weights:
            return
        outputs = [value for value in y if value.requires_grad]
        diffs = [
            blob.gradient.tensor(on).to(value.dtype)
            for value, blob in zip(y, top)
            if value.requires_grad
        ]
        inputs = [t for _, t in to_bottoms + to_weights]
        gradients: Sequence[torch.Tensor | None] = [None] * len(inputs)
        if outputs:
            gradients = torch.autograd.grad(
                outputs, inputs, diffs, retain_graph=True, allow_unused=True
            )
        gradients = with_own_memory(gradients, diffs)
        for (memory, _), gradient in zip(to_bottoms, gradients):
            set_gradient(memory, gradient)
        for (memory, _), gradient in zip(to_weights, gradients[len(to_bottoms) :]):
            if gradient is not None:
                memory.add(gradient)

    def is_pure(self) -> bool:
        """Return whether forward does nothing but set the tops to `compute` of the bottoms."""
        kind = type(self)
        plain = kind.forward is Function.forward and kind.reshape is Function.reshape
        return plain and not self.stateful and not self.record

    def has_plain_passes(self) -> bool:
        """Return whether the layer's passes are exactly `compute` and its gradient.

        Unlike in `is_pure`, each forward may draw other values.
        """
        kind = type(self)
        plain = kind.forward is Function.forward and kind.reshape is Function.reshape
        return plain and kind.backward is Function.backward and self.differentiable

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        """Return the layer for bottoms of these shapes as a graph can record it, or None.

        The function uses the parameters, and takes bottoms, as that of `bind` does. A subclass that
        is no factor and term of channels may have one of its own.
        """
        plain = len(shapes) == 1 and len(shapes[0]) == 4
        affine = self.channel_affine(shapes[0]) if plain else None
        if affine is None:
            return None
        factor, term = (values[:, None, None] for values in affine)
        return Traced(lambda x: x * factor + term)

    def bind(self, shapes: Sequence[Shape]) -> Call:
        """Return `compute` for bottoms of these shapes on the CPU, with its decisions made.

        The function uses the parameters as they are now, in the tensors where they are now. Its
        results share no memory with the bottoms. Where `precision` is "full", the bottoms are to be
        float32; see `takes_float32`.
        """
        on = torch.device("cpu")
        held = any(blob.values.held() for blob in self.blobs)
        affine = self.channel_affine(shapes[0]) if shapes and not held else None
        if affine is not None:
            return affine_call(affine)
        rounds = self.precision == "low" and mode.low_dtype() != torch.float32
        weights = self.ready_weights(on)

        def call(*x: torch.Tensor) -> torch.Tensor | Tensors:
            # Whoever holds an array over the weights changes them unnoticed.
            self.weights = self.ready_weights(on) if rounds and held else weights
            y = self.compute(*(self.rounded(x) if rounds else x))
            if isinstance(y, tuple):
                return tuple(_apart(value, x) for value in y)
            return _apart(y, x)

        return call

    def takes_float32(self) -> bool:
        """Return whether the functions of `bind` and `traced` read float32 in any precision."""
        return self.precision == "full" and mode.low_dtype() != torch.float32

    def channel_affine(self, shape: Shape) -> Tensors | None:
        """Return a factor and a term if the layer multiplies each channel and adds to it.

        shape: that of the bottom, N x C x further axes. The factor and the term have C values. None
        for a layer that does anything else.
        """
        return None

    def _has_gradients(self, propagate_down: Sequence[bool], bottoms: int) -> bool:
        """Return whether the layer is differentiable.

        Raises LayerError where a gradient is asked for that does not exist.
        """
        if not self.differentiable and any(propagate_down):
            raise self.error("has no gradient; set propagate_down: false on its bottoms")
        for i in self.no_gradient if self.differentiable else ():
            if i < bottoms and propagate_down[i]:
                raise self.error(f"has no gradient for bottom {i}; set its propagate_down: false")
        return self.differentiable

    def inside(self, *x: torch.Tensor) -> torch.Tensor | Tensors:
        """As `compute`, for bottoms that include the positions that windows read beyond edges."""
        return self.compute(*x)

    def rounded(self, x: Sequence[torch.Tensor]) -> Tensors:
        """Return bottoms or parameters in the precision that `compute` uses."""
        if self.precision == "kept":
            return tuple(x)
        dtype = mode.low_dtype() if self.precision == "low" else torch.float32
        return tuple(t.to(dtype) for t in x)

    def rounds_weight(self) -> bool:
        """Return whether `compute` rounds the first parameter when gradients are recorded."""
        return False

    def rounded_to_learn(self, weights: Tensors) -> Tensors:
        """As `rounded`, for parameters whose gradients are recorded."""
        if weights and self.rounds_weight():
            return (weights[0], *self.rounded(weights[1:]))
        return self.rounded(weights)

    def ready_weights(self, on: torch.device) -> Tensors:
        """Return the parameters as `compute` uses them; rounded ones are kept until they change."""
        low = mode.low_dtype()
        if self.precision != "low" or low == torch.float32 or not len(self.blobs):
            self._rounded = None
            return self.parameters(on)
        memories = [b.values for b in self.blobs]
        if on.type == "cuda":
            self.parameters(on)  # may change the layout
        state = None
        if not any(m.held() for m in memories):
            state = on, low, [(id(m), m.version) for m in memories]
        if self._rounded is not None and state is not None and self._rounded[0] == state:
            return self._rounded[1]
        rounded = self.rounded_parameters(on)
        if not mode.capturing():
            self._rounded = state, rounded
        return rounded

    def rounded_parameters(self, on: torch.device) -> Tensors:
        """Return the parameters in the precision that `compute` uses, and keep nothing.

        On the CPU, parameters that are still in their file are rounded while they are read.
        """
        low = mode.low_dtype()
        if on.type == "cuda" or self.precision != "low" or low == torch.float32:
            return self.rounded(self.parameters(on))
        memories = [b.values for b in self.blobs]
        read = [m.rounded(low) for m in memories]
        return self.rounded([m.tensor(on) if r is None else r for m, r in zip(memories, read)])

    def parameters(self, on: torch.device) -> Tensors:
        """Return the parameters on a device, in the layout that `compute` reads fastest."""
        return tuple(b.values.tensor(on) for b in self.blobs)

    def weight_and_bias(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the first parameter and the second, or None where there is no second."""
        return self.weights[0], self.weights[1] if len(self.weights) > 1 else None

    def kept_tensors(self) -> list[Any]:
        """Return what the layer keeps from pass to pass: rounded and derived parameters."""
        return [self._rounded, self.derived]

    def forget_rounded(self) -> None:
        """Free the rounded parameters, which a plan keeps in another order."""
        self._rounded = None

    def forget(self) -> None:
        """Free what the last forward kept for backward."""
        self._tape = None
        self.weights = ()

    def _run_recorded(
        self, x: list[torch.Tensor], on: torch.device
    ) -> tuple[Sequence[torch.Tensor], Tensors, Tensors]:
        """Run `compute` under autograd and return bottoms, tops and parameters."""
        # `.data` instead of detach: the leaf must not share the version counter of a blob that
        # the solver, the user or an in-place layer writes to between forward and backward.
        leaves = [t.data.requires_grad_() for t in x]
        weights = tuple(w.data.requires_grad_() for w in self.parameters(on))
        with torch.enable_grad():
            self.weights = self.rounded_to_learn(weights)
            return leaves, _as_tuple(self.compute(*self.rounded(leaves))), weights


def in_dtype(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor in a type, so that a graph records no operation if it has that type."""
    return x if x.dtype == dtype else x.to(dtype)


def _as_tuple(y: torch.Tensor | Tensors) -> Tensors:
    return y if isinstance(y, tuple) else (y,)


def _address(x: torch.Tensor) -> int:
    """Return the address of the memory that a tensor is a view of."""
    return x.untyped_storage().data_ptr()


def _apart(y: torch.Tensor, x: Tensors) -> torch.Tensor:
    """Return y, copied if it shares memory with a tensor of x."""
    shares = any(_same_memory(y, t) for t in x)
    return y.clone(memory_format=torch.contiguous_format) if shares else y


def _same_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return _address(a) == _address(b)


def with_own_memory(
    gradients: Sequence[torch.Tensor | None], diffs: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """Return the gradients, copied where autograd hands on a top's diff or another gradient.

    Without the copy, two blobs would share one memory.
    """
    separate: list[torch.Tensor | None] = []
    used = {_address(diff) for diff in diffs}
    for gradient in gradients:
        if gradient is not None:
            if 0 in gradient.stride() or _address(gradient) in used:
                gradient = gradient.clone(memory_format=torch.contiguous_format)
            used.add(_address(gradient))
        separate.append(gradient)
    return separate


def set_gradient(memory: Memory | MemoryView, gradient: torch.Tensor | None) -> None:
    """Write the gradient of a bottom; None is a gradient of zeros."""
    if gradient is None:
        memory.zero()
    else:
        memory.set(gradient)
