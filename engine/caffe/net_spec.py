"""Nets written in Python, with every layer type and every field of caffe.proto by its own name.

    n = NetSpec()
    n.data, n.label = layers.Data(ntop=2, source="list", batch_size=8)
    n.conv1 = layers.Convolution(n.data, num_output=20, kernel_size=5)
    n.relu1 = layers.ReLU(n.conv1, in_place=True)
    n.loss = layers.SoftmaxWithLoss(n.relu1, n.label, loss_weight=2)
    n.to_proto()

A call makes a `Function` and returns its `Top`s. The names of the tops in the `NetSpec` are the
names in the net. This module lists no layer types and no fields; it reads the descriptors of the
messages.
"""

from __future__ import annotations

import difflib
from collections import Counter, OrderedDict
from functools import partial
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple, Union

import numpy as np
from google import protobuf  # noqa: F401  (a name of pycaffe's module)
from google.protobuf.message import Message

from .late_names import late_names
from .proto import caffe_pb2


def param_name_dict() -> Dict[str, str]:
    """Return the stem of each layer type's settings field: {'Convolution': 'convolution', ...}.

    Of two fields with one message, as SSD's norm_param and normalize_param, the older one counts.
    """
    names: Dict[str, str] = {}
    field: Any
    for field in sorted(caffe_pb2.LayerParameter.DESCRIPTOR.fields, key=lambda f: f.number):
        if field.name.endswith("_param"):
            stem = field.name[: -len("_param")]
            names.setdefault(field.message_type.name[: -len("Parameter")], stem)
    return names


_param_names = param_name_dict()


def _suggestion(word: str, words: Iterable[str]) -> str:
    """Return a hint at the word most like `word`, for the end of a message; "" without one."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_repeated(message: Message, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "extend")


def _expected(field: Any) -> str:
    """Return what the values of a field are, in words."""
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
    """Return a NumPy scalar, a bool or the name of an enum value as every protobuf accepts it."""
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
    """Set the fields of a message from a dict or from another message."""
    if isinstance(values, Message):
        message.MergeFrom(values)
    elif isinstance(values, dict):
        for name, val in values.items():
            assign_proto(message, name, val)
    else:
        fields = ", ".join(message.DESCRIPTOR.fields_by_name)
        raise TypeError(f"{where} = {values!r}: a dict is needed, of {fields}")


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Set the field `name` of a message from plain Python values.

    A dict fills a nested message. A list, tuple or array fills a repeated field; a single value
    stands for a list of one. An enum is a number or a name.

    Raises AttributeError for an unknown field, and TypeError or ValueError for a value that does
    not fit the field. The error names the field and the value.
    """
    descriptor = proto.DESCRIPTOR
    field: Any = descriptor.fields_by_name.get(name)
    if field is None:
        hint = _suggestion(name, descriptor.fields_by_name)
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
        raise type(error)(f"{where} = {val!r}: {_expected(field)} is needed") from None


class Top:
    """Output number `n` of the layer `fn`, a Function."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """Return the NetParameter of the net that ends in this top."""
        return to_proto(self)


class Function:
    """A layer without a name: its type, its bottoms and its settings.

    type_name: the layer type, such as "Convolution".
    inputs: the bottoms, each a Top.
    params: the settings, by the names of fields of `<type>_param` or else of LayerParameter.
        `ntop` is the number of tops (1); with `in_place=True` the tops are the bottoms.

    Raises TypeError for an input that is not a Top.
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
        """Return the NetParameter of the net that ends in this layer."""
        return to_proto(self)

    def fill(self, layer: Any) -> None:
        """Write the settings into a LayerParameter.

        Raises the exceptions of `assign_proto`, with the name and the type of the layer.
        """
        stem = _param_names.get(self.type_name)
        settings: Any = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name.get(f"{stem}_param")
        settings_names = settings.message_type.fields_by_name if settings else {}
        for name, val in self.params.items():
            try:
                if name in settings_names and not name.endswith("param"):
                    assign_proto(getattr(layer, settings.name), name, val)
                elif settings and name not in layer.DESCRIPTOR.fields_by_name:
                    names = [*settings_names, *layer.DESCRIPTOR.fields_by_name]
                    raise AttributeError(
                        f"neither {settings.message_type.name} nor LayerParameter has a field "
                        f"{name!r} (given {val!r}){_suggestion(name, names)}"
                    )
                else:
                    assign_proto(layer, name, val)
            except (AttributeError, TypeError, ValueError) as error:
                raise type(error)(f"layer {layer.name!r} ({self.type_name}): {error}") from None


