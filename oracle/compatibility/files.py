"""The rows of the page about files: prototxts, weights, snapshots, means and databases."""

from __future__ import annotations

import os
import re
import tempfile
from collections import defaultdict
from typing import Dict, List

import numpy as np

from oracle.cases import CASES
from oracle.cases.training import rewrite
from oracle.compare import error, file_disagreement, golden
from oracle.compatibility.agreement import EXACT, comparisons, round_up

#: Format -> the beginnings of the names of its cases in the group `upgrade`.
FORMATS = {
    "net prototxt, V0 (`layers { layer { ... } }`)": "v0|padding",
    "net prototxt, V1 (`layers`, enum types)": "v1|layer_and",
    "net prototxt, `input` with `input_dim` or `input_shape`": "input|more|fewer|shapes",
    "net prototxt, current": "[bcden]",
    "solver prototxt, old and current": "solver",
    ".caffemodel, V0, V1 and current, blob sizes as num, channels, height, width": "weights",
}


def same_bytes(count: int) -> str:
    """Return the text for files whose bytes are equal."""
    return f"{count} the same bytes"


def upgrade_rows() -> List[List[str]]:
    """Return the rows about files that the upgrade tools write."""
    rows = []
    for name, pattern in FORMATS.items():
        agreements = [
            comparison.agreement
            for comparison in comparisons("upgrade")
            if re.match(pattern, comparison.case.name[len("upgrade.") :])
        ]
        rows.append([name, str(len(agreements)), same_bytes(agreements.count(EXACT))])
    return rows


def database_rows() -> List[List[str]]:
    """Return the rows about files of the data tools, and what data layers read from them."""
    means, errors, cases = [], [], 0
    for case, engine, bvlc in comparisons("data"):
        if not case.name.startswith(("data.lmdb", "data.features")):
            continue
        cases += 1
        for key in bvlc:
            if not key.startswith(case.name + "/"):
                continue
            if key.endswith(".binaryproto"):
                means.append(np.array_equal(engine[key], bvlc[key]))
            elif bvlc[key].dtype.kind == "f":
                errors.append(error(np.asarray(engine[key]), bvlc[key]))
    agreement = round_up(max(errors))
    return [
        ["mean .binaryproto of compute_image_mean", str(len(means)), same_bytes(sum(means))],
        ["LMDB of convert_imageset and extract_features, as Data reads it", str(cases), agreement],
    ]


def rewrite_counts() -> Dict[str, Dict[str, int]]:
    """Return suffix -> how many of BVLC Caffe's snapshots the engine rewrites byte for byte."""
    counts: Dict[str, Dict[str, int]] = {}
    before = os.getcwd()
    for case in CASES.values():
        start, recorded = f"{case.name}/file/", golden(case.group)
        if f"{case.name}/continued/iter" not in recorded:
            continue
        bvlc = {k[len(start) :]: v for k, v in recorded.items() if k.startswith(start)}
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                for file, content in bvlc.items():
                    content.tofile(file)
                rewrite(case)
                for file, content in bvlc.items():
                    engine = np.fromfile(file, np.uint8)
                    text = file_disagreement(file, engine.tobytes(), content.tobytes(), 0)
                    count = counts.setdefault(file.split(".", 1)[1], defaultdict(int))
                    count["files"] += 1
                    count["same bytes"] += int(np.array_equal(engine, content))
                    count["same content"] += int(text is None)
            finally:
                os.chdir(before)
    return counts


def snapshot_rows(bvlc: Dict[str, Dict[str, int]]) -> List[List[str]]:
    """Return the rows about snapshots; bvlc: counts of the engine's files in BVLC Caffe."""

    def cell(count: Dict[str, int]) -> str:
        if count["same bytes"] == count["files"]:
            return f"{count['files']} of {same_bytes(count['files'])}"
        return f"{count['same content']} of {count['files']} the same content"

    engine = rewrite_counts()
    return [[f".{suffix}", cell(engine[suffix]), cell(bvlc[suffix])] for suffix in sorted(engine)]
