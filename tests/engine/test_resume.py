"""A resumed training is the uninterrupted one, bit for bit: weights, files and log."""

from __future__ import annotations

import json
import re
import shutil

import cv2
import h5py
import numpy as np
import pytest
from caffe import files, launch
from caffe.__main__ import main
from caffe.errors import FileError
from caffe.tools import convert_imageset
from caffe.train import snapshots

from tests.engine import nets
from tests.engine.nets import write

SOURCES = {
    "Data": "data_param { source: 'db' batch_size: 2 backend: LMDB prefetch: 3 } "
    "transform_param { crop_size: 3 mirror: true scale: 0.01 }",
    "ImageData": "image_data_param { source: 'list.txt' batch_size: 2 shuffle: true rand_skip: 3 } "
    "transform_param { crop_size: 3 mirror: true scale: 0.01 }",
    "DenseImageData": "dense_image_data_param { source: 'pairs.txt' batch_size: 2 shuffle: true } "
    "transform_param { crop_size: 2 mirror: true scale: 0.01 }",
    "HDF5Data": "hdf5_data_param { source: 'files.txt' batch_size: 2 shuffle: true }",
    "Python": "python_param { module: 'drawn_layer' layer: 'Drawn' }",
}
NET = """
layer {{ name: 'd' type: '{kind}' top: 'x' top: 'y' {source} }}
layer {{ name: 'drop' type: 'Dropout' bottom: 'x' top: 'z' }}
layer {{ name: 'conv' type: 'Convolution' bottom: 'z' top: 's' convolution_param {{
  num_output: 7 {window} weight_filler {{ type: 'gaussian' std: 0.1 }} }} }}
layer {{ name: 'loss' type: 'SoftmaxWithLoss' bottom: 's' bottom: 'y' top: 'loss' }}
"""
#: Every field of a solver that the log or the weights depend on after a resumption.
SOLVER = """
net: 'net.prototxt' base_lr: 0.05 momentum: 0.9 lr_policy: 'step' gamma: 0.5 stepsize: 3 max_iter: 7
snapshot: 4 snapshot_prefix: '{prefix}' display: 1 average_loss: 3 iter_size: 2
test_iter: 2 test_interval: 4 random_seed: {seed}
"""
LAYER = """
import random
import caffe

class Drawn(caffe.Layer):
    def setup(self, bottom, top):
        self.random = random.Random()
        top[0].reshape(2, 3, 3, 3)
        top[1].reshape(2, 1, 1, 1)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        top[0].data.flat[:] = [self.random.random() for _ in range(54)]
        top[1].data[...] = self.random.randrange(7)

    def resume_state(self):
        return self.random.getstate()

    def set_resume_state(self, values):
        self.random.setstate((values[0], tuple(values[1]), values[2]))
"""


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Enters a folder with seven images, as lists, a database, HDF5 files and a Python layer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    rng = np.random.RandomState(1)
    for i in range(7):
        cv2.imwrite(f"{i}.png", rng.randint(0, 255, (4, 5, 3), np.uint8))
        cv2.imwrite(f"{i}l.png", rng.randint(0, 7, (4, 5), np.uint8))
    write(tmp_path, "".join(f"{i}.png {i}\n" for i in range(7)), "list.txt")
    write(tmp_path, "".join(f"{i}.png {i}l.png\n" for i in range(7)), "pairs.txt")
    assert convert_imageset.main(["./", "list.txt", "db"]) == 0
    for name in "ab":
        with h5py.File(f"{name}.h5", "w") as file:
            file["x"] = rng.rand(5, 3, 3, 3).astype(np.float32)
            file["y"] = rng.randint(0, 7, (5, 1, 1, 1)).astype(np.float32)
    write(tmp_path, "a.h5\nb.h5\n", "files.txt")
    write(tmp_path, LAYER, "drawn_layer.py")
    return tmp_path


def train(folder, prefix, seed, *flags):
    """Run `caffe train` with the snapshots PREFIX_iter_N."""
    write(folder, SOLVER.format(prefix=prefix, seed=seed), f"{prefix}.prototxt")
    assert main(["train", f"-solver={prefix}.prototxt", "-gpu=", "-minloglevel=0", *flags]) == 0


