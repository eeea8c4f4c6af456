"""The parser of the engine's command lines: an error is one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .printable import printable

#: The exit code of a command line that cannot be read.
MISUSED = 2


class Parser(argparse.ArgumentParser):
    """A parser of a command line that prints no usage above an error."""

    def error(self, message: str) -> NoReturn:
        """End the program with a line that names the option."""
        text = printable(" ".join(message.split()))
        self.exit(MISUSED, f"error: {text}; {self.prog} --help shows the options\n")
