"""Caffe's command-line tools, run as programs under BVLC Caffe and in this process otherwise."""

from __future__ import annotations

import os
import subprocess
from importlib import import_module
from typing import Dict, Tuple


def tool(name: str, *arguments: str) -> Tuple[int, Dict[str, bytes]]:
    """Runs a tool; its exit status, 1 where BVLC Caffe's process aborts, and the files it wrote."""
    before = set(os.listdir("."))
    try:
        module = import_module("caffe.__main__" if name == "caffe" else "caffe.tools." + name)
    except ImportError:
        run = subprocess.run([name, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        status = run.returncode if run.returncode >= 0 else 1
    else:
        status = module.main(list(arguments))
    written = {}
    for file in sorted(set(os.listdir(".")) - before):
        if os.path.isfile(file):
            with open(file, "rb") as opened:
                written[file] = opened.read()
            os.remove(file)
    return status, written
