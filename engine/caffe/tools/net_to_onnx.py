"""Writes a net with its weights as an ONNX model, for the programs that read that format.

net_to_onnx NET WEIGHTS OUT.onnx

Needs the package `onnx`. The model computes what the net computes in the TEST phase. The height and
width of its inputs stay free; weights lie beside it, in OUT.onnx.data.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import CaffeError
from ..layers import EngineLayer
from ..layers.axes import canonical_axis
from ..net import Net
from ..proto import caffe_pb2

OPSET = 17
SMALL = 1024  # bytes; larger tensors lie in the file beside the model


class Model:
    """The nodes and tensors of an ONNX graph, as they are added."""

    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.inputs: list[Any] = []
        self.layer = ""

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; the name of its output, or a list of `outputs` names."""
        at = len(self.nodes)
        names = [f"{self.layer}/{op}_{at}_{i}" for i in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(self.helper.make_node(op, inputs, names, name=names[0], **given))
        return names[0] if outputs == 1 else names

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        name = f"{self.layer}/tensor_{len(self.tensors)}"
        array = np.ascontiguousarray(values, kind).reshape(np.shape(values))
        self.tensors.append(self.numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)


Writer = Callable[[Model, Any, list[str], list[tuple[int, ...]]], Any]
WRITERS: dict[str, Writer] = {}


def writes(function: Writer) -> Writer:
    """Registers the function that writes the layer type of its name.

    It gets the model, the layer, the names and shapes of its bottoms; it gives the name of its top,
    or a list of them.
    """
    WRITERS[function.__name__] = function
    return function


def _values(layer: Any, index: int) -> np.ndarray:
    return layer.blobs[index].data


def _refuse(layer: EngineLayer, what: str) -> CaffeError:
    return layer.error(f"{what} is not written as ONNX; remove it, or compute it outside the net")


# ---- vision --------------------------------------------------------------------------------------


def _convolve(m: Model, layer: Any, x: list[str], op: str) -> list[str]:
    if layer.axis != 1:
        raise _refuse(layer, f"axis {layer.axis} (other than 1)")
    parameters = [m.constant(_values(layer, i)) for i in range(len(layer.blobs))]
    how = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": layer.pad * 2,
        "dilations": layer.dilation,
        "group": layer.group,
    }
    return [m.add(op, one, *parameters, **how) for one in x]


@writes
def Convolution(m, layer, x, shapes):
    return _convolve(m, layer, x, "Conv")


@writes
def Deconvolution(m, layer, x, shapes):
    return _convolve(m, layer, x, "ConvTranspose")


