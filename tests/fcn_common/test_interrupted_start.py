"""Ctrl-C while Python loads a program leaves one line."""

from __future__ import annotations

import pytest

#: Loads a package as `python -m` does, with Ctrl-C when a module imports NumPy.
LOAD = """
import builtins, os, signal, sys
real = builtins.__import__

def load(name, *arguments, **options):
    if name == "numpy":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *arguments, **options)

builtins.__import__, sys.argv = load, ["-m"]
import PACKAGE
"""


@pytest.mark.parametrize("package", ["net_gen", "surgery", "fcn_data", "solvers.train"])
def test_an_interrupt_while_a_program_is_loaded_leaves_one_line(program, package):
    result = program("-c", LOAD.replace("PACKAGE", package))
    assert result.returncode == 130 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and "Traceback" not in result.stderr


def test_a_closed_pipe_ends_a_program_without_a_message(program):
    script = """
import os
from fcn_common import command

def write():
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    print("x", flush=True)

command.run(write)
"""
    result = program("-c", script)
    assert result.returncode == 141 and result.stderr == ""
