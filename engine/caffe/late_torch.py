"""Parts of PyTorch that are loaded when somebody first uses one of them.

`import torch` loads 1,100 modules. Half of its time goes into the parts that trace, compile and
export programs, which running a net does not use. `load` imports PyTorch with placeholders for
these parts. All parts are then loaded together, in PyTorch's own order, before the first use of

- a name in one of the packages, or a module of PyTorch that is not loaded,
- a name of torch that the parts define, such as torch.cond,
- an operator that the parts define, such as torch.ops.prims.add,
- a tensor on the device "meta": the parts register the shapes of many operators for such tensors.

From then on PyTorch is as an import without placeholders leaves it.

The parts are those of the versions in VERSIONS. Other versions are loaded without placeholders, as
with CAFFE_FAST=0 in the environment.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .garbage import collection_off

#: The first two numbers of the versions of PyTorch for which ROOTS and BRANCHES were tested.
VERSIONS = ("2.13",)
#: Packages and modules that `import torch` names, or names of whose modules it uses.
ROOTS = frozenset(
    {
        *("torch._decomp", "torch._higher_order_ops", "torch._meta_registrations"),
        *("torch._prims", "torch._refs", "torch._subclasses", "torch.ao", "torch.compiler"),
        *("torch.distributed._meta_registrations", "torch.distributions", "torch.export"),
        *("torch.func", "torch.masked", "torch.nested", "torch.nn.intrinsic", "torch.nn.qat"),
        *("torch.nn.quantizable", "torch.nn.quantized", "torch.optim", "torch.profiler"),
        *("torch.quantization", "torch.utils._debug_mode", "torch.utils.data"),
    }
)
#: Packages and modules that only ROOTS import.
BRANCHES = (
    *("torch._custom_op", "torch._custom_ops", "torch._dispatch", "torch._export"),
    *("torch._functorch._aot_autograd", "torch._functorch.batch_norm_replacement"),
    *("torch._functorch.eager_transforms", "torch._functorch.einops"),
    *("torch._functorch.functional_call", "torch._library.fake_profile"),
    *("torch._prims_common.wrappers", "torch.fx._utils"),
    *("torch.fx.experimental._backward_state", "torch.fx.experimental._constant_symnode"),
    *("torch.fx.experimental.const_fold", "torch.fx.experimental.proxy_tensor"),
    *("torch.fx.passes", "torch.testing._internal", "torch.utils._appending_byte_serializer"),
    *("torch.utils._content_store", "torch.utils._import_utils", "torch.utils._mode_utils"),
    *("torch.utils._stats", "torch.utils._thunk", "torch.utils.checkpoint"),
)
#: A module that registers kernels for devices: postponed in packages of PyTorch for the CPU alone.
DEVICE_KERNELS = "torch._native"
#: Functions of the parts that PyTorch imports into its own namespace: module, name.
FUNCTIONS = {
    ("torch._higher_order_ops", "cond"),
    ("torch._higher_order_ops", "while_loop"),
    ("torch.func", "vmap"),
}
#: Namespaces of torch.ops in which the parts define operators.
NAMESPACES = (
    *("_native", "debug_mode_ops", "debugprims", "export", "higher_order", "prims", "rngprims"),
)
#: Operators by which every tensor on the device "meta" begins.
META_OPERATORS = ("empty.memory_format", "empty_strided", "_efficientzerotensor")
#: Seconds for which a thread waits until another one has loaded the parts. Two threads that import
#: modules of PyTorch at the same moment could otherwise wait for each other for ever.
PATIENCE = 10.0


def load() -> None:
    """Import PyTorch, with placeholders for its parts if this version's parts are known."""
    parts = known_parts()
    if parts:
        _Postponement(parts).load()
    else:
        importlib.import_module("torch")


def known_parts() -> frozenset[str]:
    """Return the parts of the installed version; none if it was not tested or with CAFFE_FAST=0."""
    try:
        number, _, build = version("torch").partition("+")
    except PackageNotFoundError:
        return frozenset()
    tested = ".".join(number.split(".")[:2]) in VERSIONS
    if not tested or os.environ.get("CAFFE_FAST") == "0":
        return frozenset()
    return ROOTS.union(BRANCHES, {DEVICE_KERNELS} if build == "cpu" else ())


def parts_are_loaded() -> bool:
    """Return whether PyTorch is loaded without placeholders."""
    return not any(isinstance(module, _Placeholder) for module in [*sys.modules.values()])


def _is_exporting() -> bool:
    """Return False: nothing is exported before the parts are loaded."""
    return False


#: Names that answer without the parts. TorchScript asks this one at every call of a graph.
ANSWERS = {("torch.compiler", "is_exporting"): _is_exporting}


class _Placeholder(types.ModuleType):
    """A part that is not loaded yet. Every access to a name but `ANSWERS` loads all parts."""

    def __getattr__(self, name: str) -> Any:
        if (self.__name__, name) in ANSWERS:
            return ANSWERS[self.__name__, name]
        return getattr(self.__spec__.loader.part(self.__name__), name)  # type: ignore[union-attr]

    def __dir__(self) -> list[str]:
        return dir(self.__spec__.loader.part(self.__name__))  # type: ignore[union-attr]


