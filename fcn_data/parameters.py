"""The `param_str` of a Python data layer: a dict of Python literals."""

from __future__ import annotations

import ast
from typing import Any, Dict, Mapping, Tuple, Union

#: Characters of a bad param_str that a message shows.
MOST_SHOWN = 300
Types = Union[type, Tuple[type, ...]]


def read_parameters(
    layer: str, text: str, required: Mapping[str, Types], optional: Mapping[str, Types]
) -> Dict[str, Any]:
    """Return the dict that `text` holds. Nothing in `text` is executed.

    layer: the name of the layer's class, for messages. required, optional: the types of each key.

    Raises ValueError if `text` is not a dict of literals, lacks a required key, or has an unknown
    key or a value of another type.
    """
    shown = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."
    try:
        values = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(
            f"{layer}: param_str is {shown!r}, needs a dict of literals with the keys "
            f"{', '.join(required)}"
        )
    for key in required:
        if key not in values:
            raise ValueError(f"{layer}: param_str lacks {key!r}, needs {', '.join(required)}")
    types = {**required, **optional}
    for key, value in values.items():
        if key not in types:
            raise ValueError(
                f"{layer}: param_str has the unknown key {key!r}, needs one of "
                f"{', '.join(sorted(types))}"
            )
        if not isinstance(value, types[key]):
            raise ValueError(f"{layer}: {key} is {value!r}, needs {_names(types[key])}")
    return values


def numbers(layer: str, key: str, values: Any, count: int) -> Tuple[float, ...]:
    """Return `values` as a tuple. Raises ValueError if they are not `count` numbers."""
    if len(values) != count or not all(isinstance(value, (int, float)) for value in values):
        raise ValueError(
            f"{layer}: {key} is {tuple(values)}, needs {count} numbers, one for each channel"
        )
    return tuple(values)


def _names(types: Types) -> str:
    several = types if isinstance(types, tuple) else (types,)
    return " or ".join("None" if t is type(None) else t.__name__ for t in several)
