"""What differs between two nets: changes of meaning, and changes of form alone.

A layer of one net belongs to the layer of the other that has its name, or, without one, to a layer
of the same type and settings that reads the same blobs. Blobs are compared by the layer that makes
them, so that their names do not matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import graph
from ..layers.windows import WINDOW_FIELDS, read_window
from .build import net_state
from .report import read_model

#: Fields of a LayerParameter that are compared in another way, or not at all.
APART = ("name", "bottom", "top", "include", "exclude", "phase", "blobs")
WINDOW_NAMES = ("kernel", "stride", "pad", "dilation")

#: A blob: the number of the layer that last wrote it, and the number of the top there.
Source = tuple[int, int]


class Difference(NamedTuple):
    """A difference: whether it changes the meaning, its kind, the layer, and one sentence."""

    meaning: bool
    kind: str
    layer: str
    message: str


@dataclass
class Side:
    """The layers of one net with what each of them reads and says."""

    layers: list[Any]

    def __post_init__(self) -> None:
        self.sources: list[list[Source | str]] = []
        newest: dict[str, Source] = {}
        for number, layer in enumerate(self.layers):
            self.sources.append([newest.get(name, name) for name in layer.bottom])
            for i, name in enumerate(layer.top):
                newest[name] = number, i
        self.settings = [dict(settings(layer)) for layer in self.layers]


def settings(layer: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings of a LayerParameter that are not the default, by their path.

    The spellings of one window are one setting. A filler counts although it is the default,
    because some layers fill differently without one.
    """
    window_field = WINDOW_FIELDS.get(layer.type)
    for descriptor, value in layer.ListFields():
        if descriptor.name in APART:
            continue
        for path, text in _entries(descriptor, value, descriptor.name):
            name = path.rsplit(".", 1)[-1].split("[")[0]
            stem = name.removesuffix("_size").removesuffix("_h").removesuffix("_w")
            if descriptor.name == window_field and stem in WINDOW_NAMES:
                continue
            yield path, text
    if window_field is not None:
        yield from _window_settings(layer, window_field)


def _window_settings(layer: Any, window_field: str) -> Iterator[tuple[str, str]]:
    try:
        window = read_window(layer.type, layer)
    except ValueError as error:
        yield f"{window_field}.kernel", str(error)
        return
    if window is None:
        return
    for name, default in zip(WINDOW_NAMES, (None, 1, 0, 1)):
        values = set(getattr(window, name))
        text = "x".join(map(str, getattr(window, name)))
        if values != {default}:
            yield f"{window_field}.{name}", str(values.pop()) if len(values) == 1 else text


