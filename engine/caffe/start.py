"""The first second of a program: an interrupt while the engine is loaded ends it with one line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

#: The commands that setuptools installs; their script imports the engine.
COMMANDS = (
    *("caffe", "compute_image_mean", "convert_imageset", "extract_features"),
    *("upgrade_net_proto_binary", "upgrade_net_proto_text", "upgrade_solver_proto_text"),
)
#: The shell's exit code of a program that was stopped with Ctrl-C: 128 + SIGINT.
INTERRUPTED = 130


def begin() -> None:
    """Handle interrupts until `ready`, if this process is a command of the engine.

    The process ends at once: an exception would pass through half of PyTorch's import, which turns
    it into other errors. A script that imports the engine keeps its own handler.
    """
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    loads = name == "-m" or name in COMMANDS  # runpy sets -m while it loads the package.
    main_thread = threading.current_thread() is threading.main_thread()
    if loads and main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def ready() -> None:
    """Handle interrupts as Python does: the program has begun."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


begin()
