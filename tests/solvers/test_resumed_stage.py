"""A stage that is killed or interrupted anywhere, and resumed, is the uninterrupted stage."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import traceback

import pytest

import net_gen
from solvers import caffe_solver, events, snapshots, stage
from tests import power_loss, tiny

FIELDS = {"max_iter": 5, "snapshot": 2, "base_lr": 1e-6, "momentum": 0.9, "average_loss": 3}


def write_stage(folder, tiny_start):
    """Write a stage with dropout and a mean of losses, and return its folder."""
    # The weights files hold these paths.
    data = {"sbdd_dir": str(tiny_start / "sbdd"), "voc_dir": str(tiny_start / "voc")}
    fields = dict(FIELDS, display=1, test_iter=[tiny.VAL])
    net_gen.generate("voc-fcn32s", folder, fields, width=tiny.WIDTH, seed=3, **data)
    return folder


@pytest.fixture
def dropout_stage(tiny_start, tmp_path):
    """Writes a stage: `dropout_stage(name)` returns its folder."""
    return lambda name="stage": write_stage(str(tmp_path / name / "voc-fcn32s"), tiny_start)


def run(folder, tiny_start, **options):
    options = {"gpu": "cpu", "seed": 1, **options}
    return stage.run(folder, str(tiny_start / "start.caffemodel"), **options)


#: The calls at which a process can be killed: all that change what is on disk.
CALLS = ("replace", "remove", "pwrite", "open", "makedirs", "ftruncate", "truncate")


class Killer:
    """Counts the calls that change the disk, and ends the process before call `at`."""

    def __init__(self, at=None):
        self.count, self.at = 0, at

    def install(self, monkeypatch):
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name)))
        real = caffe_solver.caffe.SGDSolver.step
        monkeypatch.setattr(caffe_solver.caffe.SGDSolver, "step", self.wrap(real))

    def wrap(self, call):
        def counted(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted


def in_child(body):
    """Call `body` in a forked process; return its wait status, 0 where it returned."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
                body()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def state(folder):
    """All that a run leaves, without times: its files by name."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    snapshot = os.path.join(folder, "snapshot")
    content = {}
    for name in sorted(os.listdir(snapshot)):
        path = os.path.join(snapshot, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content[name] = file.read()
    html = content["report.html"].decode()
    content["report.html"] = re.sub(r"Written [^.]*\.", "", html).split("How it was made")[0]
    lines = content["train.log"].decode().splitlines()
    content["train.log"] = [
        line.split("] ", 1)[1]
        for line in lines
        if not re.search(r"\] (Solving|Restoring|Snapshotting|Optimization)", line)
    ]
    content["events"] = [
        (event.step, event.summary.SerializeToString())
        for path in events.files(os.path.join(snapshot, "events"))
        for _, record in events.records(path)
        for event in [event_pb2.Event.FromString(record)]
        if event.summary.value
    ]
    return content


def differences(expected, actual):
    names = sorted({*expected, *actual})
    return [name for name in names if expected.get(name) != actual.get(name)]


@pytest.fixture(scope="module")
def uninterrupted(tiny_start, tmp_path_factory):
    """What an uninterrupted run leaves, and how many calls that change the disk it makes."""
    folder = write_stage(str(tmp_path_factory.mktemp("uninterrupted") / "voc-fcn32s"), tiny_start)
    counts = os.path.join(os.path.dirname(folder), "count")
    killer = Killer()

    def body():
        with pytest.MonkeyPatch.context() as patch:
            killer.install(patch)
            run(folder, tiny_start)
        with open(counts, "w") as file:
            file.write(str(killer.count))

    assert in_child(body) == 0
    with open(counts) as file:
        return state(folder), int(file.read())


def kill_and_resume(folder, tiny_start, at):
    """Kill a run before its call number `at`, and resume it."""

    def killed():
        with pytest.MonkeyPatch.context() as patch:
            Killer(at).install(patch)
            run(folder, tiny_start)

    assert os.WIFSIGNALED(in_child(killed)), "the run ended before"
    assert in_child(lambda: run(folder, tiny_start)) == 0
    return state(folder)


def clean_names(folder):
    names = os.listdir(folder)
    return not [n for n in names if "partial" in n or "incomplete" in n or n.startswith(".")]


@pytest.mark.long
@pytest.mark.parametrize("share", [0.39, 0.97])
def test_a_killed_stage_ends_like_an_uninterrupted_one(
    uninterrupted, dropout_stage, tiny_start, share
):
    expected, calls = uninterrupted
    folder = dropout_stage()
    actual = kill_and_resume(folder, tiny_start, int(calls * share))
    assert differences(expected, actual) == []
    assert clean_names(os.path.join(folder, "snapshot")) and clean_names(folder)


@pytest.mark.slow
def test_a_stage_can_be_killed_at_any_call(uninterrupted, dropout_stage, tiny_start):
    expected, calls = uninterrupted
    wrong = {}
    for at in range(1, calls + 1):
        folder = dropout_stage(f"stage{at}")
        different = differences(expected, kill_and_resume(folder, tiny_start, at))
        if different or not clean_names(os.path.join(folder, "snapshot")):
            wrong[at] = different
    assert not wrong


def test_the_uninterrupted_run_depends_on_what_is_restored(uninterrupted):
    """The comparison above would not notice a loss of dropout's masks if there were none."""
    expected, calls = uninterrupted
    values = json.loads(expected["train_iter_4.resume.json"])
    assert values["solver"]["random"]["twister"] and len(values["stage"]["losses"]) == 3
    assert calls > 100
    rows = expected["loss.csv"].decode().splitlines()
    assert [row.split(",")[0] for row in rows] == ["iteration", "0", "1", "2", "3", "4"]
    tags = [step for step, content in expected["events"] if b"train/loss" in content]
    assert tags == [0, 1, 2, 3, 4]
    assert any(b"samples/" in content for _, content in expected["events"])


