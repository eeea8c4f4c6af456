"""The names of pycaffe's modules and classes, with their parameters.

oracle/caffe-python oracle/surface.py    prints them as JSON

Of what is written in Python, parameters are names and defaults; of what is written in C++, how
many there may be, `[least, most]`, the object itself counted.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import tempfile
from typing import Any, Dict, List, Optional

MODULES = ("", "_caffe", "pycaffe", "io", "classifier", "detector", "net_spec", "coord_map")
CLASSES = ("Net", "Layer", "SGDSolver", "Timer", "Classifier", "Detector", "NetSpec")
IN_C = ("Blob", "BlobVec", "Solver", "SolverParameter")


#: A package for programs that run on Python 2 too, which the engine does not need.
NOT_INTERFACE = {"six"}


def parameters(thing: object) -> Optional[List[Any]]:
    """The parameters of a function (see the module's head); None for what is no function."""
    if inspect.isfunction(thing):
        return [
            name if p.default is p.empty else f"{name}={p.default!r}"
            for name, p in inspect.signature(thing).parameters.items()
        ]
    # Boost.Python: `name( (Net)arg1, (str)path [, (int)level=0 [, ...]]) -> object :`
    forms = re.findall(r"^\w+\((.*)\) -> \w+ :", getattr(thing, "__doc__", None) or "", re.M)
    if not forms or "C++ signature" not in str(thing.__doc__):
        return None
    most = [form.count("(") for form in forms]
    least = [form.split("[")[0].count("(") for form in forms]
    # The form without a callback is the one for NCCL, in a build that has none.
    nccl = getattr(thing, "__name__", "") in ("add_callback", "after_backward")
    return [max(most) if nccl else min(least), max(most)]


def takes(thing: Any, counts: List[int], bound: bool) -> bool:
    """Whether a function can be called with as few and as many arguments as BVLC Caffe's."""
    try:
        inspect.signature(thing).bind(*[None] * (counts[0] - bound))
        inspect.signature(thing).bind(*[None] * (counts[1] - bound))
    except TypeError:
        return False
    return True


def names(of: object) -> Dict[str, Optional[List[Any]]]:
    return {
        name: parameters(getattr(of, name))
        for name in dir(of)
        if not name.startswith("__") or name == "__version__"
    }


def surface() -> Dict[str, Dict[str, Optional[List[Any]]]]:
    """Module or class -> name -> parameters."""
    import caffe
    from caffe import _caffe

    found = {
        "caffe." + name: names(importlib.import_module("caffe." + name) if name else caffe)
        for name in MODULES
    }
    found.update({name: names(getattr(caffe, name)) for name in CLASSES})
    found["Transformer"] = names(caffe.io.Transformer)
    found.update({name: names(getattr(_caffe, name)) for name in IN_C})
    return found


def made(folder: str) -> Dict[str, Any]:
    """An object of each class whose names depend on the object, and the modules."""
    import caffe
    from caffe import _caffe

    net_path, solver_path = (os.path.join(folder, name) for name in ("net", "solver"))
    with open(net_path, "w") as file:
        file.write(NET)
    with open(solver_path, "w") as file:
        file.write(f"net: {net_path!r} base_lr: 0.1 lr_policy: 'fixed' snapshot_prefix: 'x'")
    net, solver = caffe.Net(net_path, caffe.TEST), caffe.SGDSolver(solver_path)
    found: Dict[str, Any] = {
        "caffe." + name: importlib.import_module("caffe." + name) if name else caffe
        for name in MODULES
    }
    found.update(dict.fromkeys(("Net", "Classifier", "Detector"), net))
    found.update(dict.fromkeys(("Solver", "SGDSolver"), solver))
    found.update(Layer=net.layers[0], Blob=net.blobs["x"], BlobVec=net.params["y"])
    found.update(SolverParameter=_caffe.SolverParameter(), Timer=caffe.Timer())
    return found


NET = """layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } }
layer { name: 'y' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 1 } }
"""


def differences(theirs: Dict[str, Dict[str, Any]]) -> Dict[str, List[str]]:
    """Module or class -> what `import caffe` here lacks, or takes otherwise."""
    ours = surface()
    wrong: Dict[str, List[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        objects = made(folder)
        for where, names_there in theirs.items():
            thing = objects.get(where)
            is_object = thing is not None and not inspect.ismodule(thing)
            there = {*ours[where], *dir(thing), *NOT_INTERFACE}
            for name, wanted in names_there.items():
                if name not in there and not name.startswith("_Transformer__"):
                    wrong.setdefault(where, []).append(f"{name} is missing")
                elif wanted is None or name in NOT_INTERFACE:
                    continue
                elif all(isinstance(count, int) for count in wanted) and wanted:
                    if thing is not None and not takes(getattr(thing, name), wanted, is_object):
                        wrong.setdefault(where, []).append(f"{name} takes other arguments")
                elif ours[where].get(name, wanted) != wanted:
                    wrong.setdefault(where, []).append(f"{name} takes other arguments")
    return wrong


if __name__ == "__main__":
    print(json.dumps(surface()))
