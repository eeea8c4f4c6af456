"""Caffe's command-line tools: programs beside BVLC Caffe, functions of this process otherwise."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from importlib import import_module
from typing import Any, Dict, List, Mapping, Optional, Tuple
from unittest import mock


def execute(
    name: str, arguments: List[str], environment: Optional[Mapping[str, str]] = None
) -> Tuple[int, str]:
    """Run a tool and return its exit status, 1 where BVLC Caffe aborts, and its log.

    environment: variables that are set for the tool.
    """
    try:
        module: Any = import_module("caffe.__main__" if name == "caffe" else "caffe.tools." + name)
    except ImportError:
        variables = dict(os.environ, **(environment or {}))
        result = subprocess.run([name, *arguments], capture_output=True, text=True, env=variables)
        return (result.returncode if result.returncode >= 0 else 1), result.stderr
    log = io.StringIO()
    patch: Any = mock.patch.dict(os.environ, environment or {})
    with patch, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(log):
        status = module.main(arguments)
    return status, log.getvalue()


def run_tool(name: str, *arguments: str) -> Tuple[int, Dict[str, bytes]]:
    """Run a tool; return its exit status and the files that it wrote, which are removed."""
    before = set(os.listdir("."))
    status, _ = execute(name, list(arguments))
    files = {}
    for path in sorted(set(os.listdir(".")) - before):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                files[path] = file.read()
            os.remove(path)
    return status, files