def send(monkeypatch, number, iteration, during="step"):
    """Send a signal to this process in an iteration of training."""
    cls = caffe_solver.caffe.SGDSolver
    real = getattr(cls, during)

    def call(solver, *args):
        if solver.iter == iteration:
            os.kill(os.getpid(), number)
        return real(solver, *args)

    monkeypatch.setattr(cls, during, call)


@pytest.mark.parametrize(
    ("number", "raised", "message"),
    [
        (signal.SIGINT, KeyboardInterrupt, "stopped at iteration 1, which is saved in snapshot"),
        (signal.SIGTERM, SystemExit, "143"),
    ],
)
def test_a_signal_to_stop_saves_the_iteration(
    uninterrupted, dropout_stage, tiny_start, monkeypatch, number, raised, message
):
    """Also before the first snapshot of the solver's interval."""
    folder = dropout_stage()
    with monkeypatch.context() as patch:
        send(patch, number, 0)
        with pytest.raises(raised, match=message):
            run(folder, tiny_start)
    assert [s.iteration for s in snapshots.complete(f"{folder}/snapshot/train")] == [1]
    assert clean_names(os.path.join(folder, "snapshot"))
    run(folder, tiny_start)
    assert differences(uninterrupted[0], state(folder)) == []


def test_sighup_saves_the_iteration_and_the_training_goes_on(
    uninterrupted, dropout_stage, tiny_start, monkeypatch
):
    folder, saved = dropout_stage(), []
    write = snapshots.write_progress
    monkeypatch.setattr(
        snapshots, "write_progress", lambda p, i, v: (saved.append(i), write(p, i, v))
    )
    send(monkeypatch, signal.SIGHUP, 2)
    run(folder, tiny_start)
    assert saved == [2, 3, 4, 5]
    assert differences(uninterrupted[0], state(folder)) == []


def test_a_second_interrupt_ends_the_iteration_at_once(dropout_stage, tiny_start, monkeypatch):
    folder = dropout_stage()
    cls = caffe_solver.caffe.SGDSolver
    real = cls.apply_update

    def update(solver):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second interrupt did not raise")
        return real(solver)

    monkeypatch.setattr(cls, "apply_update", update)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tiny_start)
    assert snapshots.complete(f"{folder}/snapshot/train") == []


