"""NetParameters in binary files of forks, whose field numbers collide with each other's.

A number in a layer of a fork's type is that of the type's field settings: 143 is `input_param` in
BVLC Caffe and `interp_param` of an Interp layer in PSPNet. A number that forks added to one of
BVLC's messages counts where one fork alone can be meant: the forks of all types in the file, or
`caffe.set_fork`. What cannot be decided is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import glog, wire
from .errors import FileError
from .forks import FORKS, current_fork
from .proto import caffe_pb2
from .proto.fork_numbers import ADDED, PARAMETERS
from .proto.origins import ORIGINS, forks_of

#: Field of NetParameter, and of LayerParameter.
LAYER, TYPE = 100, 2
#: Field of NetParameter, and of V1LayerParameter.
V1_LAYER, V1_NAME, V1_TYPE = 2, 4, 5
#: Layer types whose settings have a name of their field -> these names.
SETTINGS = {
    "ConvolutionDepthwise": ("convolution_param",),
    "CtcDecoder": ("ctc_decoder_param",),
    "CtcLoss": ("ctc_loss_param",),
    "DepthwiseConv": ("convolution_param",),
    "DepthwiseConvolution": ("convolution_param",),
    "Normalize": ("norm_param", "normalize_param"),
    "SpatialTransformer": ("st_param",),
    "WarpCTCLoss": ("ctc_loss_param",),
}


def is_binary(data: bytes) -> bool:
    """Return whether bytes are binary: whether control characters are among the first."""
    return any(byte < 32 and byte not in b"\t\n\v\f\r" for byte in data[:4096])


def parse_net(data: bytes, path: str) -> Any:
    """Return the NetParameter of a binary file of any fork. Raises FileError.

    path: the file, for errors.
    """
    buffer = memoryview(data)
    chunks: list[bytes] = []
    try:
        _check_v1_types(buffer, path)
        forks = _forks_of_file(_types(buffer))
        for number, wire_type, value in wire.fields(buffer):
            if number == LAYER and wire_type == wire.BYTES:
                value = b"".join(_layer(value, forks))
            chunks.append(_field(number, wire_type, value))
    except wire.MalformedError:
        pass  # The parser says what is wrong.
    else:
        data = b"".join(chunks)
    return wire.parse_binary(data, caffe_pb2.NetParameter(), path)


def _check_v1_types(buffer: memoryview, path: str) -> None:
    """Raise FileError for a V1 layer whose type has a number that BVLC Caffe does not have."""
    numbers = caffe_pb2.V1LayerParameter.LayerType.DESCRIPTOR.values_by_number
    for number, wire_type, value in wire.fields(buffer):
        if number != V1_LAYER or wire_type != wire.BYTES:
            continue
        fields = {(n, kind): inner for n, kind, inner in wire.fields(value)}
        layer_type = fields.get((V1_TYPE, wire.VARINT), 0)
        if layer_type not in numbers:
            name = wire.decode_text(fields.get((V1_NAME, wire.BYTES), memoryview(b"")))
            raise FileError(
                f"{path}: layer {name} has the V1 type number {layer_type}, which BVLC Caffe lacks "
                "and forks use for different types; read the net from its prototxt, which names "
                "the type"
            )


def _types(buffer: memoryview) -> set[str]:
    """Return the layer types of a net."""
    return {
        wire.decode_text(inner)
        for number, wire_type, value in wire.fields(buffer)
        if number == LAYER and wire_type == wire.BYTES
        for field, kind, inner in wire.fields(value)
        if field == TYPE and kind == wire.BYTES
    }


def _forks_of_file(types: set[str]) -> set[str]:
    """Return the public forks that a file with these layer types can come from.

    Without types of forks, none; `set_fork` decides before the types do.
    """
    fork = current_fork()
    if fork is not None:
        return {name for name in ORIGINS if name.split(" ")[0] in FORKS[fork]}
    candidates = [set(forks_of(type_name)) for type_name in types if forks_of(type_name)]
    return set.intersection(*candidates) if candidates else set()


def _field(number: int, wire_type: int, value: Any) -> bytes:
    """Return a field with its number and its value, as `wire.fields` gives them."""
    tag = wire.encode_varint(number << 3 | wire_type)
    if wire_type == wire.VARINT:
        return tag + wire.encode_varint(value)
    content = bytes(value)
    size = wire.encode_varint(len(content)) if wire_type == wire.BYTES else b""
    return tag + size + content


def _layer(buffer: memoryview, forks: set[str]) -> Iterator[bytes]:
    """Yield the fields of a layer in this engine's numbers."""
    fields = list(wire.fields(buffer))
    layer_type = next(
        (wire.decode_text(v) for n, k, v in fields if n == TYPE and k == wire.BYTES), ""
    )
    declared = caffe_pb2.LayerParameter.DESCRIPTOR
    for number, wire_type, value in fields:
        variant = _variant(layer_type, number, value) if wire_type == wire.BYTES else None
        field = declared.fields_by_number.get(number)
        if variant is not None:
            name, numbers = variant
            target = declared.fields_by_name[name]
            inner = b"".join(_renumbered(value, target.message_type, numbers))
            yield _field(target.number, wire_type, inner)
        elif field is not None and field.message_type is not None and wire_type == wire.BYTES:
            yield _field(number, wire_type, b"".join(_added(value, field.message_type, forks)))
        elif field is not None:
            yield _field(number, wire_type, value)
        else:
            message = (
                f"layer type {layer_type}: field {number} is left out: no fork is known for it"
            )
            glog.write("upgrade_proto.cpp:90", message, 1)


