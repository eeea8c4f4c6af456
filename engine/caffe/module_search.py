"""Where modules of Python layers are found that are not on the module path.

BVLC Caffe finds a module on PYTHONPATH alone. Here a module that is not there is looked for beside
the prototxt that names it, in the folder above, and in the folder that holds the engine's.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

_ENGINE = Path(__file__).resolve().parents[1]
_folders: ContextVar[tuple[str, ...]] = ContextVar("folders", default=())


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[None]:
    """In the `with` block, find modules that lie beside the file `path` or in the folder above."""
    folder = Path(path).resolve().parent
    token = _folders.set((str(folder), str(folder.parent)))
    try:
        yield
    finally:
        _folders.reset(token)


def find(name: str) -> ModuleType:
    """Import a module from the module path, or else from the first folder that has the module.

    That folder becomes the last one of the module path, for the modules that the module imports in
    turn. Raises ImportError.
    """
    top = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        for folder in (*_folders.get(), str(_ENGINE.parent)):
            if PathFinder.find_spec(top, [folder]) is not None:
                sys.path.append(folder)
                return importlib.import_module(name)
        raise
