"""The matrix product of a layer with its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from ..blob import Blob

# Float32 products of PyTorch go to MKL, which reaches a third to a half of oneDNN's rate on some
# processors.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
# Products of lower precision with an outcome in float32 came with PyTorch 2.8.
_WIDENING = hasattr(torch.ops.aten.mm, "dtype_out")
#: Products are left to MKL with fewer rows and fewer weights.
ROWS, WEIGHTS = 16, 1 << 20
#: MKL computes a gradient faster in up to so many pieces, each on a core of its own.
PIECES = 16
#: Weights are rounded, and their gradients widened, in so many, which find place in the cache.
ROUNDED = 8
#: From so many values on, rounded weights and gradients are not made anew where that can be helped.
LARGE = 1 << 22


def large(blob: Blob) -> bool:
    """Whether a parameter is so large that it is worked with in place and in pieces."""
    return blob.count >= LARGE


Room = Callable[[], "torch.Tensor | None"]


def room(
    blob: Blob, w: torch.Tensor, matrix: Callable[[torch.Tensor], torch.Tensor]
) -> Room | None:
    """Where the gradient of a large parameter, which `matrix` makes a matrix of, may be put."""
    if not large(blob) or not w.requires_grad:
        return None
    gradient, like = blob.gradient, w.detach()

    def lent() -> torch.Tensor | None:
        found = gradient.room(like)
        return None if found is None else matrix(found)

    return lent


class _Product(torch.autograd.Function):
    """x w^T + b; w may be of a higher precision than x, to which it is rounded."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, room: Room | None
    ) -> torch.Tensor:
        ctx.room, ctx.dtype = room, w.dtype
        if x.dtype == w.dtype or x.device.type != "cpu":
            rounded = w.to(x.dtype)
            ctx.save_for_backward(x, rounded)
            return _product(x, rounded, b)
        ctx.save_for_backward(x, w)
        y = x.new_empty(x.shape[0], w.shape[0])
        biases = [None] * ROUNDED if b is None else b.tensor_split(ROUNDED)
        for part, into, bias in zip(_rounded(w, 0, x.dtype), y.tensor_split(ROUNDED, 1), biases):
            into.copy_(F.linear(x, part, bias))
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, w = ctx.saved_tensors
        to_x, to_w, to_b, _ = ctx.needs_input_grad
        found = None
        if to_w:
            into = ctx.room() if ctx.room is not None else None
            if into is None:
                into = torch.empty_like(w, dtype=ctx.dtype)
            found = _weight_gradient(grad, x, into)
        return (
            _input_gradient(grad, w) if to_x else None,
            found,
            grad.sum(0) if to_b else None,
            None,
        )


def _rounded(w: torch.Tensor, axis: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Pieces of a matrix, rounded, each in the place of the one before."""
    pieces = w.tensor_split(ROUNDED, axis)
    memory = torch.empty(pieces[0].numel(), dtype=dtype)
    for piece in pieces:
        yield memory[: piece.numel()].view(piece.shape).copy_(piece)


def _input_gradient(grad: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """grad w, for grad of N x M and w of M x K."""
    if grad.dtype != w.dtype:
        found = grad.new_empty(grad.shape[0], w.shape[1])
        parts = found.tensor_split(ROUNDED, 1)
        for part, into in zip(_rounded(w, 1, grad.dtype), parts):
            into.copy_(grad @ part)
        return found
    if grad.device.type != "cpu" or grad.dtype != torch.float32:
        return grad @ w
    count = max(n for n in range(1, PIECES + 1) if w.shape[1] % n == 0)
    pieces = w.t().unflatten(0, (count, -1))
    return torch.bmm(pieces, grad.t().expand(count, -1, -1)).flatten(0, 1).t()


def _weight_gradient(grad: torch.Tensor, x: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
    """grad^T x, for grad of N x M and x of N x K, written to `into`, M x K."""
    rows = grad.t()
    if grad.dtype == into.dtype:
        return torch.mm(rows, x, out=into)
    if grad.device.type == "cuda" and _WIDENING:
        return torch.mm(rows, x, out_dtype=into.dtype, out=into)
    for some, part in zip(rows.tensor_split(ROUNDED), into.tensor_split(ROUNDED)):
        part.copy_(some @ x)
    return into


def _by_onednn(x: torch.Tensor, w: torch.Tensor) -> bool:
    return (
        _ONEDNN is not None
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.dim() == 2
        and (x.shape[0] >= ROWS or w.numel() >= WEIGHTS)
        and torch.backends.mkldnn.is_available()
    )


def _product(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
    if not _by_onednn(x, w):
        return F.linear(x, w, b)
    assert _ONEDNN is not None
    return _ONEDNN(x, w, b, "none", [], "")


def product(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, room: Room | None = None
) -> torch.Tensor:
    """x w^T + b, for x of N x K and w of M x K, which is rounded if x is.

    room: gives a tensor of w's shape that the gradient of w is written to, or None.
    """
    if _by_onednn(x, w) or x.dtype != w.dtype or room is not None:
        return _Product.apply(x, w, b, room)
    return F.linear(x, w, b)
