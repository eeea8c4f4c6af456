"""Exceptions are of pycaffe's types as well as of the engine's, so that scripts catch them."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe import CaffeError, coord_map
from caffe import layers as L

from tests.engine import nets


@pytest.fixture
def net(tmp_path):
    return nets.build(tmp_path, nets.SCORER)


#: What BVLC Caffe raises, as tried with oracle/caffe-python.
CALLS = {
    "an array in place of a parameter": (
        TypeError,
        lambda net: net.params["conv"].__setitem__(0, np.zeros((4, 3, 3, 3))),
    ),
    "arrays in place of parameters": (
        TypeError,
        lambda net: net.params["conv"].__setitem__(slice(0, 1), [np.zeros(3)]),
    ),
    "a number appended to the parameters": (TypeError, lambda net: net.params["conv"].append(3)),
    "numbers that extend the parameters": (TypeError, lambda net: net.params["conv"].extend([3])),
    "a reshape to a list": (TypeError, lambda net: net.blobs["data"].reshape([1, 3, 8, 8])),
    "a reshape to a float": (TypeError, lambda net: net.blobs["data"].reshape(1.5)),
    "a start that is not a layer": (ValueError, lambda net: net.forward(start="nope")),
    "an end that is not a layer": (ValueError, lambda net: net.backward(end="nope")),
    "a net shared with a number": (TypeError, lambda net: net.share_with(1)),
    "forward_all without inputs": (RuntimeError, lambda net: net.forward_all()),
    "a negative seed": (OverflowError, lambda net: caffe.set_random_seed(-1)),
    "a seed that is not an integer": (TypeError, lambda net: caffe.set_random_seed(net)),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_raises_the_type_that_pycaffe_raises(net, call):
    kind, run = CALLS[call]
    with pytest.raises(kind) as error:
        run(net)
    assert isinstance(error.value, CaffeError) and "\n" not in str(error.value)


#: Calls for which Python's own exceptions are enough.
MISTAKEN = {
    "a level of the log that is not an integer": (TypeError, lambda: caffe.init_log("a")),
    "a line for the log that is not text": (TypeError, lambda: caffe.log(3)),
    "a fraction of a solver": (TypeError, lambda: caffe.set_solver_count(2.5)),
    "a level of a net that is not an integer": (
        TypeError,
        lambda: caffe.Net("net.prototxt", caffe.TEST, level="a"),
    ),
    "an attribute of a NetSpec that is not a top": (KeyError, lambda: caffe.NetSpec().data),
}


@pytest.mark.parametrize("call", MISTAKEN)
def test_a_mistaken_call_raises_the_type_that_pycaffe_raises(call):
    kind, run = MISTAKEN[call]
    with pytest.raises(kind):
        run()


def test_a_netspec_without_a_top_has_no_attribute_of_its_name():
    assert not hasattr(caffe.NetSpec(), "data")
    with pytest.raises(AttributeError, match="^no top 'data'$"):
        caffe.NetSpec().data  # noqa: B018


def test_a_parameter_can_be_another_blob_and_keeps_its_values_otherwise(net):
    first, second = net.params["conv"]
    with pytest.raises(TypeError, match=r"^Invalid assignment: .* found ndarray; write values"):
        net.params["conv"][0] = np.zeros(first.shape)
    assert net.params["conv"][0] is first
    net.params["conv"][0] = second
    assert net.params["conv"][0] is second


@pytest.mark.parametrize("settings", [{"stride": 2}, {"pad": 2}, {"kernel_size": 4}])
def test_a_crop_that_cannot_be_is_an_assertion_error_as_in_pycaffe(settings):
    data = L.Input()
    top = L.Convolution(data, **{"kernel_size": 3, "num_output": 1, **settings})
    with pytest.raises(AssertionError) as error:
        coord_map.crop(data, top)
    assert isinstance(error.value, ValueError)
