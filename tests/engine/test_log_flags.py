"""glog's and gflags' flags and variables: where the log goes, flag files, help."""

from __future__ import annotations

import os
import re
import socket

import pytest
from caffe import __main__ as caffe_command
from caffe import glog
from caffe.errors import UsageError
from caffe.log_files import LogFiles
from caffe.tools import convert_imageset
from caffe.tools.gflags import LOGGING, parse

from tests.engine.nets import write
from tests.engine.test_command import NET, SOLVER

#: A short training, so that each of these tests takes little.
SHORT = SOLVER.replace("max_iter: 12", "max_iter: 1 snapshot_after_train: false")
TRAIN = ["train", "--solver=solver.prototxt"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("GLOG_", "GOOGLE_LOG"))]:
        monkeypatch.delenv(name)
    write(tmp_path, NET)
    write(tmp_path, SHORT, "solver.prototxt")
    (tmp_path / "log").mkdir()
    return tmp_path


def log_of(folder, level="INFO", program="caffe"):
    """Return the lines of a log file, read through its link."""
    return (folder / "log" / f"{program}.{level}").read_text().splitlines()


def test_log_dir_has_a_file_with_caffes_name_a_link_and_the_whole_log(folder, capfd):
    assert caffe_command.main([*TRAIN, "--log_dir=log"]) == 0
    printed = capfd.readouterr().err.splitlines()
    link = folder / "log" / "caffe.INFO"
    host = re.escape(socket.gethostname())
    name = rf"caffe\.{host}\.\w+\.log\.INFO\.\d{{8}}-\d{{6}}\.{os.getpid()}"
    assert re.fullmatch(name, os.readlink(link)) and len(os.listdir("log")) == 2
    lines = log_of(folder)
    assert lines[0].startswith("Log file created at: 20")
    assert lines[1] == f"Running on machine: {socket.gethostname()}"
    assert lines[2] == "Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg"
    assert lines[3:] == printed and "Optimization Done." in lines[-1]
    assert "GLOG_log_dir" not in os.environ


@pytest.mark.parametrize(
    "variables, files",
    [
        ({"GLOG_log_dir": "log"}, True),
        ({"GLOG_log_dir": "log", "GLOG_logtostderr": "0"}, True),
        ({"GOOGLE_LOG_DIR": "log"}, True),
        ({"GLOG_log_dir": "log", "GLOG_logtostderr": "1"}, False),
        ({"GLOG_log_dir": "log", "GLOG_minloglevel": "1"}, False),
        ({}, False),
    ],
)
def test_variables_of_the_environment_are_glogs_flags(folder, monkeypatch, variables, files):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert caffe_command.main(TRAIN) == 0
    assert os.path.exists("log/caffe.INFO") == files
    assert {name: os.environ[name] for name in variables} == variables


def test_the_threshold_of_standard_error_holds_where_not_all_lines_go_there(folder, capfd):
    flags = [*TRAIN, "--log_dir=log", "--noalsologtostderr"]
    assert caffe_command.main([*flags, "--stderrthreshold=2"]) == 0
    assert capfd.readouterr().err == ""
    assert caffe_command.main([*TRAIN, "--stderrthreshold=3"]) == 0
    assert "Optimization Done." in capfd.readouterr().err


def test_errors_are_in_the_files_of_all_levels_and_fail_the_tool(folder, capfd):
    write(folder, "none.png 1\n", "list.txt")
    assert convert_imageset.main(["-log_dir", "log", "./", "list.txt", "db"]) == 0
    for level in ("INFO", "WARNING", "ERROR"):
        assert "Could not open or find file" in log_of(folder, level, "convert_imageset")[-1]
    assert len(log_of(folder, "ERROR", "convert_imageset")) == 4
    capfd.readouterr()
    assert caffe_command.main([*TRAIN, "--log_dir=nowhere"]) == 0
    assert "Could not create logging file: No such file" in capfd.readouterr().err


def test_lines_can_do_without_prefix_and_links_can_lie_elsewhere(folder, capfd):
    (folder / "links").mkdir()
    flags = ["--log_dir=log", "--log_link=links", "--nolog_prefix"]
    assert caffe_command.main([*TRAIN, *flags]) == 0
    assert capfd.readouterr().err.startswith("Use CPU.\n")
    assert (folder / "links" / "caffe.INFO").read_text().splitlines()[3] == "Use CPU."


def test_a_file_of_the_largest_size_is_followed_by_another(folder, monkeypatch):
    files = LogFiles("p", "log", megabytes=0)
    files.write(0, "x" * (1 << 20))
    monkeypatch.setattr(os, "getpid", lambda: 7)
    files.write(0, "next\n")
    files.close()
    assert len(os.listdir("log")) == 3 and log_of(folder, program="p")[-1] == "next"


def test_warnings_are_coloured_where_the_destination_says_so(capsys):
    with glog.destination(glog.Destination(color=True)):
        glog.write("a.cpp:1", "red", level=2)
    assert re.fullmatch("\033\\[0;31mE.* a.cpp:1\\] red\n\033\\[m", capsys.readouterr().err)


def test_every_flag_of_glog_is_taken(folder):
    flags = [f"--{name}={str(default).lower()}" for name, (default, _) in LOGGING.items()]
    values, rest = parse([*flags, "train", "-v", "2"], {})
    assert rest == ["train"] and values.v == 2 and values.max_log_size == 1800


def test_a_flag_file_sets_flags_of_its_program_and_passes_over_others(folder, monkeypatch):
    text = "# flags\n--solver=s\n\n-nosuch=1\nother\ntool*\n-level=3\ncaffe\n--iterations=7\n"
    write(folder, text, "flags")
    flags = {"solver": ("", ""), "level": (0, ""), "iterations": (50, "")}
    values, _ = parse(["--flagfile=flags"], flags)
    assert (values.solver, values.level, values.iterations) == ("s", 0, 7)
    values, _ = parse(["--flagfile=flags"], flags, program="tool1")
    assert (values.level, values.iterations) == (3, 50)
    monkeypatch.setenv("FLAGS_solver", "from environment")
    assert parse(["--fromenv=solver"], flags)[0].solver == "from environment"
    assert parse(["--tryfromenv=solver,level"], flags)[0].level == 0
    assert parse(["--undefok=a,b", "--a=1", "--nob"], flags)[1] == []


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--flagfile=none", "none: No such file or directory"),
        ("--fromenv=v", "ERROR: FLAGS_v not found in environment"),
        ("--tryfromenv=nosuch", "unknown command line flag 'nosuch'"),
        ("--logtostderr=maybe", "illegal value 'maybe' specified for bool flag 'logtostderr'"),
    ],
)
def test_a_flag_that_cannot_be_set_is_one_line(folder, flag, message):
    with pytest.raises(UsageError, match=message):
        parse([flag], {})


@pytest.mark.parametrize(
    "query, words, others",
    [
        ("--help", ["-solver", "-log_dir", "-flagfile"], []),
        ("--helpfull", ["-solver", "-log_dir", "-flagfile"], []),
        ("--helpshort", ["-solver"], ["-log_dir"]),
        ("--helppackage", ["-solver"], ["-log_dir"]),
        ("--helpon=caffe", ["-solver"], ["-log_dir"]),
        ("--helpmatch=log", ["-log_dir"], ["-solver"]),
        ("--helpxml", ["<name>solver</name>", "&lt;command&gt;"], []),
    ],
)
def test_help_shows_the_flags_that_are_asked_for(capsys, query, words, others):
    assert caffe_command.main([query]) == 1
    text = capsys.readouterr().out
    assert all(word in text for word in words) and not any(word in text for word in others)
