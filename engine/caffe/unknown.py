"""What a prototxt has that the schema does not: unknown fields and values, all of them at once.

Protobuf's reader stops at the first unknown field. `scan` walks the whole text instead and lists
every field and enum value that the schema lacks. `without` blanks them, so that protobuf can read
the rest. `refusal` writes the message about those that cannot be left out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .proto.origins import forks_of

#: Fields that only tune how a fork computes: its engine, its precision, its memory, its threads.
TUNING = {
    *("backward_math", "backward_type", "bn_stats_batch_size", "cache"),
    *("compile_net_state", "conv_algorithm", "conv_algos_override", "device_id"),
    *("cudnn_convolution_algo_seeker", "cudnn_math_override", "debug_display"),
    "default_backward_math",
    *("default_backward_type", "default_conv_algos_override"),
    *("default_cudnn_math_override", "default_forward_math", "default_forward_type"),
    *("display", "eltwise_mem_sharing", "engine", "forward_math", "forward_packing"),
    *("forward_type", "fuse", "global_grad_scale_adaptive", "gpuIdx"),
    *("log_avg_gradient_norm", "mem_param", "multinode", "optimize_mem", "parser_threads"),
    "random_seed",
    *("global_grad_scale", "strict_dim", "filter_group", "conv_mode"),
    *("split_param", "stats_batch_size", "bn_stats_batch_size", "show_data", "debug_params"),
    *("per_fla_fuse", "precache", "quantize_param", "reduce_buckets", "solver_data_type"),
    *("store_blobs_in_old_format", "threads", "use_gpu_transform", "verbose"),
    "workspace_MB",
}

#: Fields of layers that detect: the files that a fork writes, and the windows that it shows.
SHOWING = {
    *("label_map_file", "name_size_file", "output_directory", "output_format"),
    *("output_name_prefix", "save_file", "save_output_param", "visualize", "visualize_threshold"),
}

#: Fields of a block `layers` that people write in a block `layer` -> fields of its param.
V1_FIELDS = {"blobs_lr": "lr_mult", "weight_decay": "decay_mult"}
#: Values inside values that are read; Caffe's messages have eight at most.
MAX_DEPTH = 100
#: Messages whose fields in forks draw or choose training data, steer a training, or change the
#: weights that it starts from. The engine does without those that it lacks; the net computes the
#: same.
TRAINING = (
    *("TransformationParameter", "ImageDataParameter", "DataParameter", "SolverParameter"),
    *("FillerParameter", "AugmentationParameter", "ParamSpec"),
)
#: Ends of the messages and of the layer types that bring data.
DATA_MESSAGES = ("AugmentationParameter", "DataParameter", "TransformationParameter")
DATA_TYPES = ("Data", "DATA")

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[{}<>:;,\[\]])""",
    re.DOTALL,
)


@dataclass
class Node:
    """A field in a text: its name, its place, and a value or the fields inside.

    values: the words of a scalar or of a list, as written.
    """

    name: str
    start: int
    end: int = 0
    values: list[str] = field(default_factory=list)
    children: list[Node] | None = None

    def text_of(self, name: str) -> str:
        """Return the value of the scalar field `name` inside, without quotes; "" if missing."""
        for child in self.children or ():
            if child.name == name and child.values:
                return "".join(value.strip("\"'") for value in child.values)
        return ""


class Unknown(NamedTuple):
    """A field, or a value of an enum, that the schema lacks.

    message: the name of the message that lacks the field. value: the value, if only the value is
    unknown. layer, layer_type: of the layer around the field, or "". start, end: its place in the
    text. near: the names of the message's own fields or values.
    """

    message: str
    name: str
    value: str
    layer: str
    layer_type: str
    line: int
    start: int
    end: int
    near: tuple[str, ...]

    @property
    def tunes(self) -> bool:
        """Whether the field only tunes how a fork computes.

        Such are the scales of intel/caffe's integers, beside which the weights are whole.
        """
        integers = self.message == "QuantizationParameter" and not suggestion(self.name, self.near)
        return self.name in TUNING or integers

    @property
    def shows(self) -> bool:
        """Whether the field only writes or shows what a net detects."""
        return self.name in SHOWING

    @property
    def trains(self) -> bool:
        """Whether the field is one of a fork's that choose or change training data.

        So is a word in a data layer or in a filler that is like none of the known words.
        """
        if self.message in TRAINING and forks_of(self.name, self.message):
            return True
        in_data = self.message.endswith(DATA_MESSAGES) or (
            self.message == "LayerParameter" and self.layer_type.strip('"').endswith(DATA_TYPES)
        )
        in_filler = self.message == "FillerParameter"
        return (in_data or in_filler) and not self.value and not suggestion(self.name, self.near)


