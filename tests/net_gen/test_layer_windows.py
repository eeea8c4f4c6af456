"""Windows of layers in every spelling, against the sizes that Caffe makes."""

import caffe
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from net_gen.windows import Window, clear_setting, read_window, write_setting

#: Setting -> (spelling, height, width) in convolution_param and in pooling_param.
SPELLINGS = {
    "kernel": [("kernel_size: 3", 3, 3), ("kernel_h: 3 kernel_w: 2", 3, 2)],
    "stride": [("", 1, 1), ("stride: 2", 2, 2), ("stride_h: 2 stride_w: 3", 2, 3)],
    "pad": [("", 0, 0), ("pad: 1", 1, 1), ("pad_h: 1 pad_w: 0", 1, 0)],
}
#: The further spellings of convolutions.
REPEATED = {
    "kernel": ("kernel_size: 3 kernel_size: 2", 3, 2),
    "stride": ("stride: 2 stride: 3", 2, 3),
    "pad": ("pad: 1 pad: 0", 1, 0),
    "dilation": ("dilation: 2 dilation: 1", 2, 1),
}
CASES = [
    (type_, setting, *case)
    for setting, cases in SPELLINGS.items()
    for type_ in ("Convolution", "Deconvolution", "Pooling")
    for case in cases
] + [
    (type_, setting, *case)
    for setting, case in REPEATED.items()
    for type_ in ("Convolution", "Deconvolution")
]


def layer(type_, text):
    field = "pooling_param" if type_ == "Pooling" else "convolution_param"
    outputs = "" if type_ == "Pooling" else "num_output: 1"
    return text_format.Parse(
        f'name: "layer7" type: "{type_}" bottom: "data" top: "y" {field} {{ {outputs} {text} }}',
        caffe_pb2.LayerParameter(),
    )


def built_size(windowed, height, width, tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(type="Input", name="input", top=["data"])
    net.layer[0].input_param.shape.add().dim.extend([1, 1, height, width])
    net.layer.add().CopyFrom(windowed)
    path = tmp_path / "net.prototxt"
    net_gen.write(net, path)
    return tuple(caffe.Net(str(path), caffe.TEST).blobs["y"].data.shape[2:])


def size_of(windowed, size, side):
    reach, stride, pad = read_window(windowed).along(side)
    if windowed.type == "Deconvolution":
        return stride * (size - 1) + reach - 2 * pad
    pooling = windowed.type == "Pooling"
    clip = pooling and any(read_window(windowed).pad)
    return read_window(windowed).along(side).count(size, ceil=pooling, clip=clip)


@pytest.mark.parametrize("type_, setting, text, height, width", CASES)
def test_every_spelling_is_read_as_caffe_reads_it(type_, setting, text, height, width, tmp_path):
    kernel = "" if setting == "kernel" else "kernel_size: 3"
    windowed = layer(type_, f"{kernel} {text}")
    window = read_window(windowed)
    assert getattr(window, setting) == (height, width)
    for size in (8, 9, 10, 11):
        sizes = size_of(windowed, size, 0), size_of(windowed, size + 5, 1)
        assert built_size(windowed, size, size + 5, tmp_path) == sizes


def test_the_settings_that_a_layer_lacks_have_the_defaults_of_caffe():
    window = Window(kernel=(3, 3), stride=(1, 1), pad=(0, 0), dilation=(1, 1))
    for type_ in ("Convolution", "Deconvolution", "Pooling"):
        assert read_window(layer(type_, "kernel_size: 3")) == window


@pytest.mark.parametrize("type_", ["Convolution", "Pooling"])
@pytest.mark.parametrize("pair", [(2, 2), (2, 3), (1, 1)])
@pytest.mark.parametrize("name", ["stride", "pad"])
@pytest.mark.parametrize("before", ["", "stride: 3 pad: 2", "stride_h: 3 stride_w: 1 pad_h: 2"])
def test_a_written_setting_is_read_back_and_replaces_every_spelling(type_, pair, name, before):
    windowed = layer(type_, f"kernel_size: 3 {before}")
    others = read_window(windowed)
    write_setting(windowed, name, pair)
    assert read_window(windowed) == others._replace(**{name: pair})
    clear_setting(windowed, name)
    default = {"stride": (1, 1), "pad": (0, 0)}[name]
    assert read_window(windowed) == others._replace(**{name: default})


def test_writing_a_setting_that_a_layer_has_does_not_change_the_layer():
    windowed = layer("Convolution", "kernel_size: 3 pad_h: 1 pad_w: 1 stride: 2 stride: 2")
    before = windowed.SerializeToString()
    for name, pair in (("pad", (1, 1)), ("stride", (2, 2)), ("dilation", (1, 1))):
        write_setting(windowed, name, pair)
    assert windowed.SerializeToString() == before


@pytest.mark.parametrize(
    "type_, text, message",
    [
        ("Convolution", "", "has no kernel_size"),
        ("Pooling", "stride: 2", "has no kernel_size"),
        ("Pooling", "global_pooling: true", "pools the whole map"),
        ("Convolution", "kernel_size: 3 axis: 2", "axis is 2, needs axis 1"),
        (
            "Convolution",
            "kernel_size: 3 kernel_size: 3 kernel_size: 3",
            "kernel_size has 3 values, needs 1 or 2",
        ),
        ("Convolution", "kernel_size: 3 stride: 0", "stride is 0 x 0, needs at least 1"),
        ("Deconvolution", "kernel_h: 3", "kernel is 3 x 0, needs at least 1"),
    ],
)
def test_a_layer_without_a_usable_window_is_refused_by_name(type_, text, message):
    with pytest.raises(ValueError) as refusal:
        read_window(layer(type_, text))
    assert str(refusal.value).startswith(f"layer layer7 ({type_}): {message}")
