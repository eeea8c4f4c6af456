"""In the strict mode, no program writes outside the folder in which it started."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import net_gen
from experiments import report
from fcn_common import caffemodel, files, places
from fcn_data import archives, demo, downloads
from net_gen import programs
from solvers import (
    by_products,
    caffe_solver,
    figures,
    label_map,
    run_lock,
    snapshots,
    stage,
    workers,
)
from tests.structure import Checkout
from tests.writers import unchecked_writes

HERE = Checkout(Path(__file__).resolve().parents[1])
#: The folders of the programs that users run, above and below the line.
FOLDERS = ("net_gen", "surgery", "fcn_common", "fcn_data", "solvers", "experiments", "engine/caffe")
#: A tool of developers, which writes the engine's own source.
TOOLS = {HERE.engine / "proto" / "generate.py"}
#: What builds the engine's wheel.
BUILDERS = {HERE.root / "engine" / "packing" / "native_library.py"}


def sources():
    single = (f for pattern in ("*.py", "*-fcn*/*.py") for f in HERE.root.glob(pattern))
    return sorted({*single, *HERE.files(*FOLDERS)} - TOOLS)


def test_every_writer_checks_its_path():
    """A call that writes passes its path through `writable`, or uses a helper that does."""
    files_of_all = sources()
    unchecked = [
        f"{HERE.show(f)}:{c}" for f in files_of_all for c in unchecked_writes(f.read_text())
    ]
    assert len(files_of_all) > 300
    assert unchecked == []


#: The packages of developers' programs, which end at once in the strict mode.
DEVELOPERS = ("zoo", "bench", "oracle")


def test_every_program_checks_its_paths_or_refuses_the_strict_mode():
    """A program is a file that runs when it is named, in any folder but the tests'."""
    programs = [
        file
        for pattern in ("*.py", "*-fcn*/*.py", "*/*.py", "*/*/*.py", "*/*/*/*.py", "*/*/*/*/*.py")
        for file in HERE.root.glob(pattern)
        if not HERE.show(file).startswith(("tests/", "."))
        and 'if __name__ == "__main__":' in file.read_text()
    ]
    checked = {*sources(), *HERE.files(*DEVELOPERS), *TOOLS, *BUILDERS}
    assert len(programs) > 80 and [HERE.show(f) for f in programs if f not in checked] == []


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "zoo"],
        ["-m", "zoo.train_ssd"],
        ["-m", "bench", "--help"],
        ["-m", "oracle.seeds"],
        ["-m", "tests.fuzz"],
        ["-m", "tests.torture"],
        ["engine/caffe/proto/generate.py"],
    ],
    ids=lambda arguments: arguments[-1],
)
def test_a_program_of_developers_refuses_the_strict_mode(program, arguments):
    result = program(*arguments, CAFFE_STRICT="1")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "does not run in the strict mode" in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    "call",
    [
        'open(path, "w")',
        'open(path, mode="ab")',
        "open(path, mode)",
        "os.makedirs(path, exist_ok=True)",
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "os.replace(writable(temporary), path)",
        "shutil.copyfile(writable(path), target)",
        "np.save(path, values)",
        "np.savez(os.path.join(folder, name), data=data)",
        "scipy.io.savemat(path, arrays)",
        'h5py.File(path, "w")',
        'np.lib.format.open_memmap(path, "w+", np.uint8, size)',
        "image.save(path)",
        "figure.savefig(path, dpi=100)",
        "net.save(path)",
        "(folder / name).write_text(text)",
        "folder.mkdir()",
        "tempfile.TemporaryDirectory()",
        "tempfile.mkdtemp(dir=folder)",
        "archive.extract(member, folder)",
    ],
)
def test_a_call_that_writes_an_unchecked_path_is_noticed(call):
    assert unchecked_writes(f"def write(path, target):\n    {call}\n") == [
        f"2: {call}".replace('"', "'")
    ]


