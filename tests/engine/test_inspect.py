"""`caffe inspect`: the rows, crops and sums of a net, from its prototxt alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe import __main__ as caffe_command
from caffe.errors import PrototxtError, UsageError
from caffe.inspect import find_problems, html_page, inspect_net, parse_inputs
from caffe.memory import Memory
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from bench.operations import count
from net_gen import padding
from tests.engine.inspect_docs import fcn8s_table
from tests.engine.nets import SCORER, write

V1 = """
name: "old"
input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 9
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }
"""
V0 = """
name: "older"
input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 stride: 2
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 } bottom: "pad" top: "conv" }
"""
FOREIGN = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "magic" type: "Magic" bottom: "conv" top: "magic" }
layer { name: "relu" type: "ReLU" bottom: "magic" top: "relu" }
layer { name: "side" type: "ReLU" bottom: "conv" top: "side" }
"""
PHASES = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "ReLU" bottom: "data" top: "a" include { phase: TRAIN } }
layer { name: "b" type: "ReLU" bottom: "data" top: "b" include { phase: TEST stage: "s" } }
layer { name: "c" type: "ReLU" bottom: "data" top: "c" include { min_level: 2 } }
"""


def parsed(text):
    """The NetParameter of a text, in the present form."""
    return text_format.Parse(text, caffe_pb2.NetParameter())


def row_of(text, name, **options):
    return inspect_net(parsed(text), **options).row(name)


def conv_row(settings, layer_type="Convolution", channels=4, size=9):
    """The row of one layer over a blob 1 x channels x size x size."""
    text = f"""
    layer {{ name: "data" type: "Input" top: "data"
      input_param {{ shape {{ dim: 1 dim: {channels} dim: {size} dim: {size} }} }} }}
    layer {{ name: "x" type: "{layer_type}" bottom: "data" top: "x"
      convolution_param {{ {settings} }} }}"""
    return row_of(text, "x")


def test_a_row_has_the_shape_the_window_and_the_place_of_its_top():
    row = row_of(SCORER, "pool")
    assert row.shapes == ((1, 4, 4, 4),)
    assert (row.kernel, row.window_stride, row.pad) == ((2, 2), (2, 2), (0, 0))
    assert (row.stride, row.field, row.first) == (("2", "2"), (4, 4), ("1/2", "1/2"))
    assert (row.scale, row.shift) == (("1/2", "1/2"), ("-1/4", "-1/4"))


def test_a_row_has_the_parameters_with_factors_and_fillers():
    weights, bias = row_of(SCORER, "conv").parameters
    assert (weights.shape, weights.lr_mult, weights.decay_mult) == ((4, 3, 3, 3), 1, 1)
    assert (bias.shape, bias.lr_mult, bias.decay_mult) == ((4,), 2, 0)
    assert weights.filler == "gaussian std 0.1"
    assert bias.filler.startswith("constant value 0.2")


def test_axes_with_different_windows_have_separate_entries():
    row = conv_row("num_output: 2 kernel_h: 3 kernel_w: 5 stride_h: 1 stride_w: 2 pad_w: 2")
    assert row.shapes == ((1, 2, 7, 5),)
    assert (row.stride, row.field, row.first) == (("1", "2"), (3, 5), ("1", "0"))


def test_an_in_place_layer_takes_no_memory_of_its_own():
    row = row_of(SCORER, "relu")
    assert row.in_place and row.activation_bytes == 0
    assert row_of(SCORER, "conv").activation_bytes == 4 * 4 * 8 * 8


@pytest.mark.parametrize("text, size", [(V1, 4), (V0, 5)], ids=["V1", "V0"])
def test_prototxts_of_older_forms_are_upgraded(tmp_path, text, size):
    row = inspect_net(write(tmp_path, text)).row("conv")
    assert row.type == "Convolution"
    assert row.shapes == ((2, 4, size, size),)
    assert [p.lr_mult for p in row.parameters] == [1, 2]


def test_an_unknown_type_is_a_row_between_its_neighbours():
    report = inspect_net(parsed(FOREIGN))
    assert report.row("magic").note == "unknown type 'Magic'"
    assert report.row("magic").shapes == (None,)
    assert report.row("relu").note == "the shape of bottom 'magic' is unknown"
    assert report.row("conv").shapes == report.row("side").shapes == ((1, 4, 6, 6),)
    assert report.totals.incomplete


def test_the_shape_of_an_unknown_layer_can_be_named():
    report = inspect_net(parsed(FOREIGN), parse_inputs(["magic=1,7,6,6"]))
    assert report.row("relu").shapes == ((1, 7, 6, 6),)


def test_a_layer_that_cannot_be_built_says_why():
    row = conv_row("num_output: 3 kernel_size: 3 group: 2")
    assert "group 2 does not divide" in row.note


def test_a_layer_with_too_few_bottoms_is_a_row_that_says_so():
    text = """
    layer { name: "data" type: "Input" top: "data"
      input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "crop" type: "Crop" bottom: "data" top: "crop" }
    layer { name: "sum" type: "Eltwise" bottom: "data" top: "sum" }
    layer { name: "conv" type: "Convolution" top: "conv"
      convolution_param { num_output: 2 kernel_size: 3 } }
    layer { name: "lost" type: "ReLU" bottom: "nothing" top: "lost" }
    layer { name: "user" type: "Python" bottom: "data" top: "user"
      python_param { module: "no_such_module" layer: "X" } }
    layer { name: "side" type: "ReLU" bottom: "data" top: "side" }"""
    report = inspect_net(parsed(text))
    assert "has 1 bottom; it needs 2" in report.row("crop").note
    assert "has 1 bottom; it needs 2 or more" in report.row("sum").note
    assert report.row("conv").note == "has no bottom; it needs 1"
    assert report.row("lost").note == "no layer before it makes its bottom 'nothing'"
    assert "no_such_module" in report.row("user").note
    assert report.row("side").shapes == ((1, 3, 8, 8),)
    assert html_page(report, find_problems(report))


def test_phase_stage_and_level_choose_the_layers():
    def names(**options):
        return [row.name for row in inspect_net(parsed(PHASES), **options).rows[1:]]

    assert names() == []
    assert names(phase="TRAIN") == ["a"]
    assert names(phase="TEST", stages=("s",)) == ["b"]
    assert names(phase="TEST", level=2) == ["c"]


def test_a_size_replaces_that_of_the_image():
    row = row_of(SCORER, "pool", inputs=parse_inputs(["10x20"]))
    assert row.shapes == ((1, 4, 5, 10),)


def test_an_input_that_the_net_lacks_is_refused():
    with pytest.raises(UsageError, match="input date: the net has no such blob; its inputs: data"):
        row_of(SCORER, "pool", inputs=parse_inputs(["date=1,3,10,20"]))


def test_an_input_of_another_form_is_refused():
    with pytest.raises(UsageError, match="'10,20'; HEIGHTxWIDTH or NAME=N,C,H,W is needed"):
        parse_inputs(["10,20"])


def test_a_database_is_not_opened_because_its_settings_tell_the_shapes():
    text = """
    layer { name: "data" type: "Data" top: "data" top: "label" transform_param { crop_size: 7 }
      data_param { source: "no/such/folder" batch_size: 5 } }"""
    assert row_of(text, "data").shapes == ((5, 3, 7, 7), (5,))


def test_labels_take_the_shape_that_their_loss_needs():
    net = net_gen.fcn("voc-fcn32s", "train", width=1 / 16)
    report = inspect_net(net, parse_inputs(["60x80"]))
    assert report.row("data").shapes == ((1, 3, 60, 80), (1, 1, 60, 80))
    assert report.row("loss").shapes == ((),)


def test_a_data_layer_of_unknown_size_says_what_to_do():
    row = inspect_net(net_gen.fcn("voc-fcn32s", "train")).row("data")
    assert "--input" in row.note


@pytest.mark.parametrize(
    "layer_type, settings, products",
    [
        ("Convolution", "num_output: 6 kernel_size: 3", 7 * 7 * 6 * 4 * 9),
        ("Convolution", "num_output: 6 kernel_size: 3 group: 2", 7 * 7 * 6 * 2 * 9),
        ("Convolution", "num_output: 6 kernel_size: 3 dilation: 2", 5 * 5 * 6 * 4 * 9),
        ("Deconvolution", "num_output: 6 kernel_size: 4 stride: 2", 9 * 9 * 4 * 6 * 16),
        ("Deconvolution", "num_output: 4 kernel_size: 4 stride: 2 group: 4", 9 * 9 * 4 * 16),
        ("ConvolutionDepthwise", "num_output: 4 kernel_size: 3", 7 * 7 * 4 * 9),
    ],
)
def test_multiply_adds_follow_groups_dilation_and_transposition(layer_type, settings, products):
    assert conv_row(settings, layer_type).multiply_adds == products


@pytest.mark.parametrize(
    "net, parameters",
    [
        (net_gen.vgg16("deploy"), 138_357_544),
        (net_gen.googlenet("deploy"), 6_998_552),
        (net_gen.fcn("voc-fcn8s", "deploy"), 134_489_759),
    ],
    ids=["vgg16", "googlenet", "voc-fcn8s"],
)
def test_sums_are_those_of_a_separate_count(net, parameters):
    report = inspect_net(net)
    assert report.totals.parameters == parameters
    assert report.totals.multiply_adds == sum(count(net).values())


def test_a_shared_parameter_is_counted_once():
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 5 } } }
    layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" }
      inner_product_param { num_output: 5 bias_term: false } }
    layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
      inner_product_param { num_output: 5 bias_term: false } }"""
    report = inspect_net(parsed(text))
    assert report.totals.parameters == 25
    assert report.totals.multiply_adds == 100


