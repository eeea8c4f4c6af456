"""`caffe.init_log`: the level and the place of the log, as BVLC's pycaffe sets them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import caffe
from caffe import glog
caffe.init_log({arguments})
for level in range(3):
    glog.write("x.cpp:1", "line %d" % level, level)
"""


def run(folder, arguments, **environ):
    """The levels of the lines on standard error, and in the file of all lines."""
    command = [sys.executable, "-c", SCRIPT.format(arguments=arguments)]
    environ = {**os.environ, "GLOG_log_dir": str(folder), "GLOG_minloglevel": "0", **environ}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    # Without lines of level 0, the file of all lines is that of the warnings.
    links = [folder / f"python.{level}" for level in ("INFO", "WARNING")]
    text = next((link.read_text() for link in links if link.exists()), "")
    return ["".join(str(n) for n in range(3) if f"line {n}" in t) for t in (result.stderr, text)]


@pytest.mark.parametrize(
    "arguments, stderr, file",
    [("0, True", "012", ""), ("1, True", "12", ""), ("", "2", "012"), ("1", "2", "12")],
)
def test_init_log_sets_the_level_and_the_place_of_the_log(tmp_path, arguments, stderr, file):
    assert run(tmp_path, arguments) == [stderr, file]


def test_glogs_variable_sends_all_lines_to_standard_error(tmp_path):
    assert run(tmp_path, "", GLOG_logtostderr="1") == ["012", ""]
