"""Runs many nets, each to its numbers or its refusal.

    oracle/caffe-python oracle/run_nets.py NETS.json FOLDER

NETS.json is a list of {name, text, inputs, phase, rounds, backward}, as oracle/random_nets.py
writes it. BVLC Caffe ends the process on a net that it refuses, so each runs in a fork: what it
gives is FOLDER/NAME.npz, and without one, FOLDER/NAME.refused holds how the process ended.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections import OrderedDict
from typing import Optional

import caffe
import numpy as np

from oracle.cases.case import (
    Case,
    Numbers,
    fill_params,
    load,
    meta,
    passes,
    record,
)

MEMORY, SECONDS = 4 << 30, 20


def execute(
    case: Case,
    rs: np.random.RandomState,
    numbers: Numbers,
    folder: str = ".",
    rounding: Optional[np.random.RandomState] = None,
) -> None:
    """A program of a case: the rounds, with statistics of BatchNorm that could be.

    rounding: multiplies every weight, input and outcome of a layer by 1 + a few times 2^-24 of
    either sign.
    """

    def shake(array: np.ndarray) -> None:
        # Labels, indices and what is exactly zero or one are no outcome of rounding.
        if rounding is not None and (array != np.round(array)).any():
            array *= (1 + 3e-7 * (2 * rounding.random_sample(array.shape) - 1)).astype(np.float32)

    net = load(case, folder)
    if rounding is not None:
        names = list(net._layer_names)
        net.after_forward(lambda i: [shake(net.blobs[t].data) for t in net.top_names[names[i]]])
    numbers["meta"] = meta(net)
    fill_params(net, rs)
    for name, layer in zip(net._layer_names, net.layers):
        for blob in net.params.get(name, ()):
            if layer.type == "BatchNorm":
                blob.data[...] = np.abs(blob.data) + np.float32(0.5)
            shake(blob.data)
    record(net, numbers, "", "param")
    passes(case, net, rs, numbers)
    record(net, numbers, "after/", "param")


def make_case(net: dict) -> Case:
    """The case that an entry of NETS.json describes."""
    rounds = [{k: tuple(v) for k, v in shapes.items()} for shapes in net["rounds"]]
    return Case(
        net["name"],
        net["text"],
        net["inputs"],
        rounds,
        net["phase"],
        backward=net["backward"],
    )


def run_net(net: dict, folder: str, rounding: Optional[np.random.RandomState] = None) -> Numbers:
    """The numbers of one net; raises what the Caffe raises that refuses it."""
    case, numbers = make_case(net), OrderedDict()
    caffe.set_mode_cpu()
    execute(case, np.random.RandomState(case.seed), numbers, folder, rounding)
    return numbers


def run_in_fork(net: dict, out: str, scratch: str) -> None:
    """Runs one net in a fork of this process; see the module's head for what it leaves."""
    said = os.path.join(out, net["name"] + ".refused")
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if os.path.exists(os.path.join(out, net["name"] + ".npz")):
            os.remove(said)
        else:
            with open(said, "a") as f:
                f.write("\nended by signal %d\n" % (status & 127))
        return
    with open(said, "w") as f:
        os.dup2(f.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(SECONDS)
    path = os.path.join(out, net["name"])
    try:
        numbers = run_net(net, scratch)
        with open(path + ".part", "wb") as f:
            np.savez(f, **numbers)
        os.rename(path + ".part", path + ".npz")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(0)


def main() -> None:
    if not caffe.__file__.startswith("/usr/lib/"):
        raise SystemExit("run_nets.py: runs BVLC Caffe; start it with oracle/caffe-python")
    nets, out = sys.argv[1:]
    with open(nets) as f, tempfile.TemporaryDirectory() as scratch:
        for net in json.load(f):
            run_in_fork(net, out, scratch)


if __name__ == "__main__":
    main()
