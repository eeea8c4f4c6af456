"""The names of pycaffe's modules and classes, with the parameters of what is written in Python.

oracle/caffe-python oracle/surface.py    prints them as JSON
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Dict, List, Optional

MODULES = ("", "_caffe", "pycaffe", "io", "classifier", "detector", "net_spec", "coord_map")
CLASSES = ("Net", "Layer", "SGDSolver", "Timer", "Classifier", "Detector", "NetSpec")
IN_C = ("Blob", "BlobVec", "Solver", "SolverParameter")


def parameters(thing: object) -> Optional[List[str]]:
    """The names and defaults of a function's parameters; None for what is no Python function."""
    if not inspect.isfunction(thing):
        return None
    return [
        name if p.default is p.empty else f"{name}={p.default!r}"
        for name, p in inspect.signature(thing).parameters.items()
    ]


def names(of: object) -> Dict[str, Optional[List[str]]]:
    return {
        name: parameters(getattr(of, name))
        for name in dir(of)
        if not name.startswith("__") and not inspect.ismodule(getattr(of, name))
    }


def surface() -> Dict[str, Dict[str, Optional[List[str]]]]:
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


if __name__ == "__main__":
    print(json.dumps(surface()))
