"""Runs many nets; each gives its numbers or its refusal.

    oracle/caffe-python oracle/run_nets.py NETS.json FOLDER

NETS.json is a list of {name, text, inputs, phase, rounds, backward}, as oracle/random_nets writes
it. A net may also have `args` (more arguments for caffe.Net), `ranges` (see `run_ranges`) and
`limits` (see `set_limits`). BVLC Caffe ends the process on a net that it refuses, and either Caffe
may need too much time or memory, so each net runs in a fork with limits. The fork writes the
numbers to FOLDER/NAME.npz. If a net gives no numbers, FOLDER/NAME.refused says why.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import tempfile
from collections import OrderedDict
from typing import Sequence

import caffe
import numpy as np

from oracle.cases.case import (
    Case,
    Numbers,
    fill_params,
    load,
    meta,
    record,
    run_passes,
)

#: Limits of a net: seconds of processor time, seconds of wall-clock time, and bytes of memory
#: beyond the process's own.
CPU_SECONDS, WALL_SECONDS, MEMORY = 20, 120, 4 << 30
#: The beginning of the .refused file of a net that exceeded a limit.
RAN_OUT = "ran out of "
#: The words with which a Caffe reports that memory was not available.
NO_MEMORY = re.compile(r"bad_alloc|MemoryError|allocate memory|no memory|host allocation")


class Perturbation:
    """Changes to a net's numbers while the net runs. This class changes nothing."""

    def attach(self, net: caffe.Net) -> None:
        """Prepare a net whose weights have no values yet."""

    def apply(self, array: np.ndarray) -> None:
        """Change an array in place."""


EXACT = Perturbation()


def execute(
    case: Case,
    rs: np.random.RandomState,
    numbers: Numbers,
    folder: str = ".",
    perturbation: Perturbation = EXACT,
    ranges: Sequence[Sequence[float]] = (),
) -> None:
    """Run a case's rounds and ranges, with statistics of BatchNorm that a training could give."""
    net = load(case, folder)
    perturbation.attach(net)
    numbers["meta"] = meta(net)
    fill_params(net, rs, case.inputs.get("weights", "normal"))
    for name, layer in net.layer_dict.items():
        for blob in net.params.get(name, ()):
            if layer.type == "BatchNorm":
                blob.data[...] = np.abs(blob.data) + np.float32(0.5)
            perturbation.apply(blob.data)
    record(net, numbers, "", "param")
    run_passes(case, net, rs, numbers)
    if case.backward:
        run_ranges(net, ranges, numbers)
    record(net, numbers, "after/", "param")


def make_case(net: dict) -> Case:
    """Return the case that an entry of NETS.json describes."""
    rounds = [{k: tuple(v) for k, v in shapes.items()} for shapes in net["rounds"]]
    return Case(
        net["name"],
        net["text"],
        net["inputs"],
        rounds,
        net["phase"],
        backward=net["backward"],
        net_args=net.get("args"),
    )


def run_ranges(net: caffe.Net, ranges: Sequence[Sequence[float]], numbers: Numbers) -> None:
    """Run parts of a net: forward from or to an inner layer, and backward between two layers.

    ranges: for each run three numbers in [0, 1), which choose the layers. Backward stays within
    the layers of that forward, because BVLC Caffe's Scale in place allows one backward a forward.
    """
    names = list(net.layer_dict)
    for i, (inner, high, low) in enumerate(ranges):
        at = int(inner * len(names))
        first, last = (at, len(names) - 1) if i % 2 else (0, at)
        start = first + int(high * (last - first + 1))
        end = first + int(low * (start - first + 1))
        prefix = "range%d/" % i
        out = net.forward(start=names[at]) if i % 2 else net.forward(end=names[at])
        numbers[prefix + "out"] = np.array(json.dumps(sorted(out)))
        record(net, numbers, prefix, "data")
        out = net.backward(start=names[start], end=names[end])
        numbers[prefix + "in"] = np.array(json.dumps(sorted(out)))
        record(net, numbers, prefix, "diff param_diff")


def run_net(net: dict, folder: str, perturbation: Perturbation = EXACT) -> Numbers:
    """Return the numbers of one net. Whatever Caffe raises to refuse the net passes through."""
    case = make_case(net)
    numbers: Numbers = OrderedDict()
    caffe.set_mode_cpu()
    caffe.set_random_seed(case.seed)
    rs = np.random.RandomState(case.seed)
    execute(case, rs, numbers, folder, perturbation, net.get("ranges", ()))
    return numbers


def set_limits(seconds: int = CPU_SECONDS, memory: int = MEMORY) -> None:
    """Limit this process's processor time (seconds), memory (bytes more than now) and run time."""
    with open("/proc/self/statm") as f:
        memory += int(f.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    signal.alarm(WALL_SECONDS)


def refusal_text(printed: str, ending_signal: int) -> str:
    """Return why a net gave no numbers, from its process's output and the signal that ended it."""
    if ending_signal in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL):
        return RAN_OUT + "time"
    if NO_MEMORY.search(printed):
        return RAN_OUT + "memory"
    return printed + ("\nended by signal %d" % ending_signal if ending_signal else "")


def run_in_fork(net: dict, path: str, scratch: str, perturbation: Perturbation = EXACT) -> None:
    """Run one net in a fork of this process, which writes PATH.npz or PATH.refused.

    scratch: a folder for the net's prototxt.
    """
    child = os.fork()
    if child:
        ending_signal = os.waitpid(child, 0)[1] & 127
        if not os.path.exists(path + ".npz"):
            with open(path + ".printed", errors="replace") as printed:
                text = refusal_text(printed.read(), ending_signal)
            with open(path + ".refused", "w") as f:
                f.write(text)
        return
    run_child(net, path, scratch, perturbation)


def run_child(net: dict, path: str, scratch: str, perturbation: Perturbation) -> None:
    """Run one net in this process, write PATH.npz or print the exception, and end the process."""
    try:
        set_limits(*net.get("limits", ()))
        with open(path + ".printed", "w") as f:
            os.dup2(f.fileno(), 2)
        numbers: dict = run_net(net, scratch, perturbation)
        with open(path + ".part", "wb") as part:
            np.savez(part, **numbers)
        os.rename(path + ".part", path + ".npz")
    except BaseException as error:
        # The engine's CaffeError is a line of its own; BVLC Caffe's refusal comes after the log.
        if isinstance(error, getattr(caffe, "CaffeError", ())):
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)
            os.write(2, str(error).encode())
        else:
            os.write(2, ("%s: %s" % (type(error).__name__, error)).encode())
    os._exit(0)


def main() -> None:
    """Run the nets of a file under BVLC Caffe."""
    if not caffe.__file__.startswith("/usr/lib/"):
        raise SystemExit("run_nets.py: runs BVLC Caffe; start it with oracle/caffe-python")
    nets, out = sys.argv[1:]
    with open(nets) as f, tempfile.TemporaryDirectory() as scratch:
        for net in json.load(f):
            run_in_fork(net, os.path.join(out, net["name"]), scratch)


if __name__ == "__main__":
    main()
