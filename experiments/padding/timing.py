"""The time and memory of a forward pass at each padding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Dict, List

import caffe
import numpy as np

import net_gen
from experiments.padding import settings
from experiments.padding.positions import paddings
from experiments.report import Cell, Number, count
from fcn_common.memory import peak_memory
from fcn_common.places import temporary_folder
from fcn_common.progress import track
from solvers.folders import ROOT


def time_net(net: str, pad: int, size: int, repeats: int) -> Dict[str, float]:
    """Return the CPU seconds of the fastest forward pass, and the peak memory of this process.

    The keys are `seconds` and `mib`. Weights and image are random. For the memory of the net
    alone, run this function in a new process.
    """
    caffe.set_mode_cpu()
    message = net_gen.fcn(net, "deploy", pad=pad, width=settings.TIMED_WIDTH)
    message.layer[0].input_param.shape[0].dim[2:] = [size, size]
    with temporary_folder() as folder:
        path = os.path.join(folder, "deploy.prototxt")
        net_gen.write(message, path)
        deploy = caffe.Net(path, caffe.TEST)
    rng = np.random.RandomState(0)
    for blobs in deploy.params.values():
        # All outputs have the same weights, because drawing different ones takes longer.
        blobs[0].data[...] = 0.05 * rng.standard_normal(blobs[0].data[0].shape)
    deploy.blobs["data"].data[...] = rng.standard_normal(deploy.blobs["data"].data.shape)
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        deploy.forward()
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds[1:]), "mib": peak_memory() / 2**20}


def time_in_new_process(net: str, pad: int) -> Dict[str, float]:
    """Return `time_net` from a process of its own. Raises OSError if the process fails."""
    call = f"time_net({net!r}, {pad}, {settings.TIMED_SIZE}, {settings.TIMED_REPEATS})"
    code = f"import json; from experiments.padding.timing import *; print(json.dumps({call}))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONPATH=ROOT),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"timing {net} with pad {pad}: {last}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def time_rows(smallest: int) -> List[List[Cell]]:
    """Return a row for each net of TIMED_NETS and each of its `paddings`."""
    runs = [(net, pad) for net in settings.TIMED_NETS for pad in paddings(net, smallest)]
    rows: List[List[Cell]] = []
    for net, pad in track(runs, len(runs), "timing"):
        values = time_in_new_process(net, pad)
        rows.append([net, count(pad), Number(values["seconds"], ".2f"), count(values["mib"])])
    return rows
