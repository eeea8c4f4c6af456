"""Net: pycaffe's interface to a net, over its wiring and its executor."""

from __future__ import annotations

import math
import operator
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from . import glog, graph, hdf5, module_search, weights
from .blob import Blob
from .errors import ArgumentTypeError, FileError, UsageError, WeightsError, in_file
from .layers import EngineLayer, Layer, import_users_types, layer_type_list, users_types
from .layers.source import MemoryData
from .proto import caffe_pb2
from .run.executor import Executor
from .run.loss import Loss
from .run.wiring import Node, Parameter, Wiring, wire


def _present_order(phase: Any, level: int = 0, stages: Any = None, weights: Any = None) -> tuple:
    """Return the arguments that follow the network file."""
    return int(phase), operator.index(level), stages or [], weights


def _old_order(weights: Any, phase: Any) -> tuple:
    """Return the arguments that followed the network file in older Caffes."""
    return int(phase), 0, [], weights


def note_stored_blobs(param: Any, path: str) -> None:
    """Give BN layers without settings as many empty blobs as a weights file has for them.

    The word BN has several meanings in forks, which differ in the number of blobs; so do versions
    of DenseBlock.
    """
    open_layers = {
        layer.name: layer
        for layer in param.layer
        if ((layer.type == "BN" and not layer.bn_param.ByteSize()) or layer.type == "DenseBlock")
        and not layer.blobs
    }
    if not open_layers:
        return
    for name, stored in weights.read_net(path):
        if name in open_layers:
            open_layers[name].blobs.extend([caffe_pb2.BlobProto() for _ in stored])


