"""Upgrades a net's prototxt of any age to the present form.

upgrade_net_proto_text OLD NEW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..proto import caffe_pb2
from ..text import read_text, write_text
from . import upgrading


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return upgrading.main(
        "upgrade_net_proto_text",
        "NetParameter text",
        lambda path: read_text(path, caffe_pb2.NetParameter()),
        upgrading.upgrade_net,
        write_text,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
