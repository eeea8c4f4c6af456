from __future__ import annotations

import sys

import pytest

from solvers import log


def test_a_bar_in_a_file_is_a_line_now_and_then(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(log.time, "time", lambda: now[0])
    with log.Bar(100, "training") as bar:
        for _ in range(50):
            now[0] += 1
            bar.update("loss 2")
        bar.write("a line of results")
    out, err = capsys.readouterr()
    assert out == "a line of results\n"
    assert err.splitlines()[0] == "training: 21/100, 1/s, 79 s left, loss 2"
    assert len(err.splitlines()) == 3, "after 21 and 42 s, and at the end"


def test_a_short_bar_in_a_file_says_nothing(capsys):
    assert list(log.progress(range(3), 3, "short")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal_shows_the_loss(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with log.Bar(2, "training", 1) as bar:
        bar.update("loss 2.5")
    err = capsys.readouterr().err
    assert "training" in err and "2/2" in err and "loss 2.5" in err


def test_a_continued_log_drops_what_came_after_the_snapshot(tmp_path):
    with log.Log(str(tmp_path)) as first:
        for iteration in (0, 20, 40):
            first.train(iteration, 1.0 + iteration, 1e-10, {"loss": 2.0})
    with log.Log(str(tmp_path), 20) as second:
        second.train(40, 7.0, 1e-10, {"loss": 2.0})
    rows = log.losses(str(tmp_path / "loss.csv"))
    assert [(r["iteration"], r["loss"]) for r in rows] == [(0, 1.0), (20, 21.0), (40, 7.0)]
    assert rows[0]["lr"] == 1e-10


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("iteration,loss,lr\n0,3.5,0.1\n20,3.")
    assert log.losses(str(path)) == [{"iteration": 0, "loss": 3.5, "lr": 0.1}]
    assert log.losses(str(tmp_path / "none.csv")) == []


def test_tensorboard_reads_the_events(tmp_path):
    pytest.importorskip("tensorboardX")
    with log.Log(str(tmp_path)) as run:
        run.train(0, 3.0, 1e-10, {"loss": 3.0})
        run.test(4, {"mean_iu": 0.5})
    events = b"".join(p.read_bytes() for p in (tmp_path / "events").iterdir())
    assert b"train/loss" in events and b"test/mean_iu" in events


def test_a_text_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(log.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        log.write_text(str(path), "new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
