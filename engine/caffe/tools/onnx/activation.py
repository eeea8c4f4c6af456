"""Writers of the layers that compute each value of the top from one value of the bottom."""

from __future__ import annotations

import math

import numpy as np

from .model import FLOAT, Model, Source, linear, refusal, writes, writes_also


@writes
def ReLU(m: Model, source: Source) -> str:
    """Write max(x, slope * x)."""
    slope = source.param.relu_param.negative_slope
    if slope:
        return m.add("LeakyRelu", source.input, alpha=slope)
    return m.add("Relu", source.input)


@writes
def ReLU6(m: Model, source: Source) -> str:
    """Write x limited to 0 .. 6, plus slope * min(x, 0)."""
    slope = source.param.relu6_param.negative_slope
    limited = m.add("Clip", source.input, m.constant(0), m.constant(6))
    if not slope:
        return limited
    below = m.add("Min", source.input, m.constant(0))
    return m.add("Add", limited, linear(m, below, slope, 0))


@writes
def Mish(m: Model, source: Source) -> str:
    """Write x * tanh(log(1 + exp(x)))."""
    return m.add("Mul", source.input, m.add("Tanh", m.add("Softplus", source.input)))


@writes
def HSigmoid(m: Model, source: Source) -> str:
    """Write HardSigmoid with slope 1/6."""
    return _hard_sigmoid(m, source)


@writes
def HSwish(m: Model, source: Source) -> str:
    """Write x times HardSigmoid with slope 1/6."""
    return m.add("Mul", source.input, _hard_sigmoid(m, source))


def _hard_sigmoid(m: Model, source: Source) -> str:
    return m.add("HardSigmoid", source.input, alpha=1 / 6, beta=0.5)


@writes
def BReLU(m: Model, source: Source) -> str:
    """Write Clip between 0 and 1."""
    return m.add("Clip", source.input, m.constant(0), m.constant(1))


@writes
def SiLU(m: Model, source: Source) -> str:
    """Write x * sigmoid(x)."""
    return m.add("Mul", source.input, m.add("Sigmoid", source.input))


@writes
def SELU(m: Model, source: Source) -> str:
    """Write Selu."""
    return m.add("Selu", source.input)


@writes
def CReLU(m: Model, source: Source) -> str:
    """Write Concat of x and -x, and Relu."""
    return m.add("Relu", m.add("Concat", source.input, m.add("Neg", source.input), axis=1))


@writes
def SignedSqrt(m: Model, source: Source) -> str:
    """Write sign(x) * sqrt(|x|)."""
    root = m.add("Sqrt", m.add("Abs", source.input))
    return m.add("Mul", m.add("Sign", source.input), root)


@writes
def PReLU(m: Model, source: Source) -> str:
    """Write max(x, slope * x) with a slope for each channel, or one for all."""
    (slope,) = source.parameters()
    ones = [1] * (source.ndim - 2)
    return m.add("PRelu", source.input, m.constant(slope.reshape(-1, *ones)))


@writes
def ELU(m: Model, source: Source) -> str:
    """Write x where it is positive, else alpha * (exp(x) - 1)."""
    return m.add("Elu", source.input, alpha=source.param.elu_param.alpha)


@writes
def Sigmoid(m: Model, source: Source) -> str:
    """Write 1 / (1 + exp(-x))."""
    return m.add("Sigmoid", source.input)


@writes
def TanH(m: Model, source: Source) -> str:
    """Write tanh(x)."""
    return m.add("Tanh", source.input)


@writes
def AbsVal(m: Model, source: Source) -> str:
    """Write |x|."""
    return m.add("Abs", source.input)


@writes
def BNLL(m: Model, source: Source) -> str:
    """Write log(1 + exp(x))."""
    return m.add("Softplus", source.input)


@writes
def Power(m: Model, source: Source) -> str:
    """Write (shift + scale * x) ^ power."""
    p = source.param.power_param
    return m.add("Pow", linear(m, source.input, p.scale, p.shift), m.constant(p.power))


@writes
def Exp(m: Model, source: Source) -> str:
    """Write base ^ (shift + scale * x)."""
    p = source.param.exp_param
    rate = _log_of_base(p.base)
    return m.add("Exp", linear(m, source.input, rate * p.scale, rate * p.shift))


@writes
def Log(m: Model, source: Source) -> str:
    """Write log(shift + scale * x) to the base."""
    p = source.param.log_param
    natural = m.add("Log", linear(m, source.input, p.scale, p.shift))
    return m.add("Mul", natural, m.constant(1 / _log_of_base(p.base)))


def _log_of_base(base: float) -> float:
    """Return the natural logarithm of a base; Caffe writes -1 for e."""
    return 1.0 if base == -1 else math.log(base)


@writes
def Swish(m: Model, source: Source) -> str:
    """Write x * sigmoid(beta * x)."""
    gate = m.add("Sigmoid", linear(m, source.input, source.param.swish_param.beta, 0))
    return m.add("Mul", source.input, gate)


@writes
def Clip(m: Model, source: Source) -> str:
    """Write x limited to min .. max."""
    p = source.param.clip_param
    return m.add("Clip", source.input, m.constant(p.min), m.constant(p.max))


@writes
def Threshold(m: Model, source: Source) -> str:
    """Write 1 where x is above the threshold, else 0."""
    threshold = m.constant(source.param.threshold_param.threshold)
    return m.add("Cast", m.add("Greater", source.input, threshold), to=FLOAT)


@writes
def Dropout(m: Model, source: Source) -> str:
    """Write the bottom as it is, as Dropout does in the TEST phase."""
    p = source.param.dropout_param
    if p.sample_weights_test:
        raise refusal(source.layer, "sample_weights_test, which draws a mask,")
    return linear(m, source.input, 1 if p.scale_train else 1 - p.dropout_ratio, 0)


@writes
def Mean(m: Model, source: Source) -> str:
    """Write output_scale * (input_scale * x +- mean)."""
    p = source.param.mean_param
    sign = 1 if p.operation == p.ADD else -1
    mean = np.array(p.value).reshape(1, -1, *[1] * (source.ndim - 2))
    shifted = m.add("Add", linear(m, source.input, p.input_scale, 0), m.constant(sign * mean))
    return linear(m, shifted, p.output_scale, 0)


writes_also(Dropout, "SpatialDropout")
writes_also(HSwish, "HardSwish")
writes_also(BNLL, "Softplus")
