"""From a folder of pictures to a trained run, with one command."""

import json
import os

import numpy as np
import pytest

from net_gen import VARIANTS
from solvers import available, check, infer, score, snapshots, stage, train
from solvers.caffe_solver import read_solver
from solvers.recipe import SetSize, solver_fields
from solvers.run_record import read_run
from tests.fcn_data import own_folders

OPTIONS = train.Options(variant="fcn16s", width="1/32")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folders of a set and of a run of two stages on it, and the run's scores."""
    root = tmp_path_factory.mktemp("train")
    data = own_folders.write(root / "my set", "cvat", 4)
    out = str(root / "run")
    scores = train.run(data, out, OPTIONS, iters=2, gpu="cpu", line="the command")
    return data, out, scores


def test_a_folder_becomes_a_run_of_all_stages(finished):
    _, out, scores = finished
    assert scores["iteration"] == 2 and scores["images"] == 2 and len(scores["iu"]) == 3
    for name in ("fcn32s", "fcn16s"):
        assert snapshots.latest(os.path.join(out, name, snapshots.PREFIX)).iteration == 2
    solver = read_solver(os.path.join(out, "fcn16s", "solver.prototxt"))
    assert list(solver.test_iter) == [2] and solver.max_iter == 2


def test_run_json_describes_the_run(finished):
    data, out, _ = finished
    record = read_run(out)
    assert record.classes == own_folders.NAMES
    assert record.palette.tolist() == [list(colour) for colour in own_folders.COLOURS]
    assert record.stages == ("fcn32s", "fcn16s") and record.stride == 16
    assert record.channels == 3 and record.order == "BGR" and record.largest == (32, 40)
    assert record.data == {"name": "my set", "folder": data, "train": 2, "val": 2}
    assert record.base == "random" and record.command == "the command"
    with open(os.path.join(out, "check.json"), encoding="utf-8") as file:
        assert json.load(file)["mean"] == list(record.mean)


def test_a_run_skips_pictures_that_cannot_be_read(tmp_path, capfd):
    data = own_folders.write(tmp_path / "set", "cvat", 4)
    damaged = sorted((tmp_path / "set" / "JPEGImages").iterdir())[0]
    damaged.write_bytes(b"no JPEG")
    with pytest.raises(ValueError, match="the check found 1 error"):
        train.run(data, str(tmp_path / "stop"), OPTIONS, iters=1, gpu="cpu")
    options = OPTIONS._replace(on_error="skip", single=True)
    scores = train.run(data, str(tmp_path / "skip"), options, iters=4, gpu="cpu")
    output = capfd.readouterr()
    assert scores["iteration"] == 4 and f"warning: {damaged}" in output.out
    assert f"skipped {damaged.stem} of split" in output.err


def test_the_same_command_does_not_train_a_finished_run_again(finished, monkeypatch):
    data, out, scores = finished
    monkeypatch.setattr(stage, "make_solver", None)
    monkeypatch.setattr(train, "check_set", None)
    assert train.run(data, out, OPTIONS, iters=2, gpu="cpu") == scores


def test_scoring_and_inference_use_the_classes_and_the_mean_of_the_run(finished, capsys):
    data, out, scores = finished
    weights = snapshots.latest(os.path.join(out, "fcn16s", snapshots.PREFIX)).model
    again = score.run(weights=weights, gpu="cpu")
    assert again["mean_iu"] == scores["mean_iu"]
    assert "green" in capsys.readouterr().out
    data_set = available.data_set_of("voc-fcn8s", weights)
    assert data_set.mean == read_run(out).mean
    image = os.path.join(data, "JPEGImages", "scene 0.jpg")
    shares = infer.run(image, weights=weights, out=out, gpu="cpu")
    assert set(shares) <= set(own_folders.NAMES)


def test_another_command_in_the_same_folder_is_refused(finished):
    data, out, _ = finished
    with pytest.raises(ValueError, match=r"run.json: has width '1/32', this command has '1/16'"):
        train.run(data, out, OPTIONS._replace(width="1/16"))
    with pytest.raises(ValueError, match=r"run.json: has data .*name another --out"):
        train.run(os.path.dirname(data), out, OPTIONS)


