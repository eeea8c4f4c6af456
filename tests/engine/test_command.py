"""The `caffe` command and the tools: flags, log lines, exit statuses, signals."""

from __future__ import annotations

import os
import re
import signal
import textwrap
import time

import pytest
import torch
from caffe import __main__ as caffe_command
from caffe.tools import command, convert_imageset, extract_features, upgrade_net_proto_text

from tests import prefork
from tests.engine.nets import write

NET = """
name: "tiny"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc"
  include { phase: TEST } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.1 lr_policy: "step" stepsize: 5 gamma: 0.1 max_iter: 12
display: 4 test_iter: 2 test_interval: 6 snapshot: 8 snapshot_prefix: "snap" random_seed: 1
"""
STAMP = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\S+)\] (.*)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOG_minloglevel", "0")
    write(tmp_path, NET)
    write(tmp_path, SOLVER + "solver_mode: CPU", "solver.prototxt")
    return tmp_path


@pytest.fixture
def caffe(folder, capfd):
    """Return a function that runs the command and returns its exit status and its log.

    The log is a list of (place, message).
    """

    def run(*arguments):
        capfd.readouterr()
        status = caffe_command.main(list(arguments))
        return status, [
            m.groups() for m in map(STAMP.match, capfd.readouterr().err.splitlines()) if m
        ]

    return run


def words(log):
    """Return the messages of a log with N for each number."""
    return [re.sub(r"-?\d+(\.\d+)?(e[+-]\d+)?", "N", message) for _, message in log]


def test_train_logs_the_lines_of_bvlc_caffe_and_writes_snapshots(caffe, folder):
    status, log = caffe("train", "-solver", "solver.prototxt")
    assert status == 0
    assert log[0] == ("caffe.cpp:197", "Use CPU.")
    start = [message for _, message in log].index("Starting Optimization")
    assert words(log[start:]) == [
        "Starting Optimization",
        "Solving tiny",
        "Learning Rate Policy: step",
        "Iteration N, Testing net (#N)",
        "    Test net output #N: acc = N",
        "    Test net output #N: loss = N (* N = N loss)",
        *["Iteration N (N iter/s, Ns/N iters), loss = N"],
        "    Train net output #N: loss = N (* N = N loss)",
        "Iteration N, lr = N",
        "Iteration N (N iter/s, Ns/N iters), loss = N",
        "    Train net output #N: loss = N (* N = N loss)",
        "Iteration N, lr = N",
        "Iteration N, Testing net (#N)",
        "    Test net output #N: acc = N",
        "    Test net output #N: loss = N (* N = N loss)",
        "Snapshotting to binary proto file snap_iter_N.caffemodel",
        "Snapshotting solver state to binary proto file snap_iter_N.solverstate",
        "Iteration N (N iter/s, Ns/N iters), loss = N",
        "    Train net output #N: loss = N (* N = N loss)",
        "Iteration N, lr = N",
        "Snapshotting to binary proto file snap_iter_N.caffemodel",
        "Snapshotting solver state to binary proto file snap_iter_N.solverstate",
        "Iteration N, loss = N",
        "Iteration N, Testing net (#N)",
        "    Test net output #N: acc = N",
        "    Test net output #N: loss = N (* N = N loss)",
        "Optimization Done.",
        "Optimization Done.",
    ]
    assert {"snap_iter_8.solverstate", "snap_iter_12.caffemodel"} <= set(os.listdir(folder))


def test_train_resumes_from_a_snapshot_and_finetunes_weights(caffe):
    assert caffe("train", "--solver=solver.prototxt")[0] == 0
    status, log = caffe("train", "--solver=solver.prototxt", "-snapshot=snap_iter_8.solverstate")
    messages = [message for _, message in log]
    assert status == 0 and "Resuming from snap_iter_8.solverstate" in messages
    assert any(m.startswith("Iteration 8 (") for m in messages)
    assert not any(m.startswith("Iteration 4 (") for m in messages)
    status, log = caffe("train", "-solver", "solver.prototxt", "-weights", "snap_iter_8.caffemodel")
    assert status == 0 and ("solver.cpp:72", "Finetuning from snap_iter_8.caffemodel") in log


def test_test_logs_each_batch_and_the_means(caffe):
    caffe("train", "-solver", "solver.prototxt")
    weights = ("-weights", "snap_iter_12.caffemodel")
    status, log = caffe("test", "--model", "net.prototxt", *weights, "-iterations", "2")
    assert status == 0
    assert words(log[-8:]) == [
        "Running for N iterations.",
        *["Batch N, acc = N", "Batch N, loss = N"] * 2,
        "Loss: N",
        "acc = N",
        "loss = N (* N = N loss)",
    ]
    batches = [float(m.split()[-1]) for _, m in log if m.startswith("Batch") and "loss" in m]
    assert float(log[-3][1].split()[1]) == pytest.approx(sum(batches) / 2, rel=1e-5)


