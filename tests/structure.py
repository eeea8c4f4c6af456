"""Measures of a checkout's structure: `python -m tests.structure [CHECKOUT]`.

Prints the import circles, the private names that are read across modules, the functions that are
longer than a screen, the vague names, and the largest modules. `test_architecture` holds this
checkout to the rules; another checkout, such as that of an earlier commit, can be compared.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

#: Lines of a function that fit on a screen.
SCREEN = 60
#: Words that say nothing of what a value is.
VAGUE = {
    *("asked", "found", "given", "known", "made", "own", "seen", "taken", "told", "wanted"),
    *("what", "whole"),
}
#: Names with an underscore that are an interface: pycaffe's Net, and namedtuples.
INTERFACE = {
    *("_Net_forward", "_batch"),
    *("_backward", "_blob_loss_weights", "_blob_names", "_blobs", "_bottom_ids", "_forward"),
    *("_inputs", "_layer_names", "_outputs", "_set_input_arrays", "_top_ids"),
    *("_asdict", "_field_defaults", "_fields", "_make", "_replace"),
}
#: Packages of others whose underscored names are used where there is no public one.
FOREIGN = {"ast", "dist", "os", "sys", "torch"}
GENERATED = {"caffe_pb2.py"}
SKIPPED = {".git", ".venv", ".venv-bench", "build", "data", "ilsvrc-nets", "runs"}


class Checkout:
    """The Python files of a checkout of this project."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.engine = self.root / "engine" / "caffe"

    def files(self, *folders: str) -> list[Path]:
        """The Python files below some folders, by default below all."""
        files = [f for folder in folders or (".",) for f in (self.root / folder).rglob("*.py")]
        kept = (f for f in files if not SKIPPED & set(f.relative_to(self.root).parts))
        return sorted(f for f in kept if f.name not in GENERATED)

    @cached_property
    def _trees(self) -> dict[Path, ast.Module]:
        with _kept_objects():
            return {file: ast.parse(file.read_text()) for file in self.files()}

    def tree(self, file: Path) -> ast.Module:
        """The syntax tree of a file."""
        return self._trees[file]

    @cached_property
    def _nodes(self) -> dict[Path, tuple[ast.AST, ...]]:
        with _kept_objects():
            return {file: tuple(ast.walk(tree)) for file, tree in self._trees.items()}

    def nodes(self, file: Path) -> tuple[ast.AST, ...]:
        """All nodes of the syntax tree of a file."""
        return self._nodes[file]

    def show(self, file: Path) -> str:
        """The path of a file from the checkout's root."""
        return str(file.relative_to(self.root))

    def module_name(self, file: Path) -> str:
        """The dotted name of a file's module: `caffe.run.region`, `solvers.stage`."""
        base = self.engine.parent if self.engine in file.parents else self.root
        parts = file.relative_to(base).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The checkout's modules by name."""
        return {self.module_name(file): file for file in self.files()}

    def imported_modules(self, file: Path) -> set[str]:
        """The checkout's modules that a file imports anywhere in it, under TYPE_CHECKING too."""
        names: set[str] = set()
        package = self.module_name(file).split(".")
        if file.name != "__init__.py":
            package = package[:-1]
        for node in self.nodes(file):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    names.add(inner if inner in self.modules else module)
        return names & set(self.modules)

    def circles(self) -> list[str]:
        """The groups of modules that import each other, directly or through others."""
        graph = {}
        for name, file in self.modules.items():
            edges = self.imported_modules(file) - {name}
            # Python imports a package before its modules; that is no circle of the project's.
            graph[name] = {edge for edge in edges if not name.startswith(f"{edge}.")}
        reach = {name: _reachable(graph, name) for name in graph}
        groups = {
            tuple(sorted(other for other in reach[name] if name in reach[other]))
            for name in graph
            if name in reach[name]
        }
        return sorted(" <-> ".join(group) for group in groups)

    def private_reads(self) -> list[str]:
        """The places at which a module reads a private name of another."""
        return [place for file in self.files() for place in self._private_reads(file)]

    def _private_reads(self, file: Path) -> Iterator[str]:
        names = set(_defined_names(self.nodes(file)))
        for node in self.nodes(file):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if _is_private(alias.name) and not self._is_module(node, alias.name):
                        yield f"{self.show(file)}:{node.lineno} imports {alias.name}"
            elif isinstance(node, ast.Attribute) and _is_private(node.attr):
                root = _root_name(node)
                on_self = root in ("self", "cls") and isinstance(node.value, ast.Name)
                if root not in FOREIGN and not on_self and node.attr not in names:
                    yield f"{self.show(file)}:{node.lineno} reads {ast.unparse(node)}"

    def _is_module(self, node: ast.ImportFrom, name: str) -> bool:
        module = f"{node.module}.{name}" if node.module else name
        return any(f".{other}".endswith(f".{module}") for other in self.modules)

    def vague_names(self) -> list[str]:
        """The places at which a function, parameter or variable has a vague name."""
        return [
            f"{self.show(file)}:{line} {name}"
            for file in self.files()
            for name, line in _stored_names(self.nodes(file))
            if name in VAGUE
        ]

    def long_functions(self) -> list[str]:
        """The functions that do not fit on a screen."""
        long = []
        for file in self.files():
            for node in self.nodes(file):
                if isinstance(node, ast.FunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > SCREEN:
                        long.append(f"{self.show(file)}:{node.lineno} {node.name}: {lines} lines")
        return long

    def largest_modules(self, count: int = 5) -> list[str]:
        """The modules with the most lines."""
        sizes = sorted(((len(f.read_text().splitlines()), f) for f in self.files()), reverse=True)
        return [f"{self.show(file)}: {lines} lines" for lines, file in sizes[:count]]


@contextlib.contextmanager
def _kept_objects() -> Iterator[None]:
    """Keep new objects from the garbage collector.

    Collections among the million nodes of the trees take three times as long as the parser.
    """
    collects = gc.isenabled()
    gc.disable()
    yield
    gc.freeze()
    if collects:
        gc.enable()


def _reachable(graph: dict[str, set[str]], name: str) -> set[str]:
    """The modules that are imported from a module on."""
    reached: set[str] = set()
    waiting = list(graph[name])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += graph[module]
    return reached


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in INTERFACE


def _root_name(node: ast.Attribute) -> str:
    """The name at the start of a chain of attributes, or ""."""
    value: ast.expr = node.value
    while isinstance(value, ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else ""


def _defined_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that a file defines: functions, classes, variables, attributes of self and cls."""
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # the names in __slots__


def _stored_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """The names of functions, parameters and variables, with their lines."""
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef):
            yield node.name, node.lineno


def main() -> None:
    """Print the measures of a checkout."""
    parser = argparse.ArgumentParser(prog="python -m tests.structure", description=__doc__)
    parser.add_argument("checkout", nargs="?", default=".", help="its root (default: here)")
    parser.add_argument("--list", action="store_true", help="every place, not only the counts")
    arguments = parser.parse_args()
    checkout = Checkout(Path(arguments.checkout))
    for title, places in (
        ("import circles", checkout.circles()),
        ("private names read across modules", checkout.private_reads()),
        (f"functions over {SCREEN} lines", checkout.long_functions()),
        ("vague names", checkout.vague_names()),
    ):
        print(f"{title}: {len(places)}")
        if arguments.list:
            print("".join(f"  {place}\n" for place in places), end="")
    print("largest modules:", "; ".join(checkout.largest_modules()))


if __name__ == "__main__":
    main()