class Net:
    """A net built from a prototxt, with pycaffe's interface.

    `Net(network_file, phase, level=0, stages=None, weights=None)`, or in the old order
    `Net(network_file, weights_file, phase)`.

    wiring: the layers and blobs, and how they are connected. executor: runs them.
    """

    wiring: Wiring
    executor: Executor

    def __init__(self, network_file: str | os.PathLike, *args: Any, **options: Any) -> None:
        """Build a net from a prototxt file.

        Raises FileError for a file that is missing or not readable as a net, NetError for a net
        that cannot be built, and WeightsError for weights that do not fit.
        """
        order = _old_order if args and isinstance(args[0], (str, os.PathLike)) else _present_order
        try:
            phase, level, stages, weights = order(*args, **options)
        except TypeError:
            raise TypeError(
                "Net(network_file, phase, level=0, stages=None, weights=None), or "
                "Net(network_file, weights_file, phase)"
            ) from None
        for path in (network_file, weights):
            if path is not None and not os.path.isfile(path):
                raise FileError(f"Could not open file {os.fspath(path)}")
        file = graph.read_net_file(network_file)
        param = file.net
        param.state.phase = phase
        param.state.level = level
        param.state.stage.extend(stages)
        with module_search.beside(network_file):
            import_users_types()
        file.check(param.state, layer_type_list(), users_types())
        if weights is not None:
            note_stored_blobs(param, os.fspath(weights))
        with in_file(os.fspath(network_file)), module_search.beside(network_file):
            self._build(param)
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def from_param(cls, param: Any) -> Net:
        """Return the net of a NetParameter of the present form with its `state` set."""
        net = cls.__new__(cls)
        net._build(param)
        return net

    def _build(self, param: Any) -> None:
        self.wiring = wire(param)
        # As in pycaffe, one dict for all calls: scripts ask for a blob by name again and again.
        self._blobs_by_name = OrderedDict(zip(self.wiring.blob_names, self.wiring.blobs))
        self._parameters_by_name: OrderedDict[str, list[Blob]] = OrderedDict(
            (node.name, node.layer.blobs) for node in self.wiring.nodes if node.layer.blobs
        )
        self.executor = Executor(self.wiring)
        self.executor.observers.debug_info = param.debug_info
        self._blobs_by_name = OrderedDict(zip(self.wiring.blob_names, self.wiring.blobs))
        self.name: str = self.wiring.name
        self.phase: int = self.wiring.phase

    def _forward(self, start: int, end: int) -> float:
        """Run the layers `start` .. `end`, by number; return the weighted sum of their losses.

        This is a method of pycaffe's compiled Net.
        """
        return float(self.executor.forward(start, end))

    def _backward(self, start: int, end: int) -> None:
        """Run the layers `start` down to `end` backward; a method of pycaffe's compiled Net."""
        self.executor.backward(start, end)

    def forward_backward(self) -> Loss:
        """Run the whole net forward and backward; return the loss."""
        return self.executor.step()

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Run the layers `start` .. `end` (by default all) and return the outputs by blob name.

        Keyword arguments fill the input blobs; `blobs` names more blobs to return. With `end`, the
        outputs are that layer's tops. Raises UsageError for arguments that do not match the inputs.
        """
        nodes = self._nodes()
        first = nodes[0] if start is None else self.wiring.node_named(start)
        last = nodes[-1] if end is None else self.wiring.node_named(end)
        names = self.outputs if end is None else self.top_names[end]
        if kwargs:
            _check_names(kwargs, self.inputs, "Input blob arguments do not match net inputs")
            self._assign(kwargs, "data")
        self._forward(first.number, last.number)
        by_name = self.blobs
        return {name: by_name[name].data for name in {*names, *(blobs or [])}}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Run the layers `start` down to `end` backward and return the gradients by blob name.

        Keyword arguments fill the outputs' diffs; `diffs` names more blobs to return. With `end`,
        the gradients are of that layer's bottoms. Raises UsageError for arguments that do not match
        the outputs.
        """
        nodes = self._nodes()
        first = nodes[-1] if start is None else self.wiring.node_named(start)
        last = nodes[0] if end is None else self.wiring.node_named(end)
        names = self.inputs if end is None else self.bottom_names[end]
        if kwargs:
            _check_names(kwargs, self.outputs, "Top diff arguments do not match net outputs")
            self._assign(kwargs, "diff")
        self._backward(first.number, last.number)
        by_name = self.blobs
        return {name: by_name[name].diff for name in {*names, *(diffs or [])}}

    def _nodes(self) -> Sequence[Node]:
        """Return the layers, at least one. Raises UsageError for a net without layers."""
        if not self.wiring.nodes:
            raise UsageError(f"the net {self.name!r} has no layers, so it cannot run")
        return self.wiring.nodes

    def _assign(self, values: dict[str, np.ndarray], attribute: str) -> None:
        """Fill the `data` or `diff` of the blobs in `values`."""
        by_name = self.blobs
        for name, value in values.items():
            blob = by_name[name]
            if blob.shape and np.shape(value)[:1] != blob.shape[:1]:
                raise UsageError(
                    f"{name}: {attribute} of shape {np.shape(value)} is not batch sized; the blob "
                    f"has shape {blob.shape}"
                )
            getattr(blob, attribute)[...] = value

    def forward_all(
        self, blobs: Sequence[str] | None = None, **kwargs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Run any number of inputs forward, a batch at a time; join the outputs along axis 0."""
        if not kwargs:
            raise UsageError(f"forward_all needs the inputs of the net, {', '.join(self.inputs)}")
        outs: dict[str, list] = {name: [] for name in set(self.outputs) | set(blobs or [])}
        for batch in self._batch(kwargs):
            for name, values in self.forward(blobs, None, None, **batch).items():
                outs[name].extend(values.copy())
        return self._unpad(outs, len(next(iter(kwargs.values()))))

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **kwargs: np.ndarray,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Run any number of inputs forward and top diffs backward, a batch at a time."""
        outs: dict[str, list] = {name: [] for name in set(self.outputs) | set(blobs or [])}
        grads: dict[str, list] = {name: [] for name in set(self.inputs) | set(diffs or [])}
        forward = self._batch({name: kwargs[name] for name in self.inputs if name in kwargs})
        backward = self._batch({name: kwargs[name] for name in self.outputs if name in kwargs})
        no_blobs: dict[str, np.ndarray] = {}
        for inputs, top_diffs in zip_longest(forward, backward, fillvalue=no_blobs):
            for name, values in self.forward(blobs, None, None, **inputs).items():
                outs[name].extend(values.copy())
            for name, values in self.backward(diffs, None, None, **top_diffs).items():
                grads[name].extend(values.copy())
        count = len(next(iter(kwargs.values())))
        return self._unpad(outs, count), self._unpad(grads, count)

    @staticmethod
    def _unpad(parts: dict[str, list], count: int) -> dict[str, np.ndarray]:
        return {
            name: np.asarray(rows[:count] if len(rows) >= count else rows)
            for name, rows in parts.items()
        }

    def _batch(self, blobs: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Cut arrays into batches of the net's size; the last one is filled up with zeros."""
        if not blobs:
            return
        total = len(next(iter(blobs.values())))
        size = self.blobs[next(iter(blobs))].shape[0]
        for begin in range(0, total, size):
            batch = {}
            for name, values in blobs.items():
                part = np.asarray(values[begin : begin + size])
                if len(part) < size:
                    part = np.concatenate(
                        [part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)]
                    )
                batch[name] = part
            yield batch

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs' shapes."""
        self.executor.reshape()

    def clear_param_diffs(self) -> None:
        """Set the gradient of every learnable parameter to zero."""
        self.wiring.clear_gradients()

    @property
    def blobs(self) -> OrderedDict[str, Blob]:
        """The blobs by name, in the order in which the layers make them."""
        return self._blobs_by_name

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The loss weight of each blob by name, 0 where the blob is not a loss."""
        return OrderedDict(zip(self.wiring.blob_names, self.wiring.loss_weights))

    @property
    def params(self) -> OrderedDict[str, list[Blob]]:
        """The parameters by layer name, for layers that have any."""
        return self._parameters_by_name

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The learnable parameters, a shared one once, with their lr_mult and decay_mult."""
        return self.wiring.parameters

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they run."""
        return [node.layer for node in self.wiring.nodes]

    @property
    def layer_dict(self) -> OrderedDict[str, Layer]:
        """The layers by name."""
        return OrderedDict((node.name, node.layer) for node in self.wiring.nodes)

    @property
    def layer_names(self) -> list[str]:
        """The names of the layers, in the order in which they run."""
        return [node.name for node in self.wiring.nodes]

    @property
    def inputs(self) -> list[str]:
        """The names of the blobs that Input layers make."""
        return self._blob_names_of(self.wiring.inputs)

    @property
    def outputs(self) -> list[str]:
        """The names of the blobs that no layer reads."""
        return self._blob_names_of(self.wiring.outputs)

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """The names of the blobs that each layer reads, by layer name."""
        return OrderedDict((n.name, self._blob_names_of(n.bottoms)) for n in self.wiring.nodes)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """The names of the blobs that each layer makes, by layer name."""
        return OrderedDict((n.name, self._blob_names_of(n.tops)) for n in self.wiring.nodes)

    def _blob_names_of(self, numbers: Sequence[int]) -> list[str]:
        return [self.wiring.blob_names[b] for b in numbers]

    # The names of pycaffe's compiled Net, which scripts reach for.

    @property
    def _blobs(self) -> list[Blob]:
        return list(self.wiring.blobs)

    @property
    def _blob_names(self) -> list[str]:
        return list(self.wiring.blob_names)

    @property
    def _layer_names(self) -> list[str]:
        return self.layer_names

    @property
    def _inputs(self) -> list[int]:
        return list(self.wiring.inputs)

    @property
    def _outputs(self) -> list[int]:
        return list(self.wiring.outputs)

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.wiring.loss_weights)

    def _bottom_ids(self, layer: int) -> list[int]:
        """Return the numbers of the blobs that the layer of this number reads."""
        return list(self.wiring.nodes[layer].bottoms)

    def _top_ids(self, layer: int) -> list[int]:
        """Return the numbers of the blobs that the layer of this number makes."""
        return list(self.wiring.nodes[layer].tops)

    def before_forward(self, call: Callable[[int], None]) -> None:
        """Call `call(layer number)` before each layer's forward."""
        self.executor.observers.callbacks["before_forward"].append(call)

    def after_forward(self, call: Callable[[int], None]) -> None:
        """Call `call(layer number)` after each layer's forward."""
        self.executor.observers.callbacks["after_forward"].append(call)

    def before_backward(self, call: Callable[[int], None]) -> None:
        """Call `call(layer number)` before each layer's backward."""
        self.executor.observers.callbacks["before_backward"].append(call)

    def after_backward(self, call: Callable[[int], None]) -> None:
        """Call `call(layer number)` after each layer's backward."""
        self.executor.observers.callbacks["after_backward"].append(call)

    def copy_from(self, path: str | os.PathLike) -> None:
        """Copy the weights of layers with the same names from a .caffemodel or .h5 file.

        Nothing is copied where a layer of the file has other shapes than the net's: WeightsError.
        """
        path = os.fspath(path)
        layers = {node.name: node for node in self.wiring.nodes}
        pairs: list[tuple[Blob, weights.StoredBlob]] = []
        ignored = 0
        for name, stored in weights.read_net(path):
            node = layers.get(name)
            if node is None:
                ignored += 1
                glog.write("net.cpp:744", f"Ignoring source layer {name}")
                continue
            blobs = node.layer.blobs
            if not (stored or blobs):
                continue
            # HDF5 holds a shared parameter's weights with its first layer alone.
            optional = self.wiring.shared if weights.is_hdf5(path) else frozenset()
            needed = {i for i in range(len(blobs)) if (node.number, i) not in optional}
            if not needed <= set(stored) <= set(range(len(blobs))):
                raise WeightsError(
                    f"{path}: layer {name!r} has {len(stored)} blobs there and {len(blobs)} "
                    "in this net; rename the layer to leave its weights out"
                )
            loose = isinstance(node.layer, EngineLayer) and node.layer.loose_axes
            for i, source in stored.items():
                if not source.fits(blobs[i].shape, loose):
                    raise WeightsError(
                        f"{path}: {_mismatch(i, name, source.shape, blobs[i].shape)}"
                    )
                pairs.append((blobs[i], source))
        for blob, source in pairs:
            source.copy_to(blob)
        if ignored and not pairs and any(node.layer.blobs for node in self.wiring.nodes):
            text = f"{path}: no layer of this net has weights there, so all keep their values; "
            glog.write("net.py:1", text + "the file belongs to another net", 1)

    def share_with(self, other: Net) -> None:
        """Use the parameters of the layers of `other` that have the same names."""
        if not isinstance(other, Net):
            raise ArgumentTypeError(f"share_with needs a Net; found {type(other).__name__}")
        layers = {node.name: node.layer for node in self.wiring.nodes}
        for node in other.wiring.nodes:
            if node.name not in layers:
                glog.write("net.cpp:678", f"Ignoring source layer {node.name}")
                continue
            blobs, others = layers[node.name].blobs, node.layer.blobs
            shapes, other_shapes = [b.shape for b in blobs], [b.shape for b in others]
            if shapes != other_shapes:
                raise WeightsError(
                    f"layer {node.name!r} has parameters of shapes {shapes} here and "
                    f"{other_shapes} in the other net; rename the layer to leave it out"
                )
            for blob, shared in zip(blobs, others):
                blob.share_data(shared)

    def save(self, path: str | os.PathLike) -> None:
        """Write the layers and weights as a .caffemodel; the file appears complete, by rename."""
        weights.write_net(os.fspath(path), self.name, self.layer_weights())

    def save_hdf5(self, path: str | os.PathLike, write_diff: bool = False) -> None:
        """Write the weights, and with `write_diff` their gradients, as HDF5."""
        hdf5.write_net(os.fspath(path), self.layer_weights(), write_diff)

    def layer_weights(self) -> list[weights.LayerWeights]:
        """Return the layers with their parameters, as they are written to a file."""
        shared: dict[int, set[int]] = {}
        for number, index in self.wiring.shared:
            shared.setdefault(number, set()).add(index)
        return [
            weights.LayerWeights(
                node.param, node.layer.blobs, frozenset(shared.get(node.number, ()))
            )
            for node in self.wiring.nodes
        ]

    def load_hdf5(self, path: str | os.PathLike) -> None:
        """Copy the weights of layers with the same names from an HDF5 file."""
        self.copy_from(path)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Set the arrays that a MemoryData layer, the first of the net, reads.

        data: N x C x H x W, float32. labels: N x 1 x 1 x 1. Raises UsageError without such a layer.
        """
        layer = self.wiring.nodes[0].layer if self.wiring.nodes else None
        if not isinstance(layer, MemoryData):
            raise UsageError(
                "set_input_arrays may only be called if the first layer is a MemoryDataLayer"
            )
        layer.set_input_arrays(data, labels)

    _set_input_arrays = set_input_arrays


def _check_names(values: Mapping[str, object], names: Sequence[str], message: str) -> None:
    """Raise UsageError if the values are not those of all blobs of these names."""
    if set(values) != set(names):
        raise UsageError(f"{message}: found {sorted(values)}, the net has {names}")


def _mismatch(index: int, layer: str, source: Sequence[int], target: Sequence[int]) -> str:
    """Return BVLC Caffe's message about a parameter of another shape, with its advice."""
    sizes = (" ".join(map(str, shape)) + f" ({math.prod(shape)})" for shape in (source, target))
    return (
        f"Cannot copy param {index} weights from layer {layer!r}; shape mismatch.  Source param "
        f"shape is {next(sizes)}; target param shape is {next(sizes)}. To learn this layer's "
        "parameters from scratch rather than copying from a saved net, rename the layer. To copy a "
        "part, load the weights into a net of their own prototxt and assign "
        "net.params[layer][index].data[...]"
    )
