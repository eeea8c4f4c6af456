"""The reader of layers' windows: every spelling of kernel, stride, pad and dilation."""

from __future__ import annotations

import ast
import inspect

import pytest
from caffe.layers import windows
from caffe.layers.windows import FLT_MAX, WINDOW_FIELDS, Window, read_window
from caffe.net_spec import layers as L
from caffe.net_spec import to_proto
from caffe.proto import caffe_pb2
from google.protobuf import text_format

CONVOLUTIONS = ("Convolution", "Deconvolution", "Im2col")


def layer(type_, text):
    """The LayerParameter of a type with these window settings."""
    p = caffe_pb2.LayerParameter(type=type_)
    text_format.Parse(text, getattr(p, WINDOW_FIELDS[type_]))
    return p


@pytest.mark.parametrize("type_", CONVOLUTIONS)
@pytest.mark.parametrize(
    "text, window",
    [
        ("kernel_size: 3", Window((3, 3))),
        ("kernel_size: 3 kernel_size: 5", Window((3, 5))),
        ("kernel_h: 3 kernel_w: 5", Window((3, 5))),
        ("kernel_size: 3 stride: 2 pad: 1 dilation: 4", Window((3, 3), (2, 2), (1, 1), (4, 4))),
        ("kernel_size: 3 stride_h: 1 stride_w: 2", Window((3, 3), (1, 2))),
        ("kernel_size: 3 pad_w: 2", Window((3, 3), (1, 1), (0, 2))),
        ("kernel_size: 3 dilation: 1 dilation: 2", Window((3, 3), dilation=(1, 2))),
    ],
)
def test_a_convolution_window_is_read_in_every_spelling(type_, text, window):
    assert read_window(type_, layer(type_, text), 2) == window


@pytest.mark.parametrize(
    "text, window",
    [
        ("kernel_size: 3", Window((3, 3), fill=-FLT_MAX)),
        ("kernel_h: 3 kernel_w: 5 pool: AVE", Window((3, 5))),
        ("kernel_size: 3 kernel_h: 5 pool: AVE", Window((3, 3))),
        ("kernel_size: 3 stride_h: 1 stride_w: 2 pool: AVE", Window((3, 3), (1, 2))),
        ("kernel_size: 3 pad_h: 1 pad_w: 2 pool: STOCHASTIC", Window((3, 3), (1, 1), (1, 2))),
        ("global_pooling: true", None),
    ],
)
def test_a_pooling_window_is_read_in_every_spelling(text, window):
    assert read_window("Pooling", layer("Pooling", text), 2) == window


def test_an_extent_for_all_axes_is_repeated_for_each_axis():
    assert read_window("Convolution", layer("Convolution", "kernel_size: 3"), 3).pad == (0, 0, 0)


def test_without_a_number_of_axes_an_extent_has_the_entries_that_are_set():
    window = read_window("Convolution", layer("Convolution", "kernel_size: 3 kernel_size: 5"))
    assert (window.kernel, window.stride) == ((3, 5), (1,))


def test_the_reach_of_a_kernel_counts_the_gaps_of_its_dilation():
    assert Window((3, 1), dilation=(4, 2)).reach == (9, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": [3, 5], "pad": [1, 0]},
        {"kernel_h": 3, "kernel_w": 5, "pad": 2},
        {"convolution_param": {"kernel_size": 3, "dilation": 2}},
        {"convolution_param": caffe_pb2.ConvolutionParameter(kernel_size=[3], stride=[2])},
    ],
)
def test_a_function_of_net_spec_has_the_window_of_its_layer(settings):
    top = L.Convolution(L.Input(), **settings)
    message = to_proto(top).layer[-1]
    for axes in (None, 2):
        assert read_window("Convolution", top.fn.params, axes) == read_window(
            "Convolution", message, axes
        )


@pytest.mark.parametrize(
    "type_, text, axes, message",
    [
        ("Convolution", "", 2, "kernel has no size"),
        ("Convolution", "kernel_h: 3", 2, "needed together; found kernel_h alone"),
        ("Convolution", "kernel_size: 3 stride_h: 2", 2, "needed together; found stride_h alone"),
        ("Convolution", "kernel_size: 3 kernel_h: 3", 2, "without kernel_size; found 2 axes and 1"),
        ("Im2col", "kernel_h: 3 kernel_w: 3", 3, "for 2 spatial axes.* found 3 axes"),
        ("Convolution", "kernel_size: 3 pad: 1 pad: 1", 3, "pad is set 2 times; it needs once, or"),
        ("Deconvolution", "kernel_size: 3 stride: 0", 2, "all need to be at least 1"),
        ("Convolution", "kernel_size: 0", 2, "all need to be at least 1"),
        ("Pooling", "stride: 2", 2, "needs kernel_size, or both kernel_h and kernel_w"),
        ("Pooling", "kernel_size: 3 kernel_h: 2 kernel_w: 2", 2, "and not all three"),
        ("Pooling", "kernel_size: 3 stride_w: 2", 2, "needs stride, or both"),
        ("Pooling", "kernel_size: 3 pad: 1 pad_h: 1 pad_w: 1", 2, "needs pad, or both"),
        ("Pooling", "kernel_size: 3 pad: 3", 2, "needs to be below the kernel"),
        ("Pooling", "global_pooling: true kernel_size: 3", 2, "remove the kernel size"),
        ("Pooling", "global_pooling: true stride: 2", 2, "needs pad 0 and stride 1"),
    ],
)
def test_a_window_that_caffe_refuses_is_refused(type_, text, axes, message):
    with pytest.raises(ValueError, match=message):
        read_window(type_, layer(type_, text), axes)


def test_the_reader_needs_no_torch():
    tree = ast.parse(inspect.getsource(windows))
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert not [n for n in imports if "torch" in ast.unparse(n)]
