"""Unpacking of archives."""

import os
import stat
import zipfile

import pytest

from fcn_data import archives
from tests.fcn_data.archive_files import tar


def test_a_tar_file_is_unpacked_only_below_the_target(tmp_path):
    archive = tmp_path / "evil.tar"
    archive.write_bytes(
        tar(
            {
                "in/side/good.txt": b"good",
                "in/side/../../../up.txt": b"bad",
                "/in/side/absolute.txt": b"bad",
                "in/side/link": None,
                "elsewhere/other.txt": b"other",
            }
        )
    )
    archives.unpack(str(archive), "in/side", str(tmp_path / "target"))
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["evil.tar", "good.txt"]


def test_a_truncated_archive_leaves_no_target(tmp_path):
    body = tar({f"in/{k}.txt": os.urandom(5000) for k in range(20)}, "w:gz")
    archive = tmp_path / "half.tgz"
    archive.write_bytes(body[: len(body) // 2])
    with pytest.raises(OSError, match=r"half\.tgz"):
        archives.unpack(str(archive), "in", str(tmp_path / "target"))
    assert [path.name for path in tmp_path.iterdir()] == ["half.tgz"]


def test_a_zip_file_is_unpacked_only_below_the_target(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("in/side/", "")
        file.writestr("in/side/a b.txt", "good")
        file.writestr("in/side/sub/c.txt", "good")
        file.writestr("in/side/../../../up.txt", "bad")
        file.writestr("elsewhere/other.txt", "other")
    archives.unpack(str(archive), "in/side", str(tmp_path / "target"))
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["a b.txt", "c.txt", "set.zip"]
    assert (tmp_path / "target" / "sub" / "c.txt").read_text() == "good"


def test_the_whole_archive_is_unpacked_where_no_folder_is_named(tmp_path):
    archive = tmp_path / "set.tar"
    archive.write_bytes(tar({"a/b.txt": b"1", "c.txt": b"2", "../up.txt": b"bad"}))
    archives.unpack(str(archive), "", str(tmp_path / "target"))
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["b.txt", "c.txt"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_without_the_folder_is_refused(tmp_path, kind):
    archive = tmp_path / f"set.{kind}"
    if kind == "tar":
        archive.write_bytes(tar({"a.txt": b""}))
    else:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a.txt", "")
    with pytest.raises(OSError, match="holds no folder in"):
        archives.unpack(str(archive), "in", str(tmp_path / "target"))
    assert os.listdir(tmp_path) == [archive.name]


def test_a_damaged_zip_file_leaves_no_target(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("in/a.txt", os.urandom(100) * 100)
    body = bytearray(archive.read_bytes())
    body[60:90] = bytes(30)
    archive.write_bytes(body)
    with pytest.raises(OSError, match=r"set\.zip: is not a readable archive"):
        archives.unpack(str(archive), "in", str(tmp_path / "target"))
    assert os.listdir(tmp_path) == ["set.zip"]


def test_unpacked_files_have_the_permissions_of_new_files(tmp_path):
    (tmp_path / "set.tar").write_bytes(tar({"in/a.txt": b""}))
    archives.unpack(str(tmp_path / "set.tar"), "in", str(tmp_path / "target"))
    (tmp_path / "new.txt").write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("target/a.txt", "new.txt")]
    assert modes[0] == modes[1]
