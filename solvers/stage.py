"""One stage of training, as the steps of a variant's solve.py.

A stage writes to the folder of its snapshots: train_iter_N.caffemodel, .solverstate and
.resume.json, train.log, loss.csv, scores.jsonl, examples.json, report.html, TensorBoard events. A
stage that was killed continues from its newest complete snapshot and ends as an uninterrupted one.
One process at a time works in the folder.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Union

from fcn_common import arguments
from fcn_common.files import remove_partial
from fcn_common.progress import ProgressBar
from fcn_data import DataSet
from net_gen.arguments import check_integer
from solvers import available, caffe_solver, device, report, run_lock, signals, snapshots, workers
from solvers.by_products import guarded
from solvers.caffe_solver import copy_each, copy_weights, make_solver, read_solver, restore
from solvers.device import Gpu
from solvers.examples import Examples, input_mean
from solvers.folders import working_folder
from solvers.log import Log, NoLog, open_log
from solvers.metrics import METRICS, Scores, plain, score_lines
from solvers.recent_losses import RecentLosses
from solvers.score import seg_tests
from solvers.start import (
    LossWatch,
    averages_pixels,
    check_heads,
    first_not_finite,
    infogain_weights,
    start_warnings,
)
from surgery import interp, interp_layers
from surgery.cast import read_net

SOLVER = "solver.prototxt"
#: Iterations between two lines of the log if the solver prototxt has no `display`.
DISPLAY = 20


class Stage:
    """The training of the net in a folder, in the order of its method.

        with Stage("voc-fcn16s") as stage:
            stage.choose_device()
            stage.make_solver()
            stage.start_from("../voc-fcn32s")
            stage.fill_upsampling()
            for _ in stage.steps():
                stage.score()
        print(stage.scores["mean_iu"])

    Inside `with`, the folder is the working directory. If the stage continues from a snapshot,
    `start_from` and `fill_upsampling` do nothing, because the snapshot has the weights. If the
    stage is finished, no method does anything, and `scores` are those on disk.

    folder: the folder of solver.prototxt. iters: iterations in all (max_iter of solver.prototxt).
    images: how many images of the val split are scored (all). seed: Caffe's random seed
    (random_seed of solver.prototxt). scored: whether snapshots are scored; if not, the solver has
    no test net. data_set: the record of the data set (that of the variant that the folder is
    called after). write_report: writes the page of the run after each scoring; None means a page
    of this stage alone.

    Among several workers, each makes the same stage, in a folder that they share. Each draws its
    own images, the gradients are averaged, and worker 0 writes the files and has the scores.
    """

    def __init__(
        self,
        folder: str,
        iters: Optional[int] = None,
        images: Optional[int] = None,
        seed: Optional[int] = None,
        scored: bool = True,
        data_set: Optional[DataSet] = None,
        write_report: Optional[Callable[[], object]] = None,
    ) -> None:
        for name, value in (("iters", iters), ("images", images)):
            if value is not None:
                check_integer(name, value)
        self.folder = os.path.abspath(folder)
        self.title = os.path.basename(self.folder)
        self.images, self.seed, self.scored = images, seed, scored
        self.data_set = data_set or available.data_set_of(self.title)
        self._iters, self._write_report = iters, write_report
        #: Caffe's solver, once `make_solver` has been called.
        self.solver: Any = None
        #: The snapshot from which the stage continues.
        self.snapshot: Optional[snapshots.Snapshot] = None
        #: The scores of the snapshots, by iteration.
        self.records: Dict[int, Scores] = {}
        self.finished = False
        self._device = ""
        self._losses = RecentLosses(1)
        self._watch = LossWatch(ignore_label=self.data_set.ignore_label)
        self._normalized = False
        self._requests = signals.Requests()
        # Open from the first step to the end of `with`.
        self._log: Union[Log, NoLog] = NoLog()
        self._bar: Union[ProgressBar, workers.HiddenBar] = workers.HiddenBar()
        self._started = False
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        """Enter the folder, lock it against other runs, and read how far the stage is.

        Raises ValueError for a bad solver prototxt and if another process trains here, OSError for
        a missing solver prototxt.
        """
        with contextlib.ExitStack() as resources:
            resources.enter_context(working_folder(self.folder))
            self.param = read_solver(SOLVER)
            self.iters = self._iters or self.param.max_iter
            self.interval = min(self.param.snapshot or self.iters, self.iters)
            self._records_folder = os.path.dirname(self.param.snapshot_prefix) or "."
            self._read_progress()
            killed = run_lock.is_marked(self._records_folder) or snapshots.has_remains(
                self.param.snapshot_prefix
            )
            if workers.rank() == 0 and (killed or not self.finished):
                resources.enter_context(run_lock.one_run(self._records_folder))
                self._remove_remains()
                # Another process may have trained between the look and the lock.
                self._read_progress()
                if self.finished:
                    self._finish_scoring()
            self._resources = resources.pop_all()
        if self.snapshot and self.finished:
            workers.say(
                f"{self.title}: done already ({self.snapshot.iteration} iterations, "
                f"{self.snapshot.model})"
            )
        return self

    def _read_progress(self) -> None:
        """Read the newest complete snapshot, the scores, and whether the stage is finished."""
        self.records = snapshots.read_records(self._records_folder)
        self.snapshot = snapshots.latest(self.param.snapshot_prefix)
        if self.snapshot and self.snapshot.iteration >= self.iters:
            self.finished = not self.scored or self.snapshot.iteration in self.records

    def _remove_remains(self) -> None:
        """Remove what runs that were killed have left in the stage's folders."""
        remove_partial(self._records_folder)
        snapshots.remove_incomplete(self.param.snapshot_prefix)
        caffe_solver.remove_temporary(".")

    def __exit__(self, *error: object) -> None:
        """Close the log and the progress bar, and go back to the working directory before."""
        self._resources.close()

    @property
    def net(self) -> Any:
        """The net that is trained. Raises ValueError before `make_solver`."""
        if self.solver is None:
            raise ValueError(f"{self.title}: has no solver yet; call make_solver() first")
        return self.solver.net

    @property
    def iteration(self) -> int:
        """The number of iterations that have been trained."""
        if self.solver is not None:
            return int(self.solver.iter)
        return self.snapshot.iteration if self.snapshot else 0

    @property
    def scores(self) -> Scores:
        """The scores at the present iteration; {} if there are none, and on all but worker 0."""
        return self.records.get(self.iteration, {})

    def choose_device(self, gpu: Gpu = None) -> None:
        """Run on a device: `gpu` is as for `device.use`."""
        if self.finished:
            return
        self._device = device.use(gpu)
        workers.say(f"{self.title}: {device.engine()}; runs on {self._device}")

    def make_solver(self) -> None:
        """Make Caffe's solver from solver.prototxt, and restore the newest snapshot, if any.

        Raises ValueError if the snapshot does not fill the net.
        """
        if self.finished:
            return
        images = self.images if self.scored else 0
        self.solver = make_solver(self.param, self.iters, images, self.seed)
        if self.snapshot:
            restore(self.solver, self.param, self.snapshot, self.seed)

    def start_from(self, weights: str, renamed: Optional[Mapping[str, str]] = None) -> None:
        """Copy weights into the net by layer name, if the stage starts at iteration 0.

        weights: a .caffemodel, or the folder of the stage before. renamed: name of a layer in the
        weights -> name of the net's layer that reads more channels (`surgery.extend_channels`).

        Raises ValueError for weights of another net, or from which nothing would be learned;
        OSError for files that are missing.
        """
        if not self.finished and not self.snapshot:
            copy_weights(self.net, available.weights_of(weights), renamed)

    def start_from_each(self, parents: Mapping[str, str]) -> None:
        """Copy the weights of several nets into the net, if the stage starts at iteration 0.

        parents: suffix of the net's layer names -> the folder of a variant that is trained, with
        deploy.prototxt. Raises what `start_from` raises.
        """
        if self.finished or self.snapshot:
            return
        models = {
            suffix: (os.path.join(folder, "deploy.prototxt"), available.weights_of(folder))
            for suffix, folder in parents.items()
        }
        copy_each(self.net, models)

    def fill_upsampling(self) -> None:
        """Fill the layers with `up` in their names with bilinear kernels, which are not learned."""
        if not self.finished and not self.snapshot:
            interp(self.net, interp_layers(self.net))

    def steps(self, every: Optional[int] = None) -> Iterator[int]:
        """Train to the end, and yield the iterations to score, after a snapshot of each.

        every: iterations between two scores; None means the solver's interval of snapshots. A
        solver that names no such interval writes a snapshot before each score.

        A snapshot that was restored and has no scores comes first, before any training. Raises
        ValueError if the loss is not finite.
        """
        if self.finished:
            return
        self.interval = min(self.param.snapshot or every or self.iters, self.iters)
        every = every or self.interval
        self._start()
        if self.snapshot and self.iteration not in self.records and self._scores_now(every):
            yield self.iteration
        while self.iteration < self.iters:
            with self._requests.training():
                self._train_or_save()
                due = self._scores_now(every)
                request = self._requests.take_snapshot()
                if due or request or self.iteration % self.interval == 0:
                    self._write_snapshot()
            if self._requests.stop is not None:
                self._stop(self._requests.stop)
            if due:
                yield self.iteration
        # Worker 0 removes snapshots, and the next stage reads those that remain; so all workers
        # meet here.
        workers.meet(self.solver)
        self.finished = True

    def _train_or_save(self) -> None:
        """Train an iteration. If that fails, write a snapshot of the last complete iteration."""
        iteration = self.iteration
        try:
            self.train_iteration()
        except KeyboardInterrupt:
            self._snapshot_if_first()
            raise
        except Exception:
            # The iteration counts once the weights have changed. Of several workers, the engine
            # knows which of them still lives.
            if self.iteration == iteration and workers.count() == 1:
                self._save_last_iteration()
            elif self.iteration == iteration and workers.rank() == 0:
                # After the death of a worker, Caffe has written a snapshot.
                prefix = self.param.snapshot_prefix
                snapshots.add_progress(prefix, iteration, self._losses.state())
            raise

    def _save_last_iteration(self) -> None:
        """Write a snapshot of the last complete iteration after a failure, unless there is one."""
        newest = snapshots.latest(self.param.snapshot_prefix)
        if not self.iteration or (newest and newest.iteration == self.iteration):
            return
        try:
            self._write_snapshot()
            # Caffe removes resume.json, because the random numbers of dropout have advanced since
            # that iteration.
            snapshots.write_progress(
                self.param.snapshot_prefix, self.iteration, self._losses.state()
            )
        except (OSError, RuntimeError) as error:
            workers.say(f"warning: {self.title}: the last snapshot cannot be written ({error})")
            return
        line = f"stopped at iteration {self.iteration}"
        self._log.line(f"Optimization {line}")
        workers.say(
            f"{self.title}: {line}, which is saved in {self._records_folder}; the same command "
            "continues"
        )

    def _scores_now(self, every: int) -> bool:
        """Return whether to score this iteration: every `every` iterations, and at the end."""
        return self.iteration % every == 0 or self.iteration >= self.iters

    def _snapshot_if_first(self) -> None:
        """Write a snapshot if there is none, so that an interruption costs only one iteration."""
        unsaved = self.iteration and not snapshots.complete(self.param.snapshot_prefix)
        if unsaved and workers.count() == 1:
            self._write_snapshot()

    def _write_snapshot(self) -> None:
        """Write a snapshot of the present iteration, after the rows of the log that go with it."""
        prefix = self.param.snapshot_prefix
        # Here a Caffe that resumes bit for bit brings the random states of the workers together.
        workers.meet(self.solver)
        if workers.rank() == 0:
            self._log.sync()
            with snapshots.incomplete(prefix, self.iteration):
                snapshots.write_progress(prefix, self.iteration, self._losses.state())
                self.solver.snapshot()
        self._log.line(f"Snapshotting to {prefix}_iter_{self.iteration}")

    def _stop(self, number: int) -> None:
        """End the program after a signal, once a snapshot is written."""
        line = f"stopped at iteration {self.iteration}"
        self._log.line(f"Optimization {line}")
        signals.raise_for(
            number,
            f"{self.title}: {line}, which is saved in {self._records_folder}; the same command "
            "continues",
        )

    def train_iteration(self) -> None:
        """Train one iteration. Raises ValueError if the loss is not finite."""
        iteration = self.iteration
        self.solver.step(1)
        blobs = self.net.blobs
        outputs = {name: float(blobs[name].data.flat[0]) for name in self.net.outputs}
        loss = outputs.get("loss", sum(outputs.values()))
        if not math.isfinite(loss):
            raise ValueError(
                f"{self.title}: the loss is {loss} at iteration {iteration}, needed a number; "
                f"{first_not_finite(self.net) or 'every layer is finite again'}; "
                "lower base_lr, or check the labels and the weights from which the stage started"
            )
        self._watch_loss(loss)
        self._losses.add(self.net, loss)
        mean = self._losses.mean
        self._bar.update(note=f"loss {mean:.5g}")
        if iteration % (self.param.display or DISPLAY) == 0:
            rate, pixel_mean = float(self.solver.lr), self._losses.pixel_mean
            self._log.train(iteration, mean, rate, outputs, pixel_mean)

    def _watch_loss(self, loss: float) -> None:
        """Warn once if the first losses show that nothing is learned."""
        if self.snapshot or "score" not in self.net.blobs or "loss" not in self.net.blobs:
            return
        classes = int(self.net.blobs["score"].shape[1])
        line = self._watch.warning(self.net, loss, classes, self._normalized)
        if line:
            self._log.line(f"warning: {line}")
            self._bar.write(f"warning: {self.title}: {line}")

    def score(self) -> None:
        """Score the val split with the present weights, print and record the scores, and remove
        the snapshots that are neither the newest two nor the best.

        Without scoring (`scored`), only snapshots are removed. Does nothing in a finished stage.
        """
        if self.finished:
            return
        self._start()
        self.records[self.iteration] = self._score_split() if self.scored else {}
        if workers.rank() == 0:
            self._finish_scoring()

    def _finish_scoring(self) -> None:
        """Remove the snapshots that are neither the newest two nor the best; write the page."""
        best = snapshots.best_iteration(self.records)
        saved = range(self.interval, self.iteration + 1, self.interval)
        snapshots.prune(self.param.snapshot_prefix, {*self.records, *saved}, best)
        with guarded(f"the report of {self.title}"):
            self._write_page()

    def _score_split(self) -> Scores:
        """Return the scores on the val split after printing, logging and recording them."""
        examples = Examples(self.data_set.labels[0], input_mean(self.solver.test_nets[0]))
        scores = seg_tests(
            self.solver,
            self.images,
            title=f"{self.title} scoring at {self.iteration}",
            parts=os.path.join(self._records_folder, ".scored"),
            heads=available.heads_of(self.title),
            observe=examples.add,
        )
        if not scores:  # on all workers but the first
            return {}
        values = {name: scores[name] for name in METRICS}
        self._log.test(self.iteration, values, examples.strips())
        with guarded(f"the examples of {self.title}"):
            examples.write(self._records_folder, self.iteration)
        title = f"{self.title}, iteration {self.iteration}, {scores['images']} images"
        heads = available.heads_of(self.title)
        for line in score_lines(scores, title, self.data_set, heads):
            self._log.line(line)
            self._bar.write(line)
        record = plain(dict(scores, iteration=self.iteration))
        # Where that fails, the next scoring writes this record too.
        with guarded(f"the scores of {self.title}"):
            snapshots.write_records(self._records_folder, {**self.records, self.iteration: record})
        return record

    def _write_page(self) -> None:
        """Write the page of the run, or of this stage where it belongs to none."""
        if self._write_report is not None:
            self._write_report()
        elif self.scored:
            report.write_stage(self._records_folder, self.title, self.param)

    def _start(self) -> None:
        """Open the log and the progress bar, and forget the scores of lost snapshots, once."""
        if self._started:
            return
        self._started = True
        self.records = {k: v for k, v in self.records.items() if k <= self.iteration}
        self._log = open_log(self._records_folder, self.iteration, self.records)
        self._resources.enter_context(self._log)
        if workers.count() == 1:  # Several agree on what they do; see caffe.train.company.
            self._resources.enter_context(self._requests.listen())
        self._log.line(f"Solving {self.title} with {device.engine()} on {self._device}")
        if self.snapshot:
            workers.say(f"{self.title}: continues from {self.snapshot.state}")
            self._log.line(f"Restoring previous solver status from {self.snapshot.state}")
        self._check_start()
        self._bar = workers.progress_bar(self.iters, f"{self.title} training", self.iteration)
        self._resources.enter_context(self._bar)

    def _check_start(self) -> None:
        """Warn of weights from which nothing would be learned."""
        if self.scored:
            heads = available.heads_of(self.title)
            check_heads(self.solver.test_nets[0], heads, (self.param.test_net or ["the net"])[0])
        message = read_net(self.param.train_net or self.param.net)
        self._watch.class_weights = infogain_weights(message)
        self._normalized = averages_pixels(message)
        self._losses = RecentLosses(
            self.param.average_loss,
            self.data_set.labels[0].name,
            self.data_set.ignore_label,
            self._normalized,
        )
        if self.snapshot:
            progress = snapshots.read_progress(self.param.snapshot_prefix, self.iteration)
            if progress:
                self._losses.set_state(progress)
        if not self.snapshot:
            for line in start_warnings(self.net, message):
                self._log.line(f"warning: {line}")
                workers.say(f"warning: {self.title}: {line}")