class MalformedTextError(ValueError):
    """Text that is not in protobuf's text format."""


def parse(text: str) -> list[Node]:
    """Return the fields of a text in protobuf's text format. Raises MalformedTextError."""
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise MalformedTextError
        if match.lastgroup != "space":
            tokens.append(match)
        at = match.end()
    return _Parser(tokens).fields(None)


class _Parser:
    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.tokens = tokens
        self.at = self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self) -> re.Match[str]:
        if self.at == len(self.tokens):
            raise MalformedTextError
        self.at += 1
        return self.tokens[self.at - 1]

    def fields(self, closing: str | None) -> list[Node]:
        """Return the fields up to the mark `closing`, or up to the end of the text."""
        nodes = []
        while self.peek() != (closing or ""):
            name = self.take()
            if name.lastgroup != "word":
                raise MalformedTextError
            node = Node(name[0], name.start())
            self.value(node)
            nodes.append(node)
            node.end = self.tokens[self.at - 1].end()
            if self.peek() in (",", ";") and self.peek():
                self.take()
        return nodes

    def value(self, node: Node) -> None:
        """Read what follows the name of a field."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise MalformedTextError
        self._value(node)
        self.depth -= 1

    def _value(self, node: Node) -> None:
        if self.peek() == ":":
            self.take()
        if self.peek() in ("{", "<") and self.peek():
            closing = "}" if self.take()[0] == "{" else ">"
            node.children = (node.children or []) + self.fields(closing)
            self.take()
        elif self.peek() == "[":
            self.take()
            while self.peek() != "]":
                self.value(node)
                if self.peek() == ",":
                    self.take()
            self.take()
        else:
            first = self.take()
            if first.lastgroup not in ("word", "string"):
                raise MalformedTextError
            node.values.append(first[0])
            while first.lastgroup == "string" and self.peek()[:1] in ('"', "'") and self.peek():
                node.values.append(self.take()[0])


def scan(text: str, descriptor: Any) -> list[Unknown]:
    """Return what a text has that the message of `descriptor` lacks. Raises MalformedTextError.

    A list of devices, which yjxiong/caffe trains on, counts as lacking.
    """
    return list(_scan(text, parse(text), descriptor, ("", "")))


def _scan(
    text: str, nodes: Sequence[Node], descriptor: Any, layer: tuple[str, str]
) -> Iterator[Unknown]:
    for node in nodes:
        declared = descriptor.fields_by_name.get(node.name)
        place = (text.count("\n", 0, node.start) + 1, node.start, node.end)
        if declared is None or (node.name == "device_id" and len(node.values) > 1):
            near = tuple(descriptor.fields_by_name)
            yield Unknown(descriptor.name, node.name, "", *layer, *place, near)
        elif declared.enum_type is not None:
            names = declared.enum_type.values_by_name
            for value in node.values:
                if value not in names and not value.lstrip("-").isdigit():
                    yield Unknown(descriptor.name, node.name, value, *layer, *place, tuple(names))
        elif declared.message_type is not None and node.children is not None:
            inner = layer
            if node.name in ("layer", "layers"):
                inner = (node.text_of("name") or layer[0], node.text_of("type") or layer[1])
            yield from _scan(text, node.children, declared.message_type, inner)


def without(text: str, unknown: Iterable[Unknown]) -> str:
    """Return the text with spaces in the place of fields; lines and columns stay as they are."""
    parts = list(text)
    for item in unknown:
        blank = (c if c == "\n" else " " for c in text[item.start : item.end])
        parts[item.start : item.end] = blank
    return "".join(parts)


def with_window_lists(text: str, descriptor: Any) -> str:
    """Return the text with the lists of PoolingParameter's windows under intel/caffe's names.

    yjxiong/caffe and forks of it (ECO) pool volumes with `kernel_size: [4, 7, 7]`, where BVLC Caffe
    has one number; intel/caffe's name is kernel_size_3d. Raises MalformedTextError.
    """
    ends = sorted(_window_lists(parse(text), descriptor), reverse=True)
    for end in ends:
        text = f"{text[:end]}_3d{text[end:]}"
    return text


def _window_lists(nodes: Sequence[Node], descriptor: Any) -> Iterator[int]:
    """Yield where the name of each window field ends that has values for three axes or more."""
    for name in ("kernel_size", "stride", "pad") * (descriptor.name == "PoolingParameter"):
        fields = [node for node in nodes if node.name == name]
        if sum(len(node.values) for node in fields) > 2:
            yield from (node.start + len(name) for node in fields)
    for node in nodes:
        declared = descriptor.fields_by_name.get(node.name)
        if declared is not None and declared.message_type is not None and node.children:
            yield from _window_lists(node.children, declared.message_type)


def suggestion(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the word most like `word`, or "".

    CONVOLUTION is like Convolution, and SOFTMAX_LOSS like SoftmaxWithLoss. That two words end in
    _param says nothing.
    """
    folded = {_folded(candidate): candidate for candidate in words}
    near = difflib.get_close_matches(_folded(word), folded, n=1, cutoff=0.75)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def same_word(word: str, words: Iterable[str]) -> str:
    """Return the word that differs from `word` in capitals and underscores at most, or ""."""
    return next((other for other in words if _folded(other) == _folded(word)), "")


