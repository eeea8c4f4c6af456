"""Writers of the layers that work on maps: convolutions, pooling, cropping."""

from __future__ import annotations

from typing import Any

from .model import Model, Source, refusal, writes


def _convolve(m: Model, source: Source, op: str) -> list[str]:
    layer = source.layer
    if layer.axis != 1:
        raise refusal(layer, f"axis {layer.axis} (other than 1)")
    parameters = [m.constant(values) for values in source.parameters()]
    attributes = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": layer.pad * 2,
        "dilations": layer.dilation,
        "group": layer.group,
    }
    return [m.add(op, x, *parameters, **attributes) for x in source.inputs]


@writes
def Convolution(m: Model, source: Source) -> list[str]:
    """Write Conv."""
    return _convolve(m, source, "Conv")


@writes
def Deconvolution(m: Model, source: Source) -> list[str]:
    """Write ConvTranspose."""
    return _convolve(m, source, "ConvTranspose")


@writes
def Pooling(m: Model, source: Source) -> str:
    """Write MaxPool or AveragePool, or their global forms. An average counts the padding."""
    layer, x = source.layer, source.input
    if layer.stochastic or layer.with_mask:
        raise refusal(layer, "stochastic pooling or a second top")
    if layer.kernel is None:
        return m.add("GlobalMaxPool" if layer.maximum else "GlobalAveragePool", x)
    if layer.ceil and any(s > k for s, k in zip(layer.stride, layer.kernel)):
        raise refusal(layer, f"stride {layer.stride} above kernel {layer.kernel}, rounded up,")
    attributes: dict[str, Any] = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": layer.pad * 2,
        "ceil_mode": int(layer.ceil),
    }
    if layer.maximum:
        return m.add("MaxPool", x, **attributes)
    return m.add("AveragePool", x, count_include_pad=1, **attributes)


@writes
def Crop(m: Model, source: Source) -> str:
    """Write the part of the first bottom that has the size of the second."""
    p, ndim = source.param.crop_param, source.ndim
    x, reference = source.inputs
    axis = source.axis(p.axis)
    offsets = list(p.offset) or [0]
    offsets = offsets * (ndim - axis) if len(offsets) == 1 else offsets
    starts = m.integers(*offsets)
    size = m.add("Slice", m.add("Shape", reference), m.integers(axis), m.integers(ndim))
    return m.add("Slice", x, starts, m.add("Add", size, starts), m.integers(*range(axis, ndim)))
