"""The matrix product of a layer with its weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

# Float32 products of PyTorch go to MKL, which reaches half of oneDNN's rate on some processors.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
#: With fewer rows the product is bound by reading the weights, whoever computes it.
ROWS = 16
#: MKL computes a gradient faster in up to so many pieces, each on a core of its own.
PIECES = 16


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        assert _ONEDNN is not None
        return _ONEDNN(x, w, b, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, w = ctx.saved_tensors
        to_x, to_w, to_b = ctx.needs_input_grad
        return (
            _in_pieces(w.t(), grad).t() if to_x else None,
            grad.t() @ x if to_w else None,
            grad.sum(0) if to_b else None,
        )


def _in_pieces(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b^T, for a of M x K and b of N x K, the rows of `a` in equal pieces."""
    count = max(n for n in range(1, PIECES + 1) if a.shape[0] % n == 0)
    pieces = a.unflatten(0, (count, -1))
    return torch.bmm(pieces, b.t().expand(count, -1, -1)).flatten(0, 1)


def product(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
    """x w^T + b, for x of N x K and w of M x K."""
    if (
        _ONEDNN is None
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or x.dim() != 2
        or x.shape[0] < ROWS
        or not torch.backends.mkldnn.is_available()
    ):
        return F.linear(x, w, b)
    return _Product.apply(x, w, b)