class _Loaded(Loader):
    """Hands out a module that was loaded while the import system searched for it."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module, self._spec = module, module.__spec__
        # The import system takes the spec of a module that has appeared during the search.
        self.spec = module.__spec__ = ModuleSpec(module.__name__, self)

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._spec


class _Postponement(MetaPathFinder, Loader):
    """Finds placeholders for ROOTS and BRANCHES until these parts are loaded."""

    def __init__(self, parts: frozenset[str]) -> None:
        self._parts = parts
        self._lock = threading.RLock()
        self._waiting, self._imported = True, False
        #: The parts in PyTorch's order.
        self._names: list[str] = []
        self._namespaces: dict[str, Any] = {}
        self._getattr: Callable[[str], Any] | None = None
        self._library: Any = None
        self._functions: dict[tuple[str, str], object] = {key: object() for key in FUNCTIONS}

    def load(self) -> None:
        """Import PyTorch with placeholders."""
        sys.meta_path.insert(0, self)
        try:
            importlib.import_module("torch")
        except BaseException:
            self._withdraw()
            raise
        for name in BRANCHES:
            importlib.import_module(name)
        if self._waiting:
            self._imported = True
            self._watch_functions()
            self._watch_operators()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("torch."):
            return None
        if name in self._parts:
            real = PathFinder.find_spec(name, path)
            if real is not None:
                self._names.append(name)
                return ModuleSpec(name, self, origin=real.origin)
        elif self._imported or self._is_inside_part(name):
            self.load_parts()
            if name in sys.modules:
                return _Loaded(sys.modules[name]).spec
            return PathFinder.find_spec(name, sys.modules[name.rpartition(".")[0]].__path__)
        return None

    def _is_inside_part(self, name: str) -> bool:
        package = name.rpartition(".")[0]
        return package in self._parts or (bool(package) and self._is_inside_part(package))

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        """Make a new module a placeholder, with the functions that PyTorch imports from it."""
        assert module.__spec__ is not None
        module.__file__ = module.__spec__.origin
        module.__path__ = []
        for (part, name), stand_in in self._functions.items():
            if part == module.__name__:
                setattr(module, name, stand_in)
        module.__class__ = _Placeholder

    def _watch_functions(self) -> None:
        """Load the parts when somebody asks torch for a name that it does not have yet."""
        names = vars(sys.modules["torch"])
        for (_, name), stand_in in self._functions.items():
            if names.get(name) is stand_in:
                del names[name]
        original = self._getattr = names["__getattr__"]

        def get(name: str) -> Any:
            try:
                return original(name)
            except AttributeError:
                if name.startswith("__"):  # Inspection asks for such names.
                    raise
            self.load_parts()
            return names[name] if name in names else original(name)

        names["__getattr__"] = get

    def _watch_operators(self) -> None:
        """Load the parts when somebody uses their operators or creates a tensor on "meta"."""
        torch: Any = sys.modules["torch"]
        operators = vars(torch.ops)
        self._namespaces = {name: operators.get(name) for name in NAMESPACES}
        for name in NAMESPACES:
            operators[name] = _Namespace(name, self)
        self._library = torch.library.Library("aten", "IMPL", "Meta")
        with warnings.catch_warnings():
            # PyTorch warns of the first kernel in a program that takes the place of another one.
            warnings.simplefilter("ignore")
            for name in META_OPERATORS:
                self._library.impl(name, self._loading(torch.ops.aten, name))

    def _loading(self, aten: Any, name: str) -> Callable[..., Any]:
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(aten, packet), overload or "default")

        def call(*args: Any, **kwargs: Any) -> Any:
            self.load_parts()
            return operator(*args, **kwargs)

        return call

    def part(self, name: str) -> types.ModuleType:
        """Load the parts and return one of them."""
        self.load_parts()
        return importlib.import_module(name)

    def load_parts(self) -> None:
        """Load all parts, unless they are loaded or this thread is loading them."""
        owned = self._lock.acquire(timeout=PATIENCE)
        try:
            if self._waiting:
                self._waiting = False
                self._withdraw()
                with collection_off():
                    for name in self._names:
                        importlib.import_module(name)
                self._restore_functions()
        finally:
            if owned:
                self._lock.release()

    def _withdraw(self) -> None:
        """Take away the placeholders and what watches for uses of the parts."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in self._names:
            package, _, child = name.rpartition(".")
            for names, key in ((sys.modules, name), (vars(sys.modules[package]), child)):
                if isinstance(names.get(key), _Placeholder):
                    del names[key]
        operators = vars(sys.modules["torch.ops"]) if self._namespaces else {}
        for name, namespace in self._namespaces.items():
            del operators[name]
            if namespace is not None:
                operators[name] = namespace
        # PyTorch unregisters the kernels of a library that nobody refers to.
        self._library = None

    def _restore_functions(self) -> None:
        names = vars(sys.modules["torch"])
        for (part, name), stand_in in self._functions.items():
            if names.get(name, stand_in) is stand_in:
                names[name] = getattr(sys.modules[part], name)
        if self._getattr is not None:
            names["__getattr__"] = self._getattr


class _Namespace(types.ModuleType):
    """The operators of a namespace of torch.ops, whose first use loads the parts."""

    def __init__(self, name: str, postponement: _Postponement) -> None:
        super().__init__(f"torch.ops.{name}")
        self._short_name, self._postponement = name, postponement

    def _real(self) -> Any:
        self._postponement.load_parts()
        return getattr(sys.modules["torch.ops"], self._short_name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __dir__(self) -> list[str]:
        return dir(self._real())

    def __iter__(self) -> Iterator[str]:
        return iter(self._real())
