"""Nets written in Python: every layer type and every setting of caffe.proto, by its own name.

    n = NetSpec()
    n.data, n.label = layers.Data(ntop=2, source="list", batch_size=8)
    n.conv1 = layers.Convolution(n.data, num_output=20, kernel_size=5)
    n.relu1 = layers.ReLU(n.conv1, in_place=True)
    n.loss = layers.SoftmaxWithLoss(n.relu1, n.label, loss_weight=2)
    n.to_proto()

A call makes a `Function` and gives its `Top`s; the names that they get in the `NetSpec` are the
names in the net. Nothing here lists layer types or fields: the messages' descriptors do.
"""

from __future__ import annotations

import difflib
from collections import Counter, OrderedDict
from typing import Any, Dict, Iterable, Iterator, List, Tuple, Union

import numpy as np
from google.protobuf.message import Message

from .proto import caffe_pb2


def param_name_dict() -> Dict[str, str]:
    """Maps a layer type to the stem of its settings' field: {'Convolution': 'convolution', ...}."""
    names = {}
    field: Any
    for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields:
        if field.name.endswith("_param"):
            names[field.message_type.name[: -len("Parameter")]] = field.name[: -len("_param")]
    return names


_param_names = param_name_dict()


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_repeated(message: Message, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "extend")


def _needed(field: Any) -> str:
    if field.enum_type is not None:
        return f"one of {', '.join(field.enum_type.values_by_name)}"
    return {
        field.CPPTYPE_BOOL: "True or False",
        field.CPPTYPE_FLOAT: "a number",
        field.CPPTYPE_DOUBLE: "a number",
        field.CPPTYPE_STRING: "text",
        field.CPPTYPE_UINT32: "a whole number from 0 on",
        field.CPPTYPE_UINT64: "a whole number from 0 on",
    }.get(field.cpp_type, "a whole number")


def _plain(field: Any, val: Any) -> Any:
    """A value as every protobuf runtime takes it: NumPy scalars, bools and names of enum values."""
    if isinstance(val, np.generic):
        val = val.item()
    if isinstance(val, bool) and field.cpp_type != field.CPPTYPE_BOOL:
        return int(val)
    if field.enum_type is not None and isinstance(val, str):
        if val not in field.enum_type.values_by_name:
            raise ValueError(val)
        return field.enum_type.values_by_name[val].number
    return val


