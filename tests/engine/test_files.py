"""Files appear completely or not at all, with the permissions of any new file."""

import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
from caffe import detect, files, text, wire
from caffe.errors import FileError, PrototxtError
from caffe.proto import caffe_pb2
from caffe.tools import convert_imageset


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_block_ends(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with files.atomic(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), files.atomic(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        with files.atomic(tmp_path / "out"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o666 & ~umask


def test_writing_does_not_touch_the_umask_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("os.umask was called"))
    with files.atomic(tmp_path / "out"):
        pass


def test_bytes_and_rename_are_on_disk_in_this_order(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def note_replace(source, target):
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with files.atomic(tmp_path / "out"):
        pass
    assert events == ["file", "rename", "folder"]


@pytest.mark.parametrize(("code", "refused"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_sync_folders_is_accepted(tmp_path, monkeypatch, code, refused):
    fsync = os.fsync

    def fail_for_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    path = tmp_path / "out"
    if refused:
        with pytest.raises(FileError, match="out: cannot be written"), files.atomic(path):
            pass
    else:
        with files.atomic(path):
            pass
        assert path.exists()


def test_a_path_without_a_folder_is_written_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with files.atomic("out") as file:
        file.write(b"here")
    assert (tmp_path / "out").read_bytes() == b"here"


def test_an_unusable_path_is_named(tmp_path):
    missing = tmp_path / "missing" / "out"
    with pytest.raises(FileError, match="/out: cannot be written: No such"), files.atomic(missing):
        pass
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(FileError, match="folder: cannot be written: Is a"), files.atomic(folder):
        pass
    with pytest.raises(FileError, match="missing: cannot be read: No such file"):
        files.read_bytes(tmp_path / "missing")


def test_a_file_of_another_program_takes_the_place_of_the_old_one(tmp_path):
    (tmp_path / "temporary").write_bytes(b"new")
    (tmp_path / "out").write_bytes(b"old")
    files.replace(tmp_path / "temporary", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"new" and names(tmp_path) == ["out"]
    with pytest.raises(FileError, match="out: cannot be written: No such file"):
        files.replace(tmp_path / "temporary", tmp_path / "out")


def test_a_prototxt_error_names_file_and_line(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('name: "net"\nlayer { nme: "x" }\n')
    with pytest.raises(
        PrototxtError, match=r'prototxt: LayerParameter has no field named "nme" .line 2;'
    ):
        text.read_text(path, caffe_pb2.NetParameter())
    path.write_bytes(b"\xff")
    with pytest.raises(PrototxtError, match=r"net\.prototxt:1: is not text in UTF-8"):
        text.read_text(path, caffe_pb2.NetParameter())
    with pytest.raises(FileError, match="none: cannot be read") as error:
        text.read_text(tmp_path / "none", caffe_pb2.NetParameter())
    assert not isinstance(error.value, PrototxtError)


def test_a_message_is_written_and_read_in_text_and_binary(tmp_path):
    net = caffe_pb2.NetParameter(name="net", input=["data"], input_dim=[1, 3, 8, 8])
    text.write_text(tmp_path / "net.prototxt", net)
    wire.write_binary(tmp_path / "net.binaryproto", net)
    assert text.read_text(tmp_path / "net.prototxt", caffe_pb2.NetParameter()) == net
    assert wire.read_binary(tmp_path / "net.binaryproto", caffe_pb2.NetParameter()) == net
    truncated = net.SerializeToString()[:-1]
    (tmp_path / "net.binaryproto").write_bytes(truncated)
    with pytest.raises(FileError, match=r"binaryproto: 18 bytes that are not a complete NetParam"):
        wire.read_binary(tmp_path / "net.binaryproto", caffe_pb2.NetParameter())


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31 - 1, 2**63 - 1, -1, -(2**31)])
def test_an_encoded_integer_decodes_to_itself(value):
    encoded = wire.encode_varint(value)
    decoded, end = wire.decode_varint(memoryview(encoded), 0)
    assert (wire.signed(decoded), end) == (value, len(encoded))
    assert caffe_pb2.BlobShape.FromString(wire.integer(1, value)).dim == [value]


def test_a_message_written_field_by_field_is_protobufs():
    values = np.arange(3, dtype=np.float32)
    chunks = [*wire.delimited(5, [values]), *wire.delimited(7, wire.packed(1, [1, 300]))]
    blob = caffe_pb2.BlobProto(data=values, shape=caffe_pb2.BlobShape(dim=[1, 300]))
    content = b"".join(bytes(chunk) for chunk in chunks)
    assert content == blob.SerializeToString()
    (data_field, data_type, data), (shape_field, _, shape) = wire.fields(memoryview(content))
    assert (data_field, data_type, shape_field) == (5, wire.BYTES, 7)
    assert bytes(data) == values.tobytes()
    ((_, _, dims),) = wire.fields(shape)
    assert wire.decode_varints(dims) == [1, 300]


@pytest.mark.parametrize(
    "content", [b"\x80", b"\x08\x80", b"\x0a\x05abc", b"\x0d123", b"\x0b", b"\x08" + b"\xff" * 11]
)
def test_malformed_bytes_are_refused(content):
    with pytest.raises(wire.MalformedError):
        list(wire.fields(memoryview(content)))


def test_a_folder_appears_when_its_block_ends(tmp_path):
    with files.atomic_folder(tmp_path / "out") as folder:
        Path(folder, "file").write_text("content")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["file"]


def test_a_block_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), files.atomic_folder(tmp_path / "out") as folder:
        Path(folder, "file").write_text("content")
        raise ZeroDivisionError
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with (
        pytest.raises(FileError, match="out: cannot be written: Directory not empty"),
        files.atomic_folder(tmp_path / "out"),
    ):
        pass
    assert names(tmp_path) == ["out"]


def test_a_folder_that_a_killed_process_left_is_removed(tmp_path):
    """A folder that is being written, and a new one, stay."""
    for name in (".out.0123abcd.partial", ".out.89abcdef.partial", ".other.0123abcd.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".out.00000000.partial").mkdir()
    lock = os.open(tmp_path / ".out.89abcdef.partial", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    removed = files.remove_abandoned(str(tmp_path), "out")
    os.close(lock)
    assert removed == [str(tmp_path / ".out.0123abcd.partial")]
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("kind", ["a device", "a FIFO"])
def test_a_text_that_has_no_end_is_refused(tmp_path, kind):
    path = Path("/dev/zero")
    if kind == "a FIFO":
        path = tmp_path / "fifo"
        os.mkfifo(path)
    with pytest.raises(FileError, match=f"is {kind}; a file is needed"):
        files.open_text(path)
    assert convert_imageset.main(["./", str(path), str(tmp_path / "db")]) == 1
    assert convert_imageset.main([f"--flagfile={path}", "./", "list", "db"]) == 1
    with pytest.raises(FileError, match="a file is needed"):
        detect.read_windows(str(path))


@pytest.mark.parametrize(
    "cut, truncated", [(b"layer { name: 'a' ty", True), (b"la: 1\n\n# b\nx", False)]
)
def test_a_prototxt_that_breaks_off_is_called_truncated(tmp_path, cut, truncated):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"name: 'net'\n" + cut)
    with pytest.raises(PrototxtError) as error:
        text.read_text(str(path), caffe_pb2.NetParameter())
    assert ("the text ends in this line and may be truncated" in str(error.value)) == truncated
