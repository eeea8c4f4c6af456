"""Runs Python code in several processes that train together, as a launcher would, and waits for it.

The code finds `caffe`, `np`, `rank`, the modules of `caffe.train`, and a small net: `NET`,
`solver(**fields)`, `train(solver, n)`, `weights(solver)`.
"""

from __future__ import annotations

import os

import caffe
import numpy as np
from caffe.train import meeting

from tests import prefork

NET = """name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "tanh" type: "TanH" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "Reduction" bottom: "ip2" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }"""

FIELDS = {
    "net": "net.prototxt",
    "base_lr": 0.01,
    "lr_policy": "fixed",
    "momentum": 0.9,
    "weight_decay": 0.01,
    "max_iter": 100,
    "random_seed": 5,
    "snapshot_prefix": "train",
}


def solver(**fields):
    """Return a solver over net.prototxt in the working directory."""
    path = f"{os.getpid()}.prototxt"
    with open(path, "w") as file:
        for name, value in {**FIELDS, **fields}.items():
            file.write(f"{name}: {value!r}\n".replace("'", '"'))
    result = caffe.get_solver(path)
    os.remove(path)
    return result


def train(solver, iters, seed=0):
    """Train on numbered batches, of which each worker draws its own; return the weights."""
    count = caffe.solver_count()
    batch = int(solver.iter) * solver.param.iter_size * count + caffe.solver_rank()

    def feed(layer):
        nonlocal batch
        if layer == 0:
            values = np.random.RandomState(seed + batch).randn(2, 3)
            solver.net.blobs["data"].data[...] = values
            batch += count

    solver.net.before_forward(feed)
    solver.step(iters)
    return weights(solver)


def weights(solver):
    """Return a copy of each parameter of the solver's net."""
    return weights_of_net(solver.net)


def weights_of_net(net):
    """Return a copy of each parameter of a net."""
    return [np.array(blob.data) for blobs in net.params.values() for blob in blobs]


HEAD = """
import os, signal, sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
import caffe
import numpy as np
from caffe.train import averaging, company, hello, meeting, watch
from tests.engine.workers import NET, solver, train, weights
rank = caffe.solver_rank()
"""


def run(code, folder, count=2, timeout=120, launch=True, hangs=None, **environment):
    """Run the code in `count` processes in `folder`; return a list of (exit status, stderr).

    The worker `hangs` is killed once all others have ended.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.path.join(folder, "worker.py")
    with open(path, "w") as file:
        file.write(HEAD.format(root=root) + code)
    with open(os.path.join(folder, "net.prototxt"), "w") as file:
        file.write(NET)
    env = dict(os.environ, **environment)
    if launch:
        port = str(meeting.free_port())
        env.update(WORLD_SIZE=str(count), MASTER_ADDR="localhost", MASTER_PORT=port)
    processes = []
    for rank in range(count):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if launch else {"WORKER": str(rank)}
        processes.append(prefork.server().start([path], str(folder), {**env, **place}))
    try:
        results = {}
        for process in sorted(processes, key=lambda p: processes.index(p) == hangs):
            if processes.index(process) == hangs:
                process.kill()
            result = process.wait(timeout)
            results[process] = result.returncode, result.stderr
        return [results[process] for process in processes]
    finally:
        for process in processes:
            process.kill()
