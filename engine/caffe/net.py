"""Net: layers wired by blob names, run forward and backward."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from . import glog, graph, heap, mode, net_log, weights
from .blob import Blob, Memory
from .errors import CaffeError, LayerError
from .layers import EngineLayer, Function, Layer, create
from .layers.join import Split
from .proto import caffe_pb2
from .run import passes
from .run.replay import Loss, Replays

AUTOMATIC_TOP = "(automatic)"


def _now(phase: Any, level: int = 0, stages: Any = None, weights: Any = None) -> tuple:
    """What follows the network file."""
    return int(phase), int(level), stages or [], weights


def _before(weights: Any, phase: Any) -> tuple:
    """What followed the network file in older Caffes."""
    return int(phase), 0, [], weights


class Net:
    """A net built from a prototxt, with pycaffe's interface.

    `Net(network_file, phase, level=0, stages=None, weights=None)`, or in the old order
    `Net(network_file, weights_file, phase)`.
    """

    def __init__(self, network_file: str | os.PathLike, *args: Any, **options: Any) -> None:
        order = _before if args and isinstance(args[0], (str, os.PathLike)) else _now
        try:
            phase, level, stages, weights = order(*args, **options)
        except TypeError:
            raise TypeError(
                "Net(network_file, phase, level=0, stages=None, weights=None), or "
                "Net(network_file, weights_file, phase)"
            ) from None
        for path in (network_file, weights):
            if path is not None and not os.path.isfile(path):
                raise CaffeError(f"Could not open file {os.fspath(path)}")
        param = graph.read_net(network_file)
        param.state.phase = phase
        param.state.level = level
        param.state.stage.extend(stages)
        try:
            self._build(param)
        except CaffeError as error:
            raise CaffeError(f"{os.fspath(network_file)}: {error}") from None
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def from_param(cls, param: Any) -> Net:
        """The net of a NetParameter (of the present form) with its `state` set."""
        net = cls.__new__(cls)
        net._build(param)
        return net

    # ---- building ------------------------------------------------------------------------------

    def _build(self, param: Any) -> None:
        heap.keep()
        param = graph.filter_net(param)
        net_log.begin(param)
        param = graph.insert_splits(param)
        self.name: str = param.name
        self.phase: int = param.state.phase
        self._layers: list[Layer] = []
        self._layer_names: list[str] = []
        self._layer_params: list[Any] = []
        self._blobs: list[Blob] = []
        self._blob_names: list[str] = []
        self._blob_loss_weights: list[float] = []
        self._inputs: list[int] = []
        self._memory = 0  # values of all tops
        self._bottoms: list[list[int]] = []
        self._tops: list[list[int]] = []
        self._propagate_down: list[list[bool]] = []
        self._backward_layers: list[bool] = []
        self._loss_weights: list[list[float]] = []
        self._param_owners: dict[str, int] = {}
        #: (layer, index) of each parameter that belongs to an earlier layer.
        self._shared: set[tuple[str, int]] = set()
        #: Per learnable parameter: the blob, lr_mult, decay_mult.
        self.learnable: list[Blob] = []
        self.lr_mults: list[float] = []
        self.decay_mults: list[float] = []
        self._callbacks: dict[str, list[Callable[[int], None]]] = {
            name: []
            for name in ("before_forward", "after_forward", "before_backward", "after_backward")
        }
        #: The fast path: where it may start, the regions by shape, the last pass through one.
        self._region_starts: set[int] = set()
        self._regions: OrderedDict[Any, passes.Region | None] = OrderedDict()
        self._borders: OrderedDict[Any, Any] = OrderedDict()
        self._asked_for: set[int] = set()
        self._pass: passes.Pass | None = None
        ids: dict[str, int] = {}
        unread: dict[str, int] = {}
        needs: list[bool] = []  # per blob: a gradient is wanted there
        for layer_param in param.layer:
            if not layer_param.HasField("phase"):
                layer_param.phase = self.phase
            self._add_layer(layer_param, ids, unread, needs)
        self._prune_backward(param.force_backward)
        self._outputs = [unread[name] for name in sorted(unread)]
        net_log.end(self._layer_names, self._backward_layers, self.outputs)
        keep = self.phase == caffe_pb2.TRAIN or param.force_backward
        for i, layer in enumerate(self._layers):
            if isinstance(layer, Function) and self._backward_layers[i]:
                in_place = set(self._bottoms[i]) & set(self._tops[i])
                once = layer.stateful or (bool(in_place) and not layer.idempotent)
                layer.record = layer.differentiable and (keep or once)
        self._region_starts = passes.regions(self)
        self._replays = Replays(self)
        #: Blobs that layers which are no functions make, or share: what they hold may count.
        self._given = [
            t
            for layer, tops in zip(self._layers, self._tops)
            if not isinstance(layer, (Function, Split))
            for t in tops
        ]

    def _add_layer(
        self, p: Any, ids: dict[str, int], unread: dict[str, int], needs: list[bool]
    ) -> None:
        layer = create(p)
        traits = layer if isinstance(layer, EngineLayer) else EngineLayer(p)
        self._check_counts(traits, len(p.bottom), len(p.top))
        bottom = []
        for name in p.bottom:
            if name not in ids:
                raise traits.error(f"no layer before it makes its bottom {name!r}")
            bottom.append(ids[name])
            unread.pop(name, None)
        top = []
        for i, name in enumerate(p.top):
            if i < len(p.bottom) and name == p.bottom[i]:
                if not traits.in_place:
                    raise traits.error(f"cannot run in place; its top {name!r} needs a new name")
                top.append(ids[name])
            elif name in ids:
                raise traits.error(f"its top {name!r} is already made by another layer")
            else:
                top.append(self._add_blob(name, needs))
                ids[name] = top[-1]
                if p.type == "Input":
                    self._inputs.append(top[-1])
            unread[name] = top[-1]
        while len(top) < traits.auto_tops:
            top.append(self._add_blob(AUTOMATIC_TOP, needs))
        bottom_blobs, top_blobs = [self._blobs[b] for b in bottom], [self._blobs[t] for t in top]
        net_log.creating(p, len(top) - len(p.top))
        # As in Caffe, what a layer's setup says of its own learning rates does not count here.
        rates = [spec.lr_mult for spec in p.param]
        try:
            layer.setup(bottom_blobs, top_blobs)
            layer.reshape(bottom_blobs, top_blobs)
        except CaffeError as error:
            if isinstance(error, LayerError):
                raise
            raise traits.error(str(error)) from None
        self._layers.append(layer)
        self._layer_names.append(p.name)
        self._layer_params.append(p)
        self._bottoms.append(bottom)
        self._tops.append(top)
        self._set_losses(traits, p, top)
        self._memory += sum(blob.count for blob in top_blobs)
        net_log.set_up(p.name, top_blobs, self._loss_weights[-1], self._memory)

        propagate = [needs[b] for b in bottom]
        if p.propagate_down:
            if len(p.propagate_down) != len(bottom):
                raise traits.error(
                    f"{len(p.propagate_down)} propagate_down for {len(bottom)} bottoms; none, or "
                    "one each is needed"
                )
            propagate = list(p.propagate_down)
        need = any(needs[b] for b in bottom)
        if len(p.param) > len(layer.blobs):
            raise traits.error(f"{len(p.param)} param for {len(layer.blobs)} parameters")
        traits.param_propagate_down = []
        for i, blob in enumerate(layer.blobs):
            spec = p.param[i] if i < len(p.param) else caffe_pb2.ParamSpec()
            learns = i >= len(rates) or rates[i] != 0
            traits.param_propagate_down.append(learns)
            need |= learns
            self._add_param(layer, traits, i, blob, spec)
        self._propagate_down.append(propagate)
        self._backward_layers.append(need)
        if need:
            for t in top:
                needs[t] = True

    def _check_counts(self, traits: EngineLayer, bottoms: int, tops: int) -> None:
        for what, found, (low, high) in (
            ("bottom", bottoms, traits.bottoms),
            ("top", max(tops, traits.auto_tops), traits.tops),
        ):
            if not low <= found <= high:
                need = f"{low}" if low == high else f"{low} to {high}"
                need = f"at least {low}" if high == float("inf") else need
                raise traits.error(f"has {found} {what}s; it needs {need}")
        if traits.equal_bottoms_and_tops and bottoms != tops:
            raise traits.error(f"has {bottoms} bottoms and {tops} tops; it needs as many of each")

    def _add_blob(self, name: str, needs: list[bool]) -> int:
        self._blobs.append(Blob())
        self._blob_names.append(name)
        self._blob_loss_weights.append(0.0)
        needs.append(False)
        return len(self._blobs) - 1

    def _set_losses(self, traits: EngineLayer, p: Any, top: list[int]) -> None:
        if traits.loss and not p.loss_weight:
            p.loss_weight.append(1)
        if len(p.loss_weight) not in (0, len(top)):
            raise traits.error(
                f"{len(p.loss_weight)} loss_weight for {len(top)} tops; one each is needed"
            )
        given = list(p.loss_weight)
        loss = [w for w, _ in zip_longest(given[: len(top)], top, fillvalue=0.0)]
        self._loss_weights.append(loss)
        for t, weight in zip(top, loss):
            if weight:
                self._blob_loss_weights[t] = weight
                self._blobs[t].diff[...] = weight

    def _add_param(self, layer: Layer, traits: EngineLayer, i: int, blob: Blob, spec: Any) -> None:
        owner = self._param_owners.get(spec.name) if spec.name else None
        if owner is None:
            if spec.name:
                self._param_owners[spec.name] = len(self.learnable)
            self.learnable.append(blob)
            self.lr_mults.append(spec.lr_mult)
            self.decay_mults.append(spec.decay_mult)
            return
        shared = self.learnable[owner]
        fits = (
            shared.count == blob.count
            if spec.share_mode == spec.PERMISSIVE
            else shared.shape == blob.shape
        )
        if not fits:
            raise traits.error(
                f"shares parameter {spec.name!r} of shape {shared.shape} with its own of shape "
                f"{blob.shape}; they need to be equal"
            )
        for name, values in (("lr_mult", self.lr_mults), ("decay_mult", self.decay_mults)):
            if spec.HasField(name) and getattr(spec, name) != values[owner]:
                raise traits.error(
                    f"shares parameter {spec.name!r} with {name} {getattr(spec, name):g} where "
                    f"its owner has {values[owner]:g}"
                )
        self._shared.add((traits.name, i))
        layer.blobs[i] = shared if shared.shape == blob.shape else shared.view(blob.shape)

    def _prune_backward(self, force: bool) -> None:
        """Leave backward to the layers between a loss and something that wants a gradient."""
        under_loss: set[int] = set()
        skip: set[int] = set()
        for i in reversed(range(len(self._layers))):
            tops, bottoms = self._tops[i], self._bottoms[i]
            contributes = any(w or t in under_loss for w, t in zip(self._loss_weights[i], tops))
            skips = all(t in skip for t in tops)
            if self._backward_layers[i] and skips:
                self._backward_layers[i] = False
                self._propagate_down[i] = [False] * len(bottoms)
            if not contributes:
                self._backward_layers[i] = False
                self._propagate_down[i] = [False] * len(bottoms)
            else:
                under_loss.update(bottoms)
            skip.update(b for b, go in zip(bottoms, self._propagate_down[i]) if not go)
        if force:
            for i, layer in enumerate(self._layers):
                self._backward_layers[i] = True
                if not isinstance(layer, EngineLayer):
                    self._propagate_down[i] = [True] * len(self._propagate_down[i])
                    continue
                self._propagate_down[i] = [
                    go or layer.allow_force_backward(j)
                    for j, go in enumerate(self._propagate_down[i])
                ]
                layer.param_propagate_down = [True] * len(layer.blobs)

    # ---- running -------------------------------------------------------------------------------

    def _forward(self, start: int, end: int) -> float:
        """Run layers `start` .. `end`; the weighted sum of their losses."""
        if end - start + 1 == len(self._layers):
            return float(self._whole(learn=False))
        return float(Loss(self._run(range(start, end + 1))))

    def _whole(self, learn: bool) -> Loss:
        """Run all layers, and with `learn` back through them; their losses."""
        replays = self._replays
        if not replays.possible():
            self._let_go()
            if not learn:
                heap.tidy()
            losses = self._run(range(len(self._layers)))
        else:
            losses = self._run(replays.outside)
            captured = replays.find(self, learn)
            if captured is not None:
                return Loss(losses + captured.run(self))
            losses += self._run(replays.inside)
        if learn:
            self._backward(len(self._layers) - 1, 0, free=True)
        return Loss(losses)

    def _let_go(self) -> None:
        """Free what the last pass left, so that the next one can be where it was."""
        self._pass = None
        given = {id(self._blobs[b].values) for b in self._given}
        for layer, tops in zip(self._layers, self._tops):
            if isinstance(layer, Function):
                for t in tops:
                    memory = self._blobs[t].values
                    if isinstance(memory, Memory) and id(memory) not in given:
                        memory.let_go()

    def _run(self, layers: Sequence[int]) -> list[tuple[float, torch.Tensor]]:
        """Run layers, given by number in rising order; their losses, each with its weight."""
        losses = []
        if self._pass is not None and layers and layers[0] <= self._pass.region.last:
            self._pass = None
        done = -1
        for i in layers:
            if i <= done:
                continue
            region = self._region_at(i, layers[-1])
            if region is not None:
                for j in range(region.first, region.last + 1):
                    self._reshape_layer(j)
                self._pass = passes.Pass(self, region)
                done = region.last
                continue
            self._call("before_forward", i)
            layer = self._layers[i]
            bottom = [self._blobs[b] for b in self._bottoms[i]]
            top = [self._blobs[t] for t in self._tops[i]]
            layer.reshape(bottom, top)
            layer.forward(bottom, top)
            for weight, blob in zip(self._loss_weights[i], top):
                if weight:
                    losses.append((weight, blob))
            self._call("after_forward", i)
        on = mode.device()
        return [(weight, blob.values.tensor(on).sum()) for weight, blob in losses]

    def _backward(self, start: int, end: int, free: bool = False) -> None:
        """Run layers `start` down to `end` backward; `free` drops what forward kept for it."""
        i = start + 1
        while i > end:
            i -= 1
            if self._ends_recorded_pass(i, end):
                assert self._pass is not None
                self._pass.backward(self, free)
                i = self._pass.region.first
                continue
            self._call("before_backward", i)
            layer = self._layers[i]
            if self._backward_layers[i]:
                layer.backward(
                    [self._blobs[t] for t in self._tops[i]],
                    self._propagate_down[i],
                    [self._blobs[b] for b in self._bottoms[i]],
                )
            if free and isinstance(layer, Function):
                layer.forget()
            self._call("after_backward", i)

    def _region_at(self, first: int, end: int) -> passes.Region | None:
        """The layers from `first` on, up to `end` at most, that the fast path takes together."""
        if first not in self._region_starts or not self._free_of_calls():
            return None
        key = (first, self._blobs[self._bottoms[first][0]].shape)
        if key not in self._regions:
            while len(self._regions) >= 128:
                self._regions.popitem(last=False)
            self._regions[key] = passes.region(self, first)
        region = self._regions[key]
        return region if region is not None and region.last <= end else None

    def _ends_recorded_pass(self, last: int, end: int) -> bool:
        """Whether layer `last` ends what the fast path took together and can go back through."""
        taken = self._pass
        if taken is None or not taken.recorded or not self._free_of_calls():
            return False
        return last == taken.region.last and end <= taken.region.first

    def _free_of_calls(self) -> bool:
        return not any(self._callbacks.values())

    def forward_backward(self) -> Loss:
        """One pass forward and one backward over the whole net; the loss."""
        return self._whole(learn=True)

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Run layers `start` .. `end` (all by default) and return outputs by name.

        Keyword arguments fill input blobs; `blobs` names more blobs to return.
        """
        first = self._index_of(start) if start is not None else 0
        if end is not None:
            last = self._index_of(end)
            outputs = set(self.top_names[end]) | set(blobs or [])
        else:
            last, outputs = len(self._layers) - 1, set(self.outputs) | set(blobs or [])
        if kwargs:
            if set(kwargs) != set(self.inputs):
                raise CaffeError(
                    f"Input blob arguments do not match net inputs: found {sorted(kwargs)}, "
                    f"the net has {self.inputs}"
                )
            self._assign(kwargs, "data")
        self._forward(first, last)
        return {name: self.blobs[name].data for name in outputs}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Run layers `start` down to `end` backward and return gradients by blob name.

        Keyword arguments fill the outputs' diffs; `diffs` names more blobs to return.
        """
        first = self._index_of(start) if start is not None else len(self._layers) - 1
        if end is not None:
            last = self._index_of(end)
            outputs = set(self.bottom_names[end]) | set(diffs or [])
        else:
            last, outputs = 0, set(self.inputs) | set(diffs or [])
        if kwargs:
            if set(kwargs) != set(self.outputs):
                raise CaffeError(
                    f"Top diff arguments do not match net outputs: found {sorted(kwargs)}, "
                    f"the net has {self.outputs}"
                )
            self._assign(kwargs, "diff")
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in outputs}

    def _assign(self, values: dict[str, np.ndarray], what: str) -> None:
        for name, value in values.items():
            blob = self.blobs[name]
            if blob.shape and np.shape(value)[:1] != blob.shape[:1]:
                raise CaffeError(
                    f"{name}: {what} of shape {np.shape(value)} is not batch sized; the blob has "
                    f"shape {blob.shape}"
                )
            getattr(blob, what)[...] = value

    def forward_all(
        self, blobs: Sequence[str] | None = None, **kwargs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Run any number of inputs through, a batch at a time; outputs joined along axis 0."""
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
        nothing: dict[str, np.ndarray] = {}
        for inputs, top_diffs in zip_longest(forward, backward, fillvalue=nothing):
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
        """Cut arrays into batches of the net's size; the last is filled up with zeros."""
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
        for i in range(len(self._layers)):
            self._reshape_layer(i)

    def _reshape_layer(self, i: int) -> None:
        self._layers[i].reshape(
            [self._blobs[b] for b in self._bottoms[i]], [self._blobs[t] for t in self._tops[i]]
        )

    def clear_param_diffs(self) -> None:
        """Set the gradient of every learnable parameter to zero."""
        for blob in self.learnable:
            blob.gradient.zero()

    # ---- names ---------------------------------------------------------------------------------

    @property
    def blobs(self) -> OrderedDict[str, Blob]:
        """The blobs by name, in the order in which the layers make them."""
        return OrderedDict(zip(self._blob_names, self._blobs))

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The loss weight of each blob by name, 0 where it is no loss."""
        return OrderedDict(zip(self._blob_names, self._blob_loss_weights))

    @property
    def params(self) -> OrderedDict[str, list[Blob]]:
        """The parameters by layer name, for layers that have any."""
        return OrderedDict(
            (name, layer.blobs)
            for name, layer in zip(self._layer_names, self._layers)
            if layer.blobs
        )

    @property
    def layers(self) -> list[Layer]:
        return self._layers

    @property
    def layer_dict(self) -> OrderedDict[str, Layer]:
        """The layers by name."""
        return OrderedDict(zip(self._layer_names, self._layers))

    @property
    def inputs(self) -> list[str]:
        """The names of the blobs that Input layers make."""
        return [self._blob_names[i] for i in self._inputs]

    @property
    def outputs(self) -> list[str]:
        """The names of the blobs that no layer reads."""
        return [self._blob_names[i] for i in self._outputs]

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        return self._names(self._bottoms)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        return self._names(self._tops)

    def _names(self, ids: list[list[int]]) -> OrderedDict[str, list[str]]:
        return OrderedDict(
            (name, [self._blob_names[i] for i in of_layer])
            for name, of_layer in zip(self._layer_names, ids)
        )

    def _bottom_ids(self, layer: int) -> list[int]:
        """The numbers of the blobs that the layer of this number reads."""
        return list(self._bottoms[layer])

    def _top_ids(self, layer: int) -> list[int]:
        """The numbers of the blobs that the layer of this number makes."""
        return list(self._tops[layer])

    def _index_of(self, layer: str) -> int:
        if layer not in self._layer_names:
            raise CaffeError(
                f"the net has no layer {layer!r}; it has {', '.join(self._layer_names)}"
            )
        return self._layer_names.index(layer)

    # ---- callbacks -----------------------------------------------------------------------------

    def before_forward(self, call: Callable[[int], None]) -> None:
        """Have `call(layer index)` called before each layer's forward."""
        self._callbacks["before_forward"].append(call)

    def after_forward(self, call: Callable[[int], None]) -> None:
        """Have `call(layer index)` called after each layer's forward."""
        self._callbacks["after_forward"].append(call)

    def before_backward(self, call: Callable[[int], None]) -> None:
        """Have `call(layer index)` called before each layer's backward."""
        self._callbacks["before_backward"].append(call)

    def after_backward(self, call: Callable[[int], None]) -> None:
        """Have `call(layer index)` called after each layer's backward."""
        self._callbacks["after_backward"].append(call)

    def _call(self, when: str, index: int) -> None:
        for call in self._callbacks[when]:
            call(index)

    # ---- weights -------------------------------------------------------------------------------

    def copy_from(self, path: str | os.PathLike) -> None:
        """Take the weights of layers with the same names from a .caffemodel or .h5 file.

        Nothing is taken where a layer of the file has other shapes than here: CaffeError.
        """
        path = os.fspath(path)
        mine = dict(zip(self._layer_names, self._layers))
        pairs: list[tuple[Blob, weights.Stored]] = []
        for name, stored in weights.read_net(path):
            layer = mine.get(name)
            if layer is None:
                glog.write("net.cpp:744", f"Ignoring source layer {name}")
                continue
            if not (stored or layer.blobs):
                continue
            # HDF5 has a shared parameter's weights with its first layer alone.
            optional = self._shared if weights.is_hdf5(path) else set()
            needed = {i for i in range(len(layer.blobs)) if (name, i) not in optional}
            if not needed <= set(stored) <= set(range(len(layer.blobs))):
                raise CaffeError(
                    f"{path}: layer {name!r} has {len(stored)} blobs there and {len(layer.blobs)} "
                    "in this net"
                )
            for i, source in stored.items():
                blob = layer.blobs[i]
                if not source.fits(blob.shape):
                    raise CaffeError(
                        f"{path}: layer {name!r}: blob {i} has the shape {source.shape} there and "
                        f"{blob.shape} in this net; load it into a net of its own prototxt and "
                        "copy from there what matches"
                    )
                pairs.append((blob, source))
        for blob, source in pairs:
            source.copy_to(blob)

    def share_with(self, other: Net) -> None:
        """Use the parameters of the layers of `other` that have the same names."""
        mine = dict(zip(self._layer_names, self._layers))
        for name, layer in zip(other._layer_names, other._layers):
            if name not in mine:
                glog.write("net.cpp:678", f"Ignoring source layer {name}")
                continue
            own = mine[name].blobs
            if [b.shape for b in own] != [b.shape for b in layer.blobs]:
                raise CaffeError(
                    f"layer {name!r} has parameters of shapes {[b.shape for b in own]} here and "
                    f"{[b.shape for b in layer.blobs]} in the other net"
                )
            for blob, shared in zip(own, layer.blobs):
                blob.share_data(shared)

    def save(self, path: str | os.PathLike) -> None:
        """Write layers and weights as a .caffemodel; the file appears whole."""
        weights.write_net(os.fspath(path), self.name, self.layer_weights())

    def save_hdf5(self, path: str | os.PathLike, write_diff: bool = False) -> None:
        """Write the weights, and with `write_diff` their gradients, as HDF5."""
        weights.write_net_hdf5(os.fspath(path), self.layer_weights(), write_diff)

    def layer_weights(self) -> list[weights.LayerWeights]:
        """The layers with their parameters, as they are written to a file."""
        return [
            weights.LayerWeights(
                param,
                layer.blobs,
                frozenset(i for i in range(len(layer.blobs)) if (param.name, i) in self._shared),
            )
            for param, layer in zip(self._layer_params, self._layers)
        ]

    def load_hdf5(self, path: str | os.PathLike) -> None:
        """Take the weights of layers with the same names from an HDF5 file."""
        self.copy_from(path)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Give a MemoryData layer its arrays."""
        layer = self._layers[0] if self._layers else None
        give = getattr(layer, "set_input_arrays", None)
        if give is None:
            raise CaffeError(
                "set_input_arrays may only be called if the first layer is a MemoryDataLayer"
            )
        give(data, labels)

    _set_input_arrays = set_input_arrays
