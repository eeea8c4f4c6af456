"""Changes to a valid net: a field, the graph, or the text. Most changes make a net invalid."""

from __future__ import annotations

import random
from typing import Any, List, Tuple

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from oracle.cases.bvlc import LAYER_TYPES, in_bvlc


def change_net(net: dict) -> dict:
    """Return a valid net with one or two changes, which the net's name determines."""
    r = random.Random(net["name"] + " changed")
    if r.random() < 0.08:
        return {**net, "text": change_text(r, net["text"])}
    message = text_format.Parse(net["text"], caffe_pb2.NetParameter())
    for _ in range(r.choice((1, 1, 1, 2))):
        draw = r.random()
        if draw < 0.35 and message.layer:
            change_graph(r, message)
        elif draw < 0.55 and message.layer:
            set_absent_field(r, r.choice(message.layer))
        else:
            layers = [x for x in message.layer if x.type != "Input" or r.random() < 0.3]
            fields = scalar_fields(r.choice(layers or message.layer)) if message.layer else []
            fields = [pair for pair in fields if pair[1].name not in ("name", "module")]
            if fields:
                change_field(r, *r.choice(fields))
    return {**net, "text": text_format.MessageToString(message)}


def scalar_fields(message: Any) -> List[Tuple[Any, Any]]:
    """Return (message, field) of every field that is set and is no message, at any depth."""
    fields = []
    for field, value in message.ListFields():
        if field.message_type is None:
            fields.append((message, field))
        else:
            for inner in value if field.is_repeated else [value]:
                fields += scalar_fields(inner)
    return fields


def change_field(r: random.Random, message: Any, field: Any) -> None:
    """Give a field another value, or give a repeated one more, fewer or other values."""
    old = getattr(message, field.name)
    values = list(old) if field.is_repeated else [old]
    i = r.randrange(len(values))
    new = other_value(r, field, values[i])
    if not field.is_repeated:
        setattr(message, field.name, new)
        return
    draw = r.random()
    values[i] = new
    if draw < 0.25:
        del values[i]
    elif draw < 0.5:
        values.insert(i, new)
    message.ClearField(field.name)
    getattr(message, field.name).extend(values)


def other_value(r: random.Random, field: Any, value: Any) -> Any:
    """Return a value of the field's type, which may be the same one."""
    if field.enum_type is not None:
        return random_enum_value(r, field)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        value = r.choice((0, 1, 2, 3, value + 1, value + 1, value - 1, -value, -1, -2, 7, 40))
        unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
        return abs(value) if unsigned else value
    if isinstance(value, float):
        return r.choice((0, -value, -1, 1, 2, value / 2))
    return r.choice((value + "x", ""))


def random_enum_value(r: random.Random, field: Any) -> int:
    """Return one of the values that BVLC Caffe has for an enum field."""
    return r.choice([v.number for v in field.enum_type.values if in_bvlc(v.number)])


def set_absent_field(r: random.Random, message: Any) -> None:
    """Set a field that is not set, of the layer's own parameters if the layer has any."""
    for field, value in message.ListFields():
        if field.name.endswith("_param") and not field.is_repeated and r.random() < 0.8:
            message = value
    fields = [f for f in message.DESCRIPTOR.fields if f.message_type is None and in_bvlc(f.number)]
    fields = [f for f in fields if f.name not in ("type", "name", "source", "engine")]
    if not fields:
        return
    field = r.choice(fields)
    new: object = r.choice((0, 1, 2, 3, -1, 5))
    if field.enum_type is not None:
        new = random_enum_value(r, field)
    elif field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        new = r.choice((0, 1, 2, 3, 5))
    elif field.cpp_type == field.CPPTYPE_BOOL:
        new = r.random() < 0.5
    elif field.cpp_type == field.CPPTYPE_STRING:
        new = "other"
    if field.is_repeated:
        getattr(message, field.name).append(new)
    else:
        setattr(message, field.name, new)


def change_graph(r: random.Random, net: Any) -> None:
    """Change a layer's bottoms, tops or type, or the list of layers."""
    layer, i = r.choice(net.layer), r.randrange(len(net.layer))
    blobs = [top for other in net.layer for top in other.top] + ["nowhere"]
    change = r.randrange(12)
    ends = layer.bottom if change % 2 else layer.top
    if change < 2 and ends:
        del ends[r.randrange(len(ends))]
    elif change < 4:
        ends.append(r.choice(blobs))
    elif change < 6 and ends:
        ends[r.randrange(len(ends))] = r.choice(blobs)
    elif change == 6:
        del net.layer[i]
    elif change == 7:
        net.layer.add().CopyFrom(layer)
    elif change == 8:
        layer.type = r.choice((layer.type + "s", *LAYER_TYPES))
    elif change == 9:
        net.layer.add().CopyFrom(net.layer[i])
        del net.layer[i]
    elif change == 10:
        spec = layer.param.add()
        spec.name = "shared"
        net.layer[i].param.add().name = "shared"
    else:
        layer.bottom[:] = reversed(layer.bottom)


def change_text(r: random.Random, text: str) -> str:
    """Return the text with one word changed, which often is no prototxt any more."""
    words = text.split(" ")
    i = r.randrange(len(words))
    change = r.randrange(5)
    if change == 0:
        del words[i]
    elif change == 1:
        words[i] = r.choice(("unknown: 1", "'", "{", "}", "#", ";", ",", "1.5", "-1", "MAX", "0x3"))
    elif change == 2:
        words.insert(i, words[r.randrange(len(words))])
    elif change == 3:
        words[i] = words[i] * 2
    else:
        words[i] = r.choice((words[i].upper(), words[i].replace(":", ""), words[i] + ","))
    return " ".join(words)