def _in_order(roots: Iterable[Union[Top, Function]]) -> Iterator[Function]:
    """Yield every function that `roots` depend on, once, after the functions of its inputs."""
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
    """Return the NetParameter that computes `roots`.

    names: the names of tops and functions. The other names are a type and a number. A layer has
        the name of its first top.
    """
    names = dict(names)
    used_names = set(names.values())
    counts: Counter = Counter()
    blobs: Dict[Top, str] = {}
    net = caffe_pb2.NetParameter()

    def name_of(thing: Union[Top, Function], type_name: str) -> str:
        while thing not in names:
            counts[type_name] += 1
            name = f"{type_name}{counts[type_name]}"
            if name not in used_names:
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
    """Return the NetParameter that computes `tops`; all names are a type and a number."""
    return _net(tops, {})


def _update(net: NetSpec, name: str, settings: Dict[str, Any]) -> None:
    top = net[name]
    (top.fn if isinstance(top, Top) else top).params.update(settings)


#: Methods of NetSpec in weiliu89/caffe.
_SSD_METHODS: Dict[str, Callable] = {
    "keys": lambda net: list(net.tops),
    "vals": lambda net: list(net.tops.values()),
    "update": _update,
}


class UnknownTopError(AttributeError, KeyError):
    """Raised for an attribute of a NetSpec that is not a top. pycaffe raises a KeyError."""

    __str__ = AttributeError.__str__


class NetSpec:
    """The named tops of a net, as attributes, in the order in which they are set.

    A name that is not a Python name goes in brackets: `n["inception/pool"] = ...`. A layer without
    tops has a name too: `n.silence = layers.Silence(n.extra, ntop=0)`.

    `keys()`, `vals()` and `update(name, settings)`, which SSD's fork has, return the names and the
    tops as lists, and change the settings of a layer. A top of such a name hides the method.
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
            if name in _SSD_METHODS:
                return partial(_SSD_METHODS[name], self)
            raise UnknownTopError(f"no top {name!r}{_suggestion(name, self.tops)}") from None

    def __delattr__(self, name: str) -> None:
        self.__getattr__(name)
        del self.tops[name]

    def __setitem__(self, key: str, value: Union[Top, Function]) -> None:
        self.__setattr__(key, value)

    def __getitem__(self, item: str) -> Any:
        if item not in self.tops:
            raise KeyError(f"no top {item!r}{_suggestion(item, self.tops)}")
        return self.tops[item]

    def __delitem__(self, key: str) -> None:
        self[key]
        del self.tops[key]

    def to_proto(self) -> Any:
        """Return the NetParameter. Raises the exceptions of `assign_proto`, with the layer."""
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """`layers.Type(*bottoms, **settings)` for any layer type.

    The call returns the Top, or a tuple of Tops where `ntop` is above 1, or the Function where
    `ntop` is 0.
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
            names = ", ".join(values) or "none"
            raise AttributeError(f"{self._message.__name__} has no value {name!r}; known: {names}")
        return values[name].number


class Parameters:
    """The enum values of `<Type>Parameter`: `params.Pooling.MAX`."""

    def __getattr__(self, name: str) -> _Constants:
        if name.startswith("__"):
            raise AttributeError(name)
        message = getattr(caffe_pb2, f"{name}Parameter", None)
        if message is None:
            names = [m[: -len("Parameter")] for m in caffe_pb2.DESCRIPTOR.message_types_by_name]
            raise AttributeError(f"no message {name}Parameter{_suggestion(name, names)}")
        return _Constants(message)


layers = Layers()
params = Parameters()

__getattr__, __dir__ = late_names(__name__, {"six": "six"})
