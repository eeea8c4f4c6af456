"""A run as an ONNX model, with what run.json says as metadata."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys

import caffe
import pytest
from caffe.proto import caffe_pb2
from caffe.tools import export as caffe_export

import net_gen
from solvers import export
from solvers.run_record import Output, RunRecord, write_run

CLASSES = ("background", "Hütte")
RECORD = RunRecord(
    variant="voc-fcn32s",
    stages=("fcn32s",),
    stride=32,
    width="1/32",
    channels=3,
    order="BGR",
    mean=(10.0, 20.5, 30.0),
    scale=1.0,
    outputs=(Output("score", "scores", CLASSES, ((0, 0, 0), (1, 2, 3))),),
)


@pytest.fixture
def run(tmp_path):
    """The folder of a run with a snapshot of random weights."""
    folder = tmp_path / "my_run"
    (folder / "fcn32s" / "snapshot").mkdir(parents=True)
    write_run(str(folder), RECORD)
    deploy = folder / "fcn32s" / "deploy.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=1 / 32, classes=2), str(deploy))
    net = caffe.Net(str(deploy), caffe.TEST)
    snapshot = folder / "fcn32s" / "snapshot" / "train_iter_4"
    net.save(f"{snapshot}.caffemodel")
    # A snapshot is complete with its state.
    state = caffe_pb2.SolverState(iter=4, current_step=0)
    state.learned_net = "train_iter_4.caffemodel"
    state.history.add(shape={"dim": [1]}, data=[0])
    snapshot.with_suffix(".solverstate").write_bytes(state.SerializeToString())
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """Run `python -m caffe export` in this process."""

    def run(command, stderr, text, errors):
        assert command[:4] == [sys.executable, "-m", "caffe", "export"]
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                status = caffe_export.main(command[4:])
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(command, status, None, errors.getvalue())

    monkeypatch.setattr(export.subprocess, "run", run)


def test_metadata_say_how_images_are_read_and_what_the_scores_mean():
    values = export.metadata(RECORD)
    assert values["classes"] == ["background", "Hütte"]
    assert values["palette"] == [[0, 0, 0], [1, 2, 3]]
    assert (values["mean"], values["order"], values["scale"]) == ((10.0, 20.5, 30.0), "BGR", 1.0)
    assert values["outputs"][0]["meaning"] == "scores"
    assert values["input"] == "(image in BGR, 0..255, - mean) * scale"
    json.dumps(values)


def test_a_run_becomes_a_model_with_its_record_inside(run, in_process, capfd):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export.main(["--run", str(run), "--opset", "18", "--shape", "data=1,3,40,48"])
    model = onnx.load(str(run / "my_run.onnx"))
    stored = {item.key: item.value for item in model.metadata_props}
    assert json.loads(stored["classes"]) == list(CLASSES)
    assert json.loads(stored["mean"]) == [10.0, 20.5, 30.0] and stored["order"] == "BGR"
    assert model.opset_import[0].version == 18
    printed = capfd.readouterr().out
    assert "input data: batch x 3 x data_height x data_width" in printed
    assert "checked: the largest difference is " in printed


def test_a_stage_that_the_run_lacks_is_refused(run):
    with pytest.raises(ValueError, match=r"has the stages fcn32s, not 'fcn8s'"):
        export.export(str(run), "onnx", stage="fcn8s")


@pytest.mark.parametrize(
    "more, reason",
    [
        (["--opset", "3"], "opset 3: needs 17 .. "),
        (["--shape", "data"], "--shape data: is not the shape of an input, such as"),
        (["--opset", "many"], "argument --opset: invalid int value: 'many'"),
    ],
)
def test_an_export_that_fails_ends_with_the_error_of_caffe_export(
    run, in_process, capfd, more, reason
):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        export.export(str(run), "onnx", more=more)
    assert capfd.readouterr().err == ""


def test_lines_before_an_error_are_kept():
    assert export.split_error("W x.cpp:1] slow\nerror: net: no\n  a\n") == (
        "W x.cpp:1] slow\n",
        "net: no\n  a",
    )
    assert export.split_error("W error rate\n") == ("W error rate\n", "")


@pytest.mark.slow
def test_the_program_exports_in_a_process_of_its_own(run, program):
    pytest.importorskip("safetensors")
    done = program("-m", "solvers.export", "--run", run, "--to", "safetensors")
    assert done.returncode == 0, done.stderr
    assert (run / "my_run.safetensors").is_file()
    assert "wrote " in done.stdout