def _entries(descriptor: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The settings in one field of a message."""
    if hasattr(value, "append") or hasattr(value, "add"):
        for i, item in enumerate(value):
            if descriptor.message_type is not None:
                yield from _message_entries(item, f"{path}[{i}]")
            else:
                yield f"{path}[{i}]", _text(descriptor, item)
    elif descriptor.message_type is not None:
        if descriptor.message_type.name == "FillerParameter":
            yield f"{path}.type", value.type
        yield from _message_entries(value, path)
    elif value != descriptor.default_value:
        yield path, _text(descriptor, value)


def _message_entries(message: Any, path: str) -> Iterator[tuple[str, str]]:
    for descriptor, value in message.ListFields():
        yield from _entries(descriptor, value, f"{path}.{descriptor.name}")


def _text(descriptor: Any, value: Any) -> str:
    if descriptor.enum_type is not None:
        return descriptor.enum_type.values_by_number[value].name
    return f"{value:g}" if isinstance(value, float) else str(value)


def set_paths(layer: Any) -> set[str]:
    """Return the paths of all fields that a LayerParameter sets, defaults included."""
    return {path for path in _set_paths(layer, "") if path.split(".")[0].split("[")[0] not in APART}


def _set_paths(message: Any, path: str) -> Iterator[str]:
    for descriptor, value in message.ListFields():
        inner = f"{path}.{descriptor.name}" if path else descriptor.name
        if descriptor.message_type is None:
            yield inner
        elif hasattr(value, "add"):
            for i, item in enumerate(value):
                yield from _set_paths(item, f"{inner}[{i}]")
        else:
            yield from _set_paths(value, inner)


def compare_nets(
    first: Any,
    second: Any,
    phase: str | None = None,
    stages: tuple[str, ...] = (),
    level: int = 0,
) -> list[Difference]:
    """Return the differences between two nets, changes of meaning first.

    first, second: NetParameters, or paths as in `inspect_net`. phase, stages, level choose the
    layers of both.
    """
    sides = []
    for net in (first, second):
        param = read_model(net) if isinstance(net, (str, os.PathLike)) else net
        filtered = type(param)()
        filtered.CopyFrom(param)
        filtered.state.CopyFrom(net_state(param, phase, stages, level))
        sides.append(Side(list(graph.filter_net(filtered).layer)))
    comparison = _Comparison(*sides)
    return sorted(comparison.differences(), key=lambda difference: not difference.meaning)


class _Comparison:
    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b
        self.partner = self._match()

    def _match(self) -> dict[int, int]:
        """Return the number of a layer of the first net -> that of its partner in the second."""
        names: dict[str, int] = {}
        for number, layer in enumerate(self.b.layers):
            names.setdefault(layer.name, number)
        partner: dict[int, int] = {}
        for number, layer in enumerate(self.a.layers):
            other = names.get(layer.name)
            if other is not None and other not in partner.values():
                partner[number] = other
        free = [n for n in range(len(self.b.layers)) if n not in set(partner.values())]
        for number, layer in enumerate(self.a.layers):
            if number in partner:
                continue
            for other in free:
                same = layer.type == self.b.layers[other].type
                if same and self._equal(number, other, partner):
                    partner[number] = other
                    free.remove(other)
                    break
        return partner

    def _equal(self, a: int, b: int, partner: dict[int, int]) -> bool:
        return (
            self.a.settings[a] == self.b.settings[b]
            and self._moved(self.a.sources[a], partner) == self.b.sources[b]
        )

    @staticmethod
    def _moved(sources: list[Source | str], partner: dict[int, int]) -> list[Source | str]:
        """Return the sources of a layer of the first net as those of the second."""
        return [
            source if isinstance(source, str) else (partner.get(source[0], -1), source[1])
            for source in sources
        ]

    def differences(self) -> Iterator[Difference]:
        for number, layer in enumerate(self.a.layers):
            if number not in self.partner:
                yield Difference(True, "removed", layer.name, f"{layer.type} is missing")
                continue
            yield from self._between(number, self.partner[number])
        partners = set(self.partner.values())
        for number, layer in enumerate(self.b.layers):
            if number not in partners:
                yield Difference(True, "added", layer.name, f"{layer.type} is new")
        yield from self._order()

    def _between(self, a: int, b: int) -> Iterator[Difference]:
        first, second = self.a.layers[a], self.b.layers[b]
        if first.name != second.name:
            yield Difference(False, "renamed", first.name, f"is now called {second.name}")
        elif first.type != second.type:
            yield Difference(
                True, "changed", first.name, f"type {first.type} becomes {second.type}"
            )
        ours, others = self.a.settings[a], self.b.settings[b]
        for path in sorted(ours.keys() | others.keys()):
            before, after = ours.get(path, "the default"), others.get(path, "the default")
            if before != after:
                yield Difference(True, "changed", first.name, f"{path}: {before} becomes {after}")
        paths = set_paths(first) ^ set_paths(second)
        for path in sorted(p for p in paths if p not in ours and p not in others):
            if self._is_default(first, second, path):
                yield Difference(
                    False, "default", first.name, f"{path} is written in one file and the default"
                )
        if self._moved(self.a.sources[a], self.partner) != self.b.sources[b]:
            yield Difference(
                True,
                "rewired",
                first.name,
                f"reads {', '.join(first.bottom) or 'nothing'}, then "
                f"{', '.join(second.bottom) or 'nothing'} of another layer",
            )
        for top, other in zip(first.top, second.top):
            if top != other:
                yield Difference(False, "renamed", first.name, f"top {top} is now called {other}")
        if len(first.top) != len(second.top):
            yield Difference(
                True, "changed", first.name, f"{len(first.top)} tops become {len(second.top)}"
            )

    @staticmethod
    def _is_default(first: Any, second: Any, path: str) -> bool:
        """Return whether a path that one layer sets is not part of a window.

        All spellings of a window are compared as one.
        """
        field = path.split(".")[0]
        stem = path.rsplit(".", 1)[-1].removesuffix("_size").removesuffix("_h").removesuffix("_w")
        return not (WINDOW_FIELDS.get(first.type) == field and stem in WINDOW_NAMES)

    def _order(self) -> Iterator[Difference]:
        latest = -1
        for number in range(len(self.a.layers)):
            place = self.partner.get(number)
            if place is None:
                continue
            if place < latest:
                name = self.a.layers[number].name
                yield Difference(False, "order", name, "stands at another place in the file")
            latest = max(latest, place)
