"""Writes the prototxts of this folder: `python net.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import net_gen  # noqa: E402

if __name__ == "__main__":
    net_gen.generate(HERE.name, HERE)
