"""The repository's folder, and work in the folder of a prototxt."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Iterator

#: The folder of the repository.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextlib.contextmanager
def working_folder(folder: str) -> Iterator[None]:
    """Make `folder` the working directory of a block, as relative paths in its prototxts need it.

    The repository is put on the module search path, where Caffe finds the Python layers that the
    prototxts name, and stays there.
    """
    if ROOT not in sys.path:
        sys.path.insert(0, ROOT)
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
