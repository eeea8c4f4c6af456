"""Both engines' tools write the same databases, and each reads the other's."""

from __future__ import annotations

import cv2
import lmdb
import numpy as np
import pytest
from caffe.tools import compute_image_mean, convert_imageset

pytestmark = pytest.mark.oracle
PROGRAM = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rs = np.random.RandomState(3)
    for i in range(7):
        cv2.imwrite(f"{i}.png", rs.randint(0, 256, (6 + i, 9, 3)).astype(np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(7)) + "no.png 1\n")
    return tmp_path


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--gray",),
        ("--resize_height=8", "--resize_width=7"),
        ("--encoded",),
        ("--encoded", "--gray"),
        ("--encode_type=png", "-resize_height", "8", "-resize_width", "7"),
    ],
    ids=" ".join,
)
def test_a_database_has_the_same_keys_and_bytes(bvlc_caffe, images, flags):
    bvlc = bvlc_caffe("-c", PROGRAM, "convert_imageset", *flags, "./", "list.txt", "bvlc")
    assert bvlc.returncode == 0, bvlc.stderr
    assert convert_imageset.main([*flags, "./", "list.txt", "engine"]) == 0
    records = []
    for path in ("bvlc", "engine"):
        with lmdb.open(path, readonly=True, lock=False) as database:
            records.append(list(database.begin().cursor()))
    assert len(records[0]) == 7 and [k for k, _ in records[1]] == [k for k, _ in records[0]]
    if "--encoded" not in flags and not any("encode_type" in f for f in flags):
        assert records[1] == records[0]


def test_each_engine_computes_the_mean_of_the_others_database(bvlc_caffe, images):
    flags = ("--resize_height=8", "--resize_width=7", "./", "list.txt")
    assert bvlc_caffe("-c", PROGRAM, "convert_imageset", *flags, "bvlc").returncode == 0
    assert convert_imageset.main([*flags, "engine"]) == 0
    assert (
        bvlc_caffe("-c", PROGRAM, "compute_image_mean", "engine", "1.binaryproto").returncode == 0
    )
    assert compute_image_mean.main(["bvlc", "2.binaryproto"]) == 0
    means = [(images / f"{i}.binaryproto").read_bytes() for i in (1, 2)]
    assert means[0] == means[1]
