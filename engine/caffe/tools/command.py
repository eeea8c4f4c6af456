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
from ..errors import CaffeError

#: Flags of a tool: name -> (default, what it is for). The default's type is the flag's.
Flags = Mapping[str, tuple[Any, str]]

#: glog's flags. The log goes to standard error always.
LOGGING: Flags = {
    "logtostderr": (True, "log to standard error, as is always done"),
    "alsologtostderr": (True, "log to standard error, as is always done"),
    "minloglevel": (0, "log lines from this level on: 0 info, 1 warnings, 2 errors"),
}
_KINDS = {bool: "bool", int: "int32", float: "double", str: "string"}
_BOOLS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_BOOLS |= {"false": False, "f": False, "no": False, "n": False, "0": False}


class UsageError(Exception):
    """A command line that cannot be read; the message is one line."""


def parse(argv: Sequence[str], flags: Flags) -> tuple[SimpleNamespace, list[str]]:
    """The flags' values and the other arguments of a command line.

    `-x v`, `-x=v`, `--x v`, `--x=v`; for a bool `-x`, `-nox`, `-x=false`. `--` ends the flags.
    Raises UsageError.
    """
    known = {**LOGGING, **flags}
    values = {name: default for name, (default, _) in known.items()}
    rest: list[str] = []
    left = list(argv)
    while left:
        argument = left.pop(0)
        if argument == "--":
            return SimpleNamespace(**values), rest + left
        if not argument.startswith("-") or argument == "-":
            rest.append(argument)
            continue
        name, given, text = argument.lstrip("-").partition("=")
        if name in ("help", "version"):
            raise UsageError(name)
        negated = name.startswith("no") and isinstance(values.get(name[2:]), bool)
        if name not in known and not (negated and not given):
            raise UsageError(f"ERROR: unknown command line flag '{name}'")
        if name not in known:
            values[name[2:]] = False
        elif isinstance(values[name], bool) and not given:
            values[name] = True
        else:
            if not given and not left:
                raise UsageError(
                    f"ERROR: flag '{argument}' is missing its argument; flag description: "
                    f"{known[name][1]}"
                )
            values[name] = _value(name, text if given else left.pop(0), type(known[name][0]))
    return SimpleNamespace(**values), rest


def _value(name: str, text: str, kind: type) -> Any:
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UsageError(
            f"ERROR: illegal value '{text}' specified for {_KINDS[kind]} flag '{name}'"
        ) from None


def show_usage(program: str, usage: str, flags: Flags) -> None:
    """Print what a tool does and its flags, as gflags does."""
    print(f"{program}: {usage}\n\n  Flags of {program}:")
    for name, (default, what) in flags.items():
        shown = f'"{default}"' if isinstance(default, str) else str(default).lower()
        line = f"-{name} ({what}) type: {_KINDS[type(default)]} default: {shown}"
        print(textwrap.fill(line, 80, initial_indent="    ", subsequent_indent="      "))


def run(
    program: str,
    usage: str,
    flags: Flags,
    body: Callable[[SimpleNamespace, list[str]], int],
    argv: Sequence[str] | None,
) -> int:
    """Run `body(flags, arguments)` on a command line (sys.argv if None); the exit status.

    What cannot be used ends in one fatal line of the log and status 1, where BVLC Caffe aborts.
    """
    try:
        values, rest = parse(sys.argv[1:] if argv is None else argv, flags)
    except UsageError as error:
        if str(error) == "version":
            print(f"{program} version {caffe.__version__}")
            return 0
        if str(error) == "help":
            show_usage(program, usage, flags)
            return 1
        print(error, file=sys.stderr)
        return 1
    if values.minloglevel:
        os.environ[glog.LEVEL] = str(values.minloglevel)
    try:
        return body(values, rest)
    except (CaffeError, OSError) as error:
        glog.write(f"{program}.py", str(error), level=3)
        return 1