def progress_lines(text):
    """The lines of a log from iteration 4 on, without times and without names of snapshots."""
    lines = [line.split("] ", 1)[-1] for line in text.splitlines()]
    start = max(i for i, line in enumerate(lines) if line.startswith("Iteration 4, Testing"))
    kept = [re.sub(r" \(.*iters\)", "", line) for line in lines[start:]]
    return [line for line in kept if "napshotting" not in line]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_resumed_training_is_the_uninterrupted_one(sources, kind, capfd):
    window = "kernel_size: 1" if kind == "DenseImageData" else "kernel_size: 3"
    write(sources, NET.format(kind=kind, source=SOURCES[kind], window=window))
    train(sources, "one", 3)
    expected = progress_lines(capfd.readouterr().err)
    for suffix in ("caffemodel", "solverstate", "resume.json"):
        shutil.copy(f"one_iter_4.{suffix}", f"two_iter_4.{suffix}")
    # Another seed: all that is random comes from the snapshot.
    train(sources, "two", 99, "-snapshot=two_iter_4.solverstate")
    assert progress_lines(capfd.readouterr().err) == expected
    assert "Train net output" in "".join(expected) and "Test net output" in "".join(expected)
    for suffix in ("caffemodel", "solverstate", "resume.json"):
        one, two = ((sources / f"{p}_iter_7.{suffix}").read_bytes() for p in ("one", "two"))
        assert one.replace(b"one_iter", b"two_iter") == two, suffix


def test_a_plateau_of_the_loss_goes_on(sources, monkeypatch, capfd):
    """The .solverstate has the drops of the learning rate, but not the minimum of the loss."""
    policy = "lr_policy: 'plateau' plateau_winsize: 3 plateau_winsize: 1"
    text = SOLVER.replace("lr_policy: 'step'", policy).replace("stepsize: 3", "")
    monkeypatch.setitem(globals(), "SOLVER", text.replace("base_lr: 0.05", "base_lr: 0"))
    test_a_resumed_training_is_the_uninterrupted_one(sources, "HDF5Data", capfd)
    values = json.loads((sources / "one_iter_4.resume.json").read_text())
    assert values["solver"]["plateau"][0] > 0


def restored(folder, base="snap_iter_2"):
    solver = nets.solver(folder)
    solver.restore(str(folder / f"{base}.solverstate"))
    return solver


@pytest.fixture
def snapshot(tmp_path):
    """A folder with a snapshot of iteration 2, and the solver that wrote the snapshot."""
    solver = nets.solver(tmp_path)
    solver.net.blobs["data"].data[...] = 1
    solver.step(2)
    solver.snapshot()
    return tmp_path, solver


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "there is no"),
        (lambda path: path.write_text("{"), "resume.json Expecting"),
        (lambda path: path.write_text('{"version": 2, "iteration": 2}'), "is version 2"),
        (lambda path: path.write_text('{"version": 1, "iteration": 2}'), "lacks 'solver'"),
    ],
)
def test_a_snapshot_without_its_resume_file_resumes_with_a_warning(
    snapshot, change, reason, capfd, monkeypatch
):
    folder, solver = snapshot
    change(folder / "snap_iter_2.resume.json")
    monkeypatch.setenv("GLOG_minloglevel", "1")
    again = restored(folder)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and reason in lines[0] and "start anew" in lines[0]
    assert again.iter == 2 and nets.same_weights(again.net, solver.net)


def test_the_resume_file_of_another_snapshot_is_not_used(snapshot, capfd, monkeypatch):
    folder, solver = snapshot
    solver.step(1)
    solver.iter = 2
    kept = (folder / "snap_iter_2.resume.json").read_bytes()
    solver.snapshot()
    (folder / "snap_iter_2.resume.json").write_bytes(kept)
    monkeypatch.setenv("GLOG_minloglevel", "1")
    restored(folder)
    assert "belongs to another snapshot" in capfd.readouterr().err


def test_keys_of_other_programs_stay_in_the_resume_file(snapshot):
    folder, solver = snapshot
    path = folder / "snap_iter_2.resume.json"
    path.write_text(json.dumps({"version": 1, "iteration": 2, "notes": [1]}))
    solver.snapshot()
    values = json.loads(path.read_text())
    assert values["notes"] == [1] and values["solver"]["random"]["twister"]
    path.write_text(json.dumps({"version": 1, "iteration": 1, "notes": [1]}))
    solver.snapshot()
    assert "notes" not in json.loads(path.read_text())


def test_the_resume_file_has_the_progress_of_each_worker(snapshot):
    folder, solver = snapshot
    launch.set_solver_count(2)
    launch.set_solver_rank(1)
    other = solver.progress_text()
    launch.set_solver_rank(0)
    solver.keep_progress([solver.progress_text(), other])
    solver.write_snapshot()
    values = json.loads((folder / "snap_iter_2.resume.json").read_text())
    assert values["solver"]["worker"] == 0
    assert values["workers"] == {"1": {**json.loads(other), "history": values["solver"]["history"]}}


