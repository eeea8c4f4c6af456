"""Upgrades a .caffemodel of any age to the present form.

upgrade_net_proto_binary OLD NEW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..binary_nets import parse_net
from ..files import read_bytes
from ..wire import write_binary
from . import upgrading


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool on a command line (sys.argv if None); return the exit status."""
    return upgrading.main(
        "upgrade_net_proto_binary",
        "NetParameter binary",
        lambda path: parse_net(read_bytes(path), path),
        upgrading.upgrade_net,
        write_binary,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
