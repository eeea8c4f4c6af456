"""Starts Python code in two processes that train together, as a launcher would, and waits for it.

The code finds `caffe`, `np`, `rank` and a small net: `NET`, `solver(**fields)`, `train(made, n)`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import caffe
import numpy as np
from caffe.train import parallel

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
    """A solver over NET in the working directory."""
    with open(f"{os.getpid()}.prototxt", "w") as file:
        for name, value in {**FIELDS, **fields}.items():
            file.write(f"{name}: {value!r}\n".replace("'", '"'))
    made = caffe.get_solver(f"{os.getpid()}.prototxt")
    os.remove(f"{os.getpid()}.prototxt")
    return made


def train(made, iters, seed=0):
    """Train on numbered batches, of which each worker draws its own; gives the weights."""
    batches = [int(made.iter) * made.param.iter_size * caffe.solver_count() + caffe.solver_rank()]

    def feed(layer):
        if layer == 0:
            batch = np.random.RandomState(seed + batches[0])
            made.net.blobs["data"].data[...] = batch.randn(2, 3)
            batches[0] += caffe.solver_count()

    made.net.before_forward(feed)
    made.step(iters)
    return weights(made)


def weights(made):
    return [np.array(b.data) for blobs in made.net.params.values() for b in blobs]


HEAD = """
import os, signal, sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
import caffe
import numpy as np
from caffe.train import parallel
from tests.engine.workers import NET, solver, train, weights
rank = caffe.solver_rank()
"""


def run(code, folder, count=2, timeout=120, launch=True, hangs=None, **environment):
    """Run the code in `count` processes in `folder`: a list of (exit status, stderr).

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
        env.update(
            WORLD_SIZE=str(count), MASTER_ADDR="localhost", MASTER_PORT=str(parallel.free_port())
        )
    started = []
    for rank in range(count):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if launch else {"WORKER": str(rank)}
        started.append(
            subprocess.Popen(
                [sys.executable, path],
                env={**env, **own},
                cwd=folder,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
        )
    try:
        said = {}
        for process in sorted(started, key=lambda p: started.index(p) == hangs):
            if started.index(process) == hangs:
                process.kill()
            said[process] = process.communicate(timeout=timeout)[1]
        return [(process.returncode, said[process]) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