def _folded(word: str) -> str:
    return word.lower().replace("_", "").removesuffix("param")


def _origin(forks: Sequence[str], hint: str) -> str:
    return f"; from the fork {' or '.join(forks[:3])}" if forks else hint


def refusal(
    types: Sequence[tuple[str, str]], fields: Sequence[Unknown], type_names: Iterable[str]
) -> str:
    """Return one message about all unknown types and fields, and what can be done about them.

    types: (layer, type) of each layer of an unknown type. type_names: all registered types.
    Fields inside layers of unknown types are named with the type.
    """
    type_of = dict(types)
    inside: dict[str, list[str]] = {}
    others = []
    for item in fields:
        if item.layer in type_of and item.message not in ("NetParameter", "SolverParameter"):
            inside.setdefault(type_of[item.layer], []).append(item.name)
        else:
            others.append(item)
    parts = [*_type_parts(types, inside, list(type_names)), *_field_parts(others)]
    advice = []
    if types:
        corrects = any("did you mean" in part for part in parts)
        advice.append(_type_advice([layer_type for _, layer_type in types], corrects))
    if others:
        advice.append("correct or remove the fields")
    return "; ".join([*parts, " and ".join(advice).rstrip(",")])


def _type_parts(
    types: Sequence[tuple[str, str]], inside: Mapping[str, Sequence[str]], type_names: Sequence[str]
) -> list[str]:
    """Return the part of the message about each unknown type.

    inside: type -> the unknown fields inside its layers.
    """
    layers_of: dict[str, list[str]] = {}
    for layer, layer_type in types:
        layers_of.setdefault(layer_type, []).append(layer)
    parts = []
    for layer_type, layers in layers_of.items():
        origin = _origin(forks_of(layer_type), suggestion(layer_type, type_names))
        names = list(dict.fromkeys(inside.get(layer_type, ())))
        settings = f" with {_listed('field', names)}" if names else ""
        parts.append(f"unknown type {layer_type!r} ({_listed('layer', layers)}{origin}){settings}")
    return parts


def _type_advice(types: Sequence[str], corrects: bool) -> str:
    """Return the advice about unknown types. corrects: whether the message has suggestions."""
    correct = "correct the type, or " if corrects else ""
    brings_data = any(layer_type.endswith(DATA_TYPES) for layer_type in types)
    other = ", or bring the data by another layer, such as HDF5Data," if brings_data else ""
    return (
        f"{correct}write a class for the type and register it with "
        f"caffe.register_layer(class, type){other}"
    )


def _field_parts(fields: Sequence[Unknown]) -> list[str]:
    """Return the part of the message about each unknown field or value of a field."""
    places: dict[tuple[str, str, str], list[Unknown]] = {}
    for item in fields:
        places.setdefault((item.message, item.name, item.value), []).append(item)
    parts = []
    for (message, name, value), items in places.items():
        near = suggestion(value or name, items[0].near)
        origin = _origin(forks_of(name, message), near)
        if message == "LayerParameter" and name in V1_FIELDS:
            origin = f"; in a block `layer` it is param {{ {V1_FIELDS[name]}: ... }}"
        subject = f'{message} has no field named "{name}"'
        if value:
            subject = f"{message}.{name} has no value {value}"
        where = _listed("line", [str(item.line) for item in items])
        layers = list(dict.fromkeys(item.layer for item in items if item.layer))
        where = f"{where}, {_listed('layer', layers)}" if layers else where
        parts.append(f"{subject} ({where}{origin})")
    return parts


def _listed(noun: str, items: Sequence[str]) -> str:
    """Return "layer a", "layers a, b" or, of many, "layers a, b, c and 5 more"."""
    more = f" and {len(items) - 6} more" if len(items) > 6 else ""
    return f"{noun}{'s' if len(items) > 1 else ''} {', '.join(items[:6])}{more}"
