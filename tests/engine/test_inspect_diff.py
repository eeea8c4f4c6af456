"""The inspector's comparison of two nets, and of a net with a weights file."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe import __main__ as caffe_command
from caffe.inspect import blob_rows, compare_nets, inspect_net
from caffe.inspect.stored import PIECE, statistics
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from tests.engine.nets import SCORER, write


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def differences(a, b):
    """The differences as (meaning, kind, layer)."""
    return [d[:3] for d in compare_nets(parsed(a), parsed(b))]


def test_equal_nets_have_no_differences():
    assert differences(SCORER, SCORER) == []


def test_a_changed_setting_is_a_change_of_meaning():
    (change,) = compare_nets(
        parsed(SCORER), parsed(SCORER.replace("num_output: 4", "num_output: 5"))
    )
    assert change.meaning and change.layer == "conv"
    assert change.message == "convolution_param.num_output: 4 becomes 5"


def test_a_renamed_layer_and_blob_keep_the_meaning():
    renamed = SCORER.replace('"pool"', '"pooled"')
    assert differences(SCORER, renamed) == [
        (False, "renamed", "pool"),
        (False, "renamed", "pool"),
    ]


@pytest.mark.parametrize(
    "old, new, kinds",
    [
        ("kernel_size: 3 pad: 1", "kernel_size: 3 pad: 1 stride: 1", []),
        ("kernel_size: 3 pad: 1", "kernel_h: 3 kernel_w: 3 pad: 1", []),
        ("kernel_size: 3 pad: 1", "kernel_size: 3 pad: 1 group: 1", ["default"]),
        ("param { lr_mult: 1 }", "param { }", ["default"]),
        ("kernel_size: 3 pad: 1", "kernel_size: 3 pad: 2", ["changed"]),
        ("std: 0.1", "std: 0.2", ["changed"]),
    ],
)
def test_a_written_default_is_not_a_change(old, new, kinds):
    result = compare_nets(parsed(SCORER), parsed(SCORER.replace(old, new, 1)))
    assert [d.kind for d in result] == kinds
    assert all(d.meaning == (d.kind == "changed") for d in result)


def test_the_order_of_independent_layers_is_not_a_change_of_the_wiring():
    head, *rest = SCORER.split("\nlayer ")
    side = '{ name: "side" type: "ReLU" bottom: "data" top: "side" }'
    data, conv, *others = rest
    first = "\nlayer ".join([head, data, conv, *others, side])
    second = "\nlayer ".join([head, data, side, conv, *others])
    assert {d[:2] for d in differences(first, second)} == {(False, "order")}
    rewired = second.replace('bottom: "pool"', 'bottom: "conv"')
    assert (True, "rewired", "score") in differences(first, rewired)


def test_missing_and_new_layers_are_changes():
    without = SCORER.replace(
        SCORER[SCORER.index('layer { name: "relu"') : SCORER.index('layer { name: "pool"')], ""
    )
    result = differences(SCORER, without)
    assert (True, "removed", "relu") in result
    assert (True, "added", "relu") in differences(without, SCORER)


def test_stages_of_one_method_differ_as_published():
    result = compare_nets(
        net_gen.fcn("voc-fcn32s", "deploy", width=1 / 16),
        net_gen.fcn("voc-fcn16s", "deploy", width=1 / 16),
    )
    assert {d.layer for d in result if d.kind == "added"} == {
        *("upscore2", "score_pool4", "score_pool4c", "fuse_pool4", "upscore16"),
    }


def test_the_command_ends_with_status_1_where_the_meaning_differs(tmp_path, capsys):
    a = write(tmp_path, SCORER, "a.prototxt")
    b = write(tmp_path, SCORER.replace("num_output: 4", "num_output: 5"), "b.prototxt")
    c = write(tmp_path, SCORER.replace('"pool"', '"pooled"'), "c.prototxt")
    assert caffe_command.main(["inspect", a, "--diff", b]) == 1
    assert "num_output: 4 becomes 5" in capsys.readouterr().out
    assert caffe_command.main(["inspect", a, "--diff", c]) == 0
    assert "differs in form alone: 2" in capsys.readouterr().out
    assert caffe_command.main(["inspect", a, "--diff", a]) == 0
    assert capsys.readouterr().out == "no differences\n"


@pytest.fixture(params=["net.caffemodel", "net.h5"])
def weights(tmp_path, request):
    """A weights file of SCORER: a bias of zeros, and a NaN among the weights of conv."""
    net = caffe.Net(write(tmp_path, SCORER), caffe.TEST)
    net.params["conv"][0].data.flat[5] = np.nan
    net.params["conv"][1].data[...] = 0
    path = str(tmp_path / request.param)
    (net.save_hdf5 if path.endswith("h5") else net.save)(path)
    return path


def test_rows_of_weights_tell_shapes_and_values(weights):
    rows = {(r.layer, r.index): r for r in blob_rows(inspect_net(parsed(SCORER)), weights)}
    assert {r.state for r in rows.values()} == {"loaded"}
    kernel, bias = rows["conv", 0].statistics, rows["conv", 1].statistics
    assert (kernel.count, kernel.nan, kernel.infinite) == (108, 1, 0)
    assert kernel.minimum < 0 < kernel.maximum and sum(kernel.bars) == 107
    assert (bias.zeros, bias.minimum, bias.maximum) == (1.0, 0.0, 0.0)


def test_rows_of_weights_name_the_blobs_that_do_not_fit(weights):
    other = SCORER.replace("num_output: 4", "num_output: 5").replace('name: "score"', 'name: "new"')
    states = {(r.layer, r.index): r.state for r in blob_rows(inspect_net(parsed(other)), weights)}
    assert states["conv", 0] == "other shape"
    assert states["new", 0] == "stays at filler"
    assert states["score", 0] == "not in the net"
    no_bias = SCORER.replace("kernel_size: 1", "kernel_size: 1 bias_term: false")
    states = {(r.layer, r.index): r.state for r in blob_rows(inspect_net(parsed(no_bias)), weights)}
    assert states["score", 1] == "other count"


def test_statistics_are_those_of_numpy():
    values = np.random.RandomState(0).normal(3, 2, PIECE + 1000).astype(np.float32)
    values[:10] = 0
    values[10] = np.inf
    s = statistics(values)
    finite = np.delete(values, 10).astype(np.float64)
    assert (s.minimum, s.maximum) == (finite.min(), finite.max())
    assert np.allclose((s.mean, s.deviation), (finite.mean(), finite.std()))
    assert (s.zeros, s.infinite, s.nan) == (10 / values.size, 1, 0)
    assert sum(s.bars) == finite.size
    empty = statistics(np.full(3, np.nan, np.float32))
    assert (empty.minimum, empty.nan) == (None, 3)


def test_the_command_prints_a_table_of_the_weights(tmp_path, weights, capsys):
    path = write(tmp_path, SCORER)
    assert caffe_command.main(["inspect", path, "--weights", weights]) == 0
    text = capsys.readouterr().out
    assert "loaded" in text and "4x3x3x3" in text
    assert caffe_command.main(["inspect", path, "--weights", path]) == 1
