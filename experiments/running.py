"""How an experiment is run: once, with fixed settings, and continued after an interruption.

OUT/NAME/settings.json    the settings that the result depends on
OUT/NAME/seconds.json     how long the experiment has run so far
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from types import ModuleType
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from experiments import report
from fcn_common import arguments, command, files
from fcn_common.places import make_folder
from solvers import device
from solvers.device import Gpu
from solvers.folders import ROOT

OUT = os.path.join(ROOT, "runs", "experiments")
DEMO = os.path.join(ROOT, "runs", "demo")
SETTINGS, SECONDS = "settings.json", "seconds.json"

#: run(out, demo, gpu=None, ...) -> Result
Run = Callable[..., report.Result]


def make(
    name: str, run: Run, out: str = OUT, demo: str = DEMO, gpu: Gpu = None, **options: Any
) -> report.Result:
    """Return the result of an experiment: the one on disk, or that of `run`, which is saved.

    options: more arguments of `run`. Raises ValueError if OUT/NAME was begun with other settings
    (see `settings_of`).
    """
    out, demo = os.path.abspath(out), os.path.abspath(demo)
    folder = os.path.join(out, name)
    make_folder(folder)
    _check_settings(folder, settings_of(run, demo, options))
    if report.exists(out, name):
        print(f"{name}: done already ({os.path.join(folder, report.RESULT)})")
        return report.load(out, name)
    print(f"{name}: {device.engine()}; runs on {device.use(gpu)}")
    path, start = os.path.join(folder, SECONDS), time.time()
    before = _read_json(path) or 0.0
    try:
        result = run(out, demo, gpu=gpu, **options)
    finally:
        seconds = before + time.time() - start
        files.write_json(path, seconds)
    result = result._replace(seconds=seconds)
    report.save(result, out)
    print("\n" + report.markdown(result, "") + "\n")
    return result


def settings_of(run: Run, demo: str, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the settings that a result depends on.

    These are the demo run's own settings, the options of `run`, and the constants (names in
    capitals) in the module of `run` or in its module `settings`.
    """
    settings: Dict[str, Any] = {"demo": _read_json(os.path.join(demo, SETTINGS))}
    settings.update((k, repr(v)) for k, v in options.items() if v is not None)
    module = run.__globals__.get("settings")
    constants = vars(module) if isinstance(module, ModuleType) else run.__globals__
    for key, value in constants.items():
        if re.fullmatch(r"[A-Z][A-Z0-9_]*", key) and _is_plain(value):
            settings[key] = repr(value)
    return settings


def _check_settings(folder: str, settings: Dict[str, Any]) -> None:
    """Refuse to continue an experiment that was begun with other settings, and write them."""
    path = os.path.join(folder, SETTINGS)
    earlier = _read_json(path)
    if earlier is not None and earlier != settings:
        key = next(k for k in [*settings, *earlier] if settings.get(k) != earlier.get(k))
        raise ValueError(
            f"{folder}: was begun with {key} {earlier.get(key)}, the present value is "
            f"{settings.get(key)}; remove the folder or name another one with --out"
        )
    files.write_json(path, settings)


def _is_plain(value: Any) -> bool:
    """Return whether a value's text is the same in every run."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(k) and _is_plain(v) for k, v in value.items())
    return value is None or isinstance(value, (str, int, float, bool))


def _read_json(path: str) -> Any:
    if not os.path.isfile(path):
        return None
    with open(path) as file:
        return json.load(file)


def parser(description: Optional[str]) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all experiments share."""
    demo_help = "folder of a finished demo run (default: %(default)s)"
    return arguments.Parser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[
            arguments.out(OUT, "folder of all experiments"),
            arguments.option("--demo", default=DEMO, metavar="DIR", help=demo_help),
            arguments.gpu(),
        ],
    )


def main(
    name: str,
    run: Run,
    doc: Optional[str],
    argv: Optional[Sequence[str]] = None,
    add_arguments: Optional[Callable[[argparse.ArgumentParser], None]] = None,
) -> None:
    """Run the command line of an experiment.

    add_arguments: adds the further arguments of `run` to the parser.
    """

    def program() -> None:
        program_parser = parser(doc)
        program_parser.prog = f"python -m experiments.{name}"
        if add_arguments:
            add_arguments(program_parser)
        make(name, run, **vars(program_parser.parse_args(argv)))

    exit_on_sigterm()
    command.run(program)


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit, so that a terminated program still records its seconds."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
