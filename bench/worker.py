"""One process of the benchmark: one peer in one round, in one case or several, one after another.

    python -m bench.worker JOBS.json RESULTS.json

The process times itself, and writes the results to RESULTS.json after every job. It also runs on
Python 3.9 inside BVLC Caffe's root, and imports only what its peer needs, so that neither the start
nor the memory of a peer includes the libraries of another one.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np

from fcn_common.files import write_json
from fcn_common.memory import peak_memory

#: Layers whose weights are compared after a training step.
COMPARED = ("conv1_1", "conv3_1", "conv5_3", "score_pool3", "score_fr")
#: Training iterations of one timed pass over pictures: each size comes often enough that it is no
#: longer run layer by layer.
ITERATIONS = 50
Job = Dict[str, Any]
Result = Dict[str, Any]


def measure(job: Job, once: Callable[[], Any]) -> List[float]:
    """Return the seconds of each pass after the warm-up.

    There are job["least"] passes, and more, up to job["passes"], until job["seconds"] are over. On
    a CUDA device the time is that between two events around the pass.
    """
    clock = _device_clock if job["device"] == "cuda" else _host_clock
    for _ in range(job["warm"]):
        once()
    times: List[float] = []
    start = time.perf_counter()
    while len(times) < job["passes"] and (
        len(times) < job["least"] or time.perf_counter() - start < job["seconds"]
    ):
        times.append(clock(once))
    return times


def _host_clock(once: Callable[[], Any]) -> float:
    start = time.perf_counter()
    once()
    return time.perf_counter() - start


def _device_clock(once: Callable[[], Any]) -> float:
    import torch  # only in processes whose peer uses it

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    once()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def memory(job: Job) -> Result:
    """Return the peak memory, in bytes, of the process and of a CUDA device that it runs on."""
    result: Result = {"memory": peak_memory()}
    if job["device"] == "cuda":
        import torch  # only in processes whose peer uses it

        result["device_memory"] = torch.cuda.max_memory_allocated()
    return result


def save(job: Job, values: Any) -> None:
    """Save scores for comparison, if the job has a file for them."""
    if job.get("save"):
        step = job.get("sample", 1)
        np.save(job["save"], np.asarray(values, np.float32)[..., ::step, ::step])


def probe(runner: Any, job: Job) -> Result:
    """Ask a peer for its version."""
    return {"version": runner.version()}


def forward(runner: Any, job: Job) -> Result:
    """Time the way from the input as an array to the scores as an array.

    On a CUDA device both stay there.
    """
    image = np.load(job["images"][0])
    runner.load()
    if job["device"] == "cuda":
        runner.place(image)
        times = measure(job, runner.run)
    else:

        def once() -> None:
            runner.place(image)
            runner.run()
            runner.scores()

        times = measure(job, once)
    result = {"times": times, **memory(job)}
    save(job, runner.scores())
    return result


def stream(runner: Any, job: Job) -> Result:
    """Time images of mixed sizes, one after another: seconds an image.

    first: the seconds when each size comes for the first time. On a CUDA device the other times
    are of sizes whose graphs have been captured.
    """
    images = [np.load(path) for path in job["images"]]
    runner.load()

    def once() -> None:
        for image in images:
            runner.place(image)
            runner.run()
            runner.scores()

    first = _host_clock(once)
    each = 1 / len(images)
    warm = job["warm"] if job["device"] == "cuda" else 0
    times = [t * each for t in measure(dict(job, warm=warm, device="cpu"), once)]
    result = {"times": times, "first": first * each, **memory(job)}
    save(job, runner.scores())
    return result


def train(runner: Any, job: Job) -> Result:
    """Time forward, backward and update on one image.

    What is compared is the change of the weights of COMPARED in the first step. Each layer's
    change is divided by the largest one of the first peer, so that no layer hides another.
    """
    runner.prepare_training(np.load(job["images"][0]), np.load(job["labels"][0]))
    before = runner.parameters(COMPARED)
    runner.step()
    after = runner.parameters(COMPARED)
    times = measure(job, runner.step)
    result = {"times": times, **memory(job)}
    if job.get("save"):
        changes = [after[name] - before[name] for name in COMPARED]
        scales = job.get("scales") or [float(np.abs(change).max()) for change in changes]
        np.save(job["save"], np.concatenate([c.ravel() / s for c, s in zip(changes, scales)]))
        result["scales"] = scales
    return result


def learn(runner: Any, job: Job) -> Result:
    """Time forward, backward and update of a net on one drawn batch.

    What is compared is the change of each layer's weights in the first step, divided by the largest
    weight.
    """
    rng = np.random.RandomState(1)
    data = np.asarray(rng.standard_normal(job["shape"]), np.float32)
    labels = np.asarray(rng.randint(0, job["classes"], job["shape"][0]), np.float32)
    runner.prepare_learning(data, labels)
    before = runner.parameters(job["compared"])
    runner.step()
    after = runner.parameters(job["compared"])
    result = {"times": measure(job, runner.step), **memory(job)}
    if job.get("save"):
        changes = [(after[n] - before[n]) / np.abs(before[n]).max() for n in job["compared"]]
        np.save(job["save"], np.concatenate([change.ravel() for change in changes]))
    return result


def train_pictures(runner: Any, job: Job) -> Result:
    """Time a training iteration on files: decoding, forward, backward, update, reading the loss."""
    runner.prepare_pictures()
    times = measure(dict(job, device="cpu"), lambda: runner.train_on_pictures(ITERATIONS))
    return {"times": [t / ITERATIONS for t in times], **memory(job)}


def load(runner: Any, job: Job) -> Result:
    """Time the way from the files to a net that is ready to run.

    touched: the seconds with one small pass, which reads every weight.
    """
    image = np.load(job["images"][0])
    start = time.perf_counter()
    runner.load()
    loaded = time.perf_counter() - start
    runner.place(image)
    runner.run()
    runner.scores()
    return {"times": [loaded], "touched": time.perf_counter() - start, **memory(job)}


def first(runner: Any, job: Job) -> Result:
    """Compute one label map; the parent process times it until this one prints `answer`."""
    runner.load()
    runner.place(np.load(job["images"][0]))
    runner.run()
    scores = runner.scores()
    label = scores.argmax(1).astype(np.uint8)
    print("answer", label.shape, flush=True)
    result = memory(job)
    save(job, scores)
    return result


def score(runner: Any, job: Job) -> Result:
    """Time the way from files of images and truth to the metrics of them all: seconds an image.

    On a CUDA device they are scored a few times before, for libraries load and graphs are captured.
    """
    if hasattr(runner, "score_pictures"):
        runner.load_val()
        once = lambda: runner.score_pictures(job["count"])  # noqa: E731
    else:
        runner.load()
        # These load PyTorch, which the time and other cases of the peer must not include.
        pictures = importlib.import_module("bench.pictures")
        scoring = importlib.import_module("solvers.score")
        once = lambda: _score_pictures(runner, job, pictures, scoring)  # noqa: E731
    for _ in range(job["warm"] if job["device"] == "cuda" else 0):
        once()
    start = time.perf_counter()
    metrics = once()
    times = [(time.perf_counter() - start) / job["count"]]
    result = {"times": times, **memory(job)}
    save(job, np.nan_to_num(metrics)[None])
    return result


def _score_pictures(runner: Any, job: Job, pictures: Any, scoring: Any) -> np.ndarray:
    """Return IU and accuracy of each class. pictures, scoring: the modules of these names."""
    hist: Any = 0
    for image, truth in pictures.read_pictures(Path(job["pictures"]), job["count"]):
        runner.place(image)
        runner.run()
        scores = runner.scores()
        hist = hist + scoring.fast_hist(truth, scoring.labels(scores), scores.shape[1])
    metrics = scoring.metrics(hist)
    return np.concatenate([metrics["iu"], metrics["accuracy"]])


def products(job: Job) -> Result:
    """Time the product of two square matrices in PyTorch."""
    import torch  # only in processes whose peer uses it

    torch.set_num_threads(job["threads"])
    torch.backends.cuda.matmul.allow_tf32 = job["precision"] == "tf32"
    dtype = torch.bfloat16 if job["precision"] == "bfloat16" else torch.float32
    n = job["matrix"]
    a, b = (torch.randn(n, n, device=job["device"]).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    times = measure(job, lambda: torch.mm(a, b, out=out))
    return {"times": times, "operations": n**3}


KINDS = {
    f.__name__: f
    for f in (probe, forward, stream, train, learn, train_pictures, load, first, score)
}


def work(job: Job) -> Result:
    """Return the result of one job; its net is freed."""
    if job["kind"] == "products":
        return products(job)
    runner = importlib.import_module("bench.runners." + job["runner"]).Runner(job)
    return KINDS[job["kind"]](runner, job)


def clear_device() -> None:
    """Free the CUDA device's memory that the last job took, and start its peak anew."""
    import torch  # only in processes whose peer uses it

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Run the command line."""
    jobs, out = sys.argv[1:]
    with open(jobs) as file:
        todo = json.load(file)
    results: List[Result] = []
    for job in todo:
        if results and job["device"] == "cuda":
            clear_device()
        results.append(work(job))
        write_json(out, results)


if __name__ == "__main__":
    main()