@pytest.mark.parametrize(
    "body",
    [
        "open(path)",
        'open(path, "rb")',
        'open(writable(path), "w")',
        "place = os.path.join(writable(path), 'a')\n    np.save(place, values)",
        "with files.atomic_write(path) as file:\n        image.save(file)",
        "with atomic_path(path) as temporary:\n        net.save(temporary)",
        "buffer = io.BytesIO()\n    image.save(buffer, 'PNG')",
        "os.open(folder, os.O_RDONLY)",
        "np.lib.format.open_memmap(path, 'r')",
    ],
)
def test_a_call_that_reads_or_writes_a_checked_path_is_accepted(body):
    assert unchecked_writes(f"def write(path):\n    {body}\n") == []


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Enters a working folder in the strict mode; returns a folder beside it, with one file."""
    work, other = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    other.mkdir()
    (other / "here.txt").write_text("kept")
    monkeypatch.chdir(work)
    monkeypatch.setattr(places, "START", str(work.resolve()))
    monkeypatch.setenv("FCN_STRICT", "1")
    return other


def test_a_path_inside_the_working_folder_may_be_written(outside, monkeypatch):
    assert places.writable("a/b.txt") == "a/b.txt"
    assert places.writable(Path.cwd()) == os.getcwd()
    os.mkdir("deeper")
    monkeypatch.chdir("deeper")  # as a stage enters its folder
    files.write_text("../file.txt", "text")
    assert Path("../file.txt").read_text() == "text"


def test_links_are_followed(outside):
    os.symlink(outside, "folder")
    os.symlink(outside / "here.txt", "file.txt")
    os.mkdir("real")
    os.symlink("real", "inside")
    for path in ("folder", "folder/new.txt", "file.txt", "folder/../here.txt", "../work2"):
        with pytest.raises(PermissionError, match="strict mode"):
            places.writable(path)
    files.write_text("inside/new.txt", "text")
    assert os.listdir("real") == ["new.txt"]


@pytest.mark.parametrize(("name", "value"), [("FCN_STRICT", "0"), ("CAFFE_STRICT", "")])
def test_the_mode_is_off_where_the_setting_is_empty_or_0(outside, monkeypatch, name, value):
    monkeypatch.delenv("FCN_STRICT")
    monkeypatch.setenv(name, value)
    files.write_text(outside / "new.txt", "text")
    monkeypatch.setenv("CAFFE_STRICT", "1")
    with pytest.raises(PermissionError):
        files.write_text(outside / "other.txt", "text")


def unpack(path):
    with zipfile.ZipFile("archive.zip", "w") as archive:
        archive.writestr("folder/a.txt", "text")
    archives.unpack("archive.zip", "folder", path)


def copy_without(path):
    Path("a.caffemodel").write_bytes(b"\x0a\x01a")
    caffemodel.write_without("a.caffemodel", path, [])


def lock(path):
    with run_lock.one_run(path):
        pass


def one_at_a_time(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "count", lambda: 2)
        with workers.one_at_a_time(path):
            pass


def make_solver(path):
    param = caffe_solver.caffe_pb2.SolverParameter(snapshot_prefix=os.path.join(path, "train"))
    caffe_solver.make_solver(param, 1)


def enter_stage(path):
    Path("solver.prototxt").write_text(f"snapshot_prefix: '{path}/train' max_iter: 1")
    with stage.Stage("."):
        pass


RED = np.zeros((2, 2), np.uint8)
WRITERS = {
    "a prototxt": lambda path: net_gen.write(net_gen.vgg16("deploy"), path),
    "programs": lambda path: programs.write_programs("voc-fcn8s", Path(path)),
    "a net without layers": copy_without,
    "text": lambda path: files.write_text(path, ""),
    "JSON": lambda path: files.write_json(path, {}),
    "a folder": places.make_folder,
    "an unpacked archive": unpack,
    "a download": lambda path: downloads.download(["http://localhost:1/x"], path),
    "a demo set": lambda path: demo.make(path, train=1, val=1),
    "labels": lambda path: label_map.save_labels(path, RED),
    "a figure": lambda path: figures.write(None, path),
    "a lock": lock,
    "a file between workers": one_at_a_time,
    "a solver's snapshots": make_solver,
    "a stage": enter_stage,
    "the progress of a snapshot": lambda path: snapshots.write_progress(path, 1, {}),
    "scores": lambda path: snapshots.write_records(path, {}),
    "a result": lambda path: report.save(report.Result("a", "A", ()), path),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("path", ["../outside/new", "link/new"])
def test_a_writer_refuses_a_path_outside(outside, writer, path):
    os.symlink(outside, "link")
    with pytest.raises(PermissionError, match="strict mode"):
        writer(path)
    assert os.listdir(outside) == ["here.txt"]


def test_a_log_outside_costs_a_warning(outside, capsys):
    table = by_products.AppendedFile(str(outside / "loss.csv"))
    table.append(b"row\n")
    by_products.truncate(str(outside / "here.txt"), 0)
    assert "loss.csv: cannot be written (is not written: the strict mode" in capsys.readouterr().err
    assert os.listdir(outside) == ["here.txt"] and (outside / "here.txt").read_text() == "kept"


def test_temporary_files_lie_in_the_working_folder(outside):
    with places.temporary_folder() as folder:
        assert os.path.dirname(folder) == places.START
    assert os.listdir(".") == []


def test_a_program_ends_with_one_line(tmp_path, program):
    work = tmp_path / "work"
    work.mkdir()
    line = ["-m", "net_gen", "voc-fcn8s", "--out"]
    result = program(*line, "../outside", cwd=work, FCN_STRICT="1")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "is not written: the strict mode (CAFFE_STRICT) allows files in" in result.stderr
    assert not (tmp_path / "outside").exists()
    assert program(*line, "inside", cwd=work, FCN_STRICT="1").returncode == 0
