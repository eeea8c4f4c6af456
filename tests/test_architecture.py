"""The rules of docs/architecture.md that a reader of the code relies on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.structure import Checkout

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "engine" / "caffe"

# Each package above the line and the project's packages that it may import.
LAYERS = ("voc", "pascalcontext", "siftflow", "nyud")
BELOW = {
    "fcn_common": set(),
    "fcn_data": {"caffe", "fcn_common"},
    **{f"{name}_layers": {"caffe", "fcn_common", "fcn_data"} for name in LAYERS},
    "net_gen": {"caffe", "fcn_common", "fcn_data"},
    "surgery": {"caffe", "fcn_common", "fcn_data", "net_gen"},
    "solvers": {"caffe", "fcn_common", "fcn_data", "net_gen", "surgery"},
    "score": {"solvers"},
    "vis": {"fcn_common"},
    "experiments": {
        *("caffe", "fcn_common", "fcn_data", "net_gen", "solvers", "surgery", "voc_layers"),
    },
}
VARIANT_SCRIPTS = {"solve", "net"}
ABOVE = {*BELOW, *VARIANT_SCRIPTS}

# The rooms of the engine from the lowest to the highest. A module imports from its own room and
# from lower ones. A room is named by its folder, or by its module where it is a single file.
ROOMS = (
    ("_torch", "code_ahead", "cores", "garbage", "late_torch", "torch_library"),
    ("arguments", "errors", "printable", "proto", "start"),
    ("files", "launch", "forks", "late_names", "log_files", "pages", "spelling"),
    ("large_pages",),
    ("module_search",),
    ("glog", "wire"),
    ("boost_random", "unknown", "lazy", "mode", "native"),
    ("text", "binary_nets"),
    ("device_copies", "heap", "lease", "memory", "waiting"),
    ("blob",),
    ("io", "net_spec"),
    ("model_bodies",),
    ("model_libs",),
    ("weights", "hdf5", "records", "upgrade", "ops"),
    ("graph", "fillers", "data"),
    ("layers",),
    ("aligned_crops", "coord_map", "net_log", "small"),
    ("run",),
    ("net", "draw"),
    ("train", "timer", "classifier", "detector"),
    ("inspect", "classify", "detect"),
    ("tools",),
    ("api", "_caffe", "pycaffe"),
    ("__init__", "__main__"),
)
HERE = Checkout(ROOT)
show, tree_of, nodes_of = HERE.show, HERE.tree, HERE.nodes


def files_of(name: str) -> list[Path]:
    single = ROOT / f"{name}.py"
    return [single] if single.is_file() else HERE.files(name)


def variant_files() -> list[Path]:
    return sorted(f for f in ROOT.glob("*-fcn*/*.py"))


def above() -> list[Path]:
    return [file for name in BELOW for file in files_of(name)] + variant_files()


def imports(file: Path) -> Iterator[str]:
    """The top-level names that a file imports, anywhere in it; relative imports are left out."""
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("name", BELOW)
def test_imports_go_down_the_house(name):
    files = files_of(name)
    assert files
    for file in files:
        up = (set(imports(file)) & {"caffe", *ABOVE}) - BELOW[name] - {name}
        assert not up, f"{show(file)} imports {', '.join(sorted(up))}"


@pytest.mark.parametrize("file", above(), ids=show)
def test_nothing_above_the_line_imports_torch(file):
    assert not {"torch", "torchvision"} & set(imports(file))


@pytest.mark.parametrize("file", above(), ids=show)
def test_code_above_the_line_is_written_in_python_39(file):
    ast.parse(file.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("file", above(), ids=show)
def test_names_of_types_are_not_evaluated_above_the_line(file):
    """Python 3.9 cannot evaluate `int | None`; a file that has such a type says `annotations`."""
    future = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in nodes_of(file))
    notes = [n.annotation for n in nodes_of(file) if getattr(n, "annotation", None)]
    notes += [n.returns for n in nodes_of(file) if getattr(n, "returns", None)]
    unions = [n for note in notes for n in ast.walk(note) if isinstance(n, ast.BinOp)]
    assert future or not unions


def test_nothing_above_the_line_asks_which_engine_it_runs_on():
    for file in above():
        for node in nodes_of(file):
            tests = [node.test] if isinstance(node, (ast.If, ast.IfExp, ast.While)) else []
            for test in tests:
                names = {n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)}
                assert "__version__" not in names, f"{show(file)}:{node.lineno}"


@pytest.mark.parametrize("file", variant_files(), ids=show)
def test_a_variant_folder_holds_no_logic(file):
    logic = (ast.ClassDef, ast.While, ast.Try, ast.IfExp)
    assert not [node for node in nodes_of(file) if isinstance(node, logic)]


def test_the_engine_imports_nothing_from_above_the_line():
    for file in HERE.files("engine"):
        up = set(imports(file)) & ABOVE
        assert not up, f"{show(file)} imports {', '.join(sorted(up))}"


def test_the_engine_knows_nothing_of_segmentation():
    words = ("fcn", "pascal", "voc_", "sbd", "segmentation", "vgg", "ilsvrc")
    forks = ENGINE / "layers" / "forks"  # Their layers are named after what they are for.
    # Two have the file names of BVLC's models as defaults, two the names of SSD's functions.
    named = {"classify.py": "ilsvrc", "detect.py": "ilsvrc"}
    named.update({"model_bodies.py": "vgg", "model_libs.py": "vgg"})
    for file in HERE.files("engine"):
        if forks in file.parents:
            continue
        text = file.read_text().lower().replace("fcntl", "")
        mentions = [word for word in words if word in text and named.get(file.name) != word]
        assert not mentions, f"{show(file)} speaks of {', '.join(mentions)}"


def room_of(module: str) -> int:
    name = module.split(".")[1] if "." in module else "__init__"
    levels = [level for level, rooms in enumerate(ROOMS) if name in rooms]
    assert levels, f"{module}: its room is missing in ROOMS"
    return levels[0]


@pytest.mark.parametrize("file", HERE.files("engine"), ids=show)
def test_imports_in_the_engine_go_down(file):
    module = HERE.module_name(file)
    for imported in HERE.imported_modules(file):
        # The package itself is `__init__`, which `import caffe` and `from . import x` name.
        if imported == "caffe":
            continue
        up = room_of(imported) > room_of(module)
        assert not up, f"{module} imports {imported}, which lies above it"


def test_the_geometry_of_regions_needs_no_torch():
    for name in ("geometry", "region"):
        assert "torch" not in set(imports(ENGINE / "run" / f"{name}.py"))


def test_no_modules_import_each_other_in_a_circle():
    circles = HERE.circles()
    assert not circles, "\n".join(circles)


def test_no_module_reads_private_names_of_another():
    reads = HERE.private_reads()
    assert not reads, "\n".join(reads)


def test_functions_fit_on_a_screen():
    long = HERE.long_functions()
    assert not long, "\n".join(long)


def test_names_are_not_vague():
    vague = HERE.vague_names()
    assert not vague, "\n".join(vague)


@cache
def documented_methods() -> dict[str, set[str]]:
    """By class name, the methods that a class or its bases document."""
    bases: dict[str, list[str]] = {}
    methods: dict[str, set[str]] = {}
    for file in HERE.files():
        for node in nodes_of(file):
            if isinstance(node, ast.ClassDef):
                names = [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
                bases.setdefault(node.name, []).extend(names)
                documented = {
                    f.name for f in node.body if isinstance(f, ast.FunctionDef) and docstring(f)
                }
                methods.setdefault(node.name, set()).update(documented)
    for _ in range(6):  # as deep as the project's classes go
        for name, names in bases.items():
            for base in names:
                methods[name] |= methods.get(base, set())
    return methods


def docstring(node: ast.FunctionDef | ast.ClassDef | ast.Module) -> str | None:
    return ast.get_docstring(node)


def undocumented(file: Path) -> Iterator[str]:
    """The public functions, classes and methods of a file that have no docstring."""
    tree = tree_of(file)
    if not docstring(tree) and file.read_text().strip():
        yield f"{show(file)}: the module"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if not docstring(node):
                yield f"{show(file)}:{node.lineno} {node.name}"
            if isinstance(node, ast.ClassDef):
                inherited = documented_methods().get(node.name, set())
                for method in node.body:
                    if (
                        isinstance(method, ast.FunctionDef)
                        and not method.name.startswith("_")
                        and method.name not in inherited
                        and not docstring(method)
                    ):
                        yield f"{show(file)}:{method.lineno} {node.name}.{method.name}"


def test_public_names_have_docstrings():
    files = [f for f in HERE.files() if ROOT / "tests" not in f.parents]
    missing = [place for file in files for place in undocumented(file)]
    assert not missing, "\n".join(missing)


def test_no_file_names_a_place_outside_the_project():
    forbidden = ["../" + "shared", "/" + "work/", "/" + "root/", "pypi" + ".org"]
    suffixes = [".py", ".md", ".txt", ".toml", ".prototxt", ".sh", ""]
    untracked = {".venv", ".venv-bench", ".hypothesis", "data", "runs", "ilsvrc-nets", "snapshot"}
    skipped = {".git", *untracked}
    for file in ROOT.rglob("*"):
        parts = file.relative_to(ROOT).parts
        if skipped & set(parts) or any("cache" in p or "egg-info" in p for p in parts):
            continue
        if file.is_file() and file.suffix in suffixes:
            text = file.read_text(errors="replace")
            places = [word for word in forbidden if word in text]
            assert not places, f"{show(file)} names {places[0]}"
