"""Bad input to the programs: one error line, exit code 1, and no change on the disk."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from PIL import Image

from fcn_common import command
from solvers import chain, infer, stage
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]


def disk(folder):
    """The digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def ready(tmp_path, tiny_start):
    """A stage's folder over its own copy of the data, and the weights that it starts from."""
    tiny.data(str(tmp_path))
    folder = tiny.nets(str(tmp_path / "voc-fcn32s"), str(tmp_path))
    return Path(folder), str(tiny_start / "start.caffemodel")


@pytest.fixture
def refused(tmp_path, capfd):
    """Runs `main(*arguments)` as a command line does, and returns its one error line.

    Checks that every file is as before, and that only logs are new.
    """

    def run(main, *arguments):
        before = disk(tmp_path)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            command.run(lambda: main(*arguments))
        lines = capfd.readouterr().err.splitlines()
        assert end.value.code == 1 and len(lines) == 1, lines
        check_unchanged(before, disk(tmp_path))
        return lines[0]

    return run


def check_unchanged(before, after):
    """Checks that every file is as before, and that only logs are new."""
    assert {name: after.get(name) for name in before} == before
    logs = ("train.log", "loss.csv", "events.out")
    assert not [n for n in set(after) - set(before) if not Path(n).name.startswith(logs)]


def train(folder, weights):
    stage.run(str(folder), str(weights), gpu="cpu")


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_output: 4\n", "num_ouptut: 4\n", ["num_ouptut"]),
        ('type: "Convolution"', 'type: "Convolutoin"', ["conv1_1", "Convolutoin"]),
        ('bottom: "conv1_1"', 'bottom: "conv1_9"', ["relu1_1", "conv1_9"]),
    ],
    ids=["field", "layer type", "bottom"],
)
def test_a_typo_in_a_prototxt_is_named(ready, refused, old, new, words):
    folder, weights = ready
    replace(folder / "train.prototxt", old, new)
    line = refused(train, folder, weights)
    assert "train.prototxt" in line and all(word in line for word in words), line


def test_the_weights_of_another_net_are_refused_with_both_shapes(ready, refused, tmp_path):
    folder, _ = ready
    _, weights = tiny.classifier(str(tmp_path / "other"))
    line = refused(train, folder, weights)
    assert weights in line and "layer fc6" in line
    assert "256 x 128" in line and "needs 256 x 32 x 7 x 7" in line


def test_weights_that_share_no_layer_are_refused(ready, refused, tmp_path):
    folder, _ = ready
    net = caffe_pb2.NetParameter()
    net.layer.add(name="ip1").blobs.add(data=[1.0]).shape.dim.append(1)
    weights = tmp_path / "lenet.caffemodel"
    weights.write_bytes(net.SerializeToString())
    line = refused(train, folder, weights)
    assert "lenet.caffemodel" in line and "ip1" in line and "conv1_1" in line


def test_a_truncated_caffemodel_is_refused(ready, refused, tmp_path):
    folder, start = ready
    weights = tmp_path / "part.caffemodel"
    weights.write_bytes(Path(start).read_bytes()[:5000])
    line = refused(train, folder, weights)
    assert re.search(r"part\.caffemodel: (truncated|not a whole)", line)


def test_a_label_out_of_range_is_refused_with_the_range(ready, refused, tmp_path):
    folder, weights = ready
    path = tmp_path / "voc" / "SegmentationClass" / "val0.png"
    label = np.array(Image.open(path))
    label[0, 0] = 77
    Image.fromarray(label).save(path)
    line = refused(train, folder, weights)
    assert "val0.png" in line and "77" in line and "0..20" in line and "255" in line


def test_a_label_of_another_size_than_its_image_is_refused(ready, refused, tmp_path):
    folder, weights = ready
    path = tmp_path / "voc" / "SegmentationClass" / "val0.png"
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(path)
    line = refused(train, folder, weights)
    assert "val0.png" in line and "10 x 12" in line and "24 x 32" in line


def test_an_unreadable_image_is_named(ready, refused, tmp_path):
    folder, weights = ready
    path = tmp_path / "voc" / "JPEGImages" / "val0.jpg"
    path.write_bytes(path.read_bytes()[:100])
    line = refused(train, folder, weights)
    assert "val0.jpg" in line and "not a readable image" in line


def test_a_missing_split_file_is_named(ready, refused, tmp_path):
    folder, weights = ready
    os.remove(tmp_path / "sbdd" / "train.txt")
    line = refused(train, folder, weights)
    assert "train.txt" in line and "no such split file" in line


def test_an_unreadable_photograph_is_named(refused, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"not a photograph")
    line = refused(infer.main, [str(tmp_path / "photo.jpg"), "--gpu", "cpu"])
    assert "photo.jpg" in line and "is not a readable image" in line


def test_a_missing_photograph_is_named(refused, tmp_path):
    line = refused(infer.main, [str(tmp_path / "none.jpg")])
    assert "none.jpg" in line and "No such file" in line


def test_a_missing_device_is_refused_with_the_choice_of_cpu(ready, refused, tmp_path):
    folder, _ = ready
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    net = ["--net", str(folder / "deploy.prototxt"), "--weights", "w.caffemodel", "--gpu", "99"]
    line = refused(infer.main, [str(tmp_path / "photo.png"), *net])
    assert "GPU 99 cannot be used" in line and "cpu" in line


def test_an_unknown_variant_is_refused_with_the_list_of_variants(refused):
    line = refused(chain.main, ["voc-fcn4s"])
    assert "voc-fcn4s" in line and "voc-fcn8s" in line


def test_a_program_that_a_user_runs_ends_with_one_error_line(program, ready, tmp_path):
    """solve.py of a variant folder, as a user runs it."""
    folder, weights = ready
    solve = (ROOT / "voc-fcn32s" / "solve.py").read_text()
    solve = solve.replace("../ilsvrc-nets/vgg16-fcn.caffemodel", weights)
    (folder / "solve.py").write_text(solve)
    replace(folder / "train.prototxt", "num_output: 4\n", "num_ouptut: 4\n")
    before = disk(tmp_path)
    result = program("solve.py", "cpu", cwd=folder)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert "num_ouptut" in result.stderr
    check_unchanged(before, disk(tmp_path))


def test_an_environment_variable_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("FCN_TRACEBACK", "1")
    with pytest.raises(ValueError, match="voc-fcn4s"):
        command.run(lambda: chain.main(["voc-fcn4s"]))


def test_without_caffe_a_program_tells_how_to_install_it(capfd):
    def main():
        raise ModuleNotFoundError("No module named 'caffe'", name="caffe")

    with pytest.raises(SystemExit):
        command.run(main)
    assert "run `make setup`" in capfd.readouterr().err