def test_time_logs_each_layer_and_the_sums(caffe):
    status, log = caffe("time", "-model", "net.prototxt", "-iterations=2", "-phase", "TEST")
    assert status == 0
    lines = words(log)
    assert lines[lines.index("*** Benchmark begins ***") :] == [
        "*** Benchmark begins ***",
        "Testing for N iterations.",
        *["Iteration: N forward-backward time: N ms."] * 2,
        "Average time per layer: ",
        *[
            re.sub(r"\d", "N", f"{name:>10}\t{way}ward: ") + "N ms."
            for name in ("data", "label_data_1_split", "ip", "ip_ip_0_split", "loss", "acc")
            for way in ("for", "back")
        ],
        "Average Forward pass: N ms.",
        "Average Backward pass: N ms.",
        "Average Forward-Backward: N ms.",
        "Total Time: N ms.",
        "*** Benchmark ends ***",
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train"], "Need a solver definition to train"),
        (["test"], "Need a model definition to score"),
        (["test", "-model", "net.prototxt"], "Need model weights to score"),
        (["time"], "Need a model definition to time"),
        (
            ["fly"],
            "Unknown action: fly. Available caffe actions: device_query, test, time, train, "
            "export, inspect",
        ),
        (["train", "-solver", "none"], "none: cannot be read: No such file"),
        (["train", "-solver", "net.prototxt"], 'no field named "name"'),
        (["train", "-solver=s", "-snapshot=a", "-weights=b"], "but not both"),
        (["train", "-solver", "solver.prototxt", "-gpu", "0,99"], "99 was asked for"),
        (["train", "-solver", "solver.prototxt", "-gpu", "0,0"], "names a device twice"),
        (["train", "-solver", "solver.prototxt", "-gpu", "x"], "-gpu is 'x'"),
        (["train", "-solver", "solver.prototxt", "-sigint_effect", "x"], 'effect "x"'),
        (["time", "-model", "net.prototxt", "-phase", "X"], 'must be "TRAIN" or "TEST"'),
        (["time", "-model", "net.prototxt", "-iterations", "0"], "at least 1"),
    ],
)
def test_an_unusable_command_line_ends_in_one_fatal_line(caffe, arguments, message):
    status, log = caffe(*arguments)
    assert status == 1 and message in log[-1][1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("flags", [["-gpu", "0"], ["-gpu=0"], []])
def test_a_missing_gpu_is_an_error(caffe, folder, flags):
    write(folder, SOLVER + "solver_mode: GPU", "solver.prototxt")
    status, log = caffe("train", "-solver", "solver.prototxt", *flags)
    assert status == 1 and "GPU 0 was asked for" in log[-1][1]


PYTHON_NET = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "mine" type: "Python" bottom: "data" top: "mine"
  python_param { module: "MODULE" layer: "Mine" } }