def test_signals_have_their_handlers_of_before_after_a_stage(dropout_stage, tiny_start):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run(dropout_stage(), tiny_start, iters=1)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_an_interrupt_during_a_scoring_ends_it_at_once(dropout_stage, tiny_start, monkeypatch):
    folder = dropout_stage()
    real = stage.seg_tests

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "seg_tests", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folder, tiny_start)
    assert [s.iteration for s in snapshots.complete(f"{folder}/snapshot/train")] == [2]
    run(folder, tiny_start)
    assert sorted(snapshots.read_records(f"{folder}/snapshot")) == [2, 4, 5]


def test_a_snapshot_of_an_earlier_version_resumes(dropout_stage, tiny_start):
    """Such a snapshot has no resume.json, and its table has no loss of a pixel."""
    folder = dropout_stage()
    run(folder, tiny_start, iters=2)
    os.remove(os.path.join(folder, "snapshot", "train_iter_2.resume.json"))
    table = os.path.join(folder, "snapshot", "loss.csv")
    with open(table, "w") as file:
        file.write("iteration,loss,lr\n0,3.5,0.1\n1,3.25,0.1\n2,3.125,0.1\n")
    run(folder, tiny_start)
    with open(table) as file:
        lines = file.read().splitlines()
    assert lines[1] == "0,3.5,0.1,nan" and [row.split(",")[0] for row in lines[1:]] == list("01234")


@pytest.mark.long
def test_scores_that_cannot_be_written_cost_a_warning(
    dropout_stage, tiny_start, monkeypatch, capsys
):
    """The next scoring writes them, once there is room."""
    folder, write, failures = dropout_stage(), snapshots.write_records, []

    def full(*arguments):
        if not failures:
            failures.append(arguments)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    monkeypatch.setattr(snapshots, "write_records", full)
    assert run(folder, tiny_start, iters=4)["iteration"] == 4
    assert "the scores of voc-fcn32s: cannot be written (No space left" in capsys.readouterr().err
    assert sorted(snapshots.read_records(f"{folder}/snapshot")) == [2, 4]


@pytest.mark.long
def test_remains_in_the_folder_of_a_finished_stage_are_removed(dropout_stage, tiny_start):
    """A power failure can bring back the names of files that were removed."""
    folder = dropout_stage()
    run(folder, tiny_start, iters=2)
    snapshot = os.path.join(folder, "snapshot")
    before = sorted(os.listdir(snapshot))
    for name in (".train_iter_1.incomplete", ".loss.01234567.partial.csv"):
        with open(os.path.join(snapshot, name), "w"):
            pass
    run(folder, tiny_start, iters=2)
    assert sorted(os.listdir(snapshot)) == before


@pytest.mark.long
def test_a_power_failure_at_any_moment_leaves_a_complete_snapshot(
    dropout_stage, tiny_start, tmp_path, monkeypatch
):
    """Nothing older is removed before what is newer is on disk, with its name."""
    folder, moments, newest = dropout_stage(), [], [0]
    snapshot = os.path.join(folder, "snapshot")
    os.makedirs(snapshot)
    survivors = tmp_path / "survivors"

    def check(files, sure):
        survivors.mkdir(exist_ok=True)
        for path in survivors.iterdir():
            path.unlink()
        for name, content in files.items():
            if name.startswith("train_iter"):
                (survivors / name).write_bytes(content)
        iterations = [s.iteration for s in snapshots.complete(str(survivors / "train"))]
        # A pair counts with its resume.json alone, which makes the continuation exact.
        exact = [i for i in iterations if snapshots.read_progress(str(survivors / "train"), i)]
        moments.append(iterations)
        assert iterations == exact, files.keys()
        assert max(exact, default=0) >= newest[0], "a newer snapshot was there before"
        if sure:
            newest[0] = max(exact, default=0)

    power_loss.Disk(snapshot, check).install(monkeypatch)
    run(folder, tiny_start)
    assert newest == [5] and len(moments) > 50
