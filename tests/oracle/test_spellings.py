"""The engine reads every prototxt that protobuf's reader in C++ reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from caffe import CaffeError
from caffe.proto import caffe_pb2
from caffe.text import read_text, to_text

from oracle.spellings import SPELLINGS

pytestmark = pytest.mark.oracle
SCRIPT = Path(__file__).resolve().parents[2] / "oracle" / "spellings.py"
#: Strings that are not UTF-8, which the engine refuses with their line.
NOT_UTF8 = {"str latin", "str esc e9"}
#: Spellings that BVLC Caffe refuses and the engine reads.
LENIENT = {"bom", "float +1", "int plus", "int -0", "float inff", "str esc bad"}


@pytest.fixture(scope="module")
def bvlc(bvlc_caffe):
    result = bvlc_caffe(SCRIPT)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def read(folder, name):
    """Return a spelling as the engine prints it, or its refusal."""
    path = folder / "net.prototxt"
    path.write_bytes(SPELLINGS[name].encode("latin-1"))
    try:
        return to_text(read_text(path, caffe_pb2.NetParameter())), ""
    except CaffeError as error:
        return None, str(error)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_read_as_bvlc_caffe_reads_it(bvlc, name, tmp_path):
    engine, refusal = read(tmp_path, name)
    if name in NOT_UTF8:
        assert bvlc[name] and engine is None and "net.prototxt:1:" in refusal
    elif name in LENIENT:
        assert bvlc[name] is None and engine
    else:
        assert engine == bvlc[name], refusal
