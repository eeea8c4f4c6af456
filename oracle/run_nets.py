"""Runs many nets, each to its numbers or its refusal.

    oracle/caffe-python oracle/run_nets.py NETS.json FOLDER

NETS.json is a list of {name, text, inputs, phase, rounds, backward}, as oracle/random_nets.py
writes it, perhaps with args (more arguments for caffe.Net), ranges (see `run_ranges`) and limits
(see `limit`). BVLC Caffe ends the process on a net that it refuses, and either Caffe may take too
much time or memory, so each net runs in a fork with limits: what it gives is FOLDER/NAME.npz, and
without one, FOLDER/NAME.refused says why not.
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
from typing import TYPE_CHECKING, Optional, Sequence

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

if TYPE_CHECKING:
    import torch

#: What a net may take: seconds of processor, seconds of the clock, bytes besides the process's own.
SECONDS, WAIT, MEMORY = 20, 120, 4 << 30
#: How a .refused begins of a net that took more.
RAN_OUT = "ran out of "
#: What a Caffe says of memory that it does not get.
NO_MEMORY = re.compile(r"bad_alloc|MemoryError|allocate memory|host allocation of size")


def sum_in_turn(values: torch.Tensor, n: int) -> torch.Tensor:
    """LRN's sums over n channels as BVLC Caffe's: add the next value, take the last away.

    A small value after a large one loses digits so.
    """
    import torch

    beyond = torch.zeros_like(values[:, :1]).expand(-1, n // 2, *values.shape[2:])
    around = torch.cat([beyond, values, beyond], 1)
    total = around[:, :n].sum(1)
    sums = [total]
    for c in range(1, values.shape[1]):
        total = total + around[:, c + n - 1] - around[:, c - 1]
        sums.append(total)
    return torch.stack(sums, 1)


def execute(
    case: Case,
    rs: np.random.RandomState,
    numbers: Numbers,
    folder: str = ".",
    rounding: Optional[np.random.RandomState] = None,
    ranges: Sequence[Sequence[float]] = (),
) -> None:
    """A program of a case: the rounds, with statistics of BatchNorm that could be.

    rounding: multiplies every weight, input, outcome and gradient of a layer by 1 + at most 1e-6,
    of either sign, as the roundings of a sum of some tens of values would, and lets the engine's
    LRN lose what BVLC Caffe's does.
    """

    def shake(array: np.ndarray) -> None:
        # Labels, indices and what is exactly zero or one are no outcome of rounding.
        if rounding is not None and (array != np.round(array)).any():
            array *= (1 + 1e-6 * (2 * rounding.random_sample(array.shape) - 1)).astype(np.float32)

    net = load(case, folder)
    if rounding is not None:
        from caffe.ops import lrn

        lrn.sum_across = sum_in_turn
        names = list(net._layer_names)

        def shake_tops(i: int) -> None:
            for top in net.top_names[names[i]]:
                shake(net.blobs[top].data)

        def shake_bottom_diffs(i: int) -> None:
            for bottom in net.bottom_names[names[i]]:
                shake(net.blobs[bottom].diff)

        net.after_forward(shake_tops)
        net.after_backward(shake_bottom_diffs)
    numbers["meta"] = meta(net)
    fill_params(net, rs)
    for name, layer in zip(net._layer_names, net.layers):
        for blob in net.params.get(name, ()):
            if layer.type == "BatchNorm":
                blob.data[...] = np.abs(blob.data) + np.float32(0.5)
            shake(blob.data)
    record(net, numbers, "", "param")
    passes(case, net, rs, numbers)
    if case.backward:
        run_ranges(net, ranges, numbers)
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
        net_args=net.get("args"),
    )


def run_ranges(net: caffe.Net, ranges: Sequence[Sequence[float]], numbers: Numbers) -> None:
    """Runs parts of a net: forward from, or to, an inner layer, and backward between two.

    ranges: for each such run three numbers in [0, 1), by which layers are chosen. Backward stays
    within the layers that forward ran, for BVLC Caffe's Scale in place has one backward a forward.
    """
    names = list(net._layer_names)
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


def run_net(net: dict, folder: str, rounding: Optional[np.random.RandomState] = None) -> Numbers:
    """The numbers of one net; raises what the Caffe raises that refuses it."""
    case = make_case(net)
    numbers: Numbers = OrderedDict()
    caffe.set_mode_cpu()
    execute(
        case, np.random.RandomState(case.seed), numbers, folder, rounding, net.get("ranges", ())
    )
    return numbers


def limit(seconds: int = SECONDS, memory: int = MEMORY) -> None:
    """Limits this process: seconds of processor, bytes of memory besides what it has."""
    with open("/proc/self/statm") as f:
        memory += int(f.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    signal.alarm(WAIT)


def reason(printed: str, signaled: int) -> str:
    """Why a net gave no numbers, from what its process printed and the signal that ended it."""
    if signaled in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL):
        return RAN_OUT + "time"
    if NO_MEMORY.search(printed):
        return RAN_OUT + "memory"
    return printed + ("\nended by signal %d" % signaled if signaled else "")


def run_in_fork(net: dict, path: str, scratch: str, rounding: Optional[int] = None) -> None:
    """Runs one net in a fork of this process, which leaves PATH.npz or PATH.refused.

    rounding: the seed of the roundings that are tried on it; see `execute`.
    """
    child = os.fork()
    if child:
        signaled = os.waitpid(child, 0)[1] & 127
        if not os.path.exists(path + ".npz"):
            with open(path + ".printed", errors="replace") as printed:
                why = reason(printed.read(), signaled)
            with open(path + ".refused", "w") as f:
                f.write(why)
        return
    try:
        limit(*net.get("limits", ()))
        with open(path + ".printed", "w") as f:
            os.dup2(f.fileno(), 2)
        shaken = None if rounding is None else np.random.RandomState(rounding)
        numbers: dict = run_net(net, scratch, shaken)
        with open(path + ".part", "wb") as part:
            np.savez(part, **numbers)
        os.rename(path + ".part", path + ".npz")
    except BaseException as error:
        # The engine's own refusals stand alone, as their line; BVLC Caffe's come after its log.
        if isinstance(error, getattr(caffe, "CaffeError", ())):
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)
            os.write(2, str(error).encode())
        else:
            os.write(2, ("%s: %s" % (type(error).__name__, error)).encode())
    os._exit(0)


def main() -> None:
    if not caffe.__file__.startswith("/usr/lib/"):
        raise SystemExit("run_nets.py: runs BVLC Caffe; start it with oracle/caffe-python")
    nets, out = sys.argv[1:]
    with open(nets) as f, tempfile.TemporaryDirectory() as scratch:
        for net in json.load(f):
            run_in_fork(net, os.path.join(out, net["name"]), scratch)


if __name__ == "__main__":
    main()
