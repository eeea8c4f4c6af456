"""Stages, scores and inference in two processes on the CPU, compared with one process."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.train import meeting
from PIL import Image

import net_gen
from solvers import (
    available,
    collection,
    device,
    infer,
    photograph,
    score,
    snapshots,
    stage,
    workers,
)
from solvers.folders import ROOT, working_folder
from solvers.segmenter import Segmentation, Segmenter
from tests import prefork, tiny

TRAIN = """
import os, signal, sys
import torch
torch.set_num_threads(1)
import caffe
from fcn_common import command
from solvers import stage

def train_or_die(self, train=stage.Stage.train_iteration):
    if str(caffe.solver_rank()) in dying and self.iteration == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    train(self)

folder, weights, dying = sys.argv[1:]
if dying:
    stage.Stage.train_iteration = train_or_die
command.run(lambda: stage.run(folder, weights, gpu="cpu", seed=1))
"""


def together(arguments, cwd, count=2, timeout=150):
    """Run `python ARGUMENTS` in `count` workers; return their exit status, stdout and stderr."""
    env = dict(os.environ, PYTHONPATH=ROOT, WORLD_SIZE=str(count), MASTER_ADDR="localhost")
    env["MASTER_PORT"] = str(meeting.free_port())
    words = [str(argument) for argument in arguments]
    started = [
        prefork.server().start(words, str(cwd), dict(env, RANK=str(rank), LOCAL_RANK=str(rank)))
        for rank in range(count)
    ]
    try:
        ends = [process.wait(timeout) for process in started]
        return [(end.returncode, end.stdout, end.stderr) for end in ends]
    finally:
        for process in started:
            process.kill()


def weights_of(folder, iteration):
    model = os.path.join(folder, "snapshot", f"train_iter_{iteration}.caffemodel")
    net = caffe.Net(os.path.join(folder, "deploy.prototxt"), model, caffe.TEST)
    return [np.array(b.data) for blobs in net.params.values() for b in blobs]


def close(ours, theirs):
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(ours, theirs))


@pytest.fixture(scope="module")
def one(tiny_start, tmp_path_factory):
    """The folder of a stage that one process has trained with iter_size 2."""
    folder = tiny.nets(
        str(tmp_path_factory.mktemp("one") / "voc-fcn32s"), str(tiny_start), iter_size=2
    )
    stage.run(folder, str(tiny_start / "start.caffemodel"), gpu="cpu", seed=1)
    return folder


def train(folder, tiny_start, dying=""):
    return together(["-c", TRAIN, folder, tiny_start / "start.caffemodel", dying], tiny_start)


def records(folder):
    return snapshots.read_records(os.path.join(folder, "snapshot"))


def same_scores(ours, theirs):
    assert ours.keys() == theirs.keys()
    for iteration in ours:
        for name, value in theirs[iteration].items():
            pair = np.array([ours[iteration][name], value], float)
            assert np.allclose(*pair, rtol=1e-4, equal_nan=True), name


@pytest.mark.long
def test_a_stage_in_two_processes_equals_a_stage_with_iter_size_2(one, tiny_start, tiny_stage):
    folder = tiny_stage()
    ended = train(folder, tiny_start)
    assert [status for status, _, _ in ended] == [0, 0], "\n".join(e for *_, e in ended)
    assert close(weights_of(folder, 4), weights_of(one, 4))
    same_scores(records(folder), records(one))
    assert "mean_iu" in ended[0][1] and not ended[1][1]
    files = sorted(os.listdir(os.path.join(folder, "snapshot")))
    assert files == sorted(os.listdir(os.path.join(one, "snapshot")))


@pytest.mark.long
def test_a_stage_continues_after_the_death_of_a_worker(one, tiny_start, tiny_stage):
    folder = tiny_stage()
    (status, _, err), (killed, _, _) = train(folder, tiny_start, dying="1")
    assert (status, killed) == (1, -signal.SIGKILL)
    assert err.strip().splitlines()[-1] == (
        "error: worker 1 died, so all 2 workers end; continue from snapshot/train_iter_3"
    )
    kept = snapshots.complete(os.path.join(folder, "snapshot", "train"))
    assert [s.iteration for s in kept] == [2, 3]
    ended = train(folder, tiny_start)
    assert [status for status, _, _ in ended] == [0, 0], "\n".join(e for *_, e in ended)
    assert "continues from snapshot/train_iter_3.solverstate" in ended[0][1]
    assert close(weights_of(folder, 4), weights_of(one, 4))
    assert records(folder)[4]["mean_iu"] == pytest.approx(records(one)[4]["mean_iu"], rel=1e-4)


@pytest.mark.parametrize(
    ("dying", "last"),
    [
        pytest.param("", 2, id="ended"),
        pytest.param("1", 3, id="one-killed"),
        pytest.param("0", 3, id="first-killed", marks=pytest.mark.slow),
        pytest.param("01", 2, id="both-killed", marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_a_resumed_stage_of_two_workers_has_the_dropout_of_an_uninterrupted_one(
    tiny_start, tmp_path, dying, last
):
    """Bit for bit: the last snapshot has the random numbers of both workers."""
    data = {"sbdd_dir": str(tiny_start / "sbdd"), "voc_dir": str(tiny_start / "voc")}
    fields = {"max_iter": 4, "snapshot": 2, "base_lr": 1e-6, "momentum": 0.9, "display": 1}
    fields["average_loss"] = 3
    folders = [str(tmp_path / name / "voc-fcn32s") for name in ("one", "two")]
    for folder in folders:
        fields["test_iter"] = [tiny.VAL]
        net_gen.generate("voc-fcn32s", folder, fields, width=tiny.WIDTH, seed=3, **data)
    ended = train(folders[0], tiny_start)
    assert [status for status, _, _ in ended] == [0, 0], "\n".join(e for *_, e in ended)
    snapshot = os.path.join(folders[1], "snapshot")
    if dying:
        train(folders[1], tiny_start, dying=dying)
        assert snapshots.complete(f"{snapshot}/train")[-1].iteration == last
    else:
        os.mkdir(snapshot)
        for name in ("caffemodel", "solverstate", "resume.json"):
            shutil.copy(f"{folders[0]}/snapshot/train_iter_2.{name}", snapshot)
    with open(os.path.join(snapshot, f"train_iter_{last}.resume.json")) as file:
        values = json.load(file)
    worker = values["workers"]["1"]
    assert worker["random"]["twister"] != values["solver"]["random"]["twister"]
    ended = train(folders[1], tiny_start)
    assert [status for status, _, _ in ended] == [0, 0], "\n".join(e for *_, e in ended)
    one, two = (weights_of(folder, 4) for folder in folders)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    if dying == "1":  # The averages of worker 0, which writes the table, die with it.
        tables = [Path(folder, "snapshot", "loss.csv").read_text() for folder in folders]
        assert tables[0] == tables[1] and tables[0].count("\n") == 5


@pytest.mark.slow
def test_torchrun_trains_a_variant_folder(one, tiny_start, tiny_stage):
    folder = tiny_stage()
    script = os.path.join(folder, "solve.py")
    with open(os.path.join(ROOT, "voc-fcn32s", "solve.py")) as file:
        text = file.read()
    published = "../ilsvrc-nets/vgg16-fcn.caffemodel"
    assert published in text
    with open(script, "w") as file:
        file.write(text.replace(published, str(tiny_start / "start.caffemodel")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = subprocess.run(
        [*command, script, "cpu"],
        env=dict(os.environ, PYTHONPATH=ROOT, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("mean IU") == 1
    kept = snapshots.complete(os.path.join(folder, "snapshot", "train"))
    assert [s.iteration for s in kept] == [2, 4]


@pytest.fixture
def as_worker(monkeypatch):
    """Makes this process worker `rank` of `count`: `as_worker(rank, count)`."""

    def make(rank, count):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(count))

    return make


def drawn(folder, count, phase=None):
    """The images that a data layer draws in `count` passes, and the one after `count` more."""
    with working_folder(folder):
        prototxt = "val.prototxt" if phase == caffe.TEST else "train.prototxt"
        net = caffe.Net(prototxt, caffe.TRAIN if phase is None else phase)
        layer = net.layers[0]
        images = []
        for _ in range(count):
            images.append(layer.indices[layer.idx])
            net.forward(end="data")
        layer.skip(count)
        return [*images, layer.indices[layer.idx]]


def test_workers_together_draw_the_images_of_a_single_process(tiny_stage, as_worker):
    folder = tiny_stage()
    alone = drawn(folder, 12)
    for rank in range(3):
        as_worker(rank, 3)
        assert drawn(folder, 2)[:2] == alone[:6][rank::3]
        # Two passes and two skipped passes are 12 draws of the three workers; 12 + rank is next.
        assert drawn(folder, 2)[2] == drawn_at(folder, 12 + rank)


def drawn_at(folder, number):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RANK")
        patch.delenv("WORLD_SIZE")
        with working_folder(folder):
            layer = caffe.Net("train.prototxt", caffe.TRAIN).layers[0]
            layer.skip(number)
            return layer.indices[layer.idx]


def test_each_worker_reads_every_image_in_the_test_phase(tiny_stage, as_worker):
    folder = tiny_stage()
    alone = drawn(folder, tiny.VAL, caffe.TEST)
    as_worker(1, 2)
    assert drawn(folder, tiny.VAL, caffe.TEST) == alone


@pytest.mark.parametrize("total, count", [(7, 3), (2, 2), (1, 4), (736, 8)])
def test_the_shares_of_the_workers_cover_each_item_once(as_worker, total, count):
    items = []
    for rank in range(count):
        as_worker(rank, count)
        first, size = workers.share(total)
        items += range(first, first + size)
    assert items == list(range(total))


def test_a_device_number_for_several_workers_is_refused(as_worker):
    as_worker(0, 2)
    with pytest.raises(ValueError, match="GPU 0 cannot be used: each of 2 workers needs a device"):
        device.use(0)
    assert device.use("cpu") == "the CPU (as requested), worker 0 of 2"


def test_more_workers_than_devices_are_refused(as_worker, monkeypatch):
    as_worker(1, 2)
    monkeypatch.setattr(device, "devices", lambda: ["a GPU"])
    monkeypatch.setattr(device, "probe", lambda code: "found 1 CUDA device")
    with pytest.raises(ValueError, match="worker 1 of 2: found 1 CUDA device; start as many"):
        device.use()


def test_the_score_command_refuses_several_workers(as_worker):
    as_worker(0, 2)
    with pytest.raises(ValueError, match="2 workers: this command scores a net in one process"):
        score.main(["--gpu", "cpu"])


@pytest.fixture(scope="module")
def net(one):
    """The options that name the net and the weights of the stage `one`."""
    return ["--net", os.path.join(one, "deploy.prototxt"), "--weights", available.weights_of(one)]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(5):
        pixels = np.random.RandomState(i).randint(0, 256, (20 + 4 * (i % 2), 30 + i, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"photo{i}.png")
    (folder / "notes.md").write_text("not a photograph")
    return folder


def pictures(folder):
    return sorted(n for n in os.listdir(folder) if n.endswith(".png"))


def test_two_workers_write_the_pictures_that_one_process_writes(net, photos, tmp_path):
    infer.main([str(photos), *net, "--gpu", "cpu", "--out", str(tmp_path / "one")])
    arguments = ["-m", "solvers.infer", photos, *net, "--gpu", "cpu", "--out", tmp_path / "two"]
    ended = together(arguments, tmp_path)
    assert [status for status, _, _ in ended] == [0, 0], "\n".join(e for *_, e in ended)
    assert "worker 0 of 2: 3 photographs, 0 done already" in ended[0][1]
    assert "worker 1 of 2: 2 photographs, 0 done already" in ended[1][1]
    names = pictures(tmp_path / "one")
    assert len(names) == 10 and pictures(tmp_path / "two") == names
    same = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False)
    assert same == (names, [], [])


def options(net, out):
    return {"net": net[1], "weights": net[3], "out": str(out), "gpu": "cpu"}


def test_a_second_run_segments_only_the_missing_pictures(net, photos, tmp_path):
    out = tmp_path / "out"
    assert len(infer.run_collection([str(photos)], **options(net, out))) == 5
    before = {name: (out / name).read_bytes() for name in pictures(out)}
    os.remove(out / "photo2_labels.png")
    os.utime(out / "photo1_labels.png", (1, 1))
    assert infer.run_collection([str(photos)], **options(net, out)) == [str(photos / "photo2.png")]
    assert os.path.getmtime(out / "photo1_labels.png") == 1
    assert {name: (out / name).read_bytes() for name in pictures(out)} == before


def test_photographs_in_a_list_are_relative_to_the_list(net, photos, tmp_path):
    (photos / "some.txt").write_text("photo3.png\n\nphoto0.png\n")
    paths = infer.collect([str(photos / "some.txt")])
    assert [os.path.basename(p) for p in paths] == ["photo3.png", "photo0.png"]


def test_an_unreadable_photograph_is_skipped(net, photos, tmp_path, capsys):
    (photos / "photo1.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="photo1.png: cannot be segmented"):
        infer.run_collection([str(photos)], **options(net, tmp_path / "out"))
    assert "skipped: " in capsys.readouterr().err
    assert len(pictures(tmp_path / "out")) == 8


def test_pictures_of_other_weights_are_refused(net, photos, tmp_path):
    infer.run_collection([str(photos)], **options(net, tmp_path / "out"))
    record = tmp_path / "out" / collection.RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), "weights": "other"}))
    with pytest.raises(ValueError, match="has pictures made with weights other, not"):
        infer.run_collection([str(photos)], **options(net, tmp_path / "out"))


def test_a_collection_with_equal_names_or_without_photographs_is_refused(photos, tmp_path):
    Image.open(photos / "photo1.png").save(tmp_path / "photo1.png")
    with pytest.raises(ValueError, match="its pictures would have the names of those of"):
        infer.collect([str(photos), str(tmp_path / "photo1.png")])
    with pytest.raises(FileNotFoundError, match="none.jpg: no such file"):
        infer.collect([str(tmp_path / "none.jpg"), str(photos)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no photographs"):
        infer.collect([str(tmp_path / "empty")])


def test_a_photograph_is_segmented_while_the_next_is_read_and_the_last_is_written(
    net, photos, tmp_path, monkeypatch
):
    read, written = [threading.Event() for _ in range(5)], [threading.Event() for _ in range(5)]
    shapes = []
    real_read, real_write = Segmenter.read, photograph.save_pictures

    def reading(self, path):
        image = real_read(self, path)
        read[int(path[-5])].set()
        return image

    def writing(files, *picture):
        real_write(files, *picture)
        written[int(files.stem[-1])].set()

    def segmenting(self, image, store):
        i = len(shapes)
        shapes.append(image.shape)
        assert i == 4 or read[i + 1].wait(20)
        assert i < 2 or written[i - 2].is_set()
        assert i == 0 or written[i - 1].wait(20)
        return Segmentation((np.zeros(image.shape[:2], np.uint8),))

    monkeypatch.setattr(Segmenter, "read", reading)
    monkeypatch.setattr(photograph, "save_pictures", writing)
    monkeypatch.setattr(Segmenter, "segment", segmenting)
    infer.run_collection([str(photos)], **options(net, tmp_path / "out"))
    assert len(pictures(tmp_path / "out")) == 10 and len(shapes) == 5


@pytest.mark.parametrize("failing", [0, 4])
def test_a_picture_that_cannot_be_written_ends_the_run(net, photos, tmp_path, monkeypatch, failing):
    real = photograph.save_pictures

    def writing(files, *picture):
        if files.stem == f"photo{failing}":
            raise OSError("disk full")
        real(files, *picture)

    monkeypatch.setattr(photograph, "save_pictures", writing)
    with pytest.raises(OSError, match="disk full"):
        infer.run_collection([str(photos)], **options(net, tmp_path / "out"))
    assert len(pictures(tmp_path / "out")) == 2 * failing