@writes
def Pooling(m, layer, x, shapes):
    if layer.stochastic or layer.with_mask:
        raise _refuse(layer, "stochastic pooling or a second top")
    if layer.kernel is None:
        return m.add("GlobalMaxPool" if layer.maximum else "GlobalAveragePool", x[0])
    if layer.ceil and any(s > k for s, k in zip(layer.stride, layer.kernel)):
        raise _refuse(layer, f"stride {layer.stride} above kernel {layer.kernel}, rounded up,")
    how = {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": layer.pad * 2}
    how["ceil_mode"] = int(layer.ceil)
    if layer.maximum:
        return m.add("MaxPool", x[0], **how)
    return m.add("AveragePool", x[0], count_include_pad=1, **how)


@writes
def Crop(m, layer, x, shapes):
    p, axes = layer.layer_param.crop_param, len(shapes[0])
    axis = canonical_axis(layer, p.axis, shapes[0])
    offsets = list(p.offset) or [0]
    offsets = offsets * (axes - axis) if len(offsets) == 1 else offsets
    starts = m.integers(*offsets)
    size = m.add("Slice", m.add("Shape", x[1]), m.integers(axis), m.integers(axes))
    return m.add("Slice", x[0], starts, m.add("Add", size, starts), m.integers(*range(axis, axes)))


# ---- activation ----------------------------------------------------------------------------------


@writes
def ReLU(m, layer, x, shapes):
    slope = layer.layer_param.relu_param.negative_slope
    return m.add("LeakyRelu", x[0], alpha=slope) if slope else m.add("Relu", x[0])


@writes
def PReLU(m, layer, x, shapes):
    slope = _values(layer, 0)
    return m.add("PRelu", x[0], m.constant(slope.reshape(-1, *[1] * (len(shapes[0]) - 2))))


@writes
def ELU(m, layer, x, shapes):
    return m.add("Elu", x[0], alpha=layer.layer_param.elu_param.alpha)


@writes
def Sigmoid(m, layer, x, shapes):
    return m.add("Sigmoid", x[0])


@writes
def TanH(m, layer, x, shapes):
    return m.add("Tanh", x[0])


@writes
def AbsVal(m, layer, x, shapes):
    return m.add("Abs", x[0])


@writes
def BNLL(m, layer, x, shapes):
    return m.add("Softplus", x[0])


@writes
def Power(m, layer, x, shapes):
    p = layer.layer_param.power_param
    return m.add("Pow", _line(m, x[0], p.scale, p.shift), m.constant(p.power))


@writes
def Exp(m, layer, x, shapes):
    p = layer.layer_param.exp_param
    rate = 1.0 if p.base == -1 else math.log(p.base)
    return m.add("Exp", _line(m, x[0], rate * p.scale, rate * p.shift))


@writes
def Log(m, layer, x, shapes):
    p = layer.layer_param.log_param
    rate = 1.0 if p.base == -1 else math.log(p.base)
    return m.add("Mul", m.add("Log", _line(m, x[0], p.scale, p.shift)), m.constant(1 / rate))


def _line(m: Model, x: str, scale: float, shift: float) -> str:
    x = x if scale == 1 else m.add("Mul", x, m.constant(scale))
    return x if shift == 0 else m.add("Add", x, m.constant(shift))


@writes
def Swish(m, layer, x, shapes):
    gate = m.add("Sigmoid", _line(m, x[0], layer.layer_param.swish_param.beta, 0))
    return m.add("Mul", x[0], gate)


@writes
def Clip(m, layer, x, shapes):
    p = layer.layer_param.clip_param
    return m.add("Clip", x[0], m.constant(p.min), m.constant(p.max))


@writes
def Threshold(m, layer, x, shapes):
    above = m.add("Greater", x[0], m.constant(layer.layer_param.threshold_param.threshold))
    return m.add("Cast", above, to=1)


@writes
def Dropout(m, layer, x, shapes):
    return x[0]


# ---- normalization -------------------------------------------------------------------------------


@writes
def LRN(m, layer, x, shapes):
    p = layer.layer_param.lrn_param
    if p.norm_region != p.ACROSS_CHANNELS:
        raise _refuse(layer, "norm_region WITHIN_CHANNEL")
    return m.add("LRN", x[0], size=p.local_size, alpha=p.alpha, beta=p.beta, bias=p.k)


@writes
def BatchNorm(m, layer, x, shapes):
    p = layer.layer_param.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise _refuse(layer, "use_global_stats: false")
    total = float(_values(layer, 2)[0])
    mean, variance = (_values(layer, i) / (total or 1) for i in range(2))
    scale = 1 / np.sqrt(variance + p.eps)
    return _affine(m, x[0], 1, len(shapes[0]), scale, -mean * scale)


def _affine(m: Model, x: str, axis: int, axes: int, scale: Any, shift: Any) -> str:
    """x * scale + shift, whose axes stand at `axis` of x."""
    for op, values in (("Mul", scale), ("Add", shift)):
        if values is not None:
            x = m.add(op, x, m.constant(values.reshape(*values.shape, *_ones(values, axis, axes))))
    return x


def _ones(values: np.ndarray, axis: int, axes: int) -> list[int]:
    return [1] * (axes - axis - values.ndim)


# ---- common and utility --------------------------------------------------------------------------


@writes
def InnerProduct(m, layer, x, shapes):
    p = layer.layer_param.inner_product_param
    if canonical_axis(layer, p.axis, shapes[0]) != 1:
        raise _refuse(layer, f"axis {p.axis} (other than 1)")
    parameters = [m.constant(_values(layer, i)) for i in range(len(layer.blobs))]
    flat = m.add("Flatten", x[0], axis=1)
    return m.add("Gemm", flat, *parameters, transB=int(not p.transpose))


@writes
def Softmax(m, layer, x, shapes):
    p = layer.layer_param.softmax_param
    return m.add("Softmax", x[0], axis=canonical_axis(layer, p.axis, shapes[0]))


@writes
def Concat(m, layer, x, shapes):
    p = layer.layer_param.concat_param
    axis = p.concat_dim if p.HasField("concat_dim") else p.axis
    return m.add("Concat", *x, axis=canonical_axis(layer, axis, shapes[0]))


@writes
def Slice(m, layer, x, shapes):
    p, tops = layer.layer_param.slice_param, len(layer.layer_param.top)
    axis = canonical_axis(layer, p.slice_dim if p.HasField("slice_dim") else p.axis, shapes[0])
    size = shapes[0][axis]
    points = list(p.slice_point) or [size * i // tops for i in range(1, tops)]
    sizes = np.diff([0, *points, size])
    return m.add("Split", x[0], m.integers(*sizes), outputs=tops, axis=axis) if tops > 1 else x[0]


@writes
def Eltwise(m, layer, x, shapes):
    p = layer.layer_param.eltwise_param
    if p.operation == p.MAX:
        return m.add("Max", *x)
    if p.coeff:
        x = [_line(m, one, c, 0) for one, c in zip(x, p.coeff)]
    total = x[0]
    for one in x[1:]:
        total = m.add("Add" if p.operation == p.SUM else "Mul", total, one)
    return total


@writes
def Scale(m, layer, x, shapes):
    p = layer.layer_param.scale_param
    axes = len(shapes[0])
    axis = canonical_axis(layer, p.axis, shapes[0])
    blobs = [_values(layer, i) for i in range(len(layer.blobs))]
    if len(x) == 1:
        return _affine(m, x[0], axis, axes, blobs[0], blobs[1] if p.bias_term else None)
    y = m.add("Mul", x[0], _spread(m, x[1], axis, axes, len(shapes[1])))
    return _affine(m, y, axis, axes, None, blobs[0] if p.bias_term else None)


@writes
def Bias(m, layer, x, shapes):
    axes = len(shapes[0])
    axis = canonical_axis(layer, layer.layer_param.bias_param.axis, shapes[0])
    if len(x) == 1:
        return _affine(m, x[0], axis, axes, None, _values(layer, 0))
    return m.add("Add", x[0], _spread(m, x[1], axis, axes, len(shapes[1])))


def _spread(m: Model, x: str, axis: int, axes: int, own: int) -> str:
    more = range(own, axes - axis)
    return m.add("Unsqueeze", x, m.integers(*more)) if more else x


@writes
def Flatten(m, layer, x, shapes):
    p, axes = layer.layer_param.flatten_param, len(shapes[0])
    first = canonical_axis(layer, p.axis, shapes[0])
    last = canonical_axis(layer, p.end_axis, shapes[0])
    if last != axes - 1:
        raise _refuse(layer, f"end_axis {p.end_axis} (other than the last)")
    return m.add("Reshape", x[0], m.integers(*[0] * first, -1))


@writes
def Reshape(m, layer, x, shapes):
    p = layer.layer_param.reshape_param
    if p.axis != 0 or p.num_axes != -1:
        raise _refuse(layer, f"axis {p.axis} with num_axes {p.num_axes} (other than all axes)")
    return m.add("Reshape", x[0], m.integers(*p.shape.dim))


@writes
def ArgMax(m, layer, x, shapes):
    p = layer.layer_param.argmax_param
    if p.out_max_val or p.top_k != 1 or not p.HasField("axis"):
        raise _refuse(layer, "ArgMax other than top_k 1 along an axis, without values,")
    axis = canonical_axis(layer, p.axis, shapes[0])
    return m.add("Cast", m.add("ArgMax", x[0], axis=axis, keepdims=1), to=1)


@writes
def Reduction(m, layer, x, shapes):
    p, axes = layer.layer_param.reduction_param, len(shapes[0])
    first = canonical_axis(layer, p.axis, shapes[0])
    over = m.integers(*range(first, axes))
    given = x[0]
    if p.operation == p.ASUM:
        given = m.add("Abs", given)
    elif p.operation == p.SUMSQ:
        given = m.add("Mul", given, given)
    total = m.add("ReduceSum", given, over, keepdims=0)
    if p.operation == p.MEAN:
        sizes = m.add("Slice", m.add("Shape", given), m.integers(first), m.integers(axes))
        count = m.add("Cast", m.add("ReduceProd", sizes, keepdims=0), to=1)
        total = m.add("Div", total, count)
    return _line(m, total, p.coeff, 0)


@writes
def Tile(m, layer, x, shapes):
    p = layer.layer_param.tile_param
    times = [1] * len(shapes[0])
    times[canonical_axis(layer, p.axis, shapes[0])] = p.tiles
    return m.add("Tile", x[0], m.integers(*times))


@writes
def Split(m, layer, x, shapes):
    return [x[0]] * len(layer.layer_param.top)


@writes
def Silence(m, layer, x, shapes):
    return []


# ---- the net -------------------------------------------------------------------------------------


def build(net: Net) -> Any:
    """The ONNX model (a ModelProto) of a net.

    Inputs and outputs have the net's names and element type float32; heights and widths of 4-axis
    inputs are free. Raises CaffeError for a layer, or a setting of one, without a counterpart.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise CaffeError(
            "the Python package onnx is not installed; pip install onnx, then try again"
        ) from None
    m = Model(helper, numpy_helper)
    names: dict[str, str] = {}  # what holds a blob's values so far
    for layer_name, layer in net.layer_dict.items():
        if not isinstance(layer, EngineLayer):
            raise CaffeError(f"layer {layer_name!r} ({layer.type}): is not written as ONNX")
        param, m.layer = layer.layer_param, layer_name
        shapes = [net.blobs[b].shape for b in net.bottom_names[layer_name]]
        tops = net.top_names[layer_name]
        if param.type == "Input":
            for top in tops:
                names[top] = top
                shape: list[Any] = list(net.blobs[top].shape)
                if len(shape) == 4:
                    shape[2:] = f"{top}_height", f"{top}_width"
                m.inputs.append(helper.make_tensor_value_info(top, TensorProto.FLOAT, shape))
            continue
        if param.type not in WRITERS:
            raise _refuse(layer, f"a layer of type {param.type}")
        made = WRITERS[param.type](
            m, layer, [names[b] for b in net.bottom_names[layer_name]], shapes
        )
        made = [made] if isinstance(made, str) else made
        names.update(zip(tops, made))
    outputs = []
    m.layer = "output"
    for top in net.outputs:
        shape = [None] * len(net.blobs[top].shape)
        outputs.append(helper.make_tensor_value_info(top, TensorProto.FLOAT, shape))
        m.nodes.append(helper.make_node("Identity", [names[top]], [top], name=f"output/{top}"))
    graph = helper.make_graph(m.nodes, net.name or "net", m.inputs, outputs, m.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    return model


def write(net: Net, path: str) -> None:
    """Write `build(net)` to `path`, and the weights to `path`.data; both appear whole."""
    model = build(net)
    import onnx

    folder, name = os.path.split(os.path.abspath(path))
    data = name + ".data"
    try:
        with tempfile.TemporaryDirectory(prefix=".onnx-", dir=folder) as temporary:
            onnx.save_model(
                model,
                os.path.join(temporary, name),
                save_as_external_data=True,
                location=data,
                size_threshold=SMALL,
            )
            mask = os.umask(0)
            os.umask(mask)
            for part in (data, name):
                if os.path.exists(os.path.join(temporary, part)):
                    os.chmod(os.path.join(temporary, part), 0o666 & ~mask)
                    os.replace(os.path.join(temporary, part), os.path.join(folder, part))
    except OSError as error:
        raise CaffeError(f"{path}: cannot be written: {error.strerror}") from None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="net_to_onnx", description="Write a net with its weights as an ONNX model."
    )
    parser.add_argument("net", help="deploy prototxt, with Input layers")
    parser.add_argument("weights", help=".caffemodel or .h5")
    parser.add_argument("out", help="the .onnx file to write; weights go to OUT.data")
    args = parser.parse_args(argv)
    try:
        net = Net(args.net, caffe_pb2.TEST, weights=args.weights)
        write(net, args.out)
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
