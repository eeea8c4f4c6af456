"""The layer catalogue: traits of the types, errors by kind, integers that stay exact."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe.errors import FileError, LayerError, NetError, ShapeError
from caffe.layers import layer_class, layer_type_list, pointwise_types, users_types
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from tests.engine.nets import build


def wired(text, phase=caffe.TEST):
    """The net of this prototxt text, whose errors keep their types."""
    param = text_format.Parse(text, caffe_pb2.NetParameter())
    param.state.phase = phase
    return caffe.Net.from_param(param)


def over(shape, layer, more="", top="y"):
    """A net with an input `x` of this shape, and `b` of `more`, under one layer."""
    dims = " ".join(f"dim: {n}" for n in shape)
    tops = "top: 'x' top: 'b'" if more else "top: 'x'"
    shapes = f"shape {{ {dims} }}" + (f" shape {{ {more} }}" if more else "")
    bottoms = "bottom: 'x'" + (" bottom: 'b'" if more else "")
    return (
        f"layer {{ name: 'in' type: 'Input' {tops} input_param {{ {shapes} }} }}"
        f"layer {{ name: 'l' {bottoms} top: '{top}' {layer} }}"
    )


def test_every_type_but_python_has_a_class_with_its_traits():
    types = set(layer_type_list()) - users_types()
    assert {t for t in types if layer_class(t) is None} == {"Python"}
    assert layer_class("NoSuchType") is None


@pytest.mark.parametrize("type_", pointwise_types())
def test_the_top_of_a_pointwise_layer_has_the_shape_of_its_first_bottom(type_):
    shape, more = (2, 6, 5, 4), ""
    if type_ == "Eltwise":
        more = "dim: 2 dim: 6 dim: 5 dim: 4"
    net = wired(over(shape, f"type: '{type_}'", more))
    assert net.blobs["y"].shape == shape


SHAPES = [
    ("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 9 }", (1, 2, 4, 4), ""),
    ("type: 'Pooling' pooling_param { kernel_size: 9 }", (1, 2, 4, 4), ""),
    ("type: 'Pooling' pooling_param { kernel_size: 2 }", (1, 2, 4), ""),
    ("type: 'Concat'", (1, 2, 4), "dim: 1 dim: 2 dim: 5"),
    ("type: 'Eltwise'", (1, 2), "dim: 2"),
    ("type: 'Crop' crop_param { axis: 1 }", (1, 2), "dim: 1 dim: 3"),
    ("type: 'Reshape' reshape_param { shape { dim: 5 } }", (2, 3), ""),
    ("type: 'Scale' scale_param { axis: 1 num_axes: 3 }", (2, 3), ""),
    ("type: 'SoftmaxWithLoss'", (2, 3), "dim: 3"),
    ("type: 'BatchNorm'", (4,), ""),
    ("type: 'Softmax' softmax_param { axis: 4 }", (2, 3), ""),
    ("type: 'InnerProduct' inner_product_param { num_output: 2 }", (2, 0), ""),
]


@pytest.mark.parametrize("layer, shape, more", SHAPES)
def test_shapes_that_do_not_fit_raise_a_shape_error_with_the_layer(layer, shape, more):
    with pytest.raises(ShapeError) as error:
        wired(over(shape, layer, more))
    assert error.value.layer == "l" and f"'{error.value.layer_type}'" in layer
    assert "\n" not in str(error.value)


SETTINGS = [
    "type: 'Convolution' convolution_param { num_output: 0 kernel_size: 1 }",
    "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 group: 0 }",
    "type: 'Convolution' convolution_param { num_output: 2 }",
    "type: 'Pooling'",
    "type: 'Dropout' dropout_param { dropout_ratio: 1 }",
    "type: 'Dropout' dropout_param { sqrt_scale: true sample_weights_test: true }",
    "type: 'Tile' tile_param { tiles: 0 }",
    "type: 'InnerProduct' inner_product_param { num_output: 2 weight_filler { type: 'xaver' } }",
    "type: 'InnerProduct' inner_product_param { num_output: 2 weight_filler { type: 'bilinear' } }",
]


@pytest.mark.parametrize("layer", SETTINGS)
def test_settings_that_cannot_be_used_raise_a_layer_error_with_the_layer(layer):
    with pytest.raises(LayerError) as error:
        wired(over((2, 4, 3, 3), layer))
    assert not isinstance(error.value, (ShapeError, FileError))
    assert error.value.layer == "l" and f"'{error.value.layer_type}'" in layer
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        "type: 'ImageData' image_data_param { source: 'none.txt' batch_size: 1 }",
        "type: 'HDF5Data' hdf5_data_param { source: 'none.txt' batch_size: 1 }",
        "type: 'Data' data_param { source: 'none' backend: LMDB batch_size: 1 }",
        "type: 'WindowData' window_data_param { source: 'none.txt' batch_size: 1 } top: 'z' "
        "transform_param { crop_size: 2 }",
        "type: 'Data' data_param { source: 'none' backend: LMDB batch_size: 1 } "
        "transform_param { mean_file: 'none' }",
    ],
)
def test_a_file_at_fault_raises_a_file_error_with_the_layer(layer):
    with pytest.raises(FileError) as error:
        wired(f"layer {{ name: 'l' top: 'y' {layer} }}")
    assert isinstance(error.value, LayerError) and isinstance(error.value, NetError)
    assert error.value.layer == "l" and str(error.value).count("layer 'l'") == 1
    assert "none" in str(error.value) and "\n" not in str(error.value)


@pytest.fixture(params=["float32", "bfloat16"])
def precision(request):
    caffe.set_precision(request.param)
    yield request.param
    caffe.set_precision("float32")


def test_argmax_counts_classes_beyond_those_that_a_byte_holds(tmp_path, precision):
    layer = "type: 'ArgMax' argmax_param { axis: 1 }"
    net = build(tmp_path, over((2, 5000, 3, 3), layer))
    expected = np.random.RandomState(0).randint(0, 5000, (2, 1, 3, 3))
    scores = (np.arange(5000)[None, :, None, None] == expected).astype(np.float32)
    net.blobs["x"].data[...] = scores
    labels = net.forward()["y"]
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, expected)


def test_the_indices_of_max_pooling_are_exact_in_every_precision(tmp_path, precision):
    layer = "type: 'Pooling' top: 'index' pooling_param { global_pooling: true }"
    net = build(tmp_path, over((1, 1, 60, 70), layer))
    net.blobs["x"].data[...] = 0
    net.blobs["x"].data[0, 0, 59, 68] = 1
    net.forward()
    assert net.blobs["index"].data.item() == 59 * 70 + 68


def test_labels_beyond_those_that_a_byte_holds_reach_the_loss(tmp_path):
    layer = "type: 'SoftmaxWithLoss'"
    net = build(tmp_path, over((2, 1000), layer, "dim: 2"), caffe.TRAIN)
    net.blobs["x"].data[...] = 0
    net.blobs["x"].data[[0, 1], [999, 300]] = 100
    net.blobs["b"].data[...] = [999, 300]
    assert net.forward()["y"] < 1e-3


def test_the_maximum_of_two_bottoms_is_caffes_for_nan_and_its_gradient_for_ties(tmp_path):
    text = """force_backward: true
    layer { name: "in" type: "Input" top: "a" top: "b"
      input_param { shape { dim: 5 } shape { dim: 5 } } }
    layer { name: "max" type: "Eltwise" bottom: "a" bottom: "b" top: "y"
      eltwise_param { operation: MAX } }"""
    net = build(tmp_path, text)
    net.blobs["a"].data[...] = [np.nan, 1, 2, 5, 0]
    net.blobs["b"].data[...] = [3, np.nan, 2, 4, 1]
    # max_idx in eltwise_layer.cpp: the first bottom where a > b, else the second.
    np.testing.assert_array_equal(net.forward()["y"], [3, np.nan, 2, 5, 1])
    net.blobs["y"].diff[...] = [1, 2, 3, 4, 5]
    net.backward()
    np.testing.assert_array_equal(net.blobs["a"].diff, [0, 0, 0, 4, 0])
    np.testing.assert_array_equal(net.blobs["b"].diff, [1, 2, 3, 0, 5])


@pytest.mark.parametrize("kernel, stride, pad", [(3, 1, 1), (1, 2, 0), (1, 1, 0)])
def test_a_convolution_with_far_more_weights_than_values_learns_the_same(
    tmp_path, kernel, stride, pad
):
    """Such a convolution is computed on planes and learns as a product of patches."""
    text = f"""force_backward: true
    layer {{ name: "in" type: "Input" top: "x"
      input_param {{ shape {{ dim: 1 dim: 128 dim: 4 dim: 3 }} }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param {{
      num_output: 128 kernel_size: {kernel} stride: {stride} pad: {pad}
      weight_filler {{ type: "xavier" }} }} }}"""
    net = build(tmp_path, text, caffe.TRAIN)
    draw = np.random.RandomState(2)
    net.blobs["x"].data[...] = draw.randn(1, 128, 4, 3)
    y = net.forward()["y"]
    net.blobs["y"].diff[...] = draw.randn(*y.shape)
    net.backward()
    x, w = (
        torch.tensor(blob.data).double().requires_grad_()
        for blob in (net.blobs["x"], net.params["conv"][0])
    )
    exact = F.conv2d(x, w, None, stride, pad)
    diff = torch.tensor(net.blobs["y"].diff).double()
    gradients = torch.autograd.grad(exact, (x, w), diff)
    ours_and_theirs = zip((y, net.blobs["x"].diff, net.params["conv"][0].diff), (exact, *gradients))
    for ours, theirs in ours_and_theirs:
        exact_values = theirs.detach().numpy()
        np.testing.assert_allclose(ours, exact_values, atol=1e-5 * abs(exact_values).max())


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 6), (1, 2, 1, 1)])
def test_batch_norm_learns_with_the_gradient_of_its_formula(tmp_path, shape):
    dims = " ".join(f"dim: {n}" for n in shape)
    text = f"""force_backward: true
    layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
    layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "y" }}"""
    net = build(tmp_path, text, caffe.TRAIN)
    draw = np.random.RandomState(3)
    net.blobs["x"].data[...] = 5 + 2 * draw.randn(*shape)
    y = net.forward()["y"]
    net.blobs["y"].diff[...] = draw.randn(*shape)
    net.backward()
    x = torch.tensor(net.blobs["x"].data).double().requires_grad_()
    axes = (0, *range(2, len(shape)))
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    exact = (x - mean) / (variance + 1e-5).sqrt()
    (gradient,) = torch.autograd.grad(exact, x, torch.tensor(net.blobs["y"].diff).double())
    np.testing.assert_allclose(y, exact.detach(), atol=1e-5)
    np.testing.assert_allclose(net.blobs["x"].diff, gradient, atol=1e-5 * abs(gradient).max())
    count = y.size // shape[1]
    unbiased = variance.flatten() * (count / (count - 1) if count > 1 else 1)
    np.testing.assert_allclose(net.params["bn"][0].data, mean.detach().flatten(), rtol=1e-5)
    np.testing.assert_allclose(net.params["bn"][1].data, unbiased.detach(), rtol=1e-5)


def test_a_bottom_with_a_coefficient_may_be_alone_in_a_sum(tmp_path):
    text = """force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 } } }
    layer { name: "y" type: "Eltwise" bottom: "x" top: "y" eltwise_param { coeff: 0.5 } }"""
    net = build(tmp_path, text)
    net.blobs["x"].data[...] = [1, 2, -4]
    assert net.forward()["y"].tolist() == [0.5, 1, -2]
    net.blobs["y"].diff[...] = 2
    net.backward()
    assert net.blobs["x"].diff.tolist() == [1, 1, 1]
    with pytest.raises(LayerError, match="has 1 bottom; it needs 2 or more, or a coeff"):
        build(tmp_path, text.replace("coeff: 0.5", ""))
