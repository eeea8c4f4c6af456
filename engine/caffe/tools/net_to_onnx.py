"""Writes a net with its weights as an ONNX model, for the programs that read that format.

net_to_onnx NET WEIGHTS OUT.onnx

The tool needs the package `onnx`. The model computes what the net computes in the TEST phase. The
heights and widths of its inputs are free. The weights lie beside the model, in OUT.onnx.data.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..arguments import Parser
from ..errors import CaffeError
from ..net import Net
from ..proto import caffe_pb2
from .onnx import write


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    parser = Parser(
        prog="net_to_onnx", description="Write a net with its weights as an ONNX model."
    )
    parser.add_argument("net", help="deploy prototxt, with Input layers")
    parser.add_argument("weights", help=".caffemodel or .h5")
    parser.add_argument("out", help="the .onnx file to write; weights go to OUT.data")
    args = parser.parse_args(argv)
    try:
        write(Net(args.net, caffe_pb2.TEST, weights=args.weights), args.out)
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
