"""Upgrades a .caffemodel of any age to the present form.

upgrade_net_proto_binary OLD NEW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..graph import parse_binary
from ..proto import caffe_pb2
from ..weights import atomic
from . import upgrading


def _read(path: str) -> Any:
    with open(path, "rb") as file:
        return parse_binary(file.read(), caffe_pb2.NetParameter(), path)


def _write(path: str, net: Any) -> None:
    with atomic(path) as file:
        file.write(net.SerializeToString())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return upgrading.main(
        "upgrade_net_proto_binary",
        "NetParameter binary",
        _read,
        upgrading.upgrade_net,
        _write,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
