"""Layers of small blobs as lists of calls without arguments.

For blobs of a few thousand values, choosing an operation, wrapping tensors and allocating results
takes longer than computing. A layer is therefore bound once to the arrays of its blobs: each call
has its arguments. A pass makes the calls, which write to the memory of the blobs.

`KERNELS` has the function that binds a layer, by layer type. `bind` looks the function up.
"""

from __future__ import annotations

from collections.abc import Callable

from ..layers.activation import PReLU, ReLU, Sigmoid, TanH
from ..layers.convolution import Convolution
from ..layers.dropout import Dropout
from ..layers.inner_product import InnerProduct
from ..layers.join import Concat, Eltwise
from ..layers.loss import EuclideanLoss
from ..layers.normalization import Softmax
from ..layers.pooling import Pooling
from ..layers.softmax_loss import SoftmaxWithLoss
from . import activation, convolution, inner_product, join, loss, pooling
from .site import Calls, Site, split

__all__ = ["Calls", "Site", "bind", "split"]

KERNELS: dict[type, Callable[[Site], Calls | None]] = {
    Concat: join.concat,
    Convolution: convolution.convolution,
    Eltwise: join.eltwise,
    Dropout: activation.dropout,
    EuclideanLoss: loss.euclidean_loss,
    InnerProduct: inner_product.inner_product,
    PReLU: activation.prelu,
    Pooling: pooling.pooling,
    ReLU: activation.relu,
    Sigmoid: activation.sigmoid,
    Softmax: loss.softmax,
    SoftmaxWithLoss: loss.softmax_with_loss,
    TanH: activation.tanh,
}


def bind(site: Site) -> Calls | None:
    """Return the calls of a layer; None if there are none for its type or for its settings."""
    kernel = KERNELS.get(type(site.layer))
    return None if kernel is None else kernel(site)
