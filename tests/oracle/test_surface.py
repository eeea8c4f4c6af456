"""Every name of pycaffe is there, with the same parameters in the same order."""

from __future__ import annotations

import json
from pathlib import Path

import caffe
import pytest
from caffe import _caffe

from oracle.surface import surface
from tests.engine.nets import SCORER, build, solver

pytestmark = pytest.mark.oracle
SCRIPT = Path(__file__).resolve().parents[2] / "oracle" / "surface.py"
# What its modules import for themselves, and a helper that makes properties.
NOT_INTERFACE = {"OrderedDict", "izip_longest", "resize", "zoom", "division", "_Net_get_id_name"}


def test_pycaffes_names_and_parameters_are_here(bvlc_caffe, tmp_path):
    printed = bvlc_caffe(SCRIPT)
    assert printed.returncode == 0, printed.stderr
    theirs, ours = json.loads(printed.stdout), surface()
    made = {
        "Net": build(tmp_path, SCORER),
        "SGDSolver": solver(tmp_path),
        "SolverParameter": _caffe.SolverParameter(),
        "Layer": build(tmp_path, SCORER).layers[0],
    }
    made.update({"Solver": made["SGDSolver"]})
    made.update(dict.fromkeys(("Classifier", "Detector"), made["Net"]))
    assert sum(map(len, theirs.values())) > 300
    missing, other = [], []
    for where, names in theirs.items():
        there = {*ours[where], *dir(made.get(where))} | NOT_INTERFACE
        for name, parameters in names.items():
            if name not in there and not name.startswith("_Transformer__"):
                missing.append(f"{where}.{name}")
            elif parameters is not None and ours[where].get(name, parameters) != parameters:
                other.append((where, name, ours[where][name], parameters))
    assert (missing, other) == ([], [])
    assert caffe.__version__.startswith("1.0.0")
