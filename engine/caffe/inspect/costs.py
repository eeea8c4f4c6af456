"""What a net costs: parameters, multiply-adds, and the memory of its values.

A multiply-add is one product of a value and a weight, added to a sum. A layer's multiply-adds are
those of one forward pass over its whole batch:

- Convolution, also of volumes and of single channels: for each value of the top, kernel positions x
  input channels / group.
- Deconvolution: for each value of the bottom, kernel positions x output channels / group.
- InnerProduct: for each row, inputs x outputs. MatMul: for each value of the top, columns of the
  first bottom. LSTM and RNN: for each step and row, all weights.

A kernel position that reads padding counts. Dilation moves the positions and does not change their
number. Biases, and layers that work value by value, count 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..layers.convolution import Convolution
from ..layers.deconvolution import Deconvolution
from ..ops.product import large
from ..proto import caffe_pb2
from .build import BuiltNet, Part
from .gradients import Gradients
from .places import layer_window

#: Bytes of a float32.
FLOAT = 4
#: Arrays of a parameter's size that a solver keeps beside weights and gradients: in BVLC Caffe
#: (history_, update_ and temp_ as far as ComputeUpdateValue fills them), and in this engine.
SOLVER_ARRAYS = {
    "SGD": (1, 1),
    "Nesterov": (2, 1),
    "AdaGrad": (2, 1),
    "RMSProp": (2, 1),
    "AdaDelta": (4, 2),
    "Adam": (3, 2),
}


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter of a layer: its shape, its factors, its filler, and its name if shared.

    owner: the layer that holds the parameter; another layer's where it is shared.
    """

    shape: tuple[int, ...]
    lr_mult: float
    decay_mult: float
    filler: str
    name: str
    owner: str

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


def layer_parameters(net: BuiltNet) -> dict[Part, list[ParameterInfo]]:
    """Return the parameters of every layer that was set up."""
    owners: dict[str, str] = {}
    parameters: dict[Part, list[ParameterInfo]] = {}
    for part in net.parts:
        infos = []
        # The setup of BatchNorm sets the factors of its statistics to 0.
        specs = part.traits.layer_param.param if part.traits else part.param.param
        for i, blob in enumerate(part.layer.blobs if part.layer is not None else ()):
            spec = specs[i] if i < len(specs) else caffe_pb2.ParamSpec()
            owner = owners.setdefault(spec.name, part.name) if spec.name else part.name
            filler = filler_of(part.param, i)
            words = "" if filler is None else filler_words(filler)
            infos.append(
                ParameterInfo(blob.shape, spec.lr_mult, spec.decay_mult, words, spec.name, owner)
            )
        parameters[part] = infos
    return parameters


def filler_of(param: Any, index: int) -> Any:
    """Return the FillerParameter of parameter `index` of a layer, or None without one."""
    for descriptor, settings in param.ListFields():
        if not descriptor.name.endswith("_param") or descriptor.message_type is None:
            continue
        names = settings.DESCRIPTOR.fields_by_name
        for name in (("weight_filler", "filler"), ("bias_filler",))[min(index, 1)]:
            if name in names and settings.HasField(name):
                return getattr(settings, name)
    return None


def filler_words(filler: Any) -> str:
    """Return a FillerParameter in a few words: `gaussian std 0.01`."""
    settings = []
    for descriptor, value in filler.ListFields():
        if descriptor.name == "type":
            continue
        if descriptor.enum_type is not None:
            value = descriptor.enum_type.values_by_number[value].name
        number = f"{value:g}" if isinstance(value, float) else str(value)
        settings.append(f"{descriptor.name} {number}")
    return " ".join([filler.type, *settings])


def multiply_adds(part: Part) -> int | None:
    """Return the multiply-adds of a layer, or None where a shape is unknown."""
    if part.layer is None:
        return None if part.reason else 0
    if isinstance(part.layer, (Convolution, Deconvolution)):
        # The first axis of the weights is the channels of the blob whose values are counted.
        weights = part.layer.blobs[0]
        blobs = part.tops if isinstance(part.layer, Convolution) else part.bottoms
        return weights.count // weights.shape[0] * sum(blob.count for blob in blobs)
    if part.type == "InnerProduct":
        outputs = part.param.inner_product_param.num_output
        return part.layer.blobs[0].count // outputs * part.tops[0].count
    if part.type in ("MatMul", "BatchMatMul"):
        return (part.bottoms[0].shape or (0,))[-1] * part.tops[0].count
    if part.type in ("LSTM", "RNN"):
        steps_and_rows = math.prod((part.bottoms[0].shape or ())[:2])
        return steps_and_rows * sum(b.count for b in part.layer.blobs if len(b.shape) == 2)
    return 0


def activation_bytes(part: Part) -> int:
    """Return the bytes of the tops that a layer makes, without those that share other memory."""
    return 0 if part.shares else FLOAT * sum(top.count for top in part.tops)


@dataclass(frozen=True)
class Memory:
    """Bytes of a pass, by what they hold.

    values: the blobs. gradients: of blobs. parameters: weights. updates: gradients of weights and
    the solver's arrays. buffers: memory that layers keep for intermediate values.
    """

    values: int
    gradients: int
    parameters: int
    updates: int
    buffers: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.values + self.gradients + self.parameters + self.updates + self.buffers


