"""One stage of training, as the steps of a variant's solve.py.

A stage writes to the folder of its snapshots: train_iter_N.caffemodel, .solverstate and
.resume.json, train.log, loss.csv, scores.jsonl, examples.json, report.html, TensorBoard events. A
stage that was killed continues from its newest complete snapshot and ends as an uninterrupted one.
One process at a time works in the folder.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Union

from fcn_common import arguments
from fcn_data import DataSet
from net_gen.arguments import check_integer
from solvers import available, device, report, signals, workers
from solvers.by_products import guarded
from solvers.caffe_solver import copy_each, copy_weights, make_solver, read_solver, restore
from solvers.device import Gpu
from solvers.examples import Examples, input_mean
from solvers.folders import working_folder
from solvers.journal import Journal
from solvers.metrics import Scores, plain, score_lines
from solvers.recent_losses import RecentLosses
from solvers.saving import Saver
from solvers.score import seg_tests
from solvers.snapshot_folder import SnapshotFolder
from solvers.snapshots import Snapshot
from solvers.start import averages_pixels, check_heads, loss_watch, start_warnings
from surgery import interp, interp_layers
from surgery.cast import read_net

SOLVER = "solver.prototxt"


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
        self.finished = False
        self._device = ""
        self._requests = signals.Requests()
        self._started = False
        #: What is open to the end of `with`.
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
            self._journal = Journal(self.title, self.param.display)
            self._snapshots = SnapshotFolder(self.param.snapshot_prefix)
            self.finished = self._snapshots.is_finished(self.iters, self.scored)
            if workers.rank() == 0 and (self._snapshots.is_left_over() or not self.finished):
                resources.enter_context(self._snapshots.locked())
                self.finished = self._snapshots.is_finished(self.iters, self.scored)
                if self.finished:
                    self._finish_scoring()
            self._resources = resources.pop_all()
        if self.snapshot and self.finished:
            workers.say(
                f"{self.title}: done already ({self.snapshot.iteration} iterations, "
                f"{self.snapshot.model})"
            )
        return self

    def __exit__(self, *error: object) -> None:
        """Close the log and the progress bar, and go back to the working directory before."""
        self._resources.close()

    @property
    def snapshot(self) -> Optional[Snapshot]:
        """The snapshot from which the stage continues."""
        return self._snapshots.snapshot

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
        return self._snapshots.records.get(self.iteration, {})

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
        self._saver = Saver(self.title, self.solver, self._snapshots, self._journal)

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
        scored = self.iteration in self._snapshots.records
        if self.snapshot and not scored and self._scores_now(every):
            yield self.iteration
        while self.iteration < self.iters:
            with self._requests.training():
                with self._saver.rescuing():
                    self.train_iteration()
                due = self._scores_now(every)
                request = self._requests.take_snapshot()
                if due or request or self.iteration % self.interval == 0:
                    self._saver.write()
            if self._requests.stop is not None:
                self._saver.stop(self._requests.stop)
            if due:
                yield self.iteration
        # Worker 0 removes snapshots, and the next stage reads those that remain; so all workers
        # meet here.
        workers.meet(self.solver)
        self.finished = True

    def _scores_now(self, every: int) -> bool:
        """Return whether to score this iteration: every `every` iterations, and at the end."""
        return self.iteration % every == 0 or self.iteration >= self.iters

    def train_iteration(self) -> None:
        """Train one iteration. Raises ValueError if the loss is not finite."""
        iteration = self.iteration
        self.solver.step(1)
        self._journal.note_iteration(self.solver, iteration)

    def score(self) -> None:
        """Score the val split with the present weights, print and record the scores, and remove
        the snapshots that are neither the newest two nor the best.

        Without scoring (`scored`), only snapshots are removed. Does nothing in a finished stage.
        """
        if self.finished:
            return
        self._start()
        self._snapshots.records[self.iteration] = self._score_split() if self.scored else {}
        if workers.rank() == 0:
            self._finish_scoring()

    def _finish_scoring(self) -> None:
        """Remove the snapshots that are neither the newest two nor the best; write the page."""
        self._snapshots.prune(range(self.interval, self.iteration + 1, self.interval))
        with guarded(f"the report of {self.title}"):
            self._write_page()

    def _score_split(self) -> Scores:
        """Return the scores on the val split after printing, logging and recording them."""
        heads = available.heads_of(self.title)
        examples = Examples(self.data_set.labels[0], input_mean(self.solver.test_nets[0]))
        scores = seg_tests(
            self.solver,
            self.images,
            title=f"{self.title} scoring at {self.iteration}",
            parts=os.path.join(self._snapshots.path, ".scored"),
            heads=heads,
            observe=examples.add,
        )
        if not scores:  # on all workers but the first
            return {}
        title = f"{self.title}, iteration {self.iteration}, {scores['images']} images"
        lines = score_lines(scores, title, self.data_set, heads)
        self._journal.note_scores(self.iteration, scores, examples.strips(), lines)
        with guarded(f"the examples of {self.title}"):
            examples.write(self._snapshots.path, self.iteration)
        record = plain(dict(scores, iteration=self.iteration))
        # Where that fails, the next scoring writes this record too.
        with guarded(f"the scores of {self.title}"):
            self._snapshots.write_scores(self.iteration, record)
        return record

    def _write_page(self) -> None:
        """Write the page of the run, or of this stage where it belongs to none."""
        if self._write_report is not None:
            self._write_report()
        elif self.scored:
            report.write_stage(self._snapshots.path, self.title, self.param)

    def _start(self) -> None:
        """Open the log and the progress bar, and forget the scores of lost snapshots, once."""
        if self._started:
            return
        self._started = True
        journal, open_ = self._journal, self._resources.enter_context
        self._snapshots.drop_scores_after(self.iteration)
        open_(journal.open_log(self._snapshots.path, self.iteration, self._snapshots.records))
        if workers.count() == 1:  # Several agree on what they do; see caffe.train.company.
            open_(self._requests.listen())
        journal.begin(self._device, self.snapshot.state if self.snapshot else None)
        self._check_heads()
        self._observe_losses()
        open_(journal.open_bar(self.iters, self.iteration))

    def _check_heads(self) -> None:
        """Refuse a net whose scoring would fail."""
        if self.scored:
            heads = available.heads_of(self.title)
            check_heads(self.solver.test_nets[0], heads, (self.param.test_net or ["the net"])[0])

    def _observe_losses(self) -> None:
        """Continue the losses of the snapshot; without one, look whether the net can learn."""
        message = read_net(self.param.train_net or self.param.net)
        normalized = averages_pixels(message)
        label, ignore_label = self.data_set.labels[0].name, self.data_set.ignore_label
        losses = RecentLosses(self.param.average_loss, label, ignore_label, normalized)
        self._journal.losses = losses
        progress = self._snapshots.progress()
        if progress:
            losses.set_state(progress)
        if self.snapshot:
            return
        self._journal.watch = loss_watch(message, ignore_label)
        for line in start_warnings(self.net, message):
            self._journal.warn(line)


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
