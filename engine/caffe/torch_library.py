"""PyTorch's library, loaded in a thread while modules written in Python are imported.

The library takes 0.2 s of a core to load, most of it in the dynamic linker, and `import torch`
holds the interpreter's lock meanwhile. Python's own modules that PyTorch needs take 0.1 s.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import PathFinder

from .code_ahead import CodeAhead

#: Modules of Python that are libraries themselves, where they are not part of the interpreter. They
#: are loaded first: the thread that loads PyTorch's library holds the dynamic linker's lock.
LIBRARIES = (
    *("_bisect", "_blake2", "_bz2", "_contextvars", "_csv", "_datetime", "_hashlib", "_heapq"),
    *("_json", "_lzma", "_multiprocessing", "_opcode", "_pickle", "_posixshmem"),
    *("_posixsubprocess", "_queue", "_random", "_sha512", "_socket", "_ssl", "_struct", "_typing"),
    *("_uuid", "array", "binascii", "cmath", "fcntl", "grp", "math", "mmap", "select", "termios"),
    *("unicodedata", "zlib", "google._upb._message"),
)
#: Modules written in Python that PyTorch imports, or this engine.
PYTHON_MODULES = (
    *("inspect", "typing_extensions", "importlib.metadata", "importlib.abc", "unittest"),
    *("torchgen.model", "tqdm", "urllib.request", "configparser", "platform", "pprint"),
    *("sysconfig", "getpass", "multiprocessing.connection", "http.client"),
    *("google.protobuf.text_format", f"{__package__}.proto.caffe_pb2"),
)
#: The same, after which Python loads a library: they wait until PyTorch's library is loaded.
LATE_MODULES = ("asyncio", "unittest.mock")
#: Packages of which PyTorch and this engine import most modules.
PACKAGES = (
    *("torch", "torch.nn.modules", "torch.nn", "torch.nn.utils", "torch.nn.parallel"),
    *("torch.fx", "torch.jit", "torch.autograd", "torch.cuda", "torch.package", "torch._library"),
    *("torch.distributed", "torch.distributed.rpc", "torch._functorch", "torch.utils"),
    *("torch._logging", "torch.fx.experimental.unification"),
    *("torch.fx.experimental.unification.multipledispatch", "torch.distributed._pycute"),
    *("torch.package.analyze", "torch.sparse", "torch.multiprocessing", "torch.testing"),
    *("torch.cuda.amp", "torch.amp", "torch.cpu.amp", "torch.xpu", "torch.accelerator"),
    *("torch.nn.attention", "torch._vendor.packaging", "torch._strobelight", "torch.mps"),
    *("torch.mtia",),
)
#: Packages of this engine of which `import caffe` imports most modules.
ROOMS = tuple(
    f"{__package__}{room}"
    for room in (
        *("", ".layers", ".layers.forks", ".run", ".train", ".ops", ".data", ".small"),
        *(".native", ".ops.cuda", ".upgrade", ".proto"),
    )
)


class LibraryThread:
    """Loads PyTorch's library from its construction on, where that is possible."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        path = self._path = _path()
        if path is not None:
            _import_all(LIBRARIES)
            thread = threading.Thread(target=_load, args=(path,), daemon=True)
            with suppress(RuntimeError):  # The process may have no more threads.
                thread.start()
                self._thread = thread

    def import_modules(self, code: CodeAhead) -> None:
        """Import modules in this thread, while the library is loaded in the other one.

        code: reads the code of further modules, after these imports, until the library is loaded.
        """
        if self._thread is None or self._path is None:
            return
        _import_all(PYTHON_MODULES)
        site = os.path.dirname(os.path.dirname(os.path.dirname(self._path)))
        engine = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for folder, packages in ((engine, ROOMS), (site, PACKAGES)):
            for package in packages:
                path = os.path.join(folder, *package.split("."))
                code.read(package, path, self._thread.is_alive)
        _import_all(LATE_MODULES)

    def join(self) -> None:
        """Wait until the library is loaded."""
        if self._thread is not None:
            self._thread.join()


def _path() -> str | None:
    """Return the library's file; None on one core, or where others are loaded before it."""
    if not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2:
        return None
    spec = PathFinder.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    folder = os.path.join(os.path.dirname(spec.origin), "lib")
    for device in ("cuda", "hip", "xpu"):
        if os.path.exists(os.path.join(folder, f"libtorch_{device}.so")):
            return None
    path = os.path.join(folder, "libtorch_cpu.so")
    return path if os.path.exists(path) else None


def _load(path: str) -> None:
    # `ctypes.CDLL` would hold the interpreter's lock until the library is loaded. If this call
    # fails, `import torch` loads the library, or says why it cannot.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    dlopen(os.fsencode(path), os.RTLD_NOW)


def _import_all(names: Sequence[str]) -> None:
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)