def _fill(message: Message, values: Union[Dict[str, Any], Message], where: str) -> None:
    if isinstance(values, Message):
        message.MergeFrom(values)
    elif isinstance(values, dict):
        for name, val in values.items():
            assign_proto(message, name, val)
    else:
        fields = ", ".join(message.DESCRIPTOR.fields_by_name)
        raise TypeError(f"{where} = {values!r}: a dict is needed, of {fields}")


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Sets the field `name` of a message from plain Python.

    A dict fills a nested message; a list or tuple fills a repeated field, and one value stands for
    a list of one; an enum is given by number or by name.

    Raises AttributeError if there is no such field, TypeError or ValueError if the value does not
    fit it; the message names the field and the value.
    """
    descriptor = proto.DESCRIPTOR
    field: Any = descriptor.fields_by_name.get(name)
    if field is None:
        hint = _nearest(name, descriptor.fields_by_name)
        raise AttributeError(f"{descriptor.name} has no field {name!r} (given {val!r}){hint}")
    where = f"{descriptor.name}.{name}"
    repeated = _is_repeated(proto, field)
    if isinstance(val, np.ndarray):
        val = val.tolist()
    if isinstance(val, (list, tuple)) and not repeated:
        raise TypeError(f"{where} = {val!r}: one value is needed, not a list")
    items = list(val) if isinstance(val, (list, tuple)) else [val]
    if field.message_type is not None:
        for item in items:
            target = getattr(proto, name).add() if repeated else getattr(proto, name)
            _fill(target, item, where)
        return
    try:
        if repeated:
            getattr(proto, name).extend([_plain(field, item) for item in items])
        else:
            setattr(proto, name, _plain(field, val))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where} = {val!r}: {_needed(field)} is needed") from None


class Top:
    """Output number `n` of the layer that `fn` describes."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """The NetParameter of the net that ends in this top."""
        return to_proto(self)


class Function:
    """One layer: its type, its bottoms and its settings, not yet named.

    type_name: the layer type, such as "Convolution".
    inputs: the `Top`s that it reads.
    params: the settings, fields of `<type>_param` or else of LayerParameter. `ntop` is the number
        of tops (1); `in_place=True` makes the tops the bottoms themselves.

    Raises TypeError if an input is not a Top.
    """

    def __init__(self, type_name: str, inputs: Iterable[Top], params: Dict[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        for index, top in enumerate(self.inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(top)})")
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def to_proto(self) -> Any:
        """The NetParameter of the net that ends in this layer."""
        return to_proto(self)

    def fill(self, layer: Any) -> None:
        """Writes the settings into a LayerParameter.

        Raises what `assign_proto` raises, with the layer's name and type before it.
        """
        own = _param_names.get(self.type_name)
        own_field: Any = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name.get(f"{own}_param")
        own_names = own_field.message_type.fields_by_name if own_field else {}
        for name, val in self.params.items():
            try:
                if name in own_names and not name.endswith("param"):
                    assign_proto(getattr(layer, own_field.name), name, val)
                elif own_field and name not in layer.DESCRIPTOR.fields_by_name:
                    both = [*own_names, *layer.DESCRIPTOR.fields_by_name]
                    raise AttributeError(
                        f"neither {own_field.message_type.name} nor LayerParameter has a field "
                        f"{name!r} (given {val!r}){_nearest(name, both)}"
                    )
                else:
                    assign_proto(layer, name, val)
            except (AttributeError, TypeError, ValueError) as error:
                raise type(error)(f"layer {layer.name!r} ({self.type_name}): {error}") from None


def _in_order(roots: Iterable[Union[Top, Function]]) -> Iterator[Function]:
    """The functions behind `roots`, each once and after all that it reads."""
    done = set()
    stack: List[Tuple[Function, bool]] = []
    for root in roots:
        stack.append((root.fn if isinstance(root, Top) else root, False))
        while stack:
            fn, ready = stack.pop()
            if fn in done:
                continue
            if ready:
                done.add(fn)
                yield fn
            else:
                stack.append((fn, True))
                stack.extend((top.fn, False) for top in reversed(fn.inputs))


def _net(roots: Iterable[Union[Top, Function]], names: Dict[Any, str]) -> Any:
    """The NetParameter that makes `roots`, where `names` names tops and functions.

    The others get their type and a number. A layer has the name of its first top.
    """
    names = dict(names)
    taken = set(names.values())
    counts: Counter = Counter()
    blobs: Dict[Top, str] = {}
    net = caffe_pb2.NetParameter()

    def name_of(thing: Union[Top, Function], type_name: str) -> str:
        while thing not in names:
            counts[type_name] += 1
            name = f"{type_name}{counts[type_name]}"
            if name not in taken:
                names[thing] = name
        return names[thing]

    for fn in _in_order(roots):
        layer = net.layer.add(type=fn.type_name)
        layer.bottom.extend(blobs[top] for top in fn.inputs)
        if fn.in_place:
            if fn.ntop > len(fn.inputs):
                raise ValueError(
                    f"{fn.type_name} layer in place: {fn.ntop} tops, {len(fn.inputs)} bottoms"
                )
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(name_of(top, fn.type_name) for top in fn.tops)
        blobs.update(zip(fn.tops, layer.top))
        layer.name = name_of(fn.tops[0] if fn.tops else fn, fn.type_name)
        fn.fill(layer)
    return net


def to_proto(*tops: Union[Top, Function]) -> Any:
    """The NetParameter of the net that makes `tops`, every layer and blob named by its type."""
    return _net(tops, {})


class NetSpec:
    """A net being written: its attributes are its tops, in the order they were set.

    Names that are no Python names go in brackets: `n["inception/pool"] = ...`. A layer without
    tops is kept under a name too: `n.silence = layers.Silence(n.extra, ntop=0)`.
    """

    tops: OrderedDict

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, (Top, Function)):
            several = isinstance(value, (tuple, list)) and len(value) > 1
            hint = f"; give {len(value)} names, one for each" if several else ""
            raise TypeError(f"{name!r} is set to {type(value).__name__}, a Top is needed{hint}")
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tops":
            raise AttributeError(name)
        try:
            return self.tops[name]
        except KeyError:
            raise AttributeError(f"no top {name!r}{_nearest(name, self.tops)}") from None

    def __delattr__(self, name: str) -> None:
        self.__getattr__(name)
        del self.tops[name]

    def __setitem__(self, key: str, value: Union[Top, Function]) -> None:
        self.__setattr__(key, value)

    def __getitem__(self, item: str) -> Any:
        if item not in self.tops:
            raise KeyError(f"no top {item!r}{_nearest(item, self.tops)}")
        return self.tops[item]

    def __delitem__(self, key: str) -> None:
        self[key]
        del self.tops[key]

    def to_proto(self) -> Any:
        """The NetParameter; raises what `assign_proto` raises, with the layer's name."""
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """`layers.Type(*bottoms, **settings)` for any layer type.

    Gives the `Top`; a tuple of them where `ntop` is not 1; the `Function` where it is 0.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer_fn(*args: Top, **kwargs: Any) -> Any:
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        layer_fn.__name__ = name
        return layer_fn


class _Constants:
    """The enum values of one message."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        values = self._message.DESCRIPTOR.enum_values_by_name
        if name not in values:
            known = ", ".join(values) or "none"
            raise AttributeError(f"{self._message.__name__} has no value {name!r}; known: {known}")
        return values[name].number


class Parameters:
    """`params.Pooling.MAX`: the enum values of `<Type>Parameter`."""

    def __getattr__(self, name: str) -> _Constants:
        if name.startswith("__"):
            raise AttributeError(name)
        message = getattr(caffe_pb2, f"{name}Parameter", None)
        if message is None:
            names = [m[: -len("Parameter")] for m in caffe_pb2.DESCRIPTOR.message_types_by_name]
            raise AttributeError(f"no message {name}Parameter{_nearest(name, names)}")
        return _Constants(message)


layers = Layers()
params = Parameters()
