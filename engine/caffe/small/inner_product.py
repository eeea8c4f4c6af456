"""InnerProduct of small blobs."""

from __future__ import annotations

from ..native import instructions as ops
from ..native.instructions import product
from .site import Call, Calls, Site, rows


def inner_product(site: Site) -> Calls | None:
    """y = x w^T + b, for the rows of x from the layer's axis on."""
    layer, (top,), (dy,) = site.layer, site.y, site.dy
    p = layer.layer_param.inner_product_param
    if p.normalize:
        return None
    x, y, w = rows(site.x[0], layer.axis), rows(top, layer.axis), site.w[0]
    matrix = w if p.transpose else w.T  # inputs x outputs
    forward: list[Call] = [product(x, matrix, y)]
    if len(site.w) > 1:
        forward.append(ops.add(y, site.w[1], y))
    backward: list[Call] = []
    if dy is None:
        return Calls(forward, backward)
    (dx,), dw = site.dx, site.dw
    dy = rows(dy, layer.axis)
    if dw[0] is not None:
        backward.append(product(x.T, dy, dw[0]) if p.transpose else product(dy.T, x, dw[0]))
    if len(dw) > 1 and dw[1] is not None:
        backward.append(ops.column_sums(dy, dw[1]))
    if dx is not None:
        backward.append(product(dy, matrix.T, rows(dx, layer.axis)))
    return Calls(forward, backward)
