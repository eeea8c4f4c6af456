"""What the three tools that upgrade files have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from .. import glog, upgrade
from ..aligned_crops import place_crops
from ..errors import CaffeError, FileError, in_file
from . import command


def main(
    program: str,
    kind: str,
    read: Callable[[str], Any],
    upgrade_message: Callable[[Any, str], bool | None],
    write: Callable[[str, Any], None],
    argv: Sequence[str] | None,
) -> int:
    """Read the first file, upgrade its message, write the second file; return the exit status.

    kind: a message and a format, such as "NetParameter text". `upgrade_message(message, path)`
    returns whether everything could be upgraded, or None if nothing had to be.

    The status is 1 if something could not be upgraded, and 2 if the first file holds no such
    message.
    """
    message_name, file_format = kind.split()
    old = "old_solver" if message_name == "SolverParameter" else "v0_net"
    new = message_name.removesuffix("Parameter").lower()

    def log(line: int, text: str, level: int = 2) -> None:
        glog.write(f"{program}.cpp:{line}", text, level)

    def body(flags: Any, files: list[str]) -> int:
        if len(files) != 2:
            log(22, f"Usage: {program} {old}_proto_file_in {new}_proto_file_out")
            return 1
        source, target = files
        if not os.path.isfile(source):
            raise FileError(f"File not found: {source}")
        try:
            message = read(source)
        except CaffeError as error:
            log(30, f"Failed to parse input {file_format} file as {message_name}: {error}")
            return 2
        with in_file(source):
            complete = upgrade_message(message, source)
        if complete is None:
            log(43, f"File already in latest proto format: {source}")
        elif not complete:
            log(39, "Encountered error(s) while upgrading prototxt; see details above.")
        write(target, message)
        log(
            48 if file_format == "binary" else 49,
            f"Wrote upgraded {message_name} {file_format} proto to {target}",
            0,
        )
        return int(complete is False)

    return command.run(program, "upgrades a file to the present form", {}, body, argv)


def upgrade_net(net: Any, path: str) -> bool | None:
    """Upgrade a net; return whether all of it could be, or None if it is of the present form."""
    if not upgrade.needs_upgrade(net):
        return None
    complete = not upgrade.upgrade_net(net, path)
    place_crops(net)
    return complete
