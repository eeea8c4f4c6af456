"""`caffe export --to onnx`: what it leaves out, writes, prints and checks."""

from __future__ import annotations

import json
import os
import sys

import caffe
import numpy as np
import pytest
from caffe.tools import export, net_to_onnx
from caffe.tools import onnx as writer

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

HEAD = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
"""
DEPLOY = (
    """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }
"""
    + HEAD
    + """
layer { name: "left" type: "Convolution" bottom: "conv" top: "left"
        convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "right" type: "Convolution" bottom: "conv" top: "right"
        convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "best" type: "ArgMax" bottom: "right" top: "best" argmax_param { axis: 1 } }
"""
)
TRAIN_VAL = (
    """
layer { name: "pictures" type: "Data" top: "data" top: "label"
        data_param { source: "nowhere" batch_size: 2 } }
layer { name: "parts" type: "Slice" bottom: "label" top: "l1" top: "l2" }
"""
    + HEAD
    + """
layer { name: "score" type: "InnerProduct" bottom: "conv" top: "score"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "l1" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "l2" top: "accuracy" }
layer { name: "quiet" type: "Silence" bottom: "l2" }
"""
)


@pytest.fixture
def files(tmp_path):
    """Return the arguments --net and --weights of a net with two heads."""
    path, weights = tmp_path / "deploy.prototxt", tmp_path / "w.caffemodel"
    path.write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(path), caffe.TEST).save(str(weights))
    return ["--net", str(path), "--weights", str(weights), "--to", "onnx"]


def run(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def test_the_command_writes_a_model_beside_the_weights_and_checks_it(files, tmp_path, capsys):
    assert export.main(files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"wrote {tmp_path / 'w.onnx'} (0.0 MB)"
    assert lines[1] == "input data: batch x 3 x data_height x data_width"
    assert lines[2:4] == ["output best", "output left"]
    checked = [line for line in lines if line.startswith("ONNX Runtime, data ")]
    assert len(checked) == 4 and "1x3x12x16" in checked[0] and "2x3x9x12" in checked[2]
    assert lines[-1].startswith("checked: the largest difference is ")
    tops = run(tmp_path / "w.onnx", data=np.zeros((3, 3, 20, 21), np.float32))
    assert tops["left"].shape == (3, 2, 20, 21) and tops["best"].shape == (3, 1, 20, 21)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".prototxt") == [
        "w.caffemodel",
        "w.onnx",
    ]


def test_missing_folders_of_the_model_are_created(files, tmp_path):
    out = tmp_path / "models" / "new" / "o.onnx"
    assert export.main([*files, "--out", str(out), "--no-check"]) == 0
    assert out.is_file()


def test_the_log_of_building_the_net_is_left_out(files, capfd, monkeypatch):
    monkeypatch.delenv("GLOG_minloglevel", raising=False)
    assert export.main([*files, "--no-check"]) == 0
    assert capfd.readouterr().err == ""
    assert "GLOG_minloglevel" not in os.environ


def test_metadata_become_properties_of_the_model(files, tmp_path):
    values = {"classes": ["a", "ö"], "mean": [1.5, 2], "order": "BGR"}
    (tmp_path / "m.json").write_text(json.dumps(values))
    assert export.main([*files, "--metadata", str(tmp_path / "m.json"), "--no-check"]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "w.onnx"))
    stored = session.get_modelmeta().custom_metadata_map
    assert stored["order"] == "BGR"
    assert json.loads(stored["classes"]) == ["a", "ö"] and json.loads(stored["mean"]) == [1.5, 2]


@pytest.mark.parametrize("content", ["[1]", "{", None])
def test_metadata_that_are_no_json_object_are_refused(content, files, tmp_path, capsys):
    if content:
        (tmp_path / "m.json").write_text(content)
    assert export.main([*files, "--metadata", str(tmp_path / "m.json")]) == 1
    assert f"error: {tmp_path / 'm.json'}: " in capsys.readouterr().err
    assert not (tmp_path / "w.onnx").exists()


def test_fixed_sizes_are_numbers_in_the_model(files, tmp_path):
    assert export.main([*files, "--fixed", "--shape", "data=2,3,20x24"]) == 0
    (data,) = onnxruntime.InferenceSession(str(tmp_path / "w.onnx")).get_inputs()
    assert data.shape == [2, 3, 20, 24]


def test_half_precision_halves_the_file_and_computes_in_float32(tmp_path, capsys):
    path = tmp_path / "deploy.prototxt"
    path.write_text(DEPLOY.replace("num_output: 4", "num_output: 400"))
    weights, out = str(tmp_path / "w.caffemodel"), tmp_path / "w.onnx"
    caffe.Net(str(path), caffe.TEST).save(weights)
    arguments = ["--net", str(path), "--weights", weights, "--to", "onnx"]
    sizes = []
    for precision in ("float32", "float16"):
        assert export.main([*arguments, "--precision", precision]) == 0
        sizes.append(out.stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    assert "at most 0.01 is allowed" in capsys.readouterr().out


@pytest.mark.parametrize("opset", [18, 21])
def test_later_operator_sets_give_the_same_numbers(opset, files, tmp_path):
    assert export.main([*files, "--opset", str(opset)]) == 0
    assert onnx.load(str(tmp_path / "w.onnx")).opset_import[0].version == opset


def test_the_prototxt_may_be_named_as_in_the_other_actions(files, tmp_path):
    assert files[0] == "--net"
    assert export.main(["--model", *files[1:]]) == 0
    assert (tmp_path / "w.onnx").exists()


def test_weights_go_into_a_second_file_where_that_is_asked_for(files, tmp_path):
    out = tmp_path / "o.onnx"
    path = tmp_path / "deploy.prototxt"
    path.write_text(DEPLOY.replace("num_output: 4", "num_output: 40"))
    caffe.Net(str(path), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    assert export.main([*files, "--out", str(out), "--external"]) == 0
    assert (tmp_path / "o.onnx.data").stat().st_size >= 4 * 40 * 27


def test_data_losses_and_what_only_they_read_are_left_out_with_a_line(tmp_path, capsys):
    path, weights = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(TRAIN_VAL)
    shape = ["--shape", "data=1,3,8,8"]
    net, _ = writer.deploy_net(path, None, {"data": [1, 3, 8, 8]})
    assert net.inputs == ["data"] and net.outputs == ["score"]
    net.save(str(weights))
    arguments = ["--net", str(path), "--weights", str(weights), "--to", "onnx"]
    assert export.main([*arguments, *shape]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "left out parts (Slice): only prepares labels",
        "left out loss (SoftmaxWithLoss): a loss",
        "left out accuracy (Accuracy): has no part in the result",
        "left out quiet (Silence): has no part in the result",
        "replaced pictures (Data): data read by the model instead",
    ]
    assert "input data: batch x 3 x 8 x 8" in lines
    assert export.main(arguments) == 1
    assert "with the shape, no data is needed: --shape data=1,3,224,224" in capsys.readouterr().err


class Pictures(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(1, 3, 10, 10)
        top[1].reshape(1, 1, 10, 10)


def test_a_python_layer_that_brings_data_becomes_an_input(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pictures", sys.modules[__name__])
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "Python" top: "data" top: "label"'
        ' python_param { module: "pictures" layer: "Pictures" } }'
        + HEAD
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "l" }'
    )
    net, lines = writer.deploy_net(path, None)
    assert (net.inputs, net.outputs) == (["data"], ["conv"])
    assert net.blobs["data"].shape == (1, 3, 10, 10)
    assert lines[-1] == "replaced d (Python): data read by the model instead"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "image=1,3,8,8"], "no input of the net has the name 'image'"),
        (
            ["--shape", "data"],
            "--shape data: is not the shape of an input, such as data=1,3,224,224",
        ),
        (["--shape", "data=1,3,0,8"], "--shape data=1,3,0,8: is not the shape"),
        (["--net", "nowhere.prototxt"], "Could not open file nowhere.prototxt"),
        (["--fork", "nobody"], "no fork of Caffe has the name 'nobody'"),
    ],
)
def test_wrong_arguments_end_with_one_line(arguments, message, files, capsys):
    assert export.main([*files, *arguments]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and message in errors[0]


def test_weights_of_another_net_are_refused_and_missing_ones_have_a_line(files, tmp_path, capsys):
    other = tmp_path / "other.prototxt"
    other.write_text(DEPLOY.replace('name: "left"', 'name: "links"'))
    assert export.main([*files, "--net", str(other), "--no-check"]) == 0
    line = "w.caffemodel has no weights of links; the values of the fillers are exported"
    assert line in capsys.readouterr().out
    for name in ("conv", "left", "right"):
        other.write_text(other.read_text().replace(f'name: "{name}"', f'name: "{name}2"'))
    assert export.main([*files, "--net", str(other)]) == 1
    assert "conv2, links, right2; these are the weights of another" in capsys.readouterr().err


def test_layers_without_an_onnx_form_have_a_line_each(files, capsys, monkeypatch):
    for layer_type in ("ReLU", "ArgMax"):
        monkeypatch.delitem(writer.WRITERS, layer_type)
    assert export.main(files) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: 2 layers have no ONNX form:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  layer 'relu' (ReLU)",
        "  layer 'best' (ArgMax)",
    ]


def test_a_model_that_differs_from_the_net_ends_with_status_1(files, capsys, monkeypatch):
    def wrong(m, source):
        return m.add("Neg", source.input)

    monkeypatch.setitem(writer.WRITERS, "ReLU", wrong)
    assert export.main(files) == 1
    assert "error: the model differs from the net by " in capsys.readouterr().err


def test_a_class_that_differs_only_where_two_scores_are_equal_is_no_difference(
    files, tmp_path, monkeypatch
):
    net, _ = writer.deploy_net(files[1], files[3])
    for blob in net.params["right"]:
        blob.data[...] = 0
    sizes = writer.find_sizes(net)

    def first(m, source):
        index = m.add("ArgMax", source.input, axis=1, keepdims=1)
        return m.add("Cast", index, to=1)

    monkeypatch.setitem(writer.WRITERS, "ArgMax", first)
    writer.write(net, str(tmp_path / "o.onnx"), sizes)
    differences = {d.output: d.error for d in writer.check(net, str(tmp_path / "o.onnx"), sizes)}
    assert differences["best"] == 0
    net.params["right"][1].data[4] = 1
    writer.write(net, str(tmp_path / "o.onnx"), sizes)
    net.params["right"][1].data[4] = 0
    net.params["right"][1].data[2] = 1
    differences = {d.output: d.error for d in writer.check(net, str(tmp_path / "o.onnx"), sizes)}
    assert differences["best"] == 1


def test_without_onnx_runtime_the_model_is_written_and_not_checked(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export.main(files) == 0
    assert "not checked: the Python package onnxruntime is not installed" in capsys.readouterr().out


def test_the_old_tool_writes_the_model_and_its_weights(files, tmp_path):
    assert net_to_onnx.main([files[1], files[3], str(tmp_path / "old.onnx")]) == 0
    assert (
        run(tmp_path / "old.onnx", data=np.zeros((1, 3, 8, 8), np.float32))["left"].any()
        is not None
    )


def test_opencv_reads_a_model_with_fixed_sizes(files, tmp_path):
    import cv2

    assert export.main([*files, "--fixed"]) == 0
    net = caffe.Net(files[1], caffe.TEST, weights=files[3])
    x = np.random.RandomState(0).standard_normal((1, 3, 12, 16)).astype(np.float32)
    net.blobs["data"].data[...] = x
    net.forward()
    other = cv2.dnn.readNetFromONNX(str(tmp_path / "w.onnx"))
    other.setInput(x)
    np.testing.assert_allclose(other.forward("left"), net.blobs["left"].data, atol=1e-5)


class Broken(caffe.Layer):
    def setup(self, bottom, top):
        raise OSError("pictures.txt: no such file")


def test_a_data_layer_in_python_that_fails_needs_the_shape_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pictures", sys.modules[__name__])
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "Python" top: "data" top: "label"'
        ' python_param { module: "pictures" layer: "Broken" } }' + HEAD
    )
    with pytest.raises(caffe.CaffeError, match=r"'d' \(Python\): pictures.txt: no such file; with"):
        writer.deploy_net(path, None)
    net, _ = writer.deploy_net(path, None, {"data": [1, 3, 8, 8]})
    assert net.inputs == ["data"]


def test_layers_of_one_name_are_written_each(tmp_path, capsys):
    heads = "".join(
        f'layer {{ name: "half" type: "Pooling" bottom: "{b}" top: "{b}2" pooling_param {{ pool: '
        f"{kind} kernel_size: 2 stride: 2 }} }} "
        for b, kind in (("left", "MAX"), ("right", "AVE"))
    )
    path, weights = tmp_path / "deploy.prototxt", tmp_path / "w.caffemodel"
    path.write_text(DEPLOY + heads)
    caffe.set_random_seed(3)
    caffe.Net(str(path), caffe.TEST).save(str(weights))
    arguments = ["--net", str(path), "--weights", str(weights), "--to", "onnx"]
    assert export.main(arguments) == 0
    assert "output left2" in capsys.readouterr().out
    model = onnx.load(str(tmp_path / "w.onnx"))
    kinds = {node.output[0]: node.op_type for node in model.graph.node}
    assert {"MaxPool", "AveragePool"} <= set(kinds.values())
