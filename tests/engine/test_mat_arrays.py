"""Arrays of MATLAB files are those of SciPy, and no damage to a file ends the process."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from caffe.data import mat_arrays
from caffe.errors import FileError
from scipy.io import loadmat, savemat

RNG = np.random.RandomState(1)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_an_array_is_that_of_scipy(tmp_path, kind, compressed):
    path = tmp_path / "a.mat"
    for shape in ((3, 4, 5, 2), (1, 1), (0, 3), (1, 5)):
        array = (100 * RNG.rand(*shape)).astype(kind)
        savemat(path, {"other": np.eye(2), "data": array}, do_compression=compressed)
        ours, theirs = mat_arrays.read_array(path, "data"), loadmat(path)["data"]
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape == shape
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_file_is_refused_or_read(tmp_path, compressed):
    """SciPy's reader crashes on some files with one flipped byte."""
    path, rng, refused = tmp_path / "a.mat", random.Random(1), 0
    savemat(path, {"data": RNG.rand(3, 2, 2).astype("f4")}, do_compression=compressed)
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content[: rng.choice((len(content), rng.randrange(len(content))))])
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            mat_arrays.read_array(path, "data")
        except FileError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
    assert 30 < refused < 100


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"other": 1}, "has no array `data`"),
        ({"data": "text"}, "an array is of class 4, needs one of real numbers"),
        ({"data": 1j}, "needs one of real numbers"),
        ({"data": {"field": 1}}, "damaged MATLAB file"),
    ],
)
def test_a_matlab_file_of_another_content_is_refused(tmp_path, values, message):
    savemat(tmp_path / "a.mat", values)
    with pytest.raises(FileError, match=message):
        mat_arrays.read_array(tmp_path / "a.mat", "data")


def test_a_size_beyond_the_file_is_refused_before_memory_is_taken(tmp_path):
    savemat(tmp_path / "a.mat", {"data": np.zeros((2, 3))})
    content = (tmp_path / "a.mat").read_bytes()
    shape = struct.pack("<2i", 2, 3)
    assert content.count(shape) == 1
    (tmp_path / "a.mat").write_bytes(
        content.replace(shape, struct.pack("<2i", 2**31 - 1, 2**31 - 1))
    )
    with pytest.raises(FileError, match=r"an array of the shape \[2147483647, .* has 48 bytes"):
        mat_arrays.read_array(tmp_path / "a.mat", "data")
