"""The shapes that layers compute are those of PyTorch's shape functions."""

from __future__ import annotations

import pytest
from caffe.layers import Function

from tests.engine.nets import build

BUILDS_WITHOUT = """
import sys
import caffe
net = caffe.Net({path!r}, caffe.TEST)
net.forward()
sys.exit(", ".join(name for name in ("sympy", "torch._dynamo") if name in sys.modules) or 0)
"""


def layer(type_, param="", bottoms=("a",), tops=("y",)):
    names = (
        " ".join(f"bottom: '{b}'" for b in bottoms) + " " + " ".join(f"top: '{t}'" for t in tops)
    )
    return f"layer {{ name: 'l' type: '{type_}' {names} {param} }}"


INPUT = """layer { name: 'in' type: 'Input' top: 'a' top: 'b' top: 'c' input_param {
  shape { dim: 2 dim: 6 dim: 11 dim: 8 } shape { dim: 2 dim: 3 dim: 11 dim: 8 } shape { dim: 6 } } }
layer { name: 'more' type: 'Input' top: 'd' top: 'e' top: 'f' top: 'g' input_param {
  shape { dim: 2 dim: 3 dim: 4 dim: 5 } shape { dim: 6 } shape { dim: 6 dim: 5 }
  shape { dim: 5 dim: 5 } } }
"""
LAYERS = [
    layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad: 2 stride: 2 }"),
    layer(
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 dilation: 2 group: 2 }",
    ),
    layer("Convolution", "convolution_param { axis: 2 num_output: 4 kernel_size: 3 }"),
    layer("Convolution", "convolution_param { num_output: 4 kernel_size: 12 pad: 1 stride: 3 }"),
    layer("Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 pad: 1 stride: 3 }"),
    layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }"),
    layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }"),
    layer("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 pool: AVE }"),
    layer("Pooling", "pooling_param { global_pooling: true pool: AVE }"),
    layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", tops=("y", "mask")),
    layer("InnerProduct", "inner_product_param { num_output: 5 }"),
    layer("InnerProduct", "inner_product_param { num_output: 5 axis: 2 transpose: true }"),
    layer("Concat", "", ("a", "b")),
    layer("Concat", "concat_param { axis: -3 }", ("a", "b", "a")),
    layer("Scale", "scale_param { bias_term: true }"),
    layer("Scale", "", ("a", "c")),
    layer("Bias", "bias_param { num_axes: 2 }"),
    layer("LRN"),
    layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }"),
    layer("BatchNorm"),
    layer("PReLU"),
    layer("PReLU", "prelu_param { channel_shared: true }"),
    layer("Slice", "slice_param { slice_point: 1 slice_point: 4 }", tops=("y", "z", "u")),
    layer("Slice", "slice_param { axis: 0 }", tops=("y", "z")),
    layer("Tile", "tile_param { axis: -1 tiles: 3 }"),
    layer("Crop", "crop_param { axis: 1 offset: 2 }", ("a", "b")).replace("'b'", "'d'"),
    layer("Reduction"),
    layer("Reduction", "reduction_param { axis: 2 operation: MEAN }"),
    layer("ArgMax"),
    layer("ArgMax", "argmax_param { top_k: 3 out_max_val: true }"),
    layer("ArgMax", "argmax_param { top_k: 3 axis: 1 }"),
    layer("BatchReindex", "", ("a", "e")),
    layer("Embed", "embed_param { input_dim: 9 num_output: 4 }", ("e",)),
    layer("MVN"),
    layer("EuclideanLoss", "", ("a", "a")),
    layer("HingeLoss", "", ("a", "e")).replace("'a'", "'f'"),
    layer("MultinomialLogisticLoss", "", ("f", "e")),
    layer("SigmoidCrossEntropyLoss", "", ("a", "a")),
    layer("ContrastiveLoss", "", ("f", "f", "e")),
    layer("InfogainLoss", "loss_weight: 1 loss_weight: 0", ("f", "e", "g"), ("y", "prob")),
]  # fmt: skip

#: Layers whose shapes come from a pass over zeros.
FORKS = INPUT + "".join(
    text.replace("'l'", f"'l{i}'").replace("'y'", f"'y{i}'")
    for i, text in enumerate(
        [
            layer("Interp", "interp_param { zoom_factor: 2 }"),
            layer("SPP", "spp_param { pyramid_height: 3 }"),
            layer("SmoothL1Loss", "", ("a", "a")),
            layer("CenterLoss", "center_loss_param { num_output: 9 }", ("f", "e")),
            layer("ImResize", "imresize_param { factor: 2 }"),
            layer("CosinAdd", "cosin_add_param { m: 0.5 }", ("f", "e")),
        ]
    )
)


def saved(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("text", LAYERS)
def test_a_layers_shapes_are_those_of_its_computation(tmp_path, text):
    net = build(tmp_path, INPUT + text)
    last = net.layers[-1]
    assert isinstance(last, Function) and type(last).shapes is not Function.shapes
    bottoms = [net.blobs[name].shape for name in net.bottom_names["l"]]
    stated = [net.blobs[name].shape for name in net.top_names["l"]]
    assert stated == [tuple(shape) for shape in Function.shapes(last, bottoms)]
    net.forward()
    assert stated == [net.blobs[name].data.shape for name in net.top_names["l"]]


# PyTorch's shape functions load a package of symbolic mathematics, which takes up to 2 s.
def test_layers_of_forks_are_built_without_symbolic_shapes(tmp_path, program):
    result = program("-c", BUILDS_WITHOUT.format(path=saved(tmp_path / "forks", FORKS)))
    assert result.returncode == 0, result.stderr[-300:]


@pytest.mark.long
def test_large_nets_are_built_without_symbolic_shapes(tmp_path, program):
    import net_gen

    for name, param in (
        ("fcn", net_gen.fcn("voc-fcn8s", "deploy", width=1 / 16)),
        ("googlenet", net_gen.googlenet("deploy", width=1 / 16)),
    ):
        path = str(tmp_path / name)
        net_gen.write(param, path)
        result = program("-c", BUILDS_WITHOUT.format(path=path))
        assert result.returncode == 0, result.stderr[-300:]
