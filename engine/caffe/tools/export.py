"""`caffe export`: a net as an ONNX model, or weights as a safetensors file and back.

caffe export --net deploy.prototxt --weights w.caffemodel --to onnx
caffe export --weights w.caffemodel --to safetensors
caffe export --from w.safetensors --to caffemodel
caffe export --from w.pth --to safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .. import glog, mode
from ..arguments import Parser
from ..errors import CaffeError, FileError, UsageError
from ..files import open_text
from ..forks import set_fork
from ..net import Net
from . import onnx, tensors
from .onnx.check import TOLERANCE, Difference
from .onnx.model import FreeSizeError
from .onnx.net import RefusedLayersError
from .onnx.sizes import Sizes, outputs_of

#: The largest difference of a model whose weights are stored in half precision.
HALF_TOLERANCE = 1e-2
SUFFIXES = {"onnx": ".onnx", "safetensors": ".safetensors", "caffemodel": ".caffemodel"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Parser(
        prog="caffe export",
        description="Write a net as an ONNX model, or weights as safetensors and back.",
    )
    options.add_argument("--to", required=True, choices=tuple(SUFFIXES), help="what to write")
    options.add_argument(
        "--net", "--model", metavar="FILE", help="the prototxt, as -model of `caffe test`; for ONNX"
    )
    options.add_argument("--weights", metavar="FILE", help="a .caffemodel or .h5 file")
    options.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="a .safetensors file, or a .pth file with a state dict of PyTorch",
    )
    options.add_argument(
        "--out", metavar="FILE", help="the file to write (default: beside the weights)"
    )
    model = options.add_argument_group("ONNX")
    model.add_argument(
        "--metadata",
        metavar="FILE",
        help="a JSON object that becomes the model's metadata: class names, mean, ...",
    )
    model.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1,3,H,W",
        help="the shape of an input; for a layer that brings data, instead of the data; repeatable",
    )
    model.add_argument(
        "--fixed", action="store_true", help="keep all sizes, for programs that need fixed ones"
    )
    model.add_argument(
        "--opset",
        type=int,
        default=onnx.OPSET,
        help=f"the version of ONNX's operators (default: {onnx.OPSET}, the least)",
    )
    model.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="of the stored weights; the model computes in float32 (default: float32)",
    )
    model.add_argument(
        "--external", action="store_true", help="put the weights into a second file, OUT.data"
    )
    model.add_argument("--no-check", action="store_true", help="do not run the model")
    model.add_argument("--fork", default="", help="the fork whose meaning words have")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on a command line (sys.argv if None); return the exit status.

    1 where an error was printed or the model differs from the net.
    """
    options = parser().parse_args(argv)
    try:
        with _quiet_log():
            if options.fork:
                set_fork(options.fork)
            if options.to == "onnx":
                return _to_onnx(options)
            _convert(options)
    except RefusedLayersError as error:
        lines = "".join(f"\n  {refused}" for refused in error.refused)
        print(f"error: {len(error.refused)} layers have no ONNX form:{lines}", file=sys.stderr)
        return 1
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Log warnings and errors alone, unless GLOG_minloglevel is set."""
    chosen = glog.LEVEL in os.environ
    os.environ.setdefault(glog.LEVEL, "1")
    try:
        yield
    finally:
        if not chosen:
            del os.environ[glog.LEVEL]


def _convert(options: argparse.Namespace) -> None:
    """Write weights in another format."""
    source = options.source or options.weights
    if not source or (options.source and options.weights):
        raise UsageError("needs one of --weights FILE and --from FILE")
    out = options.out or os.path.splitext(source)[0] + SUFFIXES[options.to]
    if os.path.abspath(out) == os.path.abspath(source):
        raise UsageError(f"{out}: is read and written; name another file with --out")
    if options.to == "caffemodel":
        count = tensors.to_caffemodel(source, out)
    elif options.weights:
        count = tensors.to_safetensors(source, out)
    else:
        count = tensors.state_dict_to_safetensors(source, out)
    print(f"wrote {out}: {count} tensors")


def _to_onnx(options: argparse.Namespace) -> int:
    """Write and check a model; return the exit status."""
    if not options.net or not options.weights:
        raise UsageError("--to onnx needs --net FILE and --weights FILE")
    metadata = read_metadata(options.metadata) if options.metadata else {}
    out = options.out or os.path.splitext(options.weights)[0] + ".onnx"
    mode.set_mode_cpu()
    shapes = dict(map(_shape, options.shape))
    net, lines = onnx.deploy_net(options.net, options.weights, shapes)
    print(*lines, sep="\n", end="\n" if lines else "")
    half = options.precision == "float16"
    settings = {"opset": options.opset, "half": half, "external": options.external}
    sizes, paths = _write(net, out, options.fixed, metadata, settings)
    size = sum(os.path.getsize(path) for path in paths)
    print(f"wrote {' and '.join(paths)} ({size / 1e6:.1f} MB)")
    for name, axes in sizes.axes.items():
        print(f"input {name}: {' x '.join(map(str, axes))}")
    for name in outputs_of(net):
        print(f"output {name}")
    if options.no_check:
        return 0
    return _report(onnx.check(net, out, sizes), HALF_TOLERANCE if half else TOLERANCE)


def _write(
    net: Net, out: str, fixed: bool, metadata: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[Sizes, list[str]]:
    """Write the model, with fixed sizes where a layer needs them; return the sizes and paths."""
    sizes = onnx.find_sizes(net, fixed)
    try:
        return sizes, onnx.write(net, out, sizes, metadata, **settings)
    except FreeSizeError as error:
        print(f"the sizes are fixed: {error}")
    sizes = onnx.find_sizes(net, fixed=True)
    return sizes, onnx.write(net, out, sizes, metadata, **settings)


def _report(differences: list[Difference] | None, tolerance: float) -> int:
    """Print the result of a check; return the exit status."""
    if differences is None:
        print("not checked: the Python package onnxruntime is not installed")
        return 0
    for name, inputs, error, blank in differences:
        print(f"ONNX Runtime, {inputs}: {name} differs by {error:.1e} of its largest value")
        if blank:
            print(f"warning: {name} is 0 everywhere, which shows nothing; are the weights trained?")
    worst = max(difference.error for difference in differences)
    # Not-a-number is no agreement.
    if worst <= tolerance:
        print(f"checked: the largest difference is {worst:.1e}, at most {tolerance:g} is allowed")
        return 0
    print(
        f"error: the model differs from the net by {worst:.1e} of the largest value; at most "
        f"{tolerance:g} is allowed",
        file=sys.stderr,
    )
    return 1


def read_metadata(path: str) -> dict[str, Any]:
    """Return the object of a JSON file. Raises FileError for another content."""
    try:
        with open_text(path, "utf-8-sig") as file:
            values = json.load(file)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise FileError(f"{path}: is not a JSON file ({error})") from None
    if not isinstance(values, dict):
        raise FileError(f"{path}: holds a {type(values).__name__}; a JSON object is needed")
    return values


def _shape(text: str) -> tuple[str, list[int]]:
    """Return the name and the shape of `data=1,3,224,224`. Raises UsageError."""
    name, _, sizes = text.partition("=")
    try:
        shape = [int(size) for size in sizes.replace("x", ",").split(",")]
    except ValueError:
        shape = []
    if not name or not shape or min(shape) < 1:
        raise UsageError(f"--shape {text}: is not the shape of an input, such as data=1,3,224,224")
    return name, shape


if __name__ == "__main__":
    sys.exit(main())
