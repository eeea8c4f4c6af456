"""The calls of a source file that write, and whether their paths may be written.

In the strict mode nothing outside the working folder is written. A path is checked where it passes
through `writable`, or is given by a helper that checks it, such as `atomic_write`. This module
finds the calls whose path does neither.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: Functions that write a path, and the position of the path; by their dotted name.
FUNCTIONS = {
    **dict.fromkeys(("os.makedirs", "os.mkdir", "os.truncate", "os.mkfifo", "shutil.rmtree"), 0),
    **dict.fromkeys(("os.replace", "os.rename", "os.link", "os.symlink", "shutil.move"), 1),
    **dict.fromkeys(("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree"), 1),
    **dict.fromkeys(("np.save", "np.savez", "np.savez_compressed", "np.savetxt"), 0),
    **dict.fromkeys(("cv2.imwrite", "cv2.VideoWriter", "savemat", "sqlite3.connect"), 0),
}
#: Methods that write their first argument, whatever their object is.
METHODS = ("save", "savefig", "to_csv", "to_hdf", "to_file", "tofile", "imwrite")
#: Methods with the place as their second argument.
SECOND = ("save_file", "extract")
#: Methods of paths.
PATH_METHODS = ("write_text", "write_bytes", "touch", "mkdir", "symlink_to", "hardlink_to")
#: Functions that open a path in a mode, and the position of the mode.
OPENERS = {"open": 1, "io.open": 1, "gzip.open": 1, "h5py.File": 1, "open_memmap": 1}
TEMPORARY = ("TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp")
#: Functions whose result, or what they give in a `with` block, is checked.
CHECKED = {
    *("writable", "atomic_write", "atomic_path", "atomic", "create", "temporary_folder"),
    *("_replacement", "BytesIO"),
}
#: Places of the system that are no files.
DEVICES = ("os.devnull", "'/proc/self/clear_refs'")


def unchecked_writes(source: str) -> list[str]:
    """Return each call that writes an unchecked path, with its line: "12: os.makedirs(folder)"."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    modules = set(_modules(nodes))
    paths = {n: _written_path(n, modules) for n in nodes if isinstance(n, ast.Call)}
    unchecked = []
    for scope in _scopes(nodes) if any(paths.values()) else ():
        names = _checked_names(scope)
        for call in (node for node in _inside(scope) if isinstance(node, ast.Call)):
            path = paths[call]
            if path is not None and not _is_checked(path, names):
                unchecked.append((call.lineno, f"{call.lineno}: {ast.unparse(call)}"))
    return [text for _, text in sorted(set(unchecked))]


def _scopes(nodes: list[ast.AST]) -> list[ast.AST]:
    """The module and each function; a function's names are its own."""
    functions = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in nodes if isinstance(node, functions)]


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of the functions inside."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
            yield from _inside(node)


def _modules(nodes: list[ast.AST]) -> Iterator[str]:
    """The names that a file imports, as modules or from them."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)


def _checked_names(scope: ast.AST) -> set[str]:
    """The names of a scope that are assigned from, or bound to, a checked expression."""
    names: set[str] = set()
    for _ in range(2):  # A name can come from a name that is assigned below, in a loop.
        for node in _inside(scope):
            if isinstance(node, ast.Assign) and _is_checked(node.value, names):
                names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                for item in node.items:
                    if item.optional_vars is not None and _is_checked(item.context_expr, names):
                        names.add(ast.unparse(item.optional_vars))
    return names


def _is_checked(value: ast.expr, names: set[str]) -> bool:
    """Whether an expression has a call of a helper that checks, or a checked name."""
    if ast.unparse(value) in DEVICES:
        return True
    for node in ast.walk(value):
        if isinstance(node, ast.Call) and _name(node.func).rpartition(".")[2] in CHECKED:
            return True
        if isinstance(node, ast.Name) and node.id in names:
            return True
    return False


def _written_path(call: ast.Call, modules: set[str]) -> ast.expr | None:
    """The path that a call writes; None for a call that writes none."""
    name = _name(call.func)
    receiver, _, method = name.rpartition(".")
    for function in (name, method):
        if function in FUNCTIONS:
            return _argument(call, FUNCTIONS[function])
    if name == "os.open":
        flags = ast.unparse(call)
        return None if "O_RDONLY" in flags else call.args[0]
    for opener, position in OPENERS.items():
        if opener in (name, method):
            return call.args[0] if call.args and _writes(call, position) else None
    if method in TEMPORARY:
        parent = next((k.value for k in call.keywords if k.arg == "dir"), None)
        return call if parent is None else parent
    if not isinstance(call.func, ast.Attribute) or receiver.split(".")[0] in modules:
        return None
    if method in PATH_METHODS:
        return call.func.value
    if method in METHODS and call.args:
        return call.args[0]
    return _argument(call, 1) if method in SECOND else None


def _writes(call: ast.Call, position: int) -> bool:
    """Whether a call of `open` writes: its mode is not a constant for reading."""
    mode = next((k.value for k in call.keywords if k.arg == "mode"), None)
    if mode is None:
        mode = call.args[position] if len(call.args) > position else ast.Constant("r")
    constants = [n.value for n in ast.walk(mode) if isinstance(n, ast.Constant)]
    return not isinstance(mode, ast.Constant) or any(set("wax+") & set(str(c)) for c in constants)


def _argument(call: ast.Call, position: int) -> ast.expr:
    if len(call.args) > position:
        return call.args[position]
    return call.keywords[0].value if call.keywords else call


def _name(function: ast.expr) -> str:
    """The dotted name of a called function; () for parts that are no names."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        return f"{_name(function.value)}.{function.attr}"
    return "()"