def _variant(layer_type: str, number: int, value: memoryview) -> tuple[str, dict[int, str]] | None:
    """Return the settings of a layer type with this number, and the names of the fields inside.

    Of several variants, the first that knows all numbers in the value is the one.
    """
    plain = layer_type.lower()
    names = SETTINGS.get(layer_type) or [
        name for name in PARAMETERS if name.removesuffix("_param").replace("_", "") == plain
    ]
    best: tuple[str, dict[int, str]] | None = None
    for name in names:
        for numbers, inner in PARAMETERS.get(name, ()):
            if number not in numbers:
                continue
            fields = _by_number(inner)
            if {n for n, _, _ in wire.fields(value)} <= set(fields):
                return name, fields
            best = best or (name, fields)
    return best


def _by_number(fields: str) -> dict[int, str]:
    """Return the names by number of "name=number name=number"."""
    pairs = (entry.split("=") for entry in fields.split())
    return {int(number): name for name, number in pairs}


def _renumbered(buffer: memoryview, message: Any, names: dict[int, str]) -> Iterator[bytes]:
    """Yield the fields of a message in this engine's numbers; those without a name are left out."""
    for number, wire_type, value in wire.fields(buffer):
        if number in names:
            yield _field(message.fields_by_name[names[number]].number, wire_type, value)


def _added(buffer: memoryview, message: Any, forks: set[str]) -> Iterator[bytes]:
    """Yield the fields of one of BVLC's messages; those of forks in this engine's numbers."""
    added = [entry.split("=") for entry in ADDED.get(message.name, "").split()]
    for number, wire_type, value in wire.fields(buffer):
        field = message.fields_by_number.get(number)
        names = {name for name, n in added if int(n) == number}
        names = {name for name in names if _fits(message.fields_by_name[name], wire_type)}
        of_file = {name for name in names if _is_of(forks, forks_of(name, message.name))}
        if field is not None or len(names) > 1:
            names = of_file
        if len(names) == 1:
            yield _field(message.fields_by_name[names.pop()].number, wire_type, value)
        elif field is not None:
            yield _field(number, wire_type, value)


def _is_of(forks: set[str], owners: list[str]) -> bool:
    """Return whether a file of these forks has a field of `owners`.

    Of the forks that the types of a file allow, all need to have the field; of those that
    `set_fork` names, one.
    """
    if current_fork() is not None:
        return bool(forks & set(owners))
    return bool(forks) and forks <= set(owners)


def _fits(field: Any, wire_type: int) -> bool:
    """Return whether a field of this wire type can be the field of a descriptor."""
    if field.cpp_type in (field.CPPTYPE_MESSAGE, field.CPPTYPE_STRING):
        return wire_type == wire.BYTES
    scalar = wire.FIXED32 if field.cpp_type == field.CPPTYPE_FLOAT else wire.VARINT
    return wire_type in (scalar, wire.BYTES)
