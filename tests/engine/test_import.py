"""`import caffe`: the names that it offers, and what it does to garbage collection."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import caffe
import pytest
from caffe import _caffe, api, pycaffe
from caffe.garbage import collection_off

ENGINE = Path(caffe.__file__).parents[1]
#: Whether collection is on, whether objects are exempt from it, and the count of full collections.
STATE = "gc.isenabled(), gc.get_freeze_count() > 0, gc.get_stats()[2]['collections']"


def gc_states(setting: str) -> tuple[list[str], list[str]]:
    """STATE before and after the import, in a process with this setting."""
    code = f"import gc; {setting}; a = {STATE}; import caffe; print(*a, *({STATE}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    words = result.stdout.split()
    return words[:3], words[3:]


@pytest.fixture
def collection():
    """The module gc with no object exempt from collection; afterwards all are, as before."""
    gc.unfreeze()
    yield gc
    gc.enable()
    gc.freeze()


def test_garbage_collection_is_off_while_modules_are_loaded(collection):
    with collection_off():
        assert not collection.isenabled()
    assert collection.isenabled() and not collection.get_freeze_count()


@pytest.mark.parametrize("setting", ["disable", "freeze"])
def test_other_settings_of_the_garbage_collector_stay_as_they_are(collection, setting):
    getattr(collection, setting)()
    before = collection.isenabled(), collection.get_freeze_count() > 0
    with collection_off():
        assert (collection.isenabled(), collection.get_freeze_count() > 0) == before
    assert (collection.isenabled(), collection.get_freeze_count() > 0) == before


@pytest.mark.long
@pytest.mark.parametrize("setting", ["gc.disable()", "gc.freeze()"])
def test_the_import_keeps_the_settings_of_the_garbage_collector(setting):
    before, after = gc_states(setting)
    assert after[:2] == before[:2]


@pytest.mark.long
def test_loading_pytorch_is_not_interrupted_by_garbage_collection():
    before, after = gc_states("pass")
    assert after[:2] == before[:2] == ["True", "False"]
    assert int(after[2]) - int(before[2]) < int(gc_states("import torch")[0][2])


@pytest.mark.parametrize("module", [caffe, _caffe, pycaffe], ids=lambda module: module.__name__)
def test_a_module_has_every_name_that_it_lists_once(module):
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), name


def test_the_three_modules_offer_the_same_objects():
    assert set(pycaffe.__all__) < set(api.COMPILED) < set(caffe.__all__)
    assert set(api.COMPILED) < set(_caffe.__all__)
    for name in api.COMPILED:
        assert getattr(_caffe, name) is getattr(caffe, name)
    for name in pycaffe.__all__:
        assert getattr(pycaffe, name) is getattr(caffe, name)


def test_a_star_import_brings_the_listed_names():
    namespace: dict[str, object] = {}
    exec("from caffe import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(caffe.__all__)


@pytest.mark.slow
def test_a_type_checker_sees_the_names_of_a_star_import(tmp_path):
    code = tmp_path / "script.py"
    code.write_text(
        "from caffe import *\n"
        "net: Net = Net('net.prototxt', TEST)\n"
        "solver: SGDSolver = SGDSolver('solver.prototxt')\n"
        "io.load_image('cat.jpg'), pycaffe.Timer(), NetSpec(), CaffeError()\n"
        "set_mode_cpu()\n"
    )
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports"]
    result = subprocess.run(
        [*command, f"--cache-dir={tmp_path}", str(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(ENGINE)},
    )
    assert result.returncode == 0, result.stdout
