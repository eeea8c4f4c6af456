"""The names of pycaffe's modules and classes, with their parameters.

    oracle/caffe-python oracle/surface.py    prints the names as JSON

For a function in Python, the parameters are names and defaults. For a function in C++, they are
the least and the largest number of arguments, `self` included.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
import tempfile
import types
from typing import Any, Dict, List, Optional

import caffe
from caffe import _caffe

MODULES = (
    *("", "_caffe", "pycaffe", "io", "classifier", "detector", "net_spec", "coord_map", "draw"),
    *("proto", "proto.caffe_pb2"),
)
CLASSES = ("Net", "Layer", "SGDSolver", "Timer", "Classifier", "Detector", "NetSpec")
IN_C = ("Blob", "BlobVec", "Solver", "SolverParameter")
#: Packages and parts of protobuf's generated code that the engine does not need.
NOT_INTERFACE = {
    *("pydot", "_message", "_reflection", "enum_type_wrapper"),
    *("RegisterExtension", "_extensions_by_name", "_extensions_by_number"),
}
NET = """layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } }
layer { name: 'y' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 1 } }
"""
#: Module or class -> name -> parameters; None for what is not a function.
Surface = Dict[str, Dict[str, Optional[List[Any]]]]


def parameters(value: object) -> Optional[List[Any]]:
    """Return the parameters of a function (see the head of this module), or None."""
    if inspect.isfunction(value):
        return [
            name if p.default is p.empty else f"{name}={p.default!r}"
            for name, p in inspect.signature(value).parameters.items()
        ]
    # Boost.Python: `name( (Net)arg1, (str)path [, (int)level=0 [, ...]]) -> object :`
    forms = re.findall(r"^\w+\((.*)\) -> \w+ :", getattr(value, "__doc__", None) or "", re.M)
    if not forms or "C++ signature" not in str(value.__doc__):
        return None
    most = [form.count("(") for form in forms]
    least = [form.split("[")[0].count("(") for form in forms]
    # The form without a callback is the one for NCCL, in a build without NCCL.
    nccl = getattr(value, "__name__", "") in ("add_callback", "after_backward")
    return [max(most) if nccl else min(least), max(most)]


def accepts(function: Any, counts: List[int], bound: bool) -> bool:
    """Return whether a function accepts the least and the largest number of BVLC's arguments."""
    try:
        inspect.signature(function).bind(*[None] * (counts[0] - bound))
        inspect.signature(function).bind(*[None] * (counts[1] - bound))
    except TypeError:
        return False
    return True


def names(owner: object) -> Dict[str, Optional[List[Any]]]:
    """Return name -> parameters of a module or class."""
    return {
        name: parameters(getattr(owner, name))
        for name in dir(owner)
        if not name.startswith("__") or name == "__version__"
    }


def modules() -> Dict[str, Any]:
    """Return pycaffe's modules by the names in the surface, `caffe.` for the package.

    caffe.draw imports pydot, whose place an empty module takes while the modules are imported.
    """
    empty = types.ModuleType("pydot")
    pydot = sys.modules.setdefault("pydot", empty)
    try:
        return {
            "caffe." + name: importlib.import_module("caffe." + name) if name else caffe
            for name in MODULES
        }
    finally:
        if pydot is empty:
            del sys.modules["pydot"]


def surface() -> Surface:
    """Return the surface of the installed pycaffe."""
    owners = {
        **modules(),
        **{name: getattr(caffe, name) for name in CLASSES},
        "Transformer": caffe.io.Transformer,
        **{name: getattr(_caffe, name) for name in IN_C},
        **messages(),
    }
    return {where: names(owner) for where, owner in owners.items()}


def messages() -> Dict[str, Any]:
    """Return the classes of messages by name, as `caffe_pb2.Datum`."""
    pb = importlib.import_module("caffe.proto.caffe_pb2")
    return {"caffe_pb2." + name: getattr(pb, name) for name in pb.DESCRIPTOR.message_types_by_name}


def instances(folder: str) -> Dict[str, Any]:
    """Return an object of each class whose names depend on the object, and the modules."""
    net_path, solver_path = (os.path.join(folder, name) for name in ("net", "solver"))
    with open(net_path, "w") as file:
        file.write(NET)
    with open(solver_path, "w") as file:
        file.write(f"net: {net_path!r} base_lr: 0.1 lr_policy: 'fixed' snapshot_prefix: 'x'")
    net, solver = caffe.Net(net_path, caffe.TEST), caffe.SGDSolver(solver_path)
    objects: Dict[str, Any] = modules()
    objects.update(dict.fromkeys(("Net", "Classifier", "Detector"), net))
    objects.update(dict.fromkeys(("Solver", "SGDSolver"), solver))
    objects.update(Layer=net.layers[0], Blob=net.blobs["x"], BlobVec=net.params["y"])
    objects.update((name, message()) for name, message in messages().items())
    objects.update(SolverParameter=_caffe.SolverParameter(), Timer=caffe.Timer())
    return objects


def differences(bvlc: Surface) -> Dict[str, List[str]]:
    """Return module or class -> how the installed pycaffe differs from BVLC's surface."""
    engine = surface()
    wrong: Dict[str, List[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        objects = instances(folder)
        for where, bvlc_names in bvlc.items():
            lines = name_differences(objects.get(where), engine[where], bvlc_names)
            if lines:
                wrong[where] = lines
    return wrong


def name_differences(
    owner: Any, engine: Dict[str, Optional[List[Any]]], bvlc: Dict[str, Optional[List[Any]]]
) -> List[str]:
    """Return a line for each name that is missing or has other parameters.

    owner: a module, an object of a class, or None where the class alone has all names.
    """
    lines = []
    is_object = owner is not None and not inspect.ismodule(owner)
    existing = {*engine, *dir(owner)} | NOT_INTERFACE
    for name, expected in bvlc.items():
        if not (name in existing or hasattr(owner, name) or name.startswith("_Transformer__")):
            lines.append(f"{name} is missing")
        elif expected is None or name in NOT_INTERFACE:
            continue
        elif all(isinstance(count, int) for count in expected) and expected:
            if owner is not None and not accepts(getattr(owner, name), expected, is_object):
                lines.append(f"{name} takes other arguments")
        elif engine.get(name, expected) != expected:
            lines.append(f"{name} takes other arguments")
    return lines


if __name__ == "__main__":
    print(json.dumps(surface()))
