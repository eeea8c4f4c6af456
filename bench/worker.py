"""One process of the benchmark: one peer, one round, one case or several in turn.

    python -m bench.worker JOBS.json RESULTS.json

It times itself and writes what it found, after every job, to RESULTS.json. Runs on Python 3.9 as
well, inside BVLC Caffe's root, and imports only what its peer needs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from typing import Any, Callable, Dict, List

import numpy as np

#: Layers whose weights are compared after a training step.
COMPARED = ("conv1_1", "conv3_1", "conv5_3", "score_pool3", "score_fr")
Result = Dict[str, Any]


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes, with what was read of maps."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status: has no VmHWM")


def measure(job: Dict[str, Any], once: Callable[[], Any]) -> List[float]:
    """Seconds of each pass after the warm-up: `least` at least, more while there is time.

    On a CUDA device, the time between two events around the pass.
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
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    once()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def used(job: Dict[str, Any]) -> Result:
    """Peak memory of the process, and of the CUDA device where it runs there."""
    found: Result = {"memory": peak_memory()}
    if job["device"] == "cuda":
        import torch

        found["device_memory"] = torch.cuda.max_memory_allocated()
    return found


def save(job: Dict[str, Any], values: Any) -> None:
    if job.get("save"):
        step = job.get("sample", 1)
        np.save(job["save"], np.asarray(values, np.float32)[..., ::step, ::step])


def probe(runner: Any, job: Dict[str, Any]) -> Result:
    return {"version": runner.version()}


def forward(runner: Any, job: Dict[str, Any]) -> Result:
    """From the input as an array to the scores as one; on a CUDA device both stay there."""
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
    result = {"times": times, **used(job)}
    save(job, runner.scores())
    return result


def stream(runner: Any, job: Dict[str, Any]) -> Result:
    """Images of mixed sizes in turn; the time of one image. `first` is that of the first time.

    On a CUDA device the others are of sizes whose graphs have been captured.
    """
    loaded = {path: np.load(path) for path in job["images"]}
    runner.load()

    def once() -> None:
        for path in job["images"]:
            runner.place(loaded[path])
            runner.run()
            runner.scores()

    first = _host_clock(once)
    each = 1 / len(job["images"])
    warm = job["warm"] if job["device"] == "cuda" else 0
    times = [t * each for t in measure(dict(job, warm=warm, device="cpu"), once)]
    result = {"times": times, "first": first * each, **used(job)}
    save(job, runner.scores())
    return result


def train(runner: Any, job: Dict[str, Any]) -> Result:
    """Forward, backward and update on one image."""
    runner.prepare_training(np.load(job["images"][0]), np.load(job["labels"][0]))
    before = runner.parameters(COMPARED)
    runner.step()
    after = runner.parameters(COMPARED)
    times = measure(job, runner.step)
    result = {"times": times, **used(job)}
    if job.get("save"):
        changes = [after[name] - before[name] for name in COMPARED]
        # Each layer's largest change counts as 1, so that none hides behind another.
        scales = job.get("scales") or [float(np.abs(c).max()) for c in changes]
        np.save(job["save"], np.concatenate([c.ravel() / s for c, s in zip(changes, scales)]))
        result["scales"] = scales
    return result


ITERATIONS = 50


def train_pictures(runner: Any, job: Dict[str, Any]) -> Result:
    """An iteration of training on files: decoding, forward, backward and update, the loss read."""
    runner.prepare_pictures()
    # Enough of them that every size has come as often as it is run layer by layer.
    times = measure(dict(job, device="cpu"), lambda: runner.train_on_pictures(ITERATIONS))
    return {"times": [t / ITERATIONS for t in times], **used(job)}


