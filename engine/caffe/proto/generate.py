"""Writes caffe_pb2.py from caffe.proto: `python engine/caffe/proto/generate.py`.

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

HERE = Path(__file__).resolve().parent


def generate(folder: Path) -> Path:
    """Compiles caffe.proto into `folder`; returns the module's path.

    Raises RuntimeError without a compiler, with the compiler's own words where it fails, and where
    the compiler is too new.
    """
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--python_out={folder}"]
    done = subprocess.run([*command, "caffe.proto"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"caffe.proto: {done.stderr.strip()} (needs grpcio-tools<=1.62)")
    module = Path(folder) / "caffe_pb2.py"
    if "runtime_version" in module.read_text():
        raise RuntimeError("caffe_pb2.py: the compiler is too new, grpcio-tools<=1.62 is needed")
    return module


def main() -> None:
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        os.replace(generate(Path(folder)), HERE / "caffe_pb2.py")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
