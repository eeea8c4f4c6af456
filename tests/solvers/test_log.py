from __future__ import annotations

import inspect
import sys

import pytest

from fcn_common.progress import ProgressBar
from solvers import log, workers


def test_a_continued_log_drops_what_came_after_the_snapshot(tmp_path):
    with log.Log(str(tmp_path)) as first:
        for iteration in (0, 20, 40):
            first.train(iteration, 1.0 + iteration, 1e-10, {"loss": 2.0})
    with log.Log(str(tmp_path), 20) as second:
        second.train(40, 7.0, 1e-10, {"loss": 2.0})
    rows = log.losses(str(tmp_path / "loss.csv"))
    assert [(r["iteration"], r["loss"]) for r in rows] == [(0, 1.0), (20, 21.0), (40, 7.0)]
    assert rows[0]["lr"] == 1e-10


def test_a_truncated_row_of_a_loss_table_is_skipped(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("iteration,loss,lr\n0,3.5,0.1\n20,3.")
    assert log.losses(str(path)) == [{"iteration": 0, "loss": 3.5, "lr": 0.1}]
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
