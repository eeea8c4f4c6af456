"""The rows of the page about layers and solvers: the largest error of each type."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, DefaultDict, Dict, Iterator, List, NamedTuple, Set, Tuple

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from oracle.cases import Case
from oracle.compare import error
from oracle.compatibility.agreement import Comparison, comparisons, round_up

KEY = re.compile(r"(?:.*/)?(data|diff|param|param_diff)/(.+)")
#: A key of a data layer's case: the number of the batch, and the blob.
DATA_KEY = re.compile(r".*/\d+/(\w+)")
#: The columns that the kinds of arrays belong to.
COLUMNS = {"data": "forward", "diff": "gradients", "param": "weights", "param_diff": "gradients"}
#: Groups of cases that are about neither layers nor solvers.
OTHER_GROUPS = ("upgrade", "pycaffe", "calls", "command")


class Types(NamedTuple):
    """The layer types of a net: of each layer, and of a blob's writers and readers."""

    layers: Dict[str, str]
    writers: Dict[str, List[str]]
    readers: Dict[str, List[str]]

    def concerned(self, kind: str, name: str) -> List[str]:
        """Return the types whose error an array shows; name: a blob, or LAYER/INDEX."""
        if kind == "data":
            return self.writers.get(name, [])
        if kind == "diff":
            return self.readers.get(name, [])
        layer = name.rpartition("/")[0]
        return [self.layers[layer]] if kind == "param_diff" and layer in self.layers else []


def types_of(case: Case) -> Types:
    """Return the layer types of a case's net."""
    message: Any = caffe_pb2.NetParameter()
    text_format.Parse(case.text, message)
    writers: DefaultDict[str, List[str]] = defaultdict(list)
    readers: DefaultDict[str, List[str]] = defaultdict(list)
    for layer in message.layer:
        for top in layer.top:
            writers[top].append(layer.type)
        for bottom in layer.bottom:
            readers[bottom].append(layer.type)
    return Types({layer.name: layer.type for layer in message.layer}, writers, readers)


def solver_of(case: Case) -> str:
    """Return the type of a training case's solver."""
    match = re.search(r"\btype: '(\w+)'", case.solver)
    return match[1] if match else "SGD"


def arrays_of(comparison: Comparison) -> Iterator[Tuple[str, str, float]]:
    """Yield (kind, blob or LAYER/INDEX, error) of a case's arrays of numbers."""
    for key, value in comparison.engine.items():
        match = KEY.fullmatch(key)
        batch = DATA_KEY.fullmatch(key) if comparison.case.group == "data" else None
        if batch:
            kind, name = "data", batch[1]
        elif match:
            kind, name = match.groups()
        else:
            continue
        if comparison.bvlc[key].dtype.kind in "fiu":
            yield kind, name, error(np.asarray(value), comparison.bvlc[key])


class Errors:
    """Counts cases by type, and keeps the largest error of each type and column."""

    def __init__(self) -> None:
        self.counts: DefaultDict[str, int] = defaultdict(int)
        self.worst: Dict[Tuple[str, str], float] = {}

    def count(self, types: Set[str]) -> None:
        """Count a case for each of its types."""
        for type_ in types:
            self.counts[type_] += 1

    def add(self, type_: str, kind: str, value: float) -> None:
        """Add the error of an array of this kind."""
        key = type_, COLUMNS[kind]
        self.worst[key] = max(self.worst.get(key, 0.0), value)

    def rows(self, *columns: str) -> List[List[str]]:
        """Return a row for each type: the name, the number of cases, and the largest errors."""
        return [
            [type_, str(self.counts[type_]), *(self._cell(type_, column) for column in columns)]
            for type_ in sorted(self.counts)
        ]

    def _cell(self, type_: str, column: str) -> str:
        key = type_, column
        return round_up(self.worst[key]) if key in self.worst else ""


def layer_and_solver_rows() -> Tuple[List[List[str]], List[List[str]]]:
    """Return the rows of the table of layers and of the table of solvers."""
    layers, solvers = Errors(), Errors()
    for comparison in comparisons():
        case = comparison.case
        if case.group in OTHER_GROUPS:
            continue
        types = types_of(case)
        if case.solver:
            solver = solver_of(case)
            solvers.count({solver})
            for kind, _, value in arrays_of(comparison):
                solvers.add(solver, kind, value)
        else:
            layers.count(set(types.layers.values()))
            for kind, name, value in arrays_of(comparison):
                for type_ in types.concerned(kind, name):
                    layers.add(type_, kind, value)
    return layers.rows("forward", "gradients"), solvers.rows("weights")
