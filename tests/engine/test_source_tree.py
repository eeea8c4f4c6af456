"""An unbuilt source tree of BVLC Caffe on sys.path gets a line that says what to do."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import caffe
import pytest

ENGINE = Path(caffe.__file__).parents[1]
ROOT = ENGINE.parent


@pytest.fixture
def tree(tmp_path):
    """The python folder of a checkout of BVLC Caffe that was never built."""
    package = tmp_path / "python" / "caffe"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .pycaffe import Net\n")
    (package / "pycaffe.py").write_text("from ._caffe import Net\n")
    return package.parent


@pytest.fixture
def last_line(program):
    """Runs code in a Python with the hook: the status, the last line of standard error."""

    def run(code):
        hook = f"import sys; sys.path.insert(0, {str(ENGINE)!r}); import caffe_source_tree; "
        result = program("-c", hook + code)
        return result.returncode, (result.stderr.strip().splitlines() or [""])[-1]

    return run


def test_an_unbuilt_tree_before_the_engine_is_named_with_the_remedy(tree, last_line):
    status, line = last_line(f"sys.path.insert(0, {str(tree)!r}); import caffe")
    assert status == 1
    assert line.startswith("ModuleNotFoundError: ") and "a Caffe that is not built" in line
    assert f"leave out the line that puts {tree} on sys.path" in line and str(ENGINE) in line


def test_a_missing_schema_is_named_with_the_remedy(tree, last_line):
    (tree / "caffe" / "__init__.py").write_text("from caffe.proto import caffe_pb2\n")
    status, line = last_line(f"sys.path.insert(0, {str(tree)!r}); import caffe")
    assert status == 1 and "is not built" in line


def test_the_engine_and_other_packages_are_imported_as_ever(last_line):
    status, line = last_line("import caffe._caffe, caffe.proto, caffe.no_such_module")
    assert status == 1 and line == "ModuleNotFoundError: No module named 'caffe.no_such_module'"


def test_wheels_have_the_hook_and_its_record(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    sys.path.insert(0, str(ENGINE / "packing"))
    try:
        import hooked_wheels
    finally:
        sys.path.remove(str(ENGINE / "packing"))
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("x-1.dist-info/RECORD", "x.py,,\n")
    hooked_wheels.add_hook(str(wheel))
    with zipfile.ZipFile(wheel) as file:
        assert file.testzip() is None
        assert "caffe_source_tree" in file.read("caffe_source_tree.pth").decode()
        record = file.read("x-1.dist-info/RECORD").decode().splitlines()
    assert record[0] == "x.py,," and record[1].startswith("caffe_source_tree.pth,sha256=")
    project = (ROOT / "pyproject.toml").read_text()
    assert 'build-backend = "hooked_wheels"' in project
