"""`caffe.init_log`: the level and the place of the log, as BVLC's pycaffe sets them."""

from __future__ import annotations

import caffe
import pytest
from caffe import glog

from tests.engine.nets import build, write


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    """Log files in an empty folder; afterwards all lines go to standard error again."""
    monkeypatch.setenv("GLOG_log_dir", str(tmp_path))
    monkeypatch.setenv("GLOG_minloglevel", "0")
    yield
    caffe.init_log(stderr=True)


def lines_of(text):
    return "".join(str(level) for level in range(3) if f"line {level}" in text)


def written(folder, capfd):
    """The levels of the lines on standard error, and in the file of all lines."""
    for level in range(3):
        glog.write("x.cpp:1", f"line {level}", level)
    # Without lines of level 0, the file of all lines is that of the warnings.
    links = [folder / f"python.{level}" for level in ("INFO", "WARNING")]
    text = next((link.read_text() for link in links if link.exists()), "")
    return [lines_of(capfd.readouterr().err), lines_of(text)]


@pytest.mark.parametrize(
    "arguments, stderr, file",
    [((0, True), "012", ""), ((1, True), "12", ""), ((), "2", "012"), ((1,), "2", "12")],
)
def test_init_log_sets_the_level_and_the_place_of_the_log(tmp_path, capfd, arguments, stderr, file):
    caffe.init_log(*arguments)
    assert written(tmp_path, capfd) == [stderr, file]


def test_glogs_variable_sends_all_lines_to_standard_error(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_logtostderr", "1")
    caffe.init_log()
    assert written(tmp_path, capfd) == ["012", ""]


def test_the_log_names_shared_parameters_and_layers_inside_layers(tmp_path, capfd):
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
      inner_product_param { num_output: 3 } }
    layer { name: "s" type: "Scale" bottom: "a" top: "s" scale_param { bias_term: true } }
    layer { name: "b" type: "InnerProduct" bottom: "s" top: "b" param { name: "w" }
      inner_product_param { num_output: 3 } }"""
    build(tmp_path, text)
    log = capfd.readouterr().err
    assert log.count("layer_factory.hpp:77] Creating layer s\n") == 2
    assert "net.cpp:467] Sharing parameters 'w' owned by layer 'a', param index 0\n" in log


def test_the_log_says_once_what_the_snapshots_are_named(tmp_path, capfd):
    net = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 1 } } }'
    solver = f"net_param {{ {net} }} base_lr: 0.1 lr_policy: 'fixed' "
    for prefix, said in (
        ("", "not specified and is set"),
        (tmp_path, "a directory and is replaced"),
    ):
        path = write(tmp_path, solver + f"snapshot_prefix: '{prefix}'" * bool(prefix), "s.prototxt")
        caffe.get_solver(path)
        assert capfd.readouterr().err.count(f"snapshot_prefix was {said} to {tmp_path}/s\n") == 1


def test_the_log_says_which_layers_learn_without_force_backward(tmp_path, capfd):
    text = """force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "t" type: "TanH" bottom: "x" top: "t" }"""
    build(tmp_path, text)
    log = capfd.readouterr().err
    assert [line.split("] ")[1] for line in log.splitlines() if "backward comp" in line] == [
        "t does not need backward computation.",
        "x does not need backward computation.",
    ]
