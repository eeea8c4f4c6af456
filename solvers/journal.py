"""What a stage tells while it trains: its log, its progress bar, its losses and its warnings."""

from __future__ import annotations

import math
from typing import (
    Any,
    Callable,
    Collection,
    ContextManager,
    Dict,
    Iterable,
    Mapping,
    Optional,
    Union,
)

from fcn_common.progress import ProgressBar
from solvers import device, workers
from solvers.log import Log, NoLog, open_log
from solvers.metrics import METRICS, Scores
from solvers.recent_losses import RecentLosses
from solvers.start import Watch, first_not_finite

#: Iterations between two lines of the log if the solver prototxt has no `display`.
DISPLAY = 20


class Journal:
    """The log and the progress bar of a stage, which are open while it trains.

    title: of the stage. display: iterations between two lines of the log; 0 means DISPLAY.
    losses: those of the last iterations. watch: looks at the loss of each iteration.
    """

    def __init__(self, title: str, display: int) -> None:
        self._title, self._display = title, display or DISPLAY
        self.losses = RecentLosses(1)
        self.watch: Optional[Watch] = None
        self._log: Union[Log, NoLog] = NoLog()
        self._bar: Union[ProgressBar, workers.HiddenBar] = workers.HiddenBar()
        #: Shows a line to the user, above the progress bar once that is visible.
        self._show: Callable[[str], None] = workers.say

    def open_log(
        self, folder: str, iteration: int, scored: Collection[int]
    ) -> ContextManager[object]:
        """Return the context in which the log is open. The arguments are those of `Log`."""
        self._log = open_log(folder, iteration, scored)
        return self._log

    def open_bar(self, iters: int, iteration: int) -> ContextManager[object]:
        """Return the context in which the progress bar is visible."""
        self._bar = workers.progress_bar(iters, f"{self._title} training", iteration)
        self._show = self._bar.write
        return self._bar

    def begin(self, device_name: str, state: Optional[str]) -> None:
        """Tell what runs, and from which .solverstate it continues, if any."""
        self.line(f"Solving {self._title} with {device.engine()} on {device_name}")
        if state:
            workers.say(f"{self._title}: continues from {state}")
            self.line(f"Restoring previous solver status from {state}")

    def line(self, text: str) -> None:
        """Write a line to the log."""
        self._log.line(text)

    def warn(self, text: str) -> None:
        """Write a warning to the log and show it to the user."""
        self.line(f"warning: {text}")
        self._show(f"warning: {self._title}: {text}")

    def sync(self) -> None:
        """Write the log to disk, before a snapshot from which the run may continue."""
        self._log.sync()

    def note_iteration(self, solver: Any, iteration: int) -> None:
        """Note the losses of an iteration, after it.

        Raises ValueError if the loss is not finite.
        """
        net = solver.net
        outputs = {name: float(net.blobs[name].data.flat[0]) for name in net.outputs}
        loss = self._loss(net, iteration, outputs)
        warning = self.watch(net, loss) if self.watch else None
        if warning:
            self.warn(warning)
        self.losses.add(net, loss)
        mean = self.losses.mean
        self._bar.update(note=f"loss {mean:.5g}")
        if iteration % self._display == 0:
            self._log.train(iteration, mean, float(solver.lr), outputs, self.losses.pixel_mean)

    def _loss(self, net: Any, iteration: int, outputs: Mapping[str, float]) -> float:
        loss = outputs.get("loss", sum(outputs.values()))
        if not math.isfinite(loss):
            raise ValueError(
                f"{self._title}: the loss is {loss} at iteration {iteration}, needed a number; "
                f"{first_not_finite(net) or 'every layer is finite again'}; "
                "lower base_lr, or check the labels and the weights from which the stage started"
            )
        return loss

    def note_scores(
        self, iteration: int, scores: Scores, samples: Dict[str, Any], lines: Iterable[str]
    ) -> None:
        """Note the scores of an iteration.

        samples: pictures for TensorBoard, as for `Log.test`. lines: the scores for the user.
        """
        self._log.test(iteration, {name: scores[name] for name in METRICS}, samples)
        for line in lines:
            self.line(line)
            self._show(line)