class Costs:
    """The parameters, multiply-adds and memory of a net."""

    def __init__(self, net: BuiltNet) -> None:
        self.net = net
        self.parameters = layer_parameters(net)
        self.gradients = Gradients(net)

    def parameter_count(self, learned: bool = False) -> int:
        """Return the number of values in all parameters, a shared one counted once."""
        return sum(
            info.count
            for part, infos in self.parameters.items()
            for info in infos
            if info.owner == part.name and (not learned or info.lr_mult)
        )

    def multiply_adds(self) -> int:
        """Return the multiply-adds of all layers whose shapes are known."""
        return sum(multiply_adds(part) or 0 for part in self.net.parts)

    def value_bytes(self) -> int:
        """Return the bytes of all blobs, shared memory counted once."""
        return sum(activation_bytes(part) for part in self.net.parts)

    def _gradient_bytes(self) -> int:
        """Return the bytes of the blobs' gradients in a backward pass of BVLC Caffe.

        A blob with several readers has one more for each, the gradients of its Split layer's tops.
        """
        total = 0
        for part in self.net.parts:
            for top in () if part.shares else part.tops:
                if top in self.gradients.flowing:
                    outer = {r for r in top.readers if r not in top.writers}
                    total += FLOAT * top.count * (1 + (len(outer) if len(outer) > 1 else 0))
        return total

    def bvlc(self, solver: str | None = None) -> Memory:
        """Return the memory of BVLC Caffe on a CPU: of an inference, or of training."""
        values = self.value_bytes()
        weights = FLOAT * self.parameter_count()
        buffers = sum(_bvlc_buffers(part, solver is not None) for part in self.net.parts)
        if solver is None:
            return Memory(values, 0, weights, 0, buffers)
        arrays = solver_arrays(solver)[0]
        return Memory(values, self._gradient_bytes(), weights, weights * (1 + arrays), buffers)

    def engine(self, solver: str | None = None) -> Memory:
        """Return an estimate of this engine's memory on a CPU.

        The fast path needs less for blobs that it never completes, and every pass needs temporary
        arrays that are not counted; docs/inspect.md has measured peaks.
        """
        values = self.value_bytes()
        weights = FLOAT * self.parameter_count()
        largest = max((_engine_buffer(part) for part in self.net.parts), default=0)
        if solver is None:
            return Memory(values, 0, weights, 0, largest)
        learned = FLOAT * self.parameter_count(learned=True)
        updates = learned * (1 + solver_arrays(solver)[1])
        kept = sum(_kept_bytes(part) for part in self.net.parts)
        return Memory(values, self._gradient_bytes(), weights, updates, largest + kept)


def solver_arrays(solver: str) -> tuple[int, int]:
    """Return a solver's entry of SOLVER_ARRAYS. Raises UsageError for an unknown type."""
    if solver not in SOLVER_ARRAYS:
        raise UsageError(f"solver {solver!r}; one of {', '.join(SOLVER_ARRAYS)} is needed")
    return SOLVER_ARRAYS[solver]


def _unfolded(part: Part) -> int:
    """Return the bytes of a convolution's unfolded bottom, for one image.

    Only a convolution that is computed as a matrix product unfolds its bottom.
    """
    if part.layer is None or part.type not in ("Convolution", "Deconvolution"):
        return 0
    weights, p = part.layer.blobs[0], part.param.convolution_param
    blob = part.tops[0] if part.type == "Convolution" else part.bottoms[0]
    window = layer_window(part, len(weights.shape) - 2)
    pointwise = window is not None and {*window.kernel, *window.stride} == {1}
    if window is None or (pointwise and not any(window.pad)):
        return 0
    channels = weights.shape[1] * p.group
    positions = math.prod((blob.shape or ())[p.axis + 1 :])
    return FLOAT * channels * math.prod(window.kernel) * positions


def _bvlc_buffers(part: Part, training: bool) -> int:
    """Return the bytes of BVLC Caffe's buffers: columns, places of maxima, masks, scales."""
    values = FLOAT * sum(top.count for top in part.tops[:1])
    if part.type == "Pooling":
        return values if len(part.tops) == 1 and part.param.pooling_param.pool != 1 else 0
    if part.type == "LRN":
        return values
    if part.type == "Dropout":
        return values if training else 0
    return _unfolded(part)


def _engine_buffer(part: Part) -> int:
    """Return the bytes of the patches of a convolution.

    Only a convolution that this engine computes as a matrix product has patches.
    """
    if part.layer is None or part.type != "Convolution" or part.param.convolution_param.group > 1:
        return 0
    return _unfolded(part) if large(part.layer.blobs[0]) else 0


def _kept_bytes(part: Part) -> int:
    """Return the bytes that a layer's gradient needs in this engine, beside bottoms and tops."""
    values = FLOAT * sum(top.count for top in part.tops[:1])
    if part.type == "Pooling" and part.param.pooling_param.pool == 0:
        return 2 * values  # indices of 64 bits
    if part.type in ("Dropout", "LRN"):
        return values
    if part.in_place and part.type not in ("ReLU", "Split"):
        return values
    return 0
