"""Writes the prototxts of this folder: `python net.py`."""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

from fcn_common import command  # noqa: E402


def main() -> None:
    import net_gen

    net_gen.generate(os.path.basename(FOLDER), FOLDER)


if __name__ == "__main__":
    command.run(main)
