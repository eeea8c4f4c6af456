"""Writes caffe_pb2.py and its types from caffe.proto: `python engine/caffe/proto/generate.py`.

Run it in a virtual environment of its own, with `grpcio-tools<=1.62`: modules that later compilers
write refuse every protobuf runtime older than themselves, while these import on any from 4.21 on.
The module is committed, so only a change of caffe.proto calls for this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

HERE = Path(__file__).resolve().parent


def generate(folder: Path) -> List[Path]:
    """Compiles caffe.proto into `folder`; returns the paths of the module and of its types.

    Raises RuntimeError without a compiler, with the compiler's own words where it fails, and where
    the compiler is too new.
    """
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--python_out={folder}"]
    done = subprocess.run(
        [*command, f"--pyi_out={folder}", "caffe.proto"], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"caffe.proto: {done.stderr.strip()} (needs grpcio-tools<=1.62)")
    module, types = Path(folder) / "caffe_pb2.py", Path(folder) / "caffe_pb2.pyi"
    if "runtime_version" in module.read_text():
        raise RuntimeError("caffe_pb2.py: the compiler is too new, grpcio-tools<=1.62 is needed")
    types.write_text("# ruff: noqa\n# fmt: off\n" + types.read_text())
    return [module, types]


def main() -> None:
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        for path in generate(Path(folder)):
            os.replace(path, HERE / path.name)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
