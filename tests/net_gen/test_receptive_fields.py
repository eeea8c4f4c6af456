"""The receptive fields of `net_gen.geometry` are those that single pixels of a net show."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from net_gen.geometry import Geometry
from net_gen.receptive_fields import MOST_FIELDS, Field, Fields
from net_gen.windows import Slide

PIXELS = 96


def window(type_, name, bottom, kernel, stride=1, pad=0, dilation=1):
    """A layer of positive weights with a window of `kernel` rows and one column."""
    if type_ == "Pooling":
        param = f"pool: AVE kernel_h: {kernel} kernel_w: 1 stride_h: {stride} stride_w: 1"
        tail = f"pooling_param {{ {param} }} }}"
        return f"layer {{ name: '{name}' type: 'Pooling' bottom: '{bottom}' top: '{name}' {tail}"
    param = (
        f"num_output: 1 kernel_h: {kernel} kernel_w: 1 stride_h: {stride} stride_w: 1 pad_h: {pad} "
        f"pad_w: 0 dilation: {dilation} dilation: 1 weight_filler {{ type: 'constant' value: 1 }}"
    )
    return (
        f"layer {{ name: '{name}' type: '{type_}' bottom: '{bottom}' top: '{name}' "
        f"convolution_param {{ {param} }} }}"
    )


def crop(name, bottom, like, offset):
    return (
        f"layer {{ name: '{name}' type: 'Crop' bottom: '{bottom}' bottom: '{like}' top: '{name}' "
        f"crop_param {{ axis: 2 offset: {offset} offset: 0 }} }}"
    )


NETS = {
    "convolutions": [
        window("Convolution", "a", "data", 3, 2, 1),
        window("Pooling", "b", "a", 3, 2),
        window("Convolution", "c", "b", 3, 1, 2, dilation=2),
    ],
    "an odd kernel": [
        window("Convolution", "a", "data", 4, 4),
        window("Deconvolution", "b", "a", 7, 4, 2),
    ],
    "gaps between the kernels": [
        window("Convolution", "a", "data", 2),
        window("Deconvolution", "b", "a", 2, 3),
    ],
    "a dilated kernel": [
        window("Convolution", "a", "data", 2, 2),
        window("Deconvolution", "b", "a", 3, 4, 1, dilation=3),
    ],
    "an average of upsampled values": [
        window("Convolution", "a", "data", 6, 6),
        window("Deconvolution", "b", "a", 8, 4, 2),
        window("Convolution", "c", "b", 3, 2, dilation=2),
    ],
    "a skip": [
        window("Convolution", "a", "data", 3, 2, 7),
        window("Convolution", "b", "a", 4, 2),
        window("Deconvolution", "c", "b", 4, 2),
        crop("d", "a", "c", 0),
        "layer { name: 'e' type: 'Eltwise' bottom: 'c' bottom: 'd' top: 'e' }",
        window("Deconvolution", "f", "e", 5, 2),
        crop("g", "f", "data", 8),
    ],
}


@pytest.mark.parametrize("layers", NETS.values(), ids=NETS)
def test_a_value_changes_with_the_first_and_the_last_pixel_of_its_field(tmp_path, layers):
    """A batch of images with a single pixel each; weights are positive, so that none cancels."""
    text = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { "
    text += f"dim: {PIXELS} dim: 1 dim: {PIXELS} dim: 1 }} }} }} " + " ".join(layers)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    geometry = Geometry(text_format.Parse(text, caffe_pb2.NetParameter()))
    net = caffe.Net(str(path), caffe.TEST)
    net.blobs["data"].data[...] = np.eye(PIXELS).reshape(net.blobs["data"].shape)
    net.forward()
    for blob, fields in geometry.receptive_fields.items():
        response = net.blobs[blob].data[:, 0, :, 0]
        compared = 0
        for position in range(response.shape[1]):
            field, pixels = fields.field_of(position), np.flatnonzero(response[:, position])
            if field is None:
                assert len(pixels) == 0
            elif field.low >= 0 and field.high < PIXELS:
                assert Field(pixels[0], pixels[-1]) == field, (blob, position)
                compared += 1
        assert compared > 8


def test_a_long_pattern_of_fields_is_replaced_by_a_field_that_covers_them():
    exact = Fields().deconvolved(Slide(7, 4, 1), 1)
    assert len(exact.pattern) == 4 <= MOST_FIELDS
    stride = MOST_FIELDS + 1
    covered = Fields().deconvolved(Slide(2 * stride, stride, 0), 1)
    assert len(covered.pattern) == 1 and covered.spacing * stride == 1
    for position in (0, 5, stride - 1, 10 * stride + 3):
        field = covered.field_of(position)
        assert field.low <= position // stride - 1 and position // stride <= field.high


def test_a_part_of_an_image_sees_less_than_a_value_on_each_side():
    """The farthest pixel of a value lies behind other values of the part."""
    fields = Fields(pattern=(Field(-1, 6), Field(-2, 5), Field(-7, 1), Field(-3, 2)))
    assert fields.around(4) == (5, 3) and fields.farthest(0) == 7
    assert fields.around(2) == (7, 5)