def test_a_corrected_command_replaces_a_run_whose_first_start_failed(
    finished, tmp_path, monkeypatch, capsys
):
    data, out = finished[0], str(tmp_path / "run")
    names = ",".join(f"class{number}" for number in range(3))
    monkeypatch.setattr(train, "_train", lambda *arguments: {})
    train.run(data, out, OPTIONS, iters=2, gpu="cpu", classes=names)
    options = OPTIONS._replace(variant="fcn32s", solver="momentum: 0.5")
    train.run(data, out, options, iters=2, gpu="cpu", classes=",".join(own_folders.NAMES))
    printed = capsys.readouterr().out
    assert "this command has 'voc-fcn32s'; no snapshot exists, the run starts anew" in printed
    record = read_run(out)
    assert record.stages == ("fcn32s",) and record.classes == own_folders.NAMES
    assert read_solver(os.path.join(out, "fcn32s", "solver.prototxt")).momentum == 0.5


def test_other_class_names_are_refused_and_may_be_left_out(finished, tmp_path, monkeypatch):
    data, out = finished[0], str(tmp_path / "run")
    names = ",".join(f"class{number}" for number in range(3))
    options = OPTIONS._replace(single=True)
    train.run(data, out, options, iters=1, gpu="cpu", classes=names)
    monkeypatch.setattr(train, "_prepare", None)
    with pytest.raises(ValueError, match="has classes 'class0,class1,class2', this command has"):
        train.run(data, out, options, iters=1, gpu="cpu", classes="a,b,c")
    assert train.run(data, out, options, iters=1, gpu="cpu")["iteration"] == 1


def test_errors_of_the_check_stop_the_training_before_anything_is_written(tmp_path):
    data = own_folders.write(tmp_path / "set", "flat", 2)
    with open(os.path.join(data, "class_names.txt"), "w") as file:
        file.write("a\nb\n")
    with pytest.raises(ValueError, match=r"found 1 error, listed above.*the values 2, need 0 to 1"):
        train.run(data, str(tmp_path / "run"), OPTIONS)
    assert not os.path.exists(tmp_path / "run" / "run.json")
    assert not os.path.exists(tmp_path / "run" / "data.json")


def test_ctrl_c_before_the_first_snapshot_leaves_a_snapshot(tmp_path, monkeypatch):
    data = own_folders.write(tmp_path / "set", "flat", 2)
    out, options = str(tmp_path / "run"), OPTIONS._replace(single=True)
    step = stage.Stage.train_iteration

    def interrupted(self):
        if self.iteration == 1:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(stage.Stage, "train_iteration", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(data, out, options, iters=10, gpu="cpu")
    prefix = os.path.join(out, "fcn16s", snapshots.PREFIX)
    assert snapshots.latest(prefix).iteration == 1
    monkeypatch.setattr(stage.Stage, "train_iteration", step)
    assert train.run(data, out, options, iters=2, gpu="cpu")["iteration"] == 2


def test_options_that_make_no_run_are_refused(tmp_path):
    for options, message in (
        (OPTIONS._replace(variant="fcn4s"), "variant is 'fcn4s', needs one of"),
        (OPTIONS._replace(width="0"), "width is '0', needs a fraction"),
        (OPTIONS._replace(weights=str(tmp_path / "w.caffemodel")), "no such file"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            train.run(str(tmp_path), str(tmp_path / "run"), options)


def test_the_papers_rates_follow_the_number_of_pixels():
    size = SetSize(12, 3, 375 * 500 / 4)
    rates = [
        solver_fields(VARIANTS[name], size, 1, True)["base_lr"]
        for name in ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")
    ]
    assert np.allclose(rates, [4e-10, 4e-12, 4e-14])
    fields = solver_fields(VARIANTS["voc-fcn16s"], size, 1, True, lr=2e-9)
    assert np.isclose(fields["base_lr"], 2e-11) and "momentum" not in fields
    assert fields["max_iter"] == 1200 and fields["snapshot"] == 240 and fields["test_iter"] == [3]
    assert solver_fields(VARIANTS["voc-fcn8s"], size, 1, False)["momentum"] == 0.9


def test_the_check_command_writes_the_proposed_labelmap(tmp_path, capsys):
    data = own_folders.write(tmp_path / "set", "cvat", 4)
    os.remove(os.path.join(data, "labelmap.txt"))
    proposal = str(tmp_path / "labelmap.txt")
    with pytest.raises(
        ValueError, match="the check found 1 error, listed above; the first: 4 files"
    ):
        check.main([data, "--propose", proposal])
    assert "error: " in capsys.readouterr().out
    check.main([data, "--labelmap", proposal])
    assert "class 1" in capsys.readouterr().out
