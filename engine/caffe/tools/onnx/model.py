"""The model that is written, and the registry of the functions that write layers into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from ...errors import LayerError
from ...layers import EngineLayer
from ...layers.axes import canonical_axis

#: Element types in ONNX (TensorProto.FLOAT, INT64, BOOL).
FLOAT, INT64, BOOL = 1, 7, 9
#: Values from which on a tensor is stored in half precision, where the user chose that.
HALVED = 256


class FreeSizeError(LayerError):
    """A layer that has an ONNX form only where the sizes of its bottoms are fixed."""


class Model:
    """The nodes and tensors of an ONNX graph, as they are added.

    helper, numpy_helper: the modules of the package `onnx` with these names.
    half: whether large tensors are stored in half precision, and cast to float32 in the graph.
    """

    def __init__(self, helper: Any, numpy_helper: Any, half: bool = False) -> None:
        self.helper, self.numpy_helper, self.half = helper, numpy_helper, half
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.inputs: list[Any] = []
        #: The name of the layer that is being written; the names of its nodes and tensors begin
        #: with it.
        self.layer = ""

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the name of the output."""
        return self.add_split(op, 1, *inputs, **attributes)[0]

    def add_split(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs and return the names of the outputs."""
        number = len(self.nodes)
        names = [f"{self.layer}/{op}_{number}_{i}" for i in range(outputs)]
        self.nodes.append(self.helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a tensor and return its name."""
        name = f"{self.layer}/tensor_{len(self.tensors)}"
        array = np.ascontiguousarray(values, dtype).reshape(np.shape(values))
        halved = self.half and array.dtype == np.float32 and array.size >= HALVED
        stored = array.astype(np.float16) if halved else array
        self.tensors.append(self.numpy_helper.from_array(stored, name))
        return self.add("Cast", name, to=FLOAT) if halved else name

    def integers(self, *values: int) -> str:
        """Add a tensor of int64 with one axis and return its name."""
        return self.constant(values, np.int64)


@dataclass
class Source:
    """A layer that is written: the engine's layer, and its inputs in the model."""

    layer: Any
    #: The names and the shapes of the layer's bottoms.
    inputs: list[str]
    shapes: list[tuple[int, ...]]
    #: For each bottom, the axes whose size is free; `shapes` has one of their possible sizes.
    free: list[frozenset[int]] = field(default_factory=list)

    @property
    def param(self) -> Any:
        """The LayerParameter."""
        return self.layer.layer_param

    @property
    def input(self) -> str:
        """The name of the first bottom."""
        return self.inputs[0]

    @property
    def ndim(self) -> int:
        """The number of axes of the first bottom."""
        return len(self.shapes[0])

    def axis(self, axis: int) -> int:
        """Return an axis of the first bottom counted from the front; -1 is the last axis."""
        return canonical_axis(self.layer, axis, self.shapes[0])

    def is_free(self, axis: int, bottom: int = 0) -> bool:
        """Return whether an axis of a bottom has no fixed size."""
        return bool(self.free) and axis in self.free[bottom]

    def fixed_sizes(self, axes: Sequence[int]) -> list[int]:
        """Return sizes of the first bottom that the model has to know. Raises FreeSizeError."""
        if any(self.is_free(axis) for axis in axes):
            raise free_size(self.layer, "the size of its bottom")
        return [self.shapes[0][axis] for axis in axes]

    def parameters(self) -> list[np.ndarray]:
        """Return the values of the layer's parameters."""
        return [blob.data for blob in self.layer.blobs]


#: A writer returns the name of the layer's top in the model, or the names of its tops.
Writer = Callable[[Model, Source], Union[str, Sequence[str]]]
#: Layer type -> the function that writes layers of this type.
WRITERS: dict[str, Writer] = {}
#: Layer type -> why no layer of the type has an ONNX form.
REASONS: dict[str, str] = {
    "MultiStageMeanfield": (
        "is not written as ONNX, which has no operators for a lattice that is built from the "
        "colours of each image; end the net at the layer's first bottom, and run it outside"
    ),
    **dict.fromkeys(
        ("LargeMarginInnerProduct", "MarginInnerProduct"),
        "is not written as ONNX: it reads labels; use an InnerProduct with its weights instead",
    ),
    **{
        layer_type: f"is not written as ONNX: {reason}; end the net at its bottoms"
        for types, reason in (
            (("CTCDecoder", "CtcDecoder"), "the number of its values depends on the values"),
            (("DenseCRF",), "its lattice is built from the colours of each image"),
            (("DomainTransform",), "it filters along the rows and columns of each image in turn"),
            (("BoxOutput", "DecodeBBox"), "its selection of boxes has no operator"),
            (("CompactBilinear",), "it multiplies Fourier transforms"),
            (("DeformableConvolution",), "DeformConv reads other values at the edge of a map"),
            (("DeformablePSROIPooling",), "its moved bins have no operator"),
            (
                ("ConvolutionRistretto", "DeconvolutionRistretto", "FcRistretto"),
                "a sum that is rounded otherwise would become another number of few bits",
            ),
            (
                ("FlowAugmentation", "GenerateAugmentationParameters"),
                "it serves the crops that a training draws",
            ),
            (("Nms",), "the places of its peaks are means over the values around each"),
            (
                ("YoloDetectionOutput", "Yolov3DetectionOutput"),
                "its own suppression has no operator",
            ),
        )
        for layer_type in types
    },
}


def writes(function: Writer) -> Writer:
    """Register the function that writes layers of the type that is the function's name."""
    WRITERS[function.__name__] = function
    return function


def writes_also(function: Writer, *types: str) -> None:
    """Register the function that writes one layer type for other types, too."""
    for layer_type in types:
        WRITERS[layer_type] = function


def refusal(
    layer: EngineLayer, setting: str, remedy: str = "remove it, or compute it outside the net"
) -> LayerError:
    """Return the error for a layer, or a setting of a layer, that ONNX cannot express."""
    return layer.error(f"{setting} is not written as ONNX; {remedy}")


def free_size(layer: EngineLayer, reason: str) -> FreeSizeError:
    """Return the error for a layer whose ONNX form depends on sizes that are free."""
    text = f"its ONNX form depends on {reason}, which is free; export with fixed sizes (--fixed)"
    return FreeSizeError(layer.name, layer.type, text)


def linear(m: Model, x: str, scale: float, shift: float) -> str:
    """Write x * scale + shift with two numbers."""
    x = x if scale == 1 else m.add("Mul", x, m.constant(scale))
    return x if shift == 0 else m.add("Add", x, m.constant(shift))


def affine(
    m: Model, x: str, axis: int, ndim: int, scale: np.ndarray | None, shift: np.ndarray | None
) -> str:
    """Write x * scale + shift with arrays whose first axis is `axis` of x; x has `ndim` axes."""
    for op, values in (("Mul", scale), ("Add", shift)):
        if values is not None:
            ones = [1] * (ndim - axis - values.ndim)
            x = m.add(op, x, m.constant(values.reshape(*values.shape, *ones)))
    return x


def broadcast(m: Model, source: Source, axis: int) -> str:
    """Write the second bottom with axes of size 1 behind it, so that its first axis is `axis`."""
    missing = range(len(source.shapes[1]), source.ndim - axis)
    second = source.inputs[1]
    return m.add("Unsqueeze", second, m.integers(*missing)) if missing else second
