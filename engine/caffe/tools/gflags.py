"""Command lines as gflags reads them, with the flags of glog and of gflags itself."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

from ..errors import FileError, UsageError
from ..files import open_text

#: Flags of a tool: name -> (default, description). The type of the default is the flag's type.
Flags = Mapping[str, tuple[Any, str]]

#: glog's flags. The flags after `v` have no effect; they are accepted so that scripts need no
#: change.
LOGGING: Flags = {
    "alsologtostderr": (True, "log to standard error in addition to log files"),
    "colorlogtostderr": (False, "colour warnings and errors on a terminal"),
    "log_dir": ("", "write log files into this directory; without it, none are written"),
    "log_link": ("", "put additional links to the log files in this directory"),
    "log_prefix": (True, "prepend the log prefix to the start of each log line"),
    "logfile_mode": (0o664, "permissions of log files"),
    "logtostderr": (False, "log to standard error in place of log files"),
    "max_log_size": (1800, "begin a new log file after this many MB"),
    "minloglevel": (0, "log lines from this level on: 0 info, 1 warnings, 2 errors"),
    "stderrthreshold": (2, "log lines from this level on to standard error in any case"),
    "v": (0, "show verbose messages up to this level; there are none"),
    "vmodule": ("", "verbose levels by module; there are no verbose messages"),
    "alsologtoemail": ("", "has no effect"),
    "drop_log_memory": (True, "has no effect"),
    "log_backtrace_at": ("", "has no effect"),
    "logbuflevel": (0, "has no effect; log files are not buffered"),
    "logbufsecs": (30, "has no effect; log files are not buffered"),
    "logemaillevel": (999, "has no effect"),
    "logmailer": ("/bin/mail", "has no effect"),
    "stop_logging_if_full_disk": (False, "has no effect"),
    "symbolize_stacktrace": (True, "has no effect"),
}
#: gflags' own flags that set others.
SETTING: Flags = {
    "flagfile": ("", "load flags from these files, separated by ','"),
    "fromenv": ("", "set these flags from the environment: flag x from FLAGS_x"),
    "tryfromenv": ("", "set these flags from the environment where FLAGS_x is there"),
    "undefok": ("", "flags that may be given, as flag=value, though the program has none"),
}
#: Flags that are answered in place of running the tool.
QUERIES: Flags = {
    "help": (False, "show help on all flags"),
    "helpfull": (False, "show help on all flags"),
    "helpmatch": ("", "show help on modules whose name contains this text"),
    "helpon": ("", "show help on the module of this name"),
    "helppackage": (False, "show help on the flags of the program"),
    "helpshort": (False, "show help on the flags of the program"),
    "helpxml": (False, "show help on all flags as XML"),
    "version": (False, "show the version"),
    "tab_completion_word": ("", "print nothing and exit: there is no completion"),
}
_TYPES = {bool: "bool", int: "int32", float: "double", str: "string"}
_BOOLS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_BOOLS |= {"false": False, "f": False, "no": False, "n": False, "0": False}


def parse(
    argv: Sequence[str], flags: Flags, program: str = "caffe"
) -> tuple[SimpleNamespace, list[str]]:
    """Return the values of the flags and the other arguments of a command line.

    A flag is written `-x v`, `-x=v`, `--x v` or `--x=v`; a bool also `-x` or `-nox`. `--` ends the
    flags. The attribute `query` of the values is the first of QUERIES on the command line, which
    is not read further then, or "". Raises UsageError for an unknown flag or an illegal value.
    """
    parser = _Parser(flags, program)
    positional = parser.read(argv)
    parser.refuse_unknown()
    return SimpleNamespace(**parser.values), positional


class _Parser:
    """The values of flags while a command line is read."""

    def __init__(self, flags: Flags, program: str) -> None:
        self._allowed = {**LOGGING, **SETTING, **QUERIES, **flags}
        self._program = program
        self._unknown: list[str] = []
        self._read_files: list[str] = []
        self.values: dict[str, Any] = {n: default for n, (default, _) in self._allowed.items()}
        self.values["query"] = ""
        for name, (default, _) in LOGGING.items():
            if f"GLOG_{name}" in os.environ:
                self.values[name] = _from_environment(os.environ[f"GLOG_{name}"], default)
        # As the tools of BVLC Caffe do, which set this flag themselves.
        self.values["alsologtostderr"] = True

    def read(self, argv: Sequence[str]) -> list[str]:
        """Read a command line up to a query; return the arguments that are no flags."""
        positional: list[str] = []
        remaining = list(argv)
        while remaining and not self.values["query"]:
            argument = remaining.pop(0)
            if argument == "--":
                return positional + remaining
            if not argument.startswith("-") or argument == "-":
                positional.append(argument)
            else:
                self._read_flag(argument, remaining)
        return positional

    def refuse_unknown(self) -> None:
        """Raise UsageError for the first unknown flag that -undefok does not name."""
        accepted = self.values["undefok"].split(",")
        for name in self._unknown:
            if name not in accepted and name.removeprefix("no") not in accepted:
                raise UsageError(f"ERROR: unknown command line flag '{name}'")

    def _read_flag(self, argument: str, remaining: list[str], optional: bool = False) -> None:
        """Set the flag of an argument; its value may be the first of the remaining arguments.

        optional: whether an unknown flag is passed over, as in a flag file.
        """
        name, equals, text = argument.lstrip("-").partition("=")
        if name.startswith("no") and not equals and self._is_bool(name[2:]):
            self.values[name[2:]] = False
        elif name not in self._allowed:
            self._unknown += [] if optional else [name]
        elif self._is_bool(name) and not equals:
            self.set(name, "true")
        elif equals or remaining:
            self.set(name, text if equals else remaining.pop(0))
        else:
            raise UsageError(
                f"ERROR: flag '{argument}' is missing its argument; flag description: "
                f"{self._allowed[name][1]}"
            )

    def _is_bool(self, name: str) -> bool:
        return name in self._allowed and isinstance(self._allowed[name][0], bool)

    def set(self, name: str, text: str) -> None:
        """Set a flag, and the flags that it sets in turn."""
        value = self.values[name] = _convert(name, text, type(self._allowed[name][0]))
        if name in QUERIES and value:
            self.values["query"] = name
        elif name == "flagfile":
            for path in text.split(","):
                self._read_file(path)
        elif name in ("fromenv", "tryfromenv"):
            self._read_environment(text.split(","), required=name == "fromenv")

    def _read_environment(self, names: Sequence[str], required: bool) -> None:
        for name in names:
            variable = f"FLAGS_{name}"
            if name not in self._allowed:
                raise UsageError(
                    f"ERROR: unknown command line flag '{name}' (via --fromenv or --tryfromenv)"
                )
            if variable in os.environ:
                self.set(name, os.environ[variable])
            elif required:
                raise UsageError(f"ERROR: {variable} not found in environment")

    def _read_file(self, path: str) -> None:
        """Read a file of flags, one a line; lines of program names begin those programs' flags."""
        if path in self._read_files:
            return
        self._read_files.append(path)
        try:
            with open_text(path, errors="surrogateescape") as file:
                lines = [line.strip() for line in file]
        except FileError as error:
            raise UsageError(str(error)) from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        applies, in_names = True, False
        for line in filter(lambda line: line and not line.startswith("#"), lines):
            if line.startswith("-"):
                in_names = False
                if applies:
                    self._read_flag(line, [], optional=True)
            else:
                matches = any(fnmatchcase(self._program, name) for name in line.split())
                applies = matches or (in_names and applies)
                in_names = True


