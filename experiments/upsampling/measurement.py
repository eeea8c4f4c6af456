"""Accuracy, time and memory of a method, measured in a process of its own.

The peak memory of a new process is that of the method alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Dict, List

import caffe
import numpy as np

from experiments import demo_run
from experiments.upsampling import settings
from experiments.upsampling.methods import Files, Method, predict
from fcn_common import files
from fcn_common.memory import peak_memory
from fcn_common.voc import MEAN
from solvers import device
from solvers.device import Gpu
from solvers.metrics import fast_hist

CHILD = (
    "import sys; from experiments.upsampling import measurement; measurement.run_job(sys.argv[1])"
)


def measure(
    folder: str, name: str, method: Method, paths: Files, demo: demo_run.Demo, gpu: Gpu
) -> Dict[str, Any]:
    """Return the measurement of a method; an earlier measurement of the same job is only read.

    Keys: `seconds` of each scene and `megabytes`. FOLDER/NAME.npz has the arrays: `hists` and
    `labelI` of the scenes, and `first`, the scores of the first scene. Raises RuntimeError if the
    process fails.
    """
    stem = os.path.join(folder, name)
    job: Dict[str, Any] = {
        **paths._asdict(),
        "method": list(method),
        "scenes": list(demo.test_images())[: method.scenes],
        "voc": demo.voc,
        "gpu": gpu,
        "output": stem + ".json",
        "arrays": stem + ".npz",
    }
    if os.path.isfile(job["output"]):
        with open(job["output"]) as file:
            measurement = json.load(file)
        if {key: measurement.get(key) for key in job} == job:
            return measurement
    print(f"upsampling: {method.title}, {len(job['scenes'])} scenes", flush=True)
    files.write_json(stem + ".job", job)
    threads = {f"{lib}_NUM_THREADS": str(settings.THREADS) for lib in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    result = subprocess.run(
        [sys.executable, "-c", CHILD, stem + ".job"],
        env=dict(os.environ, GLOG_minloglevel="2", PYTHONPATH=path, **threads),
        stderr=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"upsampling, {method.title}: its process ended with {last}")
    with open(stem + ".json") as file:
        return json.load(file)


def run_job(job_file: str) -> None:
    """Predict the scenes of a job in this process, and write the measurement and the arrays."""
    with open(job_file) as file:
        job = json.load(file)
    device.use(job["gpu"])
    method = Method(*job["method"])
    net = caffe.Net(job["net"], job["weights"], caffe.TEST)
    seconds: List[float] = []
    hists: List[np.ndarray] = []
    labels: List[np.ndarray] = []
    first: Any = None
    for name in job["scenes"]:
        photo, truth = demo_run.read_photo(job["voc"], name), demo_run.read_truth(job["voc"], name)
        data = photo[:, :, ::-1].astype(np.float32) - np.array(MEAN, np.float32)
        data = np.ascontiguousarray(data.transpose(2, 0, 1))
        start = time.time()
        scores = predict(net, job["lines"], method, data)
        label = scores.argmax(0).astype(np.uint8)
        seconds.append(time.time() - start)
        first = np.array(scores) if first is None else first
        hists.append(fast_hist(truth, label, len(scores)))
        labels.append(label)
    figure_labels = labels[: max(settings.SHOWN, settings.DENSE_SCENES)]
    arrays: Any = {f"label{i}": label for i, label in enumerate(figure_labels)}
    with files.atomic_write(job["arrays"]) as file:
        np.savez_compressed(file, hists=np.array(hists), first=first, **arrays)
    measurement = dict(job, seconds=seconds, megabytes=peak_memory() / 1e6)
    files.write_json(job["output"], measurement)