def test_shapes_and_parameters_are_those_of_the_built_net(tmp_path):
    net_parameter = net_gen.googlenet("deploy", width=1 / 8)
    report = inspect_net(net_parameter)
    net_gen.write(net_parameter, str(tmp_path / "net.prototxt"))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    for row in report.rows:
        assert [net.blobs[top].data.shape for top in row.tops] == list(row.shapes)
        assert [p.shape for p in row.parameters] == [b.shape for b in net.params.get(row.name, [])]


def test_no_weight_is_allocated(monkeypatch):
    """A classifier of 138 million parameters is inspected without their memory."""
    values = []
    for name in ("set", "_take"):
        method = getattr(Memory, name)

        def spy(self, tensor, method=method):
            values.append(tensor.numel())
            return method(self, tensor)

        monkeypatch.setattr(Memory, name, spy)
    inspect_net(net_gen.vgg16("deploy"))
    assert max(values, default=0) < 1000


def test_the_solver_decides_the_memory_of_training():
    net = net_gen.vgg16("deploy", width=1 / 8)
    weights = 4 * inspect_net(net).totals.parameters
    for solver, arrays in (("SGD", 2), ("Adam", 3)):
        totals = inspect_net(net, solver=solver).totals
        assert totals.engine_training.updates == arrays * weights
    with pytest.raises(UsageError, match="one of SGD, Nesterov"):
        inspect_net(net, solver="Newton")


