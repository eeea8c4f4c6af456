"""Write caffe_pb2.py and caffe_pb2.pyi from caffe.proto and forks.proto: `make proto`.

caffe.proto has BVLC's messages. forks.proto has the messages and fields of Caffe's forks; its
blocks `extend A, B { ... }` add fields, or enum values, to what caffe.proto declares. `join` makes
one schema of both.

The compiler is grpcio-tools, which this program installs into a virtual environment of its own and
removes again. Its version is the last whose modules import on every protobuf release from 4.21 on;
modules of later compilers refuse releases older than themselves.

This program does not import `caffe`, so that it also runs while caffe_pb2.py is out of order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import List

HERE = Path(__file__).resolve().parent
#: With wheels for Python 3.7 to 3.12.
COMPILER = "grpcio-tools==1.62.3"
LICENSE = "# The messages of caffe.proto descend from BVLC Caffe; see LICENSE.\n"
#: For the linter and the formatter, which check the types but not the module.
UNCHECKED = "# ruff: noqa\n# fmt: off\n"


def install_compiler(folder: Path) -> Path:
    """Install the compiler into a new virtual environment in `folder`; return its Python.

    Raises RuntimeError if that fails.
    """
    venv.EnvBuilder(with_pip=True).create(folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    result = _run([*pip, "--only-binary=:all:", COMPILER])
    if result.returncode:
        raise RuntimeError(
            f"{result.stderr.strip()}\n{COMPILER} cannot be installed for Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}; with another one, from 3.7 to 3.12: "
            "make proto PY=python3.12"
        )
    return python


def join(base: str, additions: str) -> str:
    """Return the text of one schema: `base`, extended by the text of forks.proto.

    Raises RuntimeError if a block extends a message or enum that `base` does not declare.
    """
    text = base
    blocks = re.compile(r"^extend ([\w., ]+) \{\n(.*?)^\}\n", re.MULTILINE | re.DOTALL)
    for names, fields in blocks.findall(additions):
        for name in names.split(", "):
            text = _extend(text, name, fields)
    return text + "\n" + blocks.sub("", additions)


def _extend(text: str, name: str, fields: str) -> str:
    """Put `fields` at the end of a message (`A`) or of an enum in a message (`A.B`)."""
    outer, _, inner = name.partition(".")
    message = re.search(rf"^message {outer} \{{\n.*?^\}}", text, re.MULTILINE | re.DOTALL)
    block = message and message[0]
    if block and inner:
        enum = re.search(rf"^  enum {inner} \{{\n.*?^  \}}", block, re.MULTILINE | re.DOTALL)
        block = enum and enum[0]
    if not block:
        raise RuntimeError(f"forks.proto: extends {name}, which caffe.proto does not declare")
    *lines, end = block.split("\n")
    return text.replace(block, "\n".join([*lines, fields.rstrip("\n"), end]))


def generate(python: Path, folder: Path) -> List[Path]:
    """Compile the joined schema into `folder`; return the paths of the module and of its types.

    `python` is a Python with grpcio-tools. Raises RuntimeError if the schema has an error or the
    compiler is too new.
    """
    schema = folder / "caffe.proto"
    schema.write_text(join((HERE / "caffe.proto").read_text(), (HERE / "forks.proto").read_text()))
    options = [f"-I{folder}", f"--python_out={folder}", f"--pyi_out={folder}"]
    result = _run([str(python), "-m", "grpc_tools.protoc", *options, "caffe.proto"])
    if result.returncode:
        raise RuntimeError(f"caffe.proto: {result.stderr.strip()}")
    module, types = folder / "caffe_pb2.py", folder / "caffe_pb2.pyi"
    if "runtime_version" in module.read_text():
        raise RuntimeError(
            f"caffe_pb2.py asks for a release of protobuf; the compiler is newer than {COMPILER}"
        )
    module.write_text(LICENSE + module.read_text())
    types.write_text(LICENSE + UNCHECKED + types.read_text())
    return [module, types]


def _run(command: List[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)


def main() -> None:
    """Replace the committed files."""
    if os.environ.get("CAFFE_STRICT", "") not in ("", "0"):
        sys.exit("error: generate does not run in the strict mode; unset CAFFE_STRICT")
    with tempfile.TemporaryDirectory() as environment:
        python = install_compiler(Path(environment))
        # In this folder, so that the new files can be renamed into place.
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            for path in generate(python, Path(folder)):
                os.replace(path, HERE / path.name)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"error: {error}")
