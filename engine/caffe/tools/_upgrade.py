"""What the three upgrade tools share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from .. import glog, upgrade
from ..errors import CaffeError
from . import command


def main(
    program: str,
    kind: str,
    read: Callable[[str], Any],
    bring: Callable[[Any, str], bool | None],
    write: Callable[[str, Any], None],
    argv: Sequence[str] | None,
) -> int:
    """Read the first file, upgrade what it holds, write the second; the exit status.

    `kind` is such as "NetParameter text". `bring(message, path)` gives whether all could be taken
    over, or None if nothing had to be done. 1: something was left out; 2: the file is no such
    message.
    """
    message_name, form = kind.split()
    old = "old_solver" if message_name == "SolverParameter" else "v0_net"
    new = message_name.removesuffix("Parameter").lower()

    def body(flags: Any, files: list[str]) -> int:
        def log(line: int, text: str, level: int = 2) -> None:
            glog.write(f"{program}.cpp:{line}", text, level)

        if len(files) != 2:
            log(22, f"Usage: {program} {old}_proto_file_in {new}_proto_file_out")
            return 1
        source, target = files
        if not os.path.isfile(source):
            raise CaffeError(f"File not found: {source}")
        try:
            message = read(source)
        except CaffeError as error:
            log(30, f"Failed to parse input {form} file as {message_name}: {error}")
            return 2
        try:
            done = bring(message, source)
        except CaffeError as error:
            raise CaffeError(f"{source}: {error}") from None
        if done is None:
            log(43, f"File already in latest proto format: {source}")
        elif not done:
            log(39, "Encountered error(s) while upgrading prototxt; see details above.")
        write(target, message)
        log(
            48 if form == "binary" else 49,
            f"Wrote upgraded {message_name} {form} proto to {target}",
            0,
        )
        return int(done is False)

    return command.run(program, "upgrades a file to the present form", {}, body, argv)


def upgrade_net(net: Any, path: str) -> bool | None:
    """Whether all of a net could be upgraded; None if it had nothing old."""
    if not upgrade.needs_upgrade(net):
        return None
    return not upgrade.upgrade_net(net, path)
