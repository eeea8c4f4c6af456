"""Says what to do where the source of a BVLC Caffe that is not built hides the engine.

Scripts and notebooks of BVLC Caffe put the `python` folder of a checkout first on sys.path. In a
checkout that was never built, `import caffe` then fails for want of caffe._caffe. Python imports
this module at its start (caffe_source_tree.pth), and the import then ends with one line of advice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

#: The parts of a Caffe that exist only after it was built.
BUILT = ("caffe._caffe", "caffe.proto")


class UnbuiltTreeFinder:
    """The last finder of sys.meta_path: it is asked for what no other finder has."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        """Raise ModuleNotFoundError for the missing part of a Caffe that is not built."""
        folder = next(iter(path or ()), "")
        if name in BUILT and os.path.isfile(os.path.join(folder, "pycaffe.py")):
            raise ModuleNotFoundError(advice(folder), name=name, path=folder)


def advice(folder: str) -> str:
    """Return the line about the package folder of a Caffe that is not built."""
    parent = os.path.dirname(os.path.abspath(folder))
    engine = os.path.dirname(os.path.abspath(__file__))
    return (
        f"{folder} is the source of a Caffe that is not built, and it comes before the engine in "
        f"{engine} on sys.path; leave out the line that puts {parent} on sys.path, or rename "
        f"{folder}"
    )


if not any(finder is UnbuiltTreeFinder for finder in sys.meta_path):
    sys.meta_path.append(UnbuiltTreeFinder)
