"""Modules whose code is read before they are imported."""

from __future__ import annotations

import importlib
import py_compile
import sys
from pathlib import Path

import pytest
from caffe.code_ahead import CodeAhead

PACKAGE = "read_ahead_package"
FILES = {"__init__": "from . import first", "first": "value = 1", "second": "value = 2"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package with compiled files, which can be imported and is forgotten afterwards."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    for name, text in FILES.items():
        write_module(folder, name, text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    forget()


@pytest.fixture
def code():
    code = CodeAhead()
    yield code
    code.close()


def write_module(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name}.py"
    path.write_text(text)
    py_compile.compile(str(path))


def forget() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def attributes(name: str) -> dict:
    """What an import gives a module, apart from the loader and the module's own names."""
    module = importlib.import_module(name)
    spec = module.__spec__
    parts = spec.name, spec.origin, spec.cached, spec.has_location, spec.submodule_search_locations
    names = ("__name__", "__package__", "__file__", "__cached__", "__path__")
    return {"spec": parts, **{n: getattr(module, n, None) for n in names}}


def test_modules_are_imported_from_code_that_was_read_before(folder, code):
    code.read(PACKAGE, str(folder), lambda: True)
    for path in [*folder.glob("*.py"), *folder.glob("__pycache__/*")]:
        path.unlink()
    assert importlib.import_module(PACKAGE).first.value == 1
    assert importlib.import_module(f"{PACKAGE}.second").value == 2


def test_a_module_has_the_attributes_of_a_plain_import(folder, code):
    names = [PACKAGE, f"{PACKAGE}.second"]
    plain = [attributes(name) for name in names]
    forget()
    code.read(PACKAGE, str(folder), lambda: True)
    assert [attributes(name) for name in names] == plain


def test_the_source_of_a_module_can_be_read_after_its_import(folder, code):
    code.read(PACKAGE, str(folder), lambda: True)
    module = importlib.import_module(f"{PACKAGE}.second")
    assert module.__loader__.get_source(module.__name__) == FILES["second"]


def test_a_second_import_reads_the_file_as_it_then_is(folder, code):
    code.read(PACKAGE, str(folder), lambda: True)
    importlib.import_module(f"{PACKAGE}.second")
    forget()
    write_module(folder, "second", "value = 'another text'")
    assert importlib.import_module(f"{PACKAGE}.second").value == "another text"


def test_nothing_is_read_once_the_library_is_loaded(folder, code):
    code.read(PACKAGE, str(folder), lambda: False)
    assert code not in sys.meta_path
    assert code.find_spec(f"{PACKAGE}.first", [str(folder)]) is None


def test_a_module_of_the_same_name_in_another_folder_is_imported_from_there(
    folder, code, tmp_path, monkeypatch
):
    code.read(PACKAGE, str(folder), lambda: True)
    other = tmp_path / "other"
    (other / PACKAGE).mkdir(parents=True)
    (other / PACKAGE / "__init__.py").write_text("")
    (other / PACKAGE / "second.py").write_text("value = 'other'")
    monkeypatch.setattr(sys, "path", [str(other), *(p for p in sys.path if p != str(tmp_path))])
    assert importlib.import_module(f"{PACKAGE}.second").value == "other"


def test_modules_without_a_compiled_file_or_with_a_damaged_one_are_left_to_python(folder, code):
    for path in folder.glob("__pycache__/first*"):
        path.unlink()
    for path in folder.glob("__pycache__/second*"):
        path.write_bytes(path.read_bytes()[:20])
    code.read(PACKAGE, str(folder), lambda: True)
    assert code.find_spec(f"{PACKAGE}.first", [str(folder)]) is None
    assert code.find_spec(f"{PACKAGE}.second", [str(folder)]) is None
    with pytest.raises(EOFError):
        importlib.import_module(f"{PACKAGE}.second")


def test_a_missing_folder_has_no_modules(tmp_path, code):
    code.read(PACKAGE, str(tmp_path / "missing"), lambda: True)
    assert code not in sys.meta_path


def test_finders_of_other_programs_are_asked_first(folder, code):
    code.read(PACKAGE, str(folder), lambda: True)
    place = sys.meta_path.index(code)
    assert sys.meta_path[place + 1] is importlib.machinery.PathFinder
    code.close()
    assert code not in sys.meta_path


def test_importing_the_engine_leaves_no_finder():
    assert not any(isinstance(finder, CodeAhead) for finder in sys.meta_path)
