"""Files that appear when they are complete."""

import fcntl
import os
import stat

import numpy as np
import pytest
from caffe import files

from fcn_common.files import atomic_path, atomic_write, check_regular, write_json, write_text
from fcn_common.places import make_folder
from fcn_data import readers
from fcn_data.label_coding import stored_labels
from solvers import infer
from solvers.caffe_solver import read_solver


def write_bytes_by_engine(path, text):
    with files.atomic(path) as file:
        file.write(text.encode())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as file:
        file.write(b"12")
        assert not path.exists()
    assert path.read_bytes() == b"12"
    assert os.listdir(tmp_path / "new") == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_no_temporary_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path, "w") as file:
        file.write("new")
        raise error
    with pytest.raises(error), atomic_path(path) as temporary:
        with open(temporary, "w") as file:
            file.write("new")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "ä\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\n"
    with atomic_write(tmp_path / "b.txt", "w", encoding="latin-1") as file:
        file.write("ä")
    assert (tmp_path / "b.txt").read_bytes() == b"\xe4"


def test_json_can_be_sorted(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    assert (tmp_path / "a.json").read_text() == '{\n "b": 1,\n "a": [\n  2\n ]\n}\n'
    write_json(tmp_path / "a.json", {"b": 1, "a": 2}, sort_keys=True)
    assert (tmp_path / "a.json").read_text() == '{\n "a": 2,\n "b": 1\n}\n'


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_permissions_are_those_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_a_library_that_chooses_a_format_by_suffix_sees_the_suffix(tmp_path):
    with atomic_path(tmp_path / "a.npz") as temporary:
        np.savez(temporary, x=np.arange(3))
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    with atomic_write(tmp_path / "b.npz") as file:
        np.savez_compressed(file, x=np.arange(3))
    assert np.load(tmp_path / "b.npz")["x"].tolist() == [0, 1, 2]


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "a" / "b"):
        pass
    assert error.value.filename == str(tmp_path / "a")
    (tmp_path / "d" / "e").mkdir(parents=True)
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "d"):
        pass
    assert error.value.filename == str(tmp_path / "d")
    with pytest.raises(FileNotFoundError) as error, atomic_path(str(tmp_path / "c")):
        pass
    assert error.value.filename == str(tmp_path / "c")
    assert sorted(os.listdir(tmp_path)) == ["a", "d"]


def test_an_error_of_caffe_names_the_file_that_was_to_be_written(tmp_path):
    path = tmp_path / "a.caffemodel"
    with pytest.raises(OSError) as error, atomic_path(path) as temporary:
        raise RuntimeError(f"{temporary}: cannot be written: No space left on device")
    assert str(error.value) == f"{path}: cannot be written: No space left on device"
    with pytest.raises(RuntimeError, match="^another error$"), atomic_path(path):
        raise RuntimeError("another error")


def test_the_text_of_another_error_stays(tmp_path):
    with pytest.raises(OSError, match=r"^no such thing$"), atomic_write(tmp_path / "a"):
        raise OSError("no such thing")


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    path = tmp_path / ("ä" * 125 + ".txt")
    write_text(path, "x")
    assert path.read_text() == "x"


def test_a_file_that_has_no_end_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "a FIFO"), ("/dev/zero", "a device")):
        with pytest.raises(OSError, match=f"is {kind}; a file is needed"):
            check_regular(path)
        with pytest.raises(OSError, match=f"is {kind}; a file is needed"):
            readers.count_channels(str(path))
        with pytest.raises(OSError, match=f"is {kind}; a file is needed"):
            stored_labels(str(path))
        with pytest.raises(OSError, match=f"is {kind}; a file is needed"):
            read_solver(str(path))
    (tmp_path / "list.txt").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="is a device; a file is needed"):
        infer.collect([str(tmp_path / "list.txt")])
    check_regular(tmp_path)


def test_the_name_of_a_new_folder_is_on_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    make_folder(tmp_path / "a" / "b")
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2 and (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("write", [write_text, write_bytes_by_engine], ids=["product", "engine"])
def test_rests_of_killed_writes_are_removed_by_the_next_program_that_writes_there(tmp_path, write):
    names = [".a.01234567.partial", ".b.01234567.partial", ".c.01234567.partial", "d.partial"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    os.utime(tmp_path / names[1])
    with open(tmp_path / names[2]) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write(tmp_path / "new", "text")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "new"])
    os.utime(tmp_path / names[1], (1, 1))
    write(tmp_path / "newer", "text")
    assert (tmp_path / names[1]).exists(), "a folder is looked at once"


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("kept")
    for path in ("a.txt", "a.txt/b"):
        with pytest.raises(NotADirectoryError, match=r"is a file, not a folder; name .*a\.txt"):
            make_folder(tmp_path / path)
    assert (tmp_path / "a.txt").read_text() == "kept"