def test_the_progress_of_other_workers_belongs_to_one_iteration(snapshot):
    folder, solver = snapshot
    launch.set_solver_count(2)
    solver.keep_progress([solver.progress_text()] * 2)
    solver.iter = 3
    solver.write_snapshot()
    assert "workers" not in json.loads((folder / "snap_iter_3.resume.json").read_text())


@pytest.mark.parametrize(
    ("count", "rank", "reason"),
    [
        (3, 0, "is of 1 workers, and this training has 3"),
        (3, 1, "lacks 'workers', as after another Caffe or the loss of a worker"),
    ],
)
def test_another_number_of_workers_resumes_with_a_warning(
    snapshot, capfd, monkeypatch, count, rank, reason
):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    launch.set_solver_count(count)
    launch.set_solver_rank(rank)
    restored(snapshot[0])
    assert reason in capfd.readouterr().err


def test_a_mean_of_losses_starts_anew_after_a_call_of_step(tmp_path):
    """As in BVLC Caffe, and so after a snapshot between two calls."""
    solver = nets.solver(tmp_path, "average_loss: 5")
    solver.net.blobs["data"].data[...] = 1
    solver.step(3)
    solver.snapshot()
    values = json.loads((tmp_path / "snap_iter_3.resume.json").read_text())
    assert values["solver"]["losses"] is None


def test_a_snapshot_removes_what_a_killed_snapshot_left(snapshot, monkeypatch):
    folder, solver = snapshot
    monkeypatch.setattr(files, "_ABANDONED", 0)
    rest = folder / ".snap_iter_1.caffemodel.0123abcd.partial"
    other = folder / ".other_iter_1.caffemodel.0123abcd.partial"
    for path in (rest, other):
        path.write_bytes(b"half")
    with files.atomic(folder / "snap_iter_9.caffemodel"):
        solver.snapshot()
        assert len(list(folder.glob(".snap_iter_9*"))) == 1, "a process writes the file"
    assert not rest.exists() and other.exists()


def test_a_run_that_is_at_its_end_removes_what_a_killed_snapshot_left(snapshot, monkeypatch):
    folder, solver = snapshot
    monkeypatch.setattr(files, "_ABANDONED", 0)
    rest = folder / ".snap_iter_2.caffemodel.0123abcd.partial"
    rest.write_bytes(b"half")
    solver.param.max_iter = solver.iter
    solver.solve()
    assert not rest.exists()


def test_a_recurrent_layer_continues_its_hidden_state(tmp_path):
    text = (
        "layer { name: 'i' type: 'Input' top: 'x' top: 'c' input_param {"
        " shape { dim: 2 dim: 1 dim: 3 } shape { dim: 2 dim: 1 } } }"
        "layer { name: 'r' type: 'LSTM' bottom: 'x' bottom: 'c' top: 'h' recurrent_param {"
        " num_output: 2 weight_filler { type: 'uniform' min: -1 max: 1 } } }"
    )
    first, second = (nets.build(tmp_path, text) for _ in range(2))
    second.share_with(first)
    for net in (first, second):
        for blob in net.blobs.values():
            blob.data[...] = 1
    first.forward()
    state = json.loads(json.dumps(first.layer_dict["r"].resume_state()))
    second.layer_dict["r"].set_resume_state(state)
    expected = first.forward()["h"].copy()
    assert np.array_equal(second.forward()["h"], expected)
    fresh = nets.build(tmp_path, text)
    assert fresh.layer_dict["r"].resume_state() is None


def test_a_snapshot_that_cannot_be_written_leaves_no_resume_file(snapshot, monkeypatch):
    folder, solver = snapshot

    def fail(*arguments):
        raise FileError("snap: cannot be written: No space left on device")

    monkeypatch.setattr(snapshots, "write", fail)
    for iteration in (2, 3):  # The first has a state on disk, to which its file belongs.
        solver.iter = iteration
        with pytest.raises(FileError, match="No space left"):
            solver.snapshot()
    assert [(folder / f"snap_iter_{n}.resume.json").exists() for n in (2, 3)] == [True, False]


def test_a_snapshot_of_an_interrupted_iteration_has_no_resume_file(snapshot, capfd, monkeypatch):
    """The data and the random numbers of that iteration are gone, so nothing could be exact."""
    folder, solver = snapshot
    monkeypatch.setattr(
        solver.net.executor, "step", lambda fresh: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        solver.step(1)
    solver.snapshot()
    assert not (folder / "snap_iter_2.resume.json").exists()
    monkeypatch.setenv("GLOG_minloglevel", "1")
    restored(folder)
    assert "there is no" in capfd.readouterr().err
