"""Whether a weights file without a published checksum is what a net needs."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from fcn_common.caffemodel import contents

Shape = Tuple[int, ...]
#: Layers whose weights must be in the file. Those of other types have a filler.
WEIGHTED = ("Convolution", "Deconvolution")


def check_fit(path: str, prototxt: str) -> None:
    """Raise ValueError unless the file at `path` is a complete .caffemodel for a net.

    prototxt: path of the net. Each of its convolutions must be in the file, in the shapes of the
    net. Raises OSError for a file that cannot be read.
    """
    with open(prototxt, encoding="utf-8") as file:
        needed = parameter_shapes(text_format.Parse(file.read(), caffe_pb2.NetParameter()))
    shapes = contents(path)
    for layer, blobs in needed.items():
        if layer not in shapes:
            raise ValueError(f"{path}: lacks layer {layer} of {prototxt}")
        if [_trimmed(shape) for shape in shapes[layer]] != [_trimmed(shape) for shape in blobs]:
            raise ValueError(
                f"{path}: layer {layer} has the shapes {shapes[layer]}, {prototxt} needs {blobs}"
            )


def parameter_shapes(net: Any) -> Dict[str, List[Shape]]:
    """Return name -> shapes of the blobs of the convolutions of a NetParameter with Input layers.

    Kernels are square, as in the published nets.
    """
    channels: Dict[str, int] = {}
    shapes: Dict[str, List[Shape]] = {}
    for layer in net.layer:
        if layer.type == "Input":
            channels[layer.top[0]] = layer.input_param.shape[0].dim[1]
            continue
        bottoms = [channels[bottom] for bottom in layer.bottom]
        channels[layer.top[0]] = sum(bottoms) if layer.type == "Concat" else bottoms[0]
        if layer.type in WEIGHTED:
            param = layer.convolution_param
            outputs, inputs, side = param.num_output, bottoms[0], param.kernel_size[0]
            first, second = (
                (inputs, outputs) if layer.type == "Deconvolution" else (outputs, inputs)
            )
            weights = (first, second // max(param.group, 1), side, side)
            shapes[layer.name] = [weights, (outputs,)] if param.bias_term else [weights]
            channels[layer.top[0]] = outputs
    return shapes


def _trimmed(shape: Shape) -> Shape:
    """Return a shape without leading ones: those of the old format's biases say nothing."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape
