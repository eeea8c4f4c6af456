"""The matrix product of a layer's input with the layer's weights, and its gradients.

Large weights (LARGE values or more) get their gradient in memory that their blob lends, and are
rounded to a lower precision in pieces, so that no second copy of them is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob

# PyTorch passes float32 products to MKL, which on some processors reaches a third to a half of
# oneDNN's rate.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
# Weights in oneDNN's order are multiplied with a few rows in half of the time.
_REORDER = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
# PyTorch 2.8 added products of a lower precision that write a float32 result.
_WIDENING = hasattr(torch.ops.aten.mm, "dtype_out")
#: MKL computes products with fewer rows than ROWS and fewer weights than WEIGHTS.
ROWS, WEIGHTS = 16, 1 << 20
#: The same for products of an inference, which read all of their weights from memory.
BOUND_WEIGHTS = 1 << 19
#: The most pieces of a gradient's product: MKL is faster with one piece for each core.
PIECES = 16
#: Rows from which on MKL computes the gradient of the input in pieces. Fewer rows are a product of
#: oneDNN's, which takes a tenth of the time of the pieces for 2 to 12 rows.
PIECE_ROWS = 256
#: Pieces in which weights are rounded and their gradients are widened; a piece fits the cache.
ROUNDED = 8
#: Values of the weights, at least, that are put into oneDNN's order at a time: 32 MB, which the C
#: library returns to the system. Smaller memory would stay as holes between the packed parts.
PACKED = 1 << 24
#: oneDNN fills the rows of a part up to a multiple of this number.
BLOCK = 64
#: Values from which on weights and gradients are not copied if a copy can be avoided.
LARGE = 1 << 22

#: Returns memory for the gradient of a layer's weights, as a matrix, or None if there is none.
Room = Callable[[], "torch.Tensor | None"]


def large(blob: Blob) -> bool:
    """Return whether a parameter is so large that the product works in place and in pieces."""
    return blob.count >= LARGE and mode.fast()


def room(
    blob: Blob, w: torch.Tensor, matrix: Callable[[torch.Tensor], torch.Tensor]
) -> Room | None:
    """Return where `product` may write the gradient of a large parameter; None for small ones.

    w: the parameter's values. matrix: makes the matrix that `product` multiplies with out of a
    tensor like w.
    """
    if not large(blob) or not w.requires_grad:
        return None
    gradient, like = blob.gradient, w.detach()

    def borrow() -> torch.Tensor | None:
        memory = gradient.room(like)
        return None if memory is None else matrix(memory)

    return borrow


def product(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None,
    room: Room | None = None,
) -> torch.Tensor:
    """Return x w^T + b, for x of N x K, w of M x K and b of M.

    If x has a lower precision than w, w is rounded to it. room: see `room`; the gradient of w is
    written to the memory that it returns.
    """
    if _by_onednn(x, w) or x.dtype != w.dtype or room is not None:
        return _Product.apply(x, w, b, room)
    return F.linear(x, w, b)


def bound(
    rows: int, w: torch.Tensor, b: torch.Tensor | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return `product` for inference, as a function of float32 values of rows x K."""
    if _ONEDNN is not None and _by_onednn(torch.empty(rows, 0), w, BOUND_WEIGHTS):
        linear = _ONEDNN
        return lambda x: linear(x, w, b, "none", [], "")
    return lambda x: F.linear(x, w, b)


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether `packed` can multiply with weights of this type."""
    if _REORDER is None or _ONEDNN is None or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def packed(
    rows: int, shape: tuple[int, int], part: Callable[[slice], torch.Tensor], b: torch.Tensor | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return `product` for inference, as a function of rows x K, with a copy of the weights.

    shape: that of the weights, M x K. part: returns rows of the weights, bfloat16; it is called for
    one part after the other, so that few of the weights are in memory twice. b: M values.
    """
    assert _REORDER is not None and _ONEDNN is not None
    linear, reorder = _ONEDNN, _REORDER
    step = -(-PACKED // max(1, shape[1] * BLOCK)) * BLOCK
    slices = [slice(i, min(i + step, shape[0])) for i in range(0, shape[0], step)]
    pieces = [(reorder(part(s), rows), None if b is None else b[s]) for s in slices]

    def multiply(x: torch.Tensor) -> torch.Tensor:
        x = x.to(torch.bfloat16)
        parts = [linear(x, w, bias, "none", [], "") for w, bias in pieces]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    return multiply


class _Product(torch.autograd.Function):
    """x w^T + b, where w may have a higher precision than x."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        w: torch.Tensor,
        b: torch.Tensor | None,
        room: Room | None,
    ) -> torch.Tensor:
        ctx.room, ctx.dtype = room, w.dtype
        if x.dtype == w.dtype or x.device.type != "cpu":
            rounded = w.to(x.dtype)
            ctx.save_for_backward(x, rounded)
            return _product(x, rounded, b)
        ctx.save_for_backward(x, w)
        y = x.new_empty(x.shape[0], w.shape[0])
        biases = [None] * ROUNDED if b is None else b.tensor_split(ROUNDED)
        pieces = _rounded_pieces(w, 0, x.dtype)
        for piece, columns, bias in zip(pieces, y.tensor_split(ROUNDED, 1), biases):
            columns.copy_(F.linear(x, piece, bias))
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_b, *_ = ctx.needs_input_grad
        to_w = None
        if needs_w:
            out = ctx.room() if ctx.room is not None else None
            if out is None:
                out = torch.empty_like(w, dtype=ctx.dtype)
            to_w = _weight_gradient(grad, x, out)
        return (
            _input_gradient(grad, w) if needs_x else None,
            to_w,
            grad.sum(0) if needs_b else None,
            None,
        )


def _rounded_pieces(w: torch.Tensor, axis: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Yield the pieces of a matrix along an axis, rounded, each in the memory of the one before."""
    pieces = w.tensor_split(ROUNDED, axis)
    memory = torch.empty(pieces[0].numel(), dtype=dtype)
    for piece in pieces:
        yield memory[: piece.numel()].view(piece.shape).copy_(piece)


def _input_gradient(grad: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Return grad w, for grad of N x M and w of M x K."""
    if grad.dtype != w.dtype:
        to_x = grad.new_empty(grad.shape[0], w.shape[1])
        pieces = _rounded_pieces(w, 1, grad.dtype)
        for piece, columns in zip(pieces, to_x.tensor_split(ROUNDED, 1)):
            columns.copy_(grad @ piece)
        return to_x
    if grad.device.type != "cpu" or grad.dtype != torch.float32 or grad.shape[0] == 1:
        return grad @ w
    if grad.shape[0] < PIECE_ROWS and _by_onednn(grad, w):
        return _product(grad, w.t(), None)
    count = max(n for n in range(1, PIECES + 1) if w.shape[1] % n == 0)
    transposed = w.t().unflatten(0, (count, -1))
    return torch.bmm(transposed, grad.t().expand(count, -1, -1)).flatten(0, 1).t()


def _weight_gradient(grad: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Write grad^T x to `out`, M x K, for grad of N x M and x of N x K; return `out`."""
    rows = grad.t()
    if grad.dtype == out.dtype:
        return torch.mm(rows, x, out=out)
    if grad.device.type == "cuda" and _WIDENING:
        return torch.mm(rows, x, out_dtype=out.dtype, out=out)
    for piece, to_piece in zip(rows.tensor_split(ROUNDED), out.tensor_split(ROUNDED)):
        to_piece.copy_(piece @ x)
    return out


def _by_onednn(x: torch.Tensor, w: torch.Tensor, weights: int = WEIGHTS) -> bool:
    """Return whether oneDNN computes the product: float32 on the CPU, and not small.

    weights: the least number of weights with fewer than ROWS rows.
    """
    return (
        _ONEDNN is not None
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.dim() == 2
        and (x.shape[0] >= ROWS or w.numel() >= weights)
        and torch.backends.mkldnn.is_available()
    )


def _product(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
    if not _by_onednn(x, w):
        return F.linear(x, w, b)
    assert _ONEDNN is not None
    return _ONEDNN(x, w, b, "none", [], "")
