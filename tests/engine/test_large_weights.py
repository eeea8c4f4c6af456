"""Layers with large weights give the numbers of other layers: in place, and piece by piece."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe.memory import Memory
from caffe.ops import product

from tests.engine import nets
from tests.engine.test_precision import full_again as full_again

NET = """
force_backward: true
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 7 dim: 8 } } }
layer { name: "fc6" type: "Convolution" bottom: "data" top: "fc6"
  convolution_param { num_output: 20 kernel_size: 5 pad: 1 weight_filler { type: "xavier" }
    bias_filler { type: "constant" value: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "Convolution" bottom: "fc6" top: "fc7"
  convolution_param { num_output: 9 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "turned" type: "InnerProduct" bottom: "fc7" top: "turned"
  inner_product_param { num_output: 18 transpose: true weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "turned" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
"""
#: Two layers with the same parameters, which get two gradients in a pass.
SHARED = """
force_backward: true
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  param { name: "w" } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "b" type: "Convolution" bottom: "a" top: "ab"
  param { name: "w" } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
"""
#: One layer with two bottoms.
TWICE = """
force_backward: true
layer { name: "data" type: "Input" top: "data" top: "more"
  input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "a" type: "Convolution" bottom: "data" bottom: "more" top: "a" top: "b"
  convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
"""
NETS = {"net": NET, "shared": SHARED, "twice": TWICE}


def run_forward(folder, name, precision):
    """Return the net of this name after a forward pass, with a gradient at its output."""
    caffe.set_random_seed(3)
    caffe.set_precision(precision)
    net = caffe.Net(nets.write(folder, NETS[name]), caffe.TRAIN)
    draw = np.random.RandomState(4)
    for blob in net.inputs:
        net.blobs[blob].data[...] = draw.randn(*net.blobs[blob].shape)
    net.forward()
    net.blobs[net.outputs[0]].diff[...] = draw.randn(*net.blobs[net.outputs[0]].shape)
    return net


def gradients(net):
    """Return the gradients of the parameters and of the inputs."""
    params = [np.array(b.diff) for blobs in net.params.values() for b in blobs]
    return [*params, *(np.array(net.blobs[b].diff) for b in net.inputs)]


def difference(ours, theirs):
    """Return the largest difference, relative to the largest value of its array."""
    return max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETS)
def test_large_weights_get_the_gradients_of_small_weights(tmp_path, monkeypatch, name, precision):
    small = run_forward(tmp_path, name, precision)
    small.backward()
    monkeypatch.setattr(product, "LARGE", 1)
    large = run_forward(tmp_path, name, precision)
    large.backward()
    tolerance = 2e-2 if precision == "bfloat16" else 1e-6
    assert np.allclose(
        large.blobs[large.outputs[0]].data, small.blobs[small.outputs[0]].data, atol=tolerance
    )
    assert difference(gradients(large), gradients(small)) < tolerance


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETS)
def test_gradients_of_large_weights_add_up_until_they_are_cleared(
    tmp_path, monkeypatch, name, precision
):
    monkeypatch.setattr(product, "LARGE", 1)
    net = run_forward(tmp_path, name, precision)
    net.backward()
    params = [b for blobs in net.params.values() for b in blobs]
    once = [np.array(b.diff) for b in params]
    net.forward()
    net.backward()
    assert difference([b.diff for b in params], [2 * diff for diff in once]) < 1e-6
    held = [b.diff for b in params]
    net.clear_param_diffs()
    assert not any(diff.any() for diff in held)
    net.forward()
    net.backward()
    assert difference(held, once) < 1e-6


def test_a_gradient_reuses_the_memory_of_the_last_one(tmp_path, monkeypatch):
    monkeypatch.setattr(product, "LARGE", 1)
    net = run_forward(tmp_path, "net", "bfloat16")
    addresses = []
    for _ in range(3):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        addresses.append([b.gradient.tensor().data_ptr() for b, _, _ in net.parameters[::2]])
    assert addresses[0] == addresses[1] == addresses[2]


def test_a_room_is_lent_once_and_not_while_its_values_count():
    memory = Memory((2, 3))
    like = torch.empty(2, 3)
    first = memory.room(like)
    assert first is not None and memory.room(like) is None
    memory.set(first.fill_(1))
    assert memory.room(like) is None
    memory.zero()
    assert memory.room(like).data_ptr() == first.data_ptr()
    memory.set(first)
    held = memory.numpy()
    memory.zero()
    assert memory.room(like) is None and not held.any()
    del held
    memory.zero()
    assert memory.room(like) is not None


WINDOWS = [
    "kernel_size: 1",
    "kernel_size: 1 stride: 2 pad: 1",
    "kernel_size: 7",
    "kernel_size: 3 stride: 2 pad: 1 dilation: 2",
    "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0 dilation: 2 dilation: 1",
]


@pytest.mark.parametrize("last", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_a_convolution_with_large_weights_is_a_product_in_any_layout(
    tmp_path, monkeypatch, window, last
):
    text = f"""layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 2 dim: 5 dim: 12 dim: 13 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 6 {window} }} }}"""
    layer = next(n for n in nets.build(tmp_path, text).layers if n.type == "Convolution")
    torch.manual_seed(5)
    leaves = [torch.randn(2, 5, 12, 13), torch.randn(6, 5, *layer.kernel)]
    layouts = [torch.channels_last if n else torch.contiguous_format for n in last]
    x, w = (t.contiguous(memory_format=n).requires_grad_() for t, n in zip(leaves, layouts))
    b = torch.randn(6, requires_grad=True)
    monkeypatch.setattr(product, "LARGE", 1)
    layer.weights = (w, b)
    y = layer.convolve(x)
    expected = F.conv2d(x, w, b, layer.stride, layer.pad, layer.dilation)
    assert y.shape == expected.shape and torch.allclose(y, expected, rtol=1e-4, atol=1e-4)
    diff = torch.randn(expected.shape)
    ours, theirs = (torch.autograd.grad(top, (x, w, b), diff) for top in (y, expected))
    for a, c in zip(ours, theirs):
        assert torch.allclose(a, c, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 11, 300])
def test_gradients_are_right_for_every_number_of_rows(rows):
    """Up to PIECE_ROWS rows one product gives the gradient of the input, beyond them pieces do."""
    draw = torch.Generator().manual_seed(rows)
    x, grad = (torch.randn(rows, 1024, generator=draw) for _ in range(2))
    w = torch.randn(1024, 1024, generator=draw)
    leaves = x.requires_grad_(), w.requires_grad_()
    to_x, to_w = torch.autograd.grad(product.product(*leaves, None), leaves, grad)
    exact = grad.double() @ w.double(), grad.double().t() @ x.double()
    for ours, theirs in zip((to_x, to_w), exact):
        assert float((ours - theirs.detach()).abs().max() / theirs.detach().abs().max()) < 1e-5
