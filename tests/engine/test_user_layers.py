"""Python layers that users write: their names are their own, and their mistakes are one line."""

from __future__ import annotations

import os

import caffe
import numpy as np
import pytest
from caffe import CaffeError
from caffe import __main__ as caffe_command
from caffe.errors import LayerError
from caffe.layers import EngineLayer, Function
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from oracle import user_layers
from tests.engine.layer_names import FREE_NAMES, RESERVED
from tests.engine.nets import build, write

PLAIN = user_layers.run_layer("Scaled")


def test_the_names_of_every_engine_class_are_tried():
    assert {"bottoms", "loss", "name", "error", "pointwise"} <= set(FREE_NAMES)
    assert {*vars(EngineLayer), *vars(Function)} & {"blobs", "phase", "param_str"} == set()
    assert {"phase", "param_str", "layer_param", "weights", "record"} <= set(FREE_NAMES)


def test_the_plain_layer_gives_the_numbers_of_its_formula():
    assert PLAIN["blobs"]["y"] == [[3, 6]] and PLAIN["blobs"]["loss"] == 8.5
    assert PLAIN["gradients"]["x"] == [[3, 12]] and PLAIN["gradients"]["u"] == [[0, 0]]
    assert PLAIN["parameters"] == [[9], [0]]
    assert [name for name, weight in PLAIN["loss weights"].items() if weight] == ["loss"]


@pytest.mark.parametrize("use", ["attribute", "method"])
@pytest.mark.parametrize("name", FREE_NAMES)
def test_a_layer_with_a_name_of_the_engines_is_a_plain_layer(name, use):
    assert user_layers.run_layer(f"{use}:{name}") == PLAIN


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_names_that_bvlc_caffe_reserves_cannot_be_set(name):
    assert user_layers.run_layer(f"attribute:{name}") == "AttributeError"


class Layer(caffe.Layer):
    """A layer whose class is called like its base, with private names."""

    def setup(self, bottom, top):
        self.__type, self.__blobs = "mine", "mine"
        self._type, self._blobs, self._tape = "mine", "mine", "mine"

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + 1
        self.private = self.__type + self.__blobs


ONE_MORE = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 } } }
layer { name: "user" type: "Python" bottom: "x" top: "y"
  python_param { module: "tests.engine.test_user_layers" layer: "Layer" } }
"""


def test_private_names_belong_to_the_user(tmp_path):
    net = build(tmp_path, ONE_MORE)
    net.blobs["x"].data[...] = [1, 2]
    np.testing.assert_array_equal(net.forward()["y"], [2, 3])
    layer = net.layers[1]
    assert layer.private == "minemine" and layer.type == "Python" and len(layer.blobs) == 0


def test_a_method_that_is_missing_names_the_type(tmp_path):
    net = build(tmp_path, "force_backward: true" + ONE_MORE)
    net.forward()
    with pytest.raises(NotImplementedError, match="Python has no backward"):
        net.backward()


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder on the path with modules that cannot be imported, and one without layers."""
    write(tmp_path, "import no_such_module_anywhere\n", "importing.py")
    write(tmp_path, "raise ImportError('two\\nlines')\n", "failing.py")
    write(tmp_path, "Number = 3\n", "without_layers.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG_MODULES = [
    ("no_module_of_this_name", "cannot be imported: No module named 'no_module_of_this_name'"),
    (
        "importing",
        "cannot be imported: No module named 'no_such_module_anywhere'; the module imports "
        "no_such_module_anywhere: pip install no_such_module_anywhere",
    ),
    ("failing", "cannot be imported: two lines"),
    ("without_layers", "has no caffe.Layer named 'Number'"),
    ("", "has no python_param module"),
]


@pytest.mark.parametrize("module, message", WRONG_MODULES)
def test_a_module_without_the_layer_is_one_line_that_names_the_layer(modules, module, message):
    text = f"layer {{ name: 'user' type: 'Python' top: 'y' python_param {{ module: '{module}'"
    text += " layer: 'Number' } }"
    with pytest.raises(CaffeError, match=message) as error:
        build(modules, text)
    assert "layer 'user' (Python)" in str(error.value) and "\n" not in str(error.value)
    param = text_format.Parse(text, caffe_pb2.NetParameter())
    with pytest.raises(LayerError) as error:
        caffe.Net.from_param(param)
    assert (error.value.layer, error.value.layer_type) == ("user", "Python")


def test_param_str_has_the_name_that_fast_rcnn_reads(tmp_path, monkeypatch):
    write(
        tmp_path,
        "import caffe\n"
        "class RoIDataLayer(caffe.Layer):\n"
        "    def setup(self, bottom, top):\n"
        "        top[0].reshape(eval(self.param_str_)['num_classes'])\n",
        "old_roi_data.py",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = (
        "layer { name: 'd' type: 'Python' top: 'y' python_param { module: 'old_roi_data' "
        "layer: 'RoIDataLayer' param_str: \"{'num_classes': 21}\" } }"
    )
    assert build(tmp_path, text).blobs["y"].data.shape == (21,)


TRAINED = """
layer { name: "user" type: "Python" top: "y" python_param { module: "importing" layer: "A" } }
layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }
"""


def test_training_with_a_module_that_cannot_be_imported_ends_in_one_line(modules, program):
    write(modules, TRAINED)
    write(modules, 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1', "s.prototxt")
    arguments = ["train", "-solver", "s.prototxt"]
    settings = {"PYTHONPATH": str(modules), "GLOG_minloglevel": "2", "PATH": ""}
    result = program("-m", "caffe", *arguments, cwd=os.getcwd(), **settings)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1 and len(lines) == 1, result.stderr
    assert "layer 'user' (Python)" in lines[0] and "no_such_module_anywhere" in lines[0]
    assert caffe_command.main(arguments) == 1
