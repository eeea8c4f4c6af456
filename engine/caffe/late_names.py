"""Names of modules that are imported when somebody asks for them.

BVLC Caffe's modules import packages at their top, and scripts reach for the packages there, as in
`caffe.io.skimage`. Some of these packages are slow to import, and importing `caffe` itself would
make a circle.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def late_names(
    module: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a module that has these names as well.

    module: the module's `__name__`. names: name -> "package.module:attribute", or "package.module"
    for the package, which is imported with its module.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        path, colon, attribute = names[name].partition(":")
        target = import_module(path)
        value = getattr(target, attribute) if colon else sys.modules[path.partition(".")[0]]
        setattr(sys.modules[module], name, value)
        return value

    def names_of_module() -> list[str]:
        return sorted({*vars(sys.modules[module]), *names})

    return get, names_of_module
