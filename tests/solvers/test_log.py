from __future__ import annotations

import errno
import inspect
import io
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from fcn_common.progress import ProgressBar
from solvers import by_products, events, log, workers


def scalars(folder):
    """Tag, step and value of each number in the folder's events, in their order."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    values = []
    for path in events.files(str(folder / "events")):
        for _, record in events.records(path):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                number = pytest.approx(value.simple_value, rel=1e-6)
                values.append((value.tag, event.step, number))
    return values


class FullDisk:
    """Makes every write into a file fail while `full` is true, after half of its bytes."""

    def __init__(self, monkeypatch):
        self.full, real = True, os.pwrite

        def pwrite(handle, data, offset):
            if self.full and len(data) > 1:
                real(handle, data[: len(data) // 2], offset)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(handle, data, offset)

        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(by_products, "_warned", set())


def test_a_continued_log_drops_what_came_after_the_snapshot(tmp_path):
    with log.Log(str(tmp_path)) as first:
        for iteration in (0, 20, 40):
            first.train(iteration, 1.0 + iteration, 1e-10, {"loss": 2.0})
            if iteration:
                first.test(iteration, {"mean_iu": iteration / 200})
    with log.Log(str(tmp_path), 40, scored={20}) as second:
        second.train(40, 7.0, 1e-10, {"loss": 2.0}, 0.5)
        second.test(40, {"mean_iu": 0.3})
    rows = log.losses(str(tmp_path / "loss.csv"))
    assert [(r["iteration"], r["loss"]) for r in rows] == [(0, 1.0), (20, 21.0), (40, 7.0)]
    assert rows[0]["lr"] == 1e-10 and rows[2]["pixel_loss"] == 0.5
    text = (tmp_path / "train.log").read_text()
    assert re.findall(r"Iteration (\d+), loss = (\d+)", text) == [
        ("0", "1"),
        ("20", "21"),
        ("40", "7"),
    ]
    assert re.findall(r"mean_iu = (\S+)", text) == ["0.1", "0.3"]
    assert scalars(tmp_path) == [
        *[
            (f"train/{k}", n, v)
            for n, loss in ((0, 1), (20, 21))
            for k, v in (("loss", loss), ("lr", 1e-10))
        ],
        ("test/mean_iu", 20, 0.1),
        ("train/loss", 40, 7),
        ("train/lr", 40, 1e-10),
        ("train/pixel_loss", 40, 0.5),
        ("test/mean_iu", 40, 0.3),
    ]


def test_a_truncated_row_of_a_loss_table_is_skipped(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("iteration,loss,lr\n0,3.5,0.1\n20,3.")
    (row,) = log.losses(str(path))
    assert (row["iteration"], row["loss"], row["lr"]) == (0, 3.5, 0.1)
    assert log.losses(str(tmp_path / "none.csv")) == []


def test_tensorboard_events_have_the_losses_and_the_scores(tmp_path):
    pytest.importorskip("tensorboardX")
    with log.Log(str(tmp_path)) as run:
        run.train(0, 3.0, 1e-10, {"loss": 3.0})
        run.test(4, {"mean_iu": 0.5})
    events = b"".join(p.read_bytes() for p in (tmp_path / "events").iterdir())
    assert b"train/loss" in events and b"test/mean_iu" in events


def test_a_missing_tensorboard_is_reported_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with log.Log(str(tmp_path)) as run:
        run.train(0, 3.0, 1e-10, {"loss": 3.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "tensorboardX is not installed" in lines[0]
    assert log.losses(str(tmp_path / "loss.csv")) and not (tmp_path / "events").exists()


def test_only_the_first_worker_writes_a_log(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "rank", lambda: 1)
    with log.open_log(str(tmp_path / "snapshot")) as run:
        run.line("a line")
        run.train(0, 3.0, 1e-10, {"loss": 3.0})
        run.test(0, {"loss": 3.0})
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_worker_shows_a_progress_bar(monkeypatch, capsys):
    monkeypatch.setattr(workers, "rank", lambda: 1)
    with workers.progress_bar(2, "training") as bar:
        bar.update(note="loss 2")
        bar.write("a line of results")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("silent", "real"), [(log.NoLog, log.Log), (workers.HiddenBar, ProgressBar)]
)
def test_the_silent_log_and_bar_have_the_methods_of_the_real_ones(silent, real):
    """A misspelt call fails on every worker, not only on the first."""

    def signatures(kind):
        methods = {n: f for n, f in vars(kind).items() if inspect.isfunction(f) and n[:1] != "_"}
        return {name: list(inspect.signature(f).parameters) for name, f in methods.items()}

    assert signatures(silent) == signatures(real)


def test_a_full_disk_costs_a_warning_for_each_file_and_no_row(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboardX")
    disk = FullDisk(monkeypatch)
    with log.Log(str(tmp_path)) as run:
        for iteration in range(3):
            disk.full = iteration < 2
            run.train(iteration, 3.0, 0.5, {"loss": 3.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("No space left" in line for line in lines)
    assert [row["iteration"] for row in log.losses(str(tmp_path / "loss.csv"))] == [0, 1, 2]
    assert [value[:2] for value in scalars(tmp_path)] == [
        (f"train/{name}", n) for n in range(3) for name in ("loss", "lr")
    ]
    text = (tmp_path / "train.log").read_text()
    assert re.findall(r"Iteration (\d+), loss", text) == ["0", "1", "2"]


def test_a_disk_that_stays_full_leaves_complete_rows(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    with log.Log(str(tmp_path)) as run:
        run.train(0, 3.0, 0.5, {"loss": 3.0})
        FullDisk(monkeypatch)
        run.train(1, 3.0, 0.5, {"loss": 3.0})
    assert (tmp_path / "loss.csv").read_text().endswith("0,3,0.5,nan\n")
    assert [value[:2] for value in scalars(tmp_path)] == [("train/loss", 0), ("train/lr", 0)]


@pytest.mark.parametrize("after", ["os.pwrite", "before os.pwrite"])
def test_an_interrupt_in_a_write_neither_loses_nor_doubles_a_row(tmp_path, monkeypatch, after):
    real, interrupts = os.pwrite, [True]

    def pwrite(handle, data, offset):
        if interrupts and after != "os.pwrite":
            interrupts.pop()
            raise KeyboardInterrupt
        count = real(handle, data, offset)
        if interrupts:
            interrupts.pop()
            raise KeyboardInterrupt
        return count

    file = by_products.AppendedFile(str(tmp_path / "table"))
    file.append(b"0\n")
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(KeyboardInterrupt):
        file.append(b"1\n")
    file.append(b"2\n")
    file.close()
    assert (tmp_path / "table").read_bytes() == b"0\n1\n2\n"


def test_a_folder_that_cannot_be_written_costs_warnings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(by_products, "_warned", set())
    (tmp_path / "file").write_text("")
    with log.Log(str(tmp_path / "file" / "snapshot")) as run:
        run.train(0, 3.0, 0.5, {"loss": 3.0})
        run.test(0, {"mean_iu": 0.5}, {"a": np.zeros((2, 3, 3), np.uint8)})
        run.sync()
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("warning: ") for line in lines)
    assert len(lines) == len(set(lines))


def test_events_that_an_older_version_wrote_are_continued(tmp_path):
    """Older versions wrote with tensorboardX, and a killed one leaves half a record."""
    tensorboard = pytest.importorskip("tensorboardX")
    with tensorboard.SummaryWriter(str(tmp_path / "events")) as writer:
        for step in range(3):
            writer.add_scalar("train/loss", float(step), step)
    (path,) = events.files(str(tmp_path / "events"))
    with open(path, "ab") as file:
        file.write(b"half a record")
    with log.Log(str(tmp_path), 2) as run:
        run.train(2, 7.0, 0.5, {"loss": 7.0})
    assert scalars(tmp_path) == [
        ("train/loss", 0, 0),
        ("train/loss", 1, 1),
        ("train/loss", 2, 7),
        ("train/lr", 2, 0.5),
    ]


def test_tensorboard_reads_the_pictures_of_a_scoring(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    picture = np.full((4, 9, 3), (255, 0, 0), np.uint8)
    with log.Log(str(tmp_path)) as run:
        run.test(5, {}, {"photo 1": picture})
    (path,) = events.files(str(tmp_path / "events"))
    first, second = (event_pb2.Event.FromString(record) for _, record in events.records(path))
    assert first.file_version == "brain.Event:2"
    (value,) = second.summary.value
    assert (value.tag, second.step) == ("samples/photo 1", 5)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as image:
        assert np.array_equal(np.asarray(image), picture)


def test_a_run_that_was_killed_before_its_first_row_gets_a_heading(tmp_path):
    (tmp_path / "events").mkdir()
    for name in ("loss.csv", "train.log", "events/events.out.tfevents.1.host"):
        (tmp_path / name).write_text("")
    with log.Log(str(tmp_path)) as run:
        run.train(0, 3.0, 0.5, {"loss": 3.0})
    assert [row["iteration"] for row in log.losses(str(tmp_path / "loss.csv"))] == [0]
    assert not (tmp_path / "events/events.out.tfevents.1.host").exists()
