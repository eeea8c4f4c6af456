"""Writers of the layers that normalize, scale and shift channels."""

from __future__ import annotations

import numpy as np

from .model import Model, Source, affine, broadcast, refusal, writes


@writes
def LRN(m: Model, source: Source) -> str:
    """Write LRN across channels."""
    p = source.param.lrn_param
    if p.norm_region != p.ACROSS_CHANNELS:
        raise refusal(source.layer, "norm_region WITHIN_CHANNEL")
    return m.add("LRN", source.input, size=p.local_size, alpha=p.alpha, beta=p.beta, bias=p.k)


@writes
def BatchNorm(m: Model, source: Source) -> str:
    """Write the normalization by the stored mean and variance, as a product and a sum."""
    p = source.param.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise refusal(source.layer, "use_global_stats: false")
    # The first two parameters are sums over the batches, the third is how many batches count.
    *sums, count = source.parameters()
    mean, variance = (values / (float(count[0]) or 1) for values in sums)
    scale = 1 / np.sqrt(variance + p.eps)
    return affine(m, source.input, 1, source.ndim, scale, -mean * scale)


@writes
def Softmax(m: Model, source: Source) -> str:
    """Write Softmax along the axis."""
    return m.add("Softmax", source.input, axis=source.axis(source.param.softmax_param.axis))


@writes
def Scale(m: Model, source: Source) -> str:
    """Write the product with a parameter or with the second bottom, and the bias."""
    p = source.param.scale_param
    axis, parameters = source.axis(p.axis), source.parameters()
    bias = parameters[-1] if p.bias_term else None
    if len(source.inputs) == 1:
        return affine(m, source.input, axis, source.ndim, parameters[0], bias)
    scaled = m.add("Mul", source.input, broadcast(m, source, axis))
    return affine(m, scaled, axis, source.ndim, None, bias)


@writes
def Bias(m: Model, source: Source) -> str:
    """Write the sum with a parameter or with the second bottom."""
    axis = source.axis(source.param.bias_param.axis)
    if len(source.inputs) == 1:
        (bias,) = source.parameters()
        return affine(m, source.input, axis, source.ndim, None, bias)
    return m.add("Add", source.input, broadcast(m, source, axis))
