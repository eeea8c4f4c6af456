"""The time of one pass of a cast net, and of its classifier on all crops."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from experiments.casting import pairs, settings
from solvers import device
from solvers.device import Gpu
from solvers.folders import ROOT

#: Run in a process of its own, with one thread.
CHILD = (
    "import json, sys; from experiments.casting import timing; "
    "gpu, width, *names = json.loads(sys.argv[1]); "
    "print(json.dumps([timing.time_net(name, gpu, width) for name in names]))"
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Time(NamedTuple):
    """Medians in seconds: one pass of the cast net over a grid, and one of a batch of crops.

    grid_work, crops_work: multiplications, of the pass and of all crops of the grid.
    """

    net: str
    extent: int
    grid: float
    batch: float
    grid_work: int
    crops_work: int

    @property
    def crop(self) -> float:
        """The seconds of one crop."""
        return self.batch / settings.TIMED_BATCH

    @property
    def crops(self) -> float:
        """The seconds of all crops of the grid."""
        return self.crop * settings.TIMED_GRID**2


def time_net(name: str, gpu: Gpu = None, width: float = settings.WIDTH) -> Time:
    """Time a net's cast pass and its crops in turns, without the copy of the input.

    On the CPU the clock is the processor's time, which other programs do not lengthen.
    """
    clock = time.process_time if is_cpu(device.use(gpu)) else time.perf_counter
    pair = pairs.published_pair(name, width)
    extent = pairs.grid_extent(pair, settings.TIMED_GRID)
    image = pairs.draw_input(extent, extent)
    crops = pairs.crops(pair, image, settings.TIMED_GRID)
    batch = np.concatenate(list(itertools.islice(crops, settings.TIMED_BATCH)))
    nets = (pair.cast_net, pair.net)
    for net, images in zip(nets, (image, batch)):
        pairs.forward(net, images, pair.scores)
    seconds: Tuple[List[float], List[float]] = ([], [])
    for _ in range(settings.TIMED_REPEATS):
        for net, passes in zip(nets, seconds):
            start = clock()
            net.forward()
            # A device works on after forward(); reading the scores waits for its end.
            np.array(net.blobs[pair.scores].data)
            passes.append(clock() - start)
    grid_work, batch_work = map(pairs.multiply_adds, nets)
    batches = settings.TIMED_GRID**2 // settings.TIMED_BATCH
    grid_seconds, batch_seconds = (float(np.median(passes)) for passes in seconds)
    return Time(pair.name, extent, grid_seconds, batch_seconds, grid_work, batch_work * batches)


def is_cpu(processor: str) -> bool:
    """Return whether the text of `solvers.device.use` names the CPU."""
    return processor.startswith("the CPU")


def time_nets(names: Sequence[str], gpu: Gpu = None, width: float = settings.WIDTH) -> List[Time]:
    """Return `time_net` of each net, from a process with one thread.

    Raises ValueError if the process fails.
    """
    paths = [ROOT, *filter(None, sys.path)]
    result = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([gpu, width, *names])],
        env=dict(
            os.environ,
            GLOG_minloglevel="2",
            PYTHONPATH=os.pathsep.join(paths),
            **dict.fromkeys(THREAD_VARIABLES, "1"),
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        raise ValueError(f"timing {', '.join(names)}: the process ended with {result.returncode}")
    return [Time(*fields) for fields in json.loads(result.stdout.splitlines()[-1])]
