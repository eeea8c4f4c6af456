"""Compiles the engine's C library, where a C compiler is installed.

`python engine/packing/native_library.py` writes the library beside its sources, as the build
backend does for every installation. Without a compiler, or where it fails, a line says so, and the
engine computes the same with NumPy and PyTorch.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

FOLDER = Path(__file__).parents[1] / "caffe" / "native"
LIBRARY = FOLDER / "libnative.so"
#: The code chooses the processor's vectors when it runs, so no flag names this machine. No
#: operation reads the flags of floating-point errors. A contracted product and sum rounds once.
FLAGS = (
    *("-std=gnu11", "-O2", "-ftree-vectorize", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"),
)
#: GCC at -O2 vectorizes fewer loops unless told otherwise; Clang does not know the flag.
GCC_FLAGS = ("-fvect-cost-model=dynamic",)
#: Further flags for the file that takes longest to compile. Without GCC's search for common parts
#: of its long functions, that takes 27 instead of 46 s; its code is 1 % slower. Clang ignores this.
FILE_FLAGS = {"gradient.c": ("-fno-gcse",)}
#: Seconds after which the compiler is ended. The longest file takes half a minute on a quiet core.
PATIENCE = 900


def compiler() -> list[str]:
    """Return the command of the C compiler: CC in the environment, or cc."""
    return shlex.split(os.environ.get("CC", "")) or ["cc"]


def checksum(folder: Path) -> int:
    """Return the checksum of the C files in a folder, which a library of them has."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".c", ".h"))
    return zlib.crc32(b"".join(p.read_bytes() for p in files))


def compile_library(
    folder: Path = FOLDER, library: Path = LIBRARY, definitions: Sequence[str] = ()
) -> str:
    """Write the library; return "" or the reason of a failure. An older library is removed first.

    folder: with the C files. definitions: flags of the compiler that define macros.
    """
    if sys.platform == "win32":
        return "the library is for Linux and macOS"
    sources = sorted(folder.glob("*.c"))
    definitions = [f"-DCHECKSUM={checksum(folder)}u", *definitions]
    reason = ""
    try:
        library.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix="caffe-native-") as objects:
            for extra in (GCC_FLAGS, ()):
                flags = [*FLAGS, *extra, *definitions]
                reason = _refusal(sources, flags, Path(objects), library)
                if not reason:
                    break
    # A folder that cannot be written, a full disk, or a value of CC with an open quotation mark.
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return str(error)
    return reason


def _processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _refusal(sources: Sequence[Path], flags: Sequence[str], objects: Path, library: Path) -> str:
    """Write the library, as `_link`; return "" or the reason for which the compiler refuses."""
    try:
        _link(sources, flags, objects, library)
    except subprocess.CalledProcessError as error:
        return next(iter(error.stderr.strip().splitlines()), f"status {error.returncode}")
    return ""


def _link(sources: Sequence[Path], flags: Sequence[str], objects: Path, library: Path) -> None:
    """Compile the sources, some at a time, and write the library.

    objects: a folder for what the compiler writes. Raises CalledProcessError if the compiler
    refuses a file.
    """

    def compile_file(source: Path) -> str:
        target = str(objects / f"{source.stem}.o")
        extra = FILE_FLAGS.get(source.name, ())
        _run([*compiler(), *flags, *extra, "-c", "-o", target, str(source)])
        return target

    # The longest first, so that the last ones to be compiled are short.
    longest = sorted(sources, key=lambda p: (p.name not in FILE_FLAGS, -p.stat().st_size))
    with ThreadPoolExecutor(_processors()) as threads:
        files = list(threads.map(compile_file, longest))
    linked = objects / library.name
    _run([*compiler(), *flags, "-shared", "-o", str(linked), *files])
    _move(linked, library)


def _move(source: Path, target: Path) -> None:
    """Move a file, to another disk too; the target is complete from its first moment on."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        shutil.copy(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)


def report(reason: str) -> str:
    """Return the line about a library: compiled, or not compiled for this reason."""
    if not reason:
        return f"compiled {LIBRARY.name}: small layers and 3 x 3 convolutions are computed by it"
    return f"{LIBRARY.name} is not compiled ({reason}): NumPy and PyTorch compute its part, slower"


def platform_tag() -> str:
    """Return the platform of wheels that have the library."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def options_of_wheel(settings: Optional[dict]) -> dict:
    """Return the settings of a build whose wheel has the library, so that its name says where it
    runs.
    """
    settings = dict(settings or {})
    options = settings.get("--build-option", [])
    options = [options] if isinstance(options, str) else list(options)
    return {**settings, "--build-option": [*options, f"--plat-name={platform_tag()}"]}


if __name__ == "__main__":
    print(report(compile_library()))
