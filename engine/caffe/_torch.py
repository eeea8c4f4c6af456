"""Load PyTorch: its library in a thread, without garbage collection, and only the parts in use.

PyTorch's library takes 0.2 s of a core to load. Meanwhile this thread imports modules in Python
that PyTorch needs anyway. PyTorch also creates so many objects on import that garbage collections
among them would take 0.2 s of 1.3 s.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

from . import late_torch
from .garbage import collection_off

#: Modules that PyTorch imports and that need little but Python. The library's thread holds the lock
#: of the dynamic linker, so that modules compiled to libraries, as those of ssl, come last.
PYTHON_MODULES = (
    *("inspect", "tokenize", "typing_extensions", "torchgen.model", "textwrap", "pickle"),
    *("importlib.metadata", "email.message", "unittest", "pprint", "configparser", "platform"),
    *("tempfile", "subprocess", "tqdm", "asyncio", "unittest.mock", "urllib.request"),
)


def _library() -> str | None:
    """Return the path of PyTorch's library; None where it needs others loaded before it."""
    spec = PathFinder.find_spec("torch")
    if spec is None or spec.origin is None or not sys.platform.startswith("linux"):
        return None
    folder = Path(spec.origin).parent / "lib"
    devices = any((folder / f"libtorch_{device}.so").exists() for device in ("cuda", "hip", "xpu"))
    path = folder / "libtorch_cpu.so"
    return None if devices or not path.exists() else str(path)


def _load_library(path: str) -> None:
    # `ctypes.CDLL` would hold the interpreter's lock until the library is loaded. If this call
    # fails, `import torch` loads the library, or says why it cannot.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    dlopen(os.fsencode(path), os.RTLD_NOW)


def _load() -> None:
    path = _library()
    thread = threading.Thread(target=_load_library, args=(path,)) if path else None
    if thread is not None:
        try:
            thread.start()
        except RuntimeError:  # The process may have no more threads.
            thread = None
        else:
            for name in PYTHON_MODULES:
                with suppress(ImportError):
                    importlib.import_module(name)
    late_torch.load()
    if thread is not None:
        thread.join()


if "torch" not in sys.modules:
    with collection_off():
        _load()