"""


@pytest.mark.parametrize(
    "module, message",
    [
        ("no_such_module", "No module named 'no_such_module'"),
        ("needs_another", "No module named 'another_package'"),
    ],
)
def test_a_python_layer_that_cannot_be_imported_is_one_line(
    caffe, folder, monkeypatch, module, message
):
    monkeypatch.syspath_prepend(str(folder))
    write(folder, "import another_package", "needs_another.py")
    write(folder, PYTHON_NET.replace("MODULE", module))
    status, log = caffe("train", "-solver", "solver.prototxt")
    assert status == 1
    assert (
        f"net.prototxt: layer 'mine' (Python): module {module!r} cannot be imported: {message}"
        in log[-1][1]
    )


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_an_exception_in_a_python_layer_is_one_line_with_layer_and_place(
    caffe, folder, monkeypatch, error
):
    monkeypatch.syspath_prepend(str(folder))
    text = f"""
        import caffe
        class Mine(caffe.Layer):
            def setup(self, bottom, top):
                raise {error.__name__}("a bad\\nsetting")
    """
    module = f"raises_{error.__name__}"
    write(folder, textwrap.dedent(text), f"{module}.py")
    write(folder, PYTHON_NET.replace("MODULE", module))
    status, log = caffe("train", "-solver", "solver.prototxt")
    assert status == 1
    line = f"layer 'mine' (Python), setup: {error.__name__}: a bad setting ({folder}/{module}.py:5"
    assert log[-1][1].startswith(line)
    monkeypatch.setenv("CAFFE_TRACEBACK", "1")
    with pytest.raises(error, match="a bad"):
        caffe("train", "-solver", "solver.prototxt")


def test_device_query_without_a_device_queries_none(caffe):
    assert caffe("device_query") == (0, [("caffe.cpp:138", "Querying GPUs ")])


@pytest.mark.parametrize(
    "line, expected",
    [
        ("-x 3", (3, False)),
        ("--x=3", (3, False)),
        ("-x=3 --on", (3, True)),
        ("--x 3 -on=true -noon", (3, False)),
        ("--on -x -1", (-1, True)),
    ],
)
def test_flags_are_read_as_gflags_reads_them(line, expected):
    flags, rest = command.parse(["go", *line.split()], {"x": (1, ""), "on": (False, "")})
    assert ((flags.x, flags.on), rest) == (expected, ["go"])


def test_flags_end_at_two_dashes():
    assert command.parse(["a", "--", "-x", "b"], {"x": (1, "")})[1] == ["a", "-x", "b"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("-nosuch 1", "unknown command line flag 'nosuch'"),
        ("-solver", "flag '-solver' is missing its argument"),
        ("-iterations many", "illegal value 'many' specified for int32 flag 'iterations'"),
    ],
)
def test_an_unreadable_flag_is_one_line_and_status_1(line, message, capsys):
    assert caffe_command.main(["train", *line.split()]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "argument, status, words", [("--version", 0, "caffe version"), ("-help", 1, "-sighup_effect")]
)
def test_version_and_help_are_answered_in_place_of_an_action(argument, status, words, capsys):
    assert caffe_command.main(["train", argument, "-nosuch"]) == status
    assert words in capsys.readouterr().out


def test_without_a_command_the_usage_is_shown(capsys):
    assert caffe_command.main([]) == 0
    shown = capsys.readouterr().out
    assert "usage: caffe <command> <args>" in shown and "-sighup_effect" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("effect, stops", [("stop", True), ("snapshot", False)])
def test_a_signal_stops_training_or_writes_a_snapshot(folder, effect, stops):
    text = SOLVER.replace("max_iter: 12", "max_iter: 1000000").replace("test_interval: 6", "")
    write(folder, text.replace("test_iter: 2", "").replace("snapshot: 8", ""), "long.prototxt")
    run = prefork.server().start(
        [
            *("-m", "caffe", "train", "-solver", "long.prototxt"),
            *(f"-sigint_effect={effect}", "-sighup_effect", "stop"),
        ],
        str(folder),
        dict(os.environ, PYTHONPATH=""),
    )
    run.wait_for("Iteration 4 ")
    os.kill(run.pid, signal.SIGINT)
    if not stops:
        deadline = time.time() + 60
        while not list(folder.glob("*.solverstate")) and time.time() < deadline:
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGHUP)
    result = run.wait(timeout=60)
    log = result.stderr
    assert result.returncode == 0
    assert log.count("Snapshotting solver state") == (1 if stops else 2)
    assert "Optimization stopped early." in log and "Optimization Done." in log
    assert len(list(folder.glob("*.solverstate"))) == (1 if stops else 2)


def test_the_exit_status_of_the_upgrade_tools_depends_on_the_error(folder, capfd):
    assert upgrade_net_proto_text.main(["one"]) == 1
    assert upgrade_net_proto_text.main(["none", "new"]) == 1
    write(folder, "layer { nme: 'x' }", "bad.prototxt")
    assert upgrade_net_proto_text.main(["bad.prototxt", "new"]) == 2
    assert upgrade_net_proto_text.main(["net.prototxt", "no/such/folder"]) == 1
    text = capfd.readouterr().err
    assert "Usage: upgrade_net_proto_text v0_net_proto_file_in net_proto_file_out" in text
    assert "File not found: none" in text and 'has no field named "nme" (line 1' in text
    assert not (folder / "new").exists()


def test_convert_imageset_skips_unreadable_images_and_refuses_leveldb(folder, capfd):
    write(folder, "none.png 1\n", "list.txt")
    assert convert_imageset.main(["-backend", "leveldb", "./", "list.txt", "db"]) == 1
    assert "LevelDB has no Python package" in capfd.readouterr().err
    assert convert_imageset.main(["./", "list.txt", "db"]) == 0
    assert "Could not open or find file ./none.png" in capfd.readouterr().err


def test_convert_imageset_warns_of_labels_that_are_no_numbers(folder, capfd):
    write(folder, "none.png 1\nnone.png cat\nnone.png\n", "list.txt")
    assert convert_imageset.main(["./", "list.txt", "db"]) == 0
    assert "1 of 3 labels are not numbers; they count as 0" in capfd.readouterr().err


def test_extract_features_needs_a_database_for_each_blob(folder, capfd):
    assert extract_features.main(["a", "b"]) == 1
    assert extract_features.main(["a", "net.prototxt", "ip,x", "f", "1", "lmdb"]) == 1
    assert "2 blobs for 1 databases" in capfd.readouterr().err
