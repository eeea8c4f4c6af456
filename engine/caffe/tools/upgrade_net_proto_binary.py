"""Brings a .caffemodel of any age to the present form.

upgrade_net_proto_binary OLD NEW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..proto import caffe_pb2
from ..wire import read_binary, write_binary
from . import _upgrade


def main(argv: Sequence[str] | None = None) -> int:
    return _upgrade.main(
        "upgrade_net_proto_binary",
        "NetParameter binary",
        lambda path: read_binary(path, caffe_pb2.NetParameter()),
        _upgrade.upgrade_net,
        write_binary,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