def load(runner: Any, job: Dict[str, Any]) -> Result:
    """From the files to a net that is ready to run; `touched` is with one small pass, which reads
    every weight."""
    image = np.load(job["images"][0])
    start = time.perf_counter()
    runner.load()
    loaded = time.perf_counter() - start
    runner.place(image)
    runner.run()
    runner.scores()
    return {"times": [loaded], "touched": time.perf_counter() - start, **used(job)}


def first(runner: Any, job: Dict[str, Any]) -> Result:
    """One label map; whoever started this process measures until the line that says so."""
    runner.load()
    runner.place(np.load(job["images"][0]))
    runner.run()
    scores = runner.scores()
    label = scores.argmax(1).astype(np.uint8)
    print("answer", label.shape, flush=True)
    result = used(job)
    save(job, scores)
    return result


def score(runner: Any, job: Dict[str, Any]) -> Result:
    """Files of images and truth to the histogram and the metrics of them all.

    On a CUDA device they are scored a few times before: libraries load, graphs are captured.
    """
    own = hasattr(runner, "score_pictures")
    runner.load_val() if own else runner.load()

    def once() -> np.ndarray:
        return runner.score_pictures(job["count"]) if own else _score_pictures(runner, job)

    for _ in range(job["warm"] if job["device"] == "cuda" else 0):
        once()
    start = time.perf_counter()
    metrics = once()
    times = [(time.perf_counter() - start) / job["count"]]
    result = {"times": times, **used(job)}
    save(job, np.nan_to_num(metrics)[None])
    return result


def _score_pictures(runner: Any, job: Dict[str, Any]) -> np.ndarray:
    from PIL import Image

    from bench.prepare import MEAN
    from solvers.score import fast_hist, labels, metrics

    folder = job["pictures"]
    with open(os.path.join(folder, "ImageSets/Segmentation/seg11valid.txt")) as file:
        names = file.read().split()[: job["count"]]
    hist: Any = 0
    for name in names:
        photo = np.asarray(Image.open(os.path.join(folder, "JPEGImages", name + ".jpg")))
        truth = np.asarray(Image.open(os.path.join(folder, "SegmentationClass", name + ".png")))
        data = photo[:, :, ::-1].astype(np.float32) - np.array(MEAN, np.float32)
        runner.place(np.ascontiguousarray(data.transpose(2, 0, 1))[None])
        runner.run()
        scores = runner.scores()
        hist = hist + fast_hist(truth, labels(scores), scores.shape[1])
    found = metrics(hist)
    return np.concatenate([found["iu"], found["accuracy"]])


def products(job: Dict[str, Any]) -> Result:
    """Seconds of a product of two square matrices in PyTorch, the best of several."""
    import torch

    torch.set_num_threads(job["threads"])
    torch.backends.cuda.matmul.allow_tf32 = job["precision"] == "tf32"
    kind = torch.bfloat16 if job["precision"] == "bfloat16" else torch.float32
    n = job["matrix"]
    a, b = (torch.randn(n, n, device=job["device"]).to(kind) for _ in range(2))
    out = torch.empty_like(a)
    times = measure(job, lambda: torch.mm(a, b, out=out))
    return {"times": times, "operations": n**3}


KINDS = {f.__name__: f for f in (probe, forward, stream, train, train_pictures, load, first, score)}


def work(job: Dict[str, Any]) -> Result:
    """What one job found. Its net goes when it ends."""
    if job["kind"] == "products":
        return products(job)
    runner = importlib.import_module("bench.runners." + job["runner"]).Runner(job)
    return KINDS[job["kind"]](runner, job)


def clear_device() -> None:
    """Give back what the last job took of the CUDA device, and begin its peak anew."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def main() -> None:
    jobs, out = sys.argv[1:]
    with open(jobs) as file:
        todo = json.load(file)
    results: List[Result] = []
    for job in todo:
        if results and job["device"] == "cuda":
            clear_device()
        results.append(work(job))
        with open(out + ".partial", "w") as file:
            json.dump(results, file)
        os.replace(out + ".partial", out)


if __name__ == "__main__":
    main()