def test_maps_fields_and_offsets_agree_with_the_generators_on_fcn8s():
    net = net_gen.fcn("voc-fcn8s", "deploy")
    report = inspect_net(net)
    geometry = padding.Geometry(net)
    rows = {top: row for row in report.rows for top in row.tops}
    for blob, (_, scale, shift) in geometry.maps.items():
        assert (rows[blob].scale[0], rows[blob].shift[0]) == (str(scale), str(shift)), blob
        # The generators give a bound behind a Deconvolution, the inspector the field itself.
        assert rows[blob].field[0] <= geometry.fields[blob], blob
    # A score sees up to three neighbours of fc7, which lie 32 pixels apart.
    assert (rows["fc7"].field[0], rows["score"].field[0]) == (404, 404 + 2 * 32)
    assert {c.name: c.needed[0] for c in report.crops} == {
        name: str(offset) for name, offset in geometry.offsets.items()
    }


UPSAMPLING = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 29 dim: 29 } } }
layer { name: "down" type: "Convolution" bottom: "data" top: "down" convolution_param {
  num_output: 1 kernel_size: 3 stride: 3 pad: 1 weight_filler { type: "constant" value: 1 } } }
layer { name: "up" type: "Deconvolution" bottom: "down" top: "up" convolution_param {
  num_output: 1 kernel_size: 5 stride: 2 weight_filler { type: "constant" value: 1 } } }
layer { name: "wide" type: "Convolution" bottom: "up" top: "wide" convolution_param {
  num_output: 1 kernel_size: 3 dilation: 2 pad: 2 weight_filler { type: "constant" value: 1 } } }
layer { name: "sum" type: "Eltwise" bottom: "wide" bottom: "up" top: "sum" }
layer { name: "again" type: "Deconvolution" bottom: "sum" top: "again" convolution_param {
  num_output: 1 kernel_size: 4 stride: 3 pad: 1 weight_filler { type: "constant" value: 1 } } }
layer { name: "cut" type: "Crop" bottom: "again" bottom: "data" top: "cut"
  crop_param { offset: 13 } }