def _from_environment(text: str, default: Any) -> Any:
    """Return the value of glog's variable as glog reads it, without complaint."""
    if isinstance(default, bool):
        return text[:1] in tuple("tTyY1")
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            return 0
    return text


def _convert(name: str, text: str, kind: type) -> Any:
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UsageError(
            f"ERROR: illegal value '{text}' specified for {_TYPES[kind]} flag '{name}'"
        ) from None


def show_usage(program: str, usage: str, flags: Flags) -> None:
    """Print what a tool does and its flags, as gflags does."""
    print(f"{program}: {usage}")
    _show_flags(program, flags)


def answer(query: str, value: Any, program: str, usage: str, flags: Flags) -> None:
    """Print the help that one of QUERIES asks for. value: that of the flag."""
    modules = {"glog": LOGGING, program: flags, "gflags": {**SETTING, **QUERIES}}
    if query == "helpxml":
        _show_xml(program, usage, modules)
        return
    names = list(modules) if query in ("help", "helpfull") else [program]
    if query == "helpmatch":
        names = [name for name in modules if value in name]
    elif query == "helpon":
        names = [name for name in modules if name == value]
    print(f"{program}: {usage}")
    for name in names:
        _show_flags(name, modules[name])
    if not names:
        print(f"\n  No modules matched: use -help; the modules are {', '.join(modules)}")


def _show_flags(module: str, flags: Flags) -> None:
    print(f"\n  Flags of {module}:")
    for name, (default, description) in flags.items():
        line = f"-{name} ({description}) type: {_TYPES[type(default)]} default: " + (
            f'"{default}"' if isinstance(default, str) else str(default).lower()
        )
        print(textwrap.fill(line, 80, initial_indent="    ", subsequent_indent="      "))


def _show_xml(program: str, usage: str, modules: Mapping[str, Flags]) -> None:
    print('<?xml version="1.0"?>\n<AllFlags>')
    print(f"<program>{escape(program)}</program>\n<usage>{escape(usage)}</usage>")
    for module, flags in modules.items():
        for name, (default, description) in flags.items():
            text = escape(default if isinstance(default, str) else str(default).lower())
            print(
                f"<flag><file>{escape(module)}</file><name>{name}</name>"
                f"<meaning>{escape(description)}</meaning><default>{text}</default>"
                f"<type>{_TYPES[type(default)]}</type></flag>"
            )
    print("</AllFlags>")