def run(
    folder: str,
    weights: Union[str, Mapping[str, str], None],
    iters: Optional[int] = None,
    images: Optional[int] = None,
    gpu: Gpu = None,
    seed: Optional[int] = None,
    score: bool = True,
    renamed: Optional[Mapping[str, str]] = None,
    every: Optional[int] = None,
    data_set: Optional[DataSet] = None,
    write_report: Optional[Callable[[], object]] = None,
) -> Scores:
    """Train the net of a folder as its solve.py does, and return the scores of the last snapshot.

    weights: a .caffemodel, or the folder of the stage before, relative to `folder`, or, for
    `Stage.start_from_each`, such a folder for each suffix; None leaves the layers to their fillers.
    renamed: as for `Stage.start_from`. every: as for `Stage.steps`. gpu: as for `device.use`. The
    other arguments, and the exceptions, are those of `Stage`.
    """
    with Stage(folder, iters, images, seed, score, data_set, write_report) as stage:
        stage.choose_device(gpu)
        stage.make_solver()
        if isinstance(weights, str):
            stage.start_from(weights, renamed)
        elif weights is not None:
            stage.start_from_each(weights)
        stage.fill_upsampling()
        for _ in stage.steps(every):
            stage.score()
    return stage.scores


def main(solve: Callable[..., Scores], folder: str, argv: Optional[Sequence[str]] = None) -> None:
    """The command line of a variant's solve.py: call `solve(gpu, iters, images)`."""
    name = os.path.basename(os.path.abspath(folder))
    parser = arguments.Parser(
        prog="solve.py",
        description=f"Train {name}.",
        parents=[
            arguments.option("gpu", nargs="?", help="number of a CUDA device, or cpu"),
            arguments.iters("iterations in all"),
            arguments.images(),
        ],
    )
    started = time.time()
    scores = solve(**vars(parser.parse_args(argv)))
    if scores:
        workers.say(f"{name}: mean IU {scores['mean_iu']:.4f} after {time.time() - started:.0f} s")
