"""Python layers are found beside their prototxt without PYTHONPATH."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from caffe import CaffeError

from tests.engine.nets import build, write

ROOT = Path(__file__).resolve().parents[2]
LAYER = """import caffe
from {name}_helper import SCALE
class Twice(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top): top[0].data[...] = SCALE * bottom[0].data
    def backward(self, top, propagate_down, bottom): pass
"""
NET = """layer {{ name: "x" type: "DummyData" top: "x" dummy_data_param {{ shape {{ dim: 2 }}
  data_filler {{ value: 3 }} }} }}
layer {{ name: "y" type: "Python" bottom: "x" top: "y"
  python_param {{ module: "{name}" layer: "Twice" }} }}"""


@pytest.fixture(autouse=True)
def module_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def write_module(folder, name):
    write(folder, LAYER.format(name=name), f"{name}.py")
    write(folder, "SCALE = 2", f"{name}_helper.py")


@pytest.mark.parametrize("above", [False, True])
def test_a_module_beside_the_prototxt_or_in_the_folder_above_is_found(tmp_path, above):
    name, nets = f"layer_{'above' if above else 'beside'}", tmp_path / "nets"
    nets.mkdir()
    write_module(tmp_path if above else nets, name)
    net = build(nets, NET.format(name=name))
    assert net.forward()["y"].tolist() == [6, 6]


def test_the_module_path_comes_first_and_other_folders_are_not_searched(tmp_path):
    write(tmp_path, "raise SystemExit", "json.py")
    with pytest.raises(CaffeError, match="module 'json' has no caffe.Layer named 'Twice'"):
        build(tmp_path, NET.format(name="json"))
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    write_module(tmp_path, "layer_far")
    with pytest.raises(CaffeError, match="'layer_far' cannot be imported: .* beside the prototxt"):
        build(deep, NET.format(name="layer_far"))


def test_an_error_inside_the_module_keeps_its_type_and_text(tmp_path):
    write(tmp_path, "import no_such_package", "layer_broken.py")
    with pytest.raises(CaffeError, match="No module named 'no_such_package'"):
        build(tmp_path, NET.format(name="layer_broken"))


def test_the_command_finds_the_layers_of_generated_nets(tmp_path, program):
    net = (ROOT / "voc-fcn32s" / "val.prototxt").read_text()
    write(tmp_path, net, "val.prototxt")
    command = [Path(sys.executable).with_name("caffe"), "test", "-model", "val.prototxt"]
    result = program(*command, "-weights", "none", cwd=tmp_path, PYTHONPATH="")
    assert result.returncode == 1
    assert "VOCSegDataLayer: voc_dir" in result.stderr
    assert "cannot be imported" not in result.stderr
