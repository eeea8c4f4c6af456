"""The code of modules, read from their compiled files before the modules are imported.

To read and check the compiled files of PyTorch and of this engine takes 70 ms, a fifth of the time
of their imports. The thread that imports them would otherwise wait for PyTorch's library.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source, spec_from_file_location

#: The file of a package.
INIT = "__init__.py"


class _Loader(SourceFileLoader):
    """Loads a module whose code was read when this object was created.

    root: the folder in which the module or package is found.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        folder, file = os.path.split(path)
        self.root = os.path.dirname(folder) if file == INIT else folder
        self._code = super().get_code(name)

    def get_code(self, name: str) -> types.CodeType | None:
        code, self._code = self._code, None
        return super().get_code(name) if code is None else code


class CodeAhead(MetaPathFinder):
    """Finds modules whose code was read ahead, each for its first import.

    Finders that other programs have put before Python's own are asked before this one.
    """

    def __init__(self) -> None:
        self._loaders: dict[str, _Loader] = {}

    def read(self, package: str, folder: str, goes_on: Callable[[], bool]) -> None:
        """Read the code of the modules of a package, while `goes_on()` is true.

        folder: that of the package. Modules that are imported, and those without a compiled file,
        are left out.
        """
        for name, path in _modules(package, folder):
            if not goes_on():
                return
            if name in sys.modules or not os.path.exists(cache_from_source(path)):
                continue
            # A file that cannot be read fails again, with an error, when it is imported.
            with suppress(Exception):
                self._loaders[name] = _Loader(name, path)
        if self._loaders and self not in sys.meta_path and PathFinder in sys.meta_path:
            sys.meta_path.insert(sys.meta_path.index(PathFinder), self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module whose code was read, once; None for other modules."""
        loader = self._loaders.pop(name, None)
        if loader is None or loader.root not in (sys.path if path is None else path):
            return None
        return spec_from_file_location(name, loader.path, loader=loader)

    def close(self) -> None:
        """Forget all code; from here on Python's own finder finds all modules."""
        self._loaders.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)


def _modules(package: str, folder: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the file of a package and of the modules in its folder."""
    with suppress(OSError):
        for file in sorted(os.listdir(folder)):
            stem, suffix = os.path.splitext(file)
            if suffix == ".py":
                yield package if file == INIT else f"{package}.{stem}", os.path.join(folder, file)
