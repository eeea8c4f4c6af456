"""One stage of training: initialise or continue, step, snapshot, score.

Everything it leaves is in the folder of the snapshots: train_iter_N.caffemodel and .solverstate,
train.log, loss.csv, scores.jsonl, TensorBoard events. Killed at any moment, the same call
continues from the last complete snapshot, with the images that an uninterrupted run would have
drawn.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence

from solvers import available, device, snapshots, workers
from solvers.device import Gpu
from solvers.log import Bar, Log
from solvers.score import METRICS, Scores, lines, plain, seg_tests
from surgery import check_weights, interp, interp_layers, zero_layers


def run(
    folder: str,
    weights: Optional[str],
    iters: Optional[int] = None,
    snapshot: Optional[int] = None,
    images: Optional[int] = None,
    gpu: Gpu = None,
    seed: Optional[int] = None,
    solver: str = "solver.prototxt",
    score: bool = True,
    title: Optional[str] = None,
) -> Scores:
    """Train the net of folder/solver.prototxt to its end; the scores of the last snapshot.

    folder: where the prototxts lie; the paths in them, and `weights`, are taken from there.
    weights: what the first iteration starts from: a .caffemodel, or the folder of the stage
        before; None for the fillers alone.
    iters, snapshot: iterations in all, and between snapshots (those of the solver prototxt).
    images: how many images of the val split to score (all).
    seed: Caffe's random seed (the solver prototxt's). `score`: whether to score at all.

    Of several workers all call this, in folders that they share. Each draws its own images, the
    gradients are averaged, and worker 0 writes and returns the scores.

    Raises ValueError for a solver prototxt or weights that do not fit, OSError for files that
    cannot be read.
    """
    folder = os.path.abspath(folder)
    title = title or os.path.basename(folder)
    with inside(folder):
        param = read_solver(solver)
        iters = iters or param.max_iter
        every = min(snapshot or param.snapshot or iters, iters)
        start = snapshots.latest(param.snapshot_prefix)
        records = os.path.dirname(param.snapshot_prefix) or "."
        done = snapshots.read_records(records)
        if start and start.iteration >= iters and (not score or start.iteration in done):
            workers.say(f"{title}: done already ({start.iteration} iterations, {start.model})")
            return done.get(start.iteration, {})
        where = device.use(gpu)
        workers.say(f"{title}: {device.engine()}; runs on {where}")
        caffe_solver = _build(param, iters, images if score else 0, seed)
        net = caffe_solver.net
        if start:
            check_weights(net, start.model, need=list(net.params))
            caffe_solver.restore(start.state)
            _fast_forward(net, start.iteration * param.iter_size)
            _reseed(param, seed, start.iteration)
        else:
            _initialise(net, weights)
        with workers.by_first(Log, records, int(caffe_solver.iter)) as log:
            log.line(f"Solving {title} with {device.engine()} on {where}")
            if start:
                workers.say(f"{title}: continues from {start.state}")
                log.line(f"Restoring previous solver status from {start.state}")
            done = {k: v for k, v in done.items() if k <= caffe_solver.iter}
            trainer = _Trainer(caffe_solver, param, log, title, images, score, records, done)
            return trainer.train(iters, every)


class _Trainer:
    """Steps a solver and keeps the records of it."""

    def __init__(
        self,
        solver: Any,
        param: Any,
        log: Any,
        title: str,
        images: Optional[int],
        score: bool,
        folder: str,
        records: Dict[int, Scores],
    ) -> None:
        self.solver, self.param, self.log, self.title = solver, param, log, title
        self.images, self.score = images, score
        self.folder, self.records = folder, records
        self.recent: List[float] = []

    def train(self, iters: int, every: int) -> Scores:
        start = int(self.solver.iter)
        if start and start not in self.records:
            self._score(None)
        with workers.by_first(Bar, iters, f"{self.title} training", start) as bar:
            while self.solver.iter < iters:
                self._step(bar)
                iteration = int(self.solver.iter)
                if iteration % every == 0 or iteration == iters:
                    if workers.rank() == 0:
                        self.solver.snapshot()
                    self.log.line(f"Snapshotting to {self.param.snapshot_prefix}_iter_{iteration}")
                    self._score(bar)
        # The next stage starts from files that worker 0 has just sorted out.
        workers.meet(self.solver)
        return self.records.get(int(self.solver.iter), {})

    def _step(self, bar: Bar) -> None:
        iteration, display = int(self.solver.iter), self.param.display or 20
        self.solver.step(1)
        outputs = {
            name: float(self.solver.net.blobs[name].data.flat[0])
            for name in self.solver.net.outputs
        }
        loss = outputs.get("loss", sum(outputs.values()))
        if not math.isfinite(loss):
            raise ValueError(
                f"{self.title}: the loss is {loss} at iteration {iteration}, needed a number; "
                "lower base_lr, or check the labels and the weights it started from"
            )
        self.recent = [*self.recent, loss][-max(self.param.average_loss, 1) :]
        mean = sum(self.recent) / len(self.recent)
        bar.update(f"loss {mean:.5g}")
        if iteration % display == 0:
            self.log.train(iteration, mean, float(self.solver.lr), outputs)

    def _score(self, bar: Optional[Bar]) -> None:
        iteration = int(self.solver.iter)
        if self.score:
            parts = os.path.join(self.folder, ".scored")
            title = f"{self.title} scoring at {iteration}"
            scores = seg_tests(self.solver, self.images, title=title, parts=parts)
            if workers.rank():
                self.records[iteration] = {}
                return
            self.log.test(iteration, {name: scores[name] for name in METRICS})
            text = lines(scores, f"{self.title}, iteration {iteration}, {scores['images']} images")
            for line in text:
                self.log.line(line)
                if bar is not None:
                    bar.write(line)
                else:
                    print(line)
            self.records[iteration] = plain(dict(scores, iteration=iteration))
            snapshots.write_records(self.folder, self.records)
        else:
            self.records[iteration] = {}
        if workers.rank() == 0:
            snapshots.prune(
                self.param.snapshot_prefix, self.records, snapshots.best_iteration(self.records)
            )


def read_solver(path: str) -> Any:
    """The SolverParameter of a solver prototxt; ValueError if it has a typo."""
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    param = caffe_pb2.SolverParameter()
    with open(path) as file:
        try:
            text_format.Merge(file.read(), param)
        except text_format.ParseError as error:
            raise ValueError(f"{os.path.abspath(path)}: {error}") from None
    if not param.snapshot_prefix:
        param.snapshot_prefix = "snapshot/train"
    return param


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    """Work in a folder, as the paths in its prototxts mean it; the repository's modules are found
    by the Python layers that the prototxts name."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if root not in sys.path:
        sys.path.insert(0, root)
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _build(param: Any, iters: int, images: Optional[int], seed: Optional[int]) -> Any:
    """The solver, from a copy of its prototxt in which this module does the display, the
    snapshots and the tests. No images: no test net."""
    import caffe
    from caffe.proto import caffe_pb2

    ours = caffe_pb2.SolverParameter()
    ours.CopyFrom(param)
    ours.max_iter = iters
    ours.display = ours.snapshot = 0
    ours.test_initialization = False
    ours.test_interval = 2**31 - 1
    ours.snapshot_after_train = False
    ours.snapshot_format = caffe_pb2.SolverParameter.BINARYPROTO
    if images == 0:
        del ours.test_net[:], ours.test_iter[:]
    elif images:
        ours.test_iter[:] = [images] * len(ours.test_iter)
    if seed is not None:
        ours.random_seed = seed
    os.makedirs(os.path.dirname(ours.snapshot_prefix) or ".", exist_ok=True)
    handle, path = tempfile.mkstemp(".prototxt", ".solver_", os.getcwd())
    try:
        with os.fdopen(handle, "w") as file:
            file.write(str(ours))
        return caffe.get_solver(path)
    finally:
        os.remove(path)


