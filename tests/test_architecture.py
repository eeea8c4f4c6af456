"""The rules of docs/architecture.md that a reader of the code relies on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "engine" / "caffe"

# Each package and the ones of this project that it may import.
BELOW = {
    "fcn_common": set(),
    "fcn_data": {"caffe", "fcn_common"},
    "voc_layers": {"caffe", "fcn_common", "fcn_data"},
    "net_gen": {"caffe", "fcn_common", "fcn_data"},
    "surgery": {"caffe", "fcn_common", "fcn_data", "net_gen"},
    "solvers": {"caffe", "fcn_common", "fcn_data", "net_gen", "surgery"},
    "experiments": {
        *("caffe", "fcn_common", "fcn_data", "net_gen", "solvers", "surgery", "voc_layers"),
    },
}
FOLDERS = {"caffe", "solve", "net", *BELOW}


def files_of(name):
    single = ROOT / f"{name}.py"
    return [single] if single.is_file() else sorted((ROOT / name).rglob("*.py"))


def above():
    variants = sorted(ROOT.glob("voc-*/*.py"))
    return [file for name in BELOW for file in files_of(name)] + variants


def imports(file):
    """The top-level names that a file imports, anywhere in it; relative imports are left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]


def show(file):
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("name", BELOW)
def test_imports_go_down_the_house(name):
    files = files_of(name)
    assert files
    for file in files:
        up = (set(imports(file)) & FOLDERS) - BELOW[name] - {name}
        assert not up, f"{show(file)} imports {', '.join(sorted(up))}"


def test_the_engine_imports_nothing_of_what_is_above_it():
    for file in ENGINE.rglob("*.py"):
        up = set(imports(file)) & (FOLDERS - {"caffe"})
        assert not up, f"{show(file)} imports {', '.join(sorted(up))}"


@pytest.mark.parametrize("file", above(), ids=show)
def test_nothing_above_the_line_imports_torch(file):
    assert not {"torch", "torchvision"} & set(imports(file))


@pytest.mark.parametrize("file", above(), ids=show)
def test_what_is_above_the_line_is_written_in_python_39(file):
    ast.parse(file.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("file", above(), ids=show)
def test_names_of_types_are_not_evaluated_above_the_line(file):
    """Python 3.9 cannot evaluate `int | None`; a file that writes one says `annotations`."""
    tree = ast.parse(file.read_text())
    future = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in ast.walk(tree))
    notes = [n.annotation for n in ast.walk(tree) if getattr(n, "annotation", None)]
    notes += [n.returns for n in ast.walk(tree) if getattr(n, "returns", None)]
    unions = [n for note in notes for n in ast.walk(note) if isinstance(n, ast.BinOp)]
    assert future or not unions


def test_nothing_above_the_line_asks_which_engine_it_runs_on():
    for file in above():
        for node in ast.walk(ast.parse(file.read_text())):
            tests = [node.test] if isinstance(node, (ast.If, ast.IfExp, ast.While)) else []
            for test in tests:
                names = {n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)}
                assert "__version__" not in names, f"{show(file)}:{node.lineno}"


def test_the_engine_knows_nothing_of_segmentation():
    words = ("fcn", "pascal", "voc_", "sbd", "segmentation", "vgg", "ilsvrc")
    for file in ENGINE.rglob("*.py"):
        if file.name == "caffe_pb2.py":
            continue
        text = file.read_text().lower()
        found = [word for word in words if word in text]
        assert not found, f"{show(file)} speaks of {', '.join(found)}"


def test_no_file_names_a_place_outside_the_project():
    forbidden = ["../" + "shared", "/" + "work/", "/" + "root/", "pypi" + ".org"]
    kept = [".py", ".md", ".txt", ".toml", ".prototxt", ".sh", ""]
    skipped = {".git", ".venv", ".venv-bench", "data", "runs", "ilsvrc-nets", "snapshot"}
    for file in ROOT.rglob("*"):
        parts = file.relative_to(ROOT).parts
        if skipped & set(parts) or any("cache" in p or "egg-info" in p for p in parts):
            continue
        if file.is_file() and file.suffix in kept:
            text = file.read_text(errors="replace")
            found = [word for word in forbidden if word in text]
            assert not found, f"{show(file)} names {found[0]}"


@pytest.mark.parametrize("variant", ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"])
def test_a_variant_folder_holds_no_logic(variant):
    """No class, loop or condition on values in net.py and solve.py."""
    logic = (ast.ClassDef, ast.For, ast.While, ast.Try, ast.IfExp)
    for name in ("net.py", "solve.py"):
        tree = ast.parse((ROOT / variant / name).read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, logic)]
