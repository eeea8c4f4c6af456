"""`Function`: a layer that is a function of tensors, with its gradient from autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch

from .. import mode
from ..blob import Blob
from .base import EngineLayer

Tensors = tuple[torch.Tensor, ...]


class Window(NamedTuple):
    """The spatial positions of a bottom that a position of the top is made of, by axis.

    Position o sees o * stride - pad + dilation * i for i below kernel; `fill` is what lies beyond
    the edges.
    """

    kernel: Sequence[int] = (1, 1)
    stride: Sequence[int] = (1, 1)
    pad: Sequence[int] = (0, 0)
    dilation: Sequence[int] = (1, 1)
    fill: float = 0.0


POINT = Window()


class Function(EngineLayer):
    """A layer that is a function of tensors: a subclass writes `compute`, the rest follows.

    Shapes come from `compute` on meta tensors, gradients from autograd through `compute`.
    """

    #: Running `compute` again on the outcome of an in-place layer gives the same gradient.
    idempotent: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    #: Bottoms for which there is no gradient: labels and indices.
    no_gradient: ClassVar[tuple[int, ...]] = ()
    #: The top has the bottom's shape, whatever that is.
    keeps_shape: ClassVar[bool] = False
    replayable = True
    #: Precision: "full" computes in float32; "low" as `mode.set_precision` says; "kept" moves or
    #: compares values, and takes them as they come.
    precision: ClassVar[str] = "full"
    #: `compute` keeps in `derived` what it makes of the first parameter, unless that learns, with
    #: the state of it that it is of.
    derives: ClassVar[bool] = False
    #: The tops' values from the bottoms'; parameters are in `self.weights`.
    compute: Callable[..., torch.Tensor | Tensors]

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        self.weights: Tensors = ()
        #: Set by the net: keep the graph of each forward for the backward that follows.
        self.record = False
        self._rounded: tuple[Any, Tensors] | None = None
        self.derived: tuple[Any, Tensors | None] | None = None
        self._tape: tuple[Sequence[torch.Tensor], Tensors, Tensors] | None = None
        self._shapes: tuple[Any, Sequence[Sequence[int]]] | None = None

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        key = [b.shape for b in bottom]
        if self._shapes is None or self._shapes[0] != key:
            self._shapes = key, self.shapes(key)
        for blob, shape in zip(top, self._shapes[1]):
            blob.resize(shape)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        """The shapes of the tops from those of the bottoms."""
        if self.keeps_shape:
            return bottoms
        self.weights = tuple(torch.empty(b.shape, device="meta") for b in self.blobs)
        x = [torch.empty(shape, device="meta") for shape in bottoms]
        return [y.shape for y in self._outcome(self.compute(*x))]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        on = mode.device()
        x = [b.values.tensor(on) for b in bottom]
        self._tape = None
        if self.record:
            # What is kept for backward must not be memory that the outcome is written into.
            x = [t.clone() if b in top and b.values.held() else t for b, t in zip(bottom, x)]
            self._tape = self._run_recorded(x, on)
            y = self._tape[1]
        else:
            self.weights = self.ready_weights(on)
            with torch.no_grad():
                y = self._outcome(self.compute(*self.rounded(x)))
        for blob, value in zip(top, y):
            value = value.detach()
            if any(_same_memory(value, t) for b, t in zip(bottom, x) if b is not blob):
                value = value.clone(memory_format=torch.contiguous_format)
            blob.values.set(value)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        on = mode.device()
        if not self.differentiable:
            if any(propagate_down):
                raise self.error("has no gradient; set propagate_down: false on its bottoms")
            return
        for i in self.no_gradient:
            if i < len(bottom) and propagate_down[i]:
                raise self.error(f"has no gradient for bottom {i}; set its propagate_down: false")
        if self._tape is None:
            self._tape = self._run_recorded([b.values.tensor(on) for b in bottom], on)
        x, y, weights = self._tape
        wanted = [(b.gradient, t) for b, t, go in zip(bottom, x, propagate_down) if go]
        wanted_weights = [
            (b.gradient, w)
            for b, w, go in zip(self.blobs, weights, self.param_propagate_down)
            if go
        ]
        pairs = [
            (value, blob.gradient.tensor(on).to(value.dtype))
            for value, blob in zip(y, top)
            if value.requires_grad
        ]
        inputs = [t for _, t in wanted + wanted_weights]
        if not inputs:
            return
        grads: Sequence[torch.Tensor | None] = [None] * len(inputs)
        if pairs:
            grads = torch.autograd.grad(
                [value for value, _ in pairs],
                inputs,
                [diff for _, diff in pairs],
                retain_graph=True,
                allow_unused=True,
            )
        taken = [diff for _, diff in pairs]
        for i, ((memory, _), grad) in enumerate(zip(wanted + wanted_weights, grads)):
            if grad is None:
                if i < len(wanted):
                    memory.zero()
                continue
            # A gradient handed on as it came would be one memory under two blobs.
            if 0 in grad.stride() or any(_same_memory(grad, other) for other in taken):
                grad = grad.clone(memory_format=torch.contiguous_format)
            taken.append(grad)
            if i < len(wanted):
                memory.set(grad)
            else:
                memory.add(grad)

    def inside(self, *x: torch.Tensor) -> torch.Tensor | Tensors:
        """As `compute`, of bottoms that already hold what the windows see beyond the edges."""
        return self.compute(*x)

    def rounded(self, x: Sequence[torch.Tensor]) -> Tensors:
        """Bottoms or parameters in the precision that the layer computes in."""
        if self.precision == "kept":
            return tuple(x)
        dtype = mode.low_dtype() if self.precision == "low" else torch.float32
        return tuple(t.to(dtype) for t in x)

    def rounds_weight(self) -> bool:
        """Whether `compute` rounds the first parameter by itself where gradients are recorded."""
        return False

    def rounded_to_learn(self, weights: Tensors) -> Tensors:
        """As `rounded`, of parameters whose gradients are recorded."""
        if weights and self.rounds_weight():
            return (weights[0], *self.rounded(weights[1:]))
        return self.rounded(weights)

    def ready_weights(self, on: torch.device) -> Tensors:
        """The parameters as the layer computes with them; rounded ones are kept while they last."""
        low = mode.low_dtype()
        if self.precision != "low" or low == torch.float32 or not len(self.blobs):
            self._rounded = None
            return self.parameters(on)
        memories = [b.values for b in self.blobs]
        weights = self.parameters(on) if on.type == "cuda" else None
        state = None
        if not any(m.held() for m in memories):
            state = on, low, [(id(m), m.version) for m in memories]
        if self._rounded is not None and state is not None and self._rounded[0] == state:
            return self._rounded[1]
        if weights is None:
            # Those that are still in their file are rounded from there.
            read = [m.rounded(low) for m in memories]
            weights = tuple(m.tensor(on) if r is None else r for m, r in zip(memories, read))
        rounded = self.rounded(weights)
        if not mode.capturing():
            self._rounded = state, rounded
        return rounded

    def parameters(self, on: torch.device) -> Tensors:
        """The parameters on a device, in the layout in which the layer reads them fast."""
        return tuple(b.values.tensor(on) for b in self.blobs)

    def weight_and_bias(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The first parameter, and the second if there is one."""
        return self.weights[0], self.weights[1] if len(self.weights) > 1 else None

    def kept_tensors(self) -> list[Any]:
        """What the layer keeps from pass to pass: rounded and derived parameters."""
        return [self._rounded, self.derived]

    def forget(self) -> None:
        """Free what the last forward kept for backward."""
        self._tape = None
        self.weights = ()

    def _run_recorded(
        self, x: list[torch.Tensor], on: torch.device
    ) -> tuple[Sequence[torch.Tensor], Tensors, Tensors]:
        # `.data` instead of detach: the leaf must not share the version counter of a blob that
        # the solver, the user or an in-place layer writes to between forward and backward.
        leaves = [t.data.requires_grad_() for t in x]
        weights = tuple(w.data.requires_grad_() for w in self.parameters(on))
        with torch.enable_grad():
            self.weights = self.rounded_to_learn(weights)
            return leaves, self._outcome(self.compute(*self.rounded(leaves))), weights

    @staticmethod
    def _outcome(y: torch.Tensor | Tensors) -> Tensors:
        return y if isinstance(y, tuple) else (y,)


def _same_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