def _initialise(net: Any, weights: Optional[str]) -> None:
    if weights is not None:
        path = available.weights_of(weights)
        filled = [name for name in check_weights(net, path) if "up" not in name]
        net.copy_from(path)
        dead = [name for name in zero_layers(net, filled) if not name.startswith("score")]
        if dead:
            raise ValueError(
                f"{path}: layer {dead[0]} is all zero, so every score would stay zero and the "
                "loss where it is; cast a trained classifier with `python -m surgery`"
            )
        _warn_unfilled(net, filled)
    interp(net, interp_layers(net))


def _warn_unfilled(net: Any, filled: Sequence[str]) -> None:
    new = [
        name
        for name in net.params
        if name not in filled and "up" not in name and not name.startswith("score")
    ]
    if zero_layers(net, new):
        raise ValueError(
            f"layer {new[0]} of the net is not in the weights file and has no filler: it would "
            "stay zero and nothing would be learned; start from the weights of the stage before"
        )


def _fast_forward(net: Any, draws: int) -> None:
    for layer in net.layers:
        if hasattr(layer, "skip"):
            layer.skip(draws)


def _reseed(param: Any, seed: Optional[int], iteration: int) -> None:
    """A continued run must not repeat the dropout masks of the first iterations."""
    import caffe

    seed = seed if seed is not None else param.random_seed
    if seed >= 0:
        caffe.set_random_seed((seed + iteration) % 2**31)


def main(folder: str, weights: str, argv: Optional[Sequence[str]] = None) -> None:
    """The command line of a variant folder's solve.py."""
    name = os.path.basename(os.path.abspath(folder))
    parser = argparse.ArgumentParser(prog="solve.py", description=f"Train {name}.")
    parser.add_argument("gpu", nargs="?", help="number of a CUDA device, or cpu")
    parser.add_argument("--iters", type=int, help="iterations in all (solver.prototxt: max_iter)")
    parser.add_argument("--images", type=int, help="score only so many of the val images")
    args = parser.parse_args(argv)
    started = time.time()
    scores = run(folder, weights, args.iters, images=args.images, gpu=args.gpu)
    if scores:
        workers.say(f"{name}: mean IU {scores['mean_iu']:.4f} after {time.time() - started:.0f} s")
