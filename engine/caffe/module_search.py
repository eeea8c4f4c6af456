"""Which modules of Python layers a prototxt may import, and where they are found.

BVLC Caffe imports whatever module a prototxt names, if it is on PYTHONPATH. Here a module that is
not there is looked for beside the prototxt that names it, in the folder above, and in the folder
that holds the engine. The environment selects the modules that a prototxt may import:

    CAFFE_PYTHON_LAYERS=a,b   the modules a and b and what lies inside, and the project's own
    CAFFE_STRICT=1            the project's own alone
    neither                   the project's own, those of the user (with a line in the log), and
                              none of Python's own library or of an installed package

A module that the program has imported already is used as it is.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from . import files
from .errors import UsageError

#: The environment variable that lists modules, separated by commas.
SETTING = "CAFFE_PYTHON_LAYERS"
_ENGINE = Path(__file__).resolve().parents[1]
_PROJECT = _ENGINE.parent
_folders: ContextVar[tuple[str, ...]] = ContextVar("folders", default=())


class NotAllowedError(UsageError, ImportError):
    """A module that a prototxt may not import."""


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[None]:
    """In the `with` block, find modules that lie beside the file `path` or in the folder above."""
    folder = Path(path).resolve().parent
    token = _folders.set((str(folder), str(folder.parent)))
    try:
        yield
    finally:
        _folders.reset(token)


def find(name: str) -> tuple[ModuleType, str]:
    """Import a module from the module path, or else from the first folder that has the module.

    That folder becomes the last one of the module path, for the modules that the module imports in
    turn. Return the module, and the file or folder of a user's module that is imported now, or "".
    Raises ImportError, or NotAllowedError.
    """
    if name in sys.modules:
        return sys.modules[name], ""
    top = name.partition(".")[0]
    spec, folder = _locate(top)
    if spec is None:
        return importlib.import_module(name), ""  # raises the exception of a missing module
    place = _check(name, spec)
    if folder:
        sys.path.append(folder)
    return importlib.import_module(name), place


def _locate(top: str) -> tuple[ModuleSpec | None, str]:
    """Return the spec of a module, and the folder that is to be added to the module path."""
    if top in sys.modules:
        return sys.modules[top].__spec__, ""
    if (spec := importlib.util.find_spec(top)) is not None:
        return spec, ""
    for folder in (*_folders.get(), str(_PROJECT)):
        if (spec := PathFinder.find_spec(top, [folder])) is not None:
            return spec, folder
    return None, ""


def _check(name: str, spec: ModuleSpec) -> str:
    """Return the place of a user's module, or "" for the project's own.

    Raises NotAllowedError for a module that may not be imported.
    """
    place = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
    if _is_own(place):
        return ""
    listed = [entry.strip() for entry in os.environ.get(SETTING, "").split(",") if entry.strip()]
    if any(name == entry or name.startswith(f"{entry}.") for entry in listed):
        return place
    if files.strict():
        reason = f"{files.STRICT} allows the project's own modules alone"
    elif listed:
        reason = f"{SETTING} allows {', '.join(listed)}"
    elif _is_installed(place):
        reason = "is a part of Python or of an installed package, and no layer of the user's"
    else:
        return place
    raise NotAllowedError(f"{reason}; to allow it, set {SETTING}={name}")


def _is_own(place: str) -> bool:
    """Return whether a file lies in this project, and not in an environment inside its folder."""
    inside = os.path.isabs(place) and Path(place).resolve().is_relative_to(_PROJECT)
    return inside and not _is_installed(place)


def _is_installed(place: str) -> bool:
    """Return whether a file belongs to Python or to an installed package; built-in modules do."""
    if not os.path.isabs(place):
        return True
    path = Path(place).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    paths = sysconfig.get_paths()
    folders = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")}
    return any(path.is_relative_to(folder) for folder in folders)