layer { name: "thin" type: "Pooling" bottom: "cut" top: "thin" pooling_param {
  pool: AVE kernel_size: 2 stride: 2 } }
"""


def test_behind_a_deconvolution_every_value_sees_the_pixels_of_its_gradient(tmp_path):
    path = write(tmp_path, "force_backward: true" + UPSAMPLING)
    report = inspect_net(path)
    net = caffe.Net(path, caffe.TEST)
    net.forward()
    for part in report.net.parts[1:]:
        (top,) = part.tops
        axis = report.places[top].axes[0]
        side = net.blobs[top.name].data.shape[-1]
        for o in range(side // 3, side // 3 + 6):
            net.clear_param_diffs()
            net.blobs[top.name].diff[...] = 0
            net.blobs[top.name].diff[0, 0, o, side // 2] = 1
            net.backward(start=part.param.name)
            rows = np.flatnonzero(net.blobs["data"].diff[0, 0].any(axis=1))
            field = axis.fields[o % len(axis.fields)]
            pixels = o * axis.stride + field.low, o * axis.stride + field.high
            assert (rows[0], rows[-1]) == pixels, (top.name, o)


def test_a_crop_says_what_it_cuts_and_why():
    report = inspect_net(net_gen.fcn("voc-fcn8s", "deploy"), parse_inputs(["375x500"]))
    crop = report.crops[-1]
    assert (crop.name, crop.bottom, crop.like) == ("score", "upscore8", "data")
    assert (crop.offset, crop.needed) == ((31, 31), ("31", "31"))
    assert (crop.before, crop.after) == ((31, 31), (34, 37))
    assert crop.reason.endswith("(0 + 31) / 1 = 31")


def test_two_images_of_one_size_share_their_pixels():
    text = """
    layer { name: "data" type: "Input" top: "a" top: "b"
      input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "ca" type: "Convolution" bottom: "a" top: "ca"
      convolution_param { num_output: 2 kernel_size: 3 } }
    layer { name: "cb" type: "Convolution" bottom: "b" top: "cb"
      convolution_param { num_output: 2 kernel_size: 5 pad: 1 } }
    layer { name: "sum" type: "Eltwise" bottom: "ca" bottom: "cb" top: "sum" }"""
    row = row_of(text, "sum")
    assert (row.frame, row.first, row.field) == ("a", ("1", "1"), (5, 5))


@pytest.fixture
def inspect(tmp_path, capsys):
    """Runs `caffe inspect` on a text; its exit status and what it printed."""

    def run(text, *options):
        status = caffe_command.main(["inspect", write(tmp_path, text), *options])
        return status, capsys.readouterr()

    return run


def test_the_command_prints_a_table_with_a_line_a_layer(inspect):
    status, printed = inspect(SCORER)
    assert status == 0
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["conv", "Convolution", "data", "conv", "1x4x8x8", "3", "p1"] in [x[:7] for x in lines]
    assert "multiply-adds of a forward pass" in printed.out


def test_the_command_prints_json_csv_and_markdown(inspect):
    layers = json.loads(inspect(SCORER, "--json")[1].out)["layers"]
    assert [layer["name"] for layer in layers] == ["data", "conv", "relu", "pool", "score"]
    rows = list(csv.DictReader(inspect(SCORER, "--csv")[1].out.splitlines()))
    assert rows[1]["kernel"] == "3 p1" and rows[1]["lr / decay"] == "1/1 2/0"
    for row, layer in zip(rows, layers):
        assert int(row["multiply-adds"]) == layer["multiply_adds"]
        assert int(row["bytes"]) == layer["activation_bytes"]
    assert "| layer | type |" in inspect(SCORER, "--markdown")[1].out


def test_a_file_that_cannot_be_read_ends_in_one_line(inspect):
    status, printed = inspect('layer { nme: "x" }')
    assert status == 1
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    with pytest.raises(PrototxtError):
        inspect_net(parsed_path(printed.err))


def parsed_path(message):
    """The path that an error message begins with."""
    return message.removeprefix("error: ").split(".prototxt")[0] + ".prototxt"


def test_a_folder_stands_for_its_deploy_net(tmp_path):
    write(tmp_path, SCORER, "deploy.prototxt")
    assert inspect_net(tmp_path).name == "scorer"


def test_the_tables_in_the_document_are_those_of_the_inspector(monkeypatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    assert fcn8s_table() in (root / "docs" / "inspect.md").read_text()
