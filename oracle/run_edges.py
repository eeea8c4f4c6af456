"""Runs nets and solvers at the edges of what Caffe accepts; each gives its numbers or a refusal.

    oracle/caffe-python oracle/run_edges.py FOLDER NAME

FOLDER/cases.json is a list of {name, net, rounds, backward, phase} and {name, net, solver, steps},
as oracle.edges writes it. Unlike in oracle/run_nets.py, blobs without values are not read, because
BVLC Caffe ends the process there. FOLDER/NAME/CASE.npz gets the numbers, or CASE.refused the last
words. A case that hangs ends after SECONDS.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import caffe
import numpy as np

from oracle.exchange import Numbers, run_case, text_file, values

#: Seconds after which a case counts as hung.
SECONDS = 60


def record(net: Any, numbers: Numbers, prefix: str, kind: str) -> None:
    """Record the shapes of all blobs and parameters, and the arrays of those with values."""
    named = [*net.blobs.items()]
    named += [("%s/%d" % (n, i), b) for n, bs in net.params.items() for i, b in enumerate(bs)]
    for name, blob in named:
        numbers["%sshape/%s" % (prefix, name)] = np.array(list(blob.shape))
        if blob.count:
            numbers["%s%s/%s" % (prefix, kind, name)] = np.array(getattr(blob, kind))


def run_net(case: dict) -> Numbers:
    """Build a net, and run its rounds forward and backward."""
    numbers: Numbers = {}
    net = caffe.Net(text_file("net.prototxt", case["net"]), case["phase"])
    i = 0
    for blobs in net.params.values():
        for blob in blobs:
            i += 1
            if blob.count:
                blob.data[...] = values({"seed": 7}, list(blob.shape), i)
    for number, shapes in enumerate(case["rounds"]):
        for name, shape in shapes.items():
            net.blobs[name].reshape(*shape)
        for name in net.inputs:
            blob = net.blobs[name]
            if blob.count:
                drawn = values({"seed": number}, list(blob.shape), len(name))
                blob.data[...] = np.abs(np.round(drawn)) % 2 if name in case["labels"] else drawn
        net.forward()
        record(net, numbers, "%d/" % number, "data")
        if case["backward"]:
            for name in net.outputs:
                if net.blobs[name].count and not name.startswith("loss"):
                    net.blobs[name].diff[...] = 1
            net.backward()
            record(net, numbers, "%d/" % number, "diff")
    return numbers


def run_solver(case: dict) -> Numbers:
    """Train, and record the weights after every step."""
    numbers: Numbers = {}
    text_file("net.prototxt", case["net"])
    solver = caffe.get_solver(text_file("solver.prototxt", case["solver"]))
    for step in range(case["steps"]):
        solver.step(1)
        record(solver.net, numbers, "%d/" % step, "data")
        numbers["%d/iter" % step] = np.array(solver.iter)
    return numbers


def numbers_of(case: dict) -> Numbers:
    """Return the numbers of a case. Raises TimeoutError."""
    signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    try:
        return run_solver(case) if "solver" in case else run_net(case)
    finally:
        signal.alarm(0)


def end(number: int, frame: Any) -> None:
    """End a case that hangs."""
    raise TimeoutError("more than %d seconds" % SECONDS)


def main(folder: str, name: str) -> None:
    """Run every case."""
    caffe.set_mode_cpu()
    with open(os.path.join(folder, "cases.json"), encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        path = os.path.join(folder, name, case["name"])
        run_case(path, lambda case=case: numbers_of(case))  # type: ignore[misc]


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), sys.argv[2])
