"""Command lines as gflags reads them, and how a tool ends."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import caffe

from .. import glog
from ..errors import CaffeError, UsageError

#: Flags of a tool: name -> (default, description). The type of the default is the flag's type.
Flags = Mapping[str, tuple[Any, str]]

#: glog's flags. The log always goes to standard error.
LOGGING: Flags = {
    "logtostderr": (True, "log to standard error, as is always done"),
    "alsologtostderr": (True, "log to standard error, as is always done"),
    "minloglevel": (0, "log lines from this level on: 0 info, 1 warnings, 2 errors"),
}
#: Flags that are answered in place of running the tool.
QUERIES = ("help", "version")
_TYPES = {bool: "bool", int: "int32", float: "double", str: "string"}
_BOOLS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_BOOLS |= {"false": False, "f": False, "no": False, "n": False, "0": False}


def parse(argv: Sequence[str], flags: Flags) -> tuple[SimpleNamespace, list[str]]:
    """Return the values of the flags and the other arguments of a command line.

    A flag is written `-x v`, `-x=v`, `--x v` or `--x=v`; a bool also `-x` or `-nox`. `--` ends the
    flags. The attribute `query` of the values is the first of QUERIES on the command line, which
    is not read further then, or "". Raises UsageError for an unknown flag or an illegal value.
    """
    allowed = {**LOGGING, **flags}
    values = {name: default for name, (default, _) in allowed.items()}
    values["query"] = ""
    positional: list[str] = []
    remaining = list(argv)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":
            positional += remaining
            break
        if not argument.startswith("-") or argument == "-":
            positional.append(argument)
            continue
        name, equals, text = argument.lstrip("-").partition("=")
        if name in QUERIES:
            values["query"] = name
            break
        if name.startswith("no") and not equals and _is_bool(allowed, name[2:]):
            values[name[2:]] = False
        elif name not in allowed:
            raise UsageError(f"ERROR: unknown command line flag '{name}'")
        elif _is_bool(allowed, name) and not equals:
            values[name] = True
        elif equals or remaining:
            text = text if equals else remaining.pop(0)
            values[name] = _convert(name, text, type(allowed[name][0]))
        else:
            raise UsageError(
                f"ERROR: flag '{argument}' is missing its argument; flag description: "
                f"{allowed[name][1]}"
            )
    return SimpleNamespace(**values), positional


def _is_bool(flags: Flags, name: str) -> bool:
    return name in flags and isinstance(flags[name][0], bool)


def _convert(name: str, text: str, kind: type) -> Any:
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UsageError(
            f"ERROR: illegal value '{text}' specified for {_TYPES[kind]} flag '{name}'"
        ) from None


def show_usage(program: str, usage: str, flags: Flags) -> None:
    """Print what a tool does and its flags, as gflags does."""
    print(f"{program}: {usage}\n\n  Flags of {program}:")
    for name, (default, description) in flags.items():
        shown = f'"{default}"' if isinstance(default, str) else str(default).lower()
        line = f"-{name} ({description}) type: {_TYPES[type(default)]} default: {shown}"
        print(textwrap.fill(line, 80, initial_indent="    ", subsequent_indent="      "))


def run(
    program: str,
    usage: str,
    flags: Flags,
    body: Callable[[SimpleNamespace, list[str]], int],
    argv: Sequence[str] | None,
    runs_layers: bool = False,
) -> int:
    """Run `body(flags, arguments)` on a command line (sys.argv if None); return the exit status.

    Where BVLC Caffe aborts, the tool logs one fatal line and returns 1.

    runs_layers: whether the tool runs layers. An OSError may then come from a Python layer, whose
    exceptions are raised with their traceback.
    """
    try:
        values, positional = parse(sys.argv[1:] if argv is None else argv, flags)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    if values.query == "version":
        print(f"{program} version {caffe.__version__}")
        return 0
    if values.query == "help":
        show_usage(program, usage, flags)
        return 1
    if values.minloglevel:
        os.environ[glog.LEVEL] = str(values.minloglevel)
    errors = CaffeError if runs_layers else (CaffeError, OSError)
    try:
        return body(values, positional)
    except errors as error:
        glog.write(f"{program}.py", str(error), level=3)
        return 1
