"""Train a net on a folder of your own pictures.

    python -m solvers.train my_set --out my_run

The steps are: check the set, write the stages' prototxts for its classes, channels and mean, make
the first weights, and train stage after stage. A run that was stopped continues with the same
command. my_run/run.json says what the run is.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shlex
import sys
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import net_gen
from fcn_common import arguments, command, voc
from fcn_common.files import remove_partial, write_json, write_text
from fcn_data import published
from fcn_data.folder_layers import SPLITS, PictureSet, read_set, write_set
from fcn_data.readers import COLOURS
from net_gen import VARIANTS, Variant
from solvers import available, chain, report, run_lock, stage, workers
from solvers.check import CheckedSet, check_set, refuse_errors, set_arguments
from solvers.device import Gpu
from solvers.metrics import Scores
from solvers.recipe import SetSize, solver_fields
from solvers.run_record import RUN, Output, RunRecord, find_run, read_run, versions, write_run
from surgery import BASES, adapt

DEFAULT_VARIANT = "voc-fcn8s"
BASE = "base.caffemodel"
REPORT = "base.txt"
CHECK = "check.json"
#: The value of `weights` for a net that starts from random numbers.
RANDOM = "random"


class Options(NamedTuple):
    """What defines a run; a later command has to repeat it to continue the run.

    variant: the net of the last stage. width: fraction of the channel counts, as text. single:
    train only that net, straight from the first weights. weights: path of the first weights,
    `RANDOM`, or "" for the trunk's classifier. layers: patterns of the layers that are copied from
    them. mean: values with commas, or "". lr: of the first stage. seed: of the splits, the random
    weights and the solver.
    """

    variant: str = DEFAULT_VARIANT
    width: str = "1"
    single: bool = False
    weights: str = ""
    layers: str = "*"
    mean: str = ""
    lr: Optional[float] = None
    seed: int = 1

    @property
    def stages(self) -> List[str]:
        """The names of the variants that are trained, in their order."""
        return [self.variant] if self.single else chain.stages(self.variant)

    @property
    def pretrained(self) -> bool:
        """Whether the trunk starts from trained weights."""
        return self.weights != RANDOM


def run(
    data: str,
    out: str,
    options: Optional[Options] = None,
    iters: Optional[int] = None,
    images: Optional[int] = None,
    gpu: Gpu = None,
    line: str = "",
    **kind: Any,
) -> Scores:
    """Train a net on the pictures in a folder, and return the scores of the last snapshot.

    data: the folder, in a layout of `fcn_data.folders`. out: the folder of the run. iters:
    iterations of each stage. images: how many pictures of val are scored (all). gpu: as for
    `device.use`. line: the command that is recorded. kind: what the set is, as for
    `solvers.check.check_set`.

    Raises ValueError if the check finds errors or `out` holds another run, OSError for a file
    that is missing.
    """
    options = _complete(options or Options())
    with contextlib.ExitStack() as stack:
        if workers.rank() == 0:
            stack.enter_context(run_lock.one_run(out))
            remove_partial(out)
        with workers.one_at_a_time(os.path.join(os.path.abspath(out), ".prepare")):
            if os.path.isfile(os.path.join(out, RUN)):
                _refuse_another(out, data, options)
            else:
                _prepare(data, out, options, iters, line, kind)
        return _train(out, iters, images, gpu)


def _train(out: str, iters: Optional[int], images: Optional[int], gpu: Gpu) -> Scores:
    """Train the stages of the run in `out`, and return the scores of the last snapshot."""
    record = read_run(out)
    weights = os.path.join(os.path.abspath(out), BASE)
    scores: Scores = {}
    for name in record.stages:
        folder = os.path.join(out, name)
        scores = stage.run(
            folder,
            weights,
            iters,
            images,
            gpu,
            data_set=record.data_set,
            write_report=functools.partial(report.write_run, os.path.abspath(out)),
        )
        weights = os.path.abspath(folder)
    workers.say(f"{out} is trained: {available.weights_of(weights)}")
    return scores


def _complete(options: Options) -> Options:
    """Return the options with the weights that are used and checked values.

    Raises ValueError for an unknown variant or a width that is no fraction.
    """
    name = options.variant if options.variant in VARIANTS else f"voc-{options.variant}"
    if name not in VARIANTS:
        raise ValueError(f"variant {options.variant}: needed one of {', '.join(VARIANTS)}")
    try:
        width = Fraction(options.width)
    except (ValueError, ZeroDivisionError):
        width = Fraction(0)
    if not 0 < width <= 1:
        raise ValueError(f"width is {options.width!r}, needs a fraction such as 1/8, at most 1")
    weights = options.weights
    if not weights and width != 1:
        weights = RANDOM
    elif weights and weights != RANDOM:
        weights = _weights_of(weights)
    return options._replace(variant=name, width=str(width), weights=weights)


def _weights_of(path: str) -> str:
    """Return the weights file that a path means: a file, a stage, or a run."""
    if os.path.isfile(os.path.join(path, RUN)):
        path = os.path.join(path, read_run(path).stages[-1])
    return available.weights_of(path)


def _refuse_another(out: str, data: str, options: Options) -> None:
    """Raise ValueError if the run in `out` is not the one that the options describe."""
    record = read_run(out)
    stored = {**record.options, "data": record.data.get("folder", "")}
    for key, value in {**options._asdict(), "data": os.path.abspath(data)}.items():
        if stored.get(key) != value:
            raise ValueError(
                f"{os.path.join(out, RUN)}: has {key} {stored.get(key)!r}, this command has "
                f"{value!r}; name another --out, or repeat the first command: {record.command}"
            )
    read_set(out)


def _prepare(
    data: str, out: str, options: Options, iters: Optional[int], line: str, kind: Dict[str, Any]
) -> None:
    """Check the set, and write all files of a run but the snapshots. run.json comes last."""
    checked = check_set(data, seed=options.seed, **kind)
    workers.say("\n".join(checked.report.lines(checked.classes)))
    refuse_errors(checked)
    pictures = _pictures(checked, options)
    _write_check(out, checked)
    write_set(out, pictures, checked.folder.splits)
    data_set = pictures.data_set(checked.folder.splits)
    splits, names = checked.folder.splits, options.stages
    size = SetSize(len(splits["train"]), len(splits["val"]), checked.report.pixels)
    for name in names:
        variant = VARIANTS[name]._replace(data_set=data_set, data_root="..")
        fields = solver_fields(
            variant, size, Fraction(options.width), options.pretrained, iters, options.lr
        )
        folder = os.path.join(out, stage_name(name))
        fields["random_seed"] = options.seed
        net_gen.generate(
            variant,
            folder,
            fields,
            width=Fraction(options.width),
            channels=checked.report.channels,
            set_dir="..",
        )
    base = _first_weights(out, options)
    write_run(out, _record(checked, pictures, options, base, line))


def _pictures(checked: CheckedSet, options: Options) -> PictureSet:
    """Return the set as the data layer reads it."""
    folder = checked.folder
    files = {
        idx: (os.path.relpath(image, folder.path), os.path.relpath(label, folder.path))
        for idx, (image, label) in folder.files.items()
    }
    return PictureSet(
        name=os.path.basename(folder.path),
        folder=folder.path,
        files=files,
        classes=checked.classes,
        palette=checked.palette,
        coding=checked.coding,
        mean=_mean(checked, options),
    )


def _mean(checked: CheckedSet, options: Options) -> Tuple[float, ...]:
    """Return the mean that is subtracted from each channel.

    It is the one that is named, that of the run of the first weights, that of ILSVRC for colour
    pictures and trained weights, or that of the training pictures.
    """
    channels = checked.report.channels
    if options.mean:
        try:
            mean = tuple(float(value) for value in options.mean.split(","))
        except ValueError:
            mean = ()
        if len(mean) != channels:
            raise ValueError(f"mean is {options.mean!r}, needs {channels} numbers with commas")
        return mean
    if options.weights not in ("", RANDOM):
        folder = find_run(options.weights)
        if folder and read_run(folder).channels == channels:
            return read_run(folder).mean
    if channels == COLOURS and options.pretrained:
        return voc.MEAN
    return checked.report.mean


def _first_weights(out: str, options: Options) -> str:
    """Write the weights that the first stage starts from; return where they come from, in words."""
    first = options.stages[0]
    deploy = os.path.join(out, stage_name(first), "deploy.prototxt")
    trunk = VARIANTS[first].trunk
    weights: Optional[str] = options.weights
    if weights == RANDOM:
        workers.say(
            "NOTE: the net starts from RANDOM weights (He initialisation); trained weights need "
            "fewer pictures (--weights)"
        )
        weights = None
    elif not weights:
        if not os.path.isfile(chain.paths(trunk)[1]):
            published.fetch(BASES[trunk].classifier)
        weights = chain.cast_base(trunk)
    patterns = options.layers.split(",")
    report = adapt(weights, deploy, os.path.join(out, BASE), patterns, options.seed)
    lines = [f"weights: {weights or RANDOM}", *report.lines()]
    write_text(os.path.join(out, REPORT), "\n".join(lines) + "\n")
    if weights:
        workers.say("\n".join(lines))
        if report.random:
            names = ", ".join(report.random)
            workers.say(f"warning: layers below the scores start from random numbers: {names}")
    return weights or RANDOM


def _write_check(out: str, checked: CheckedSet) -> None:
    """Write the check's report, for the pages about the run."""
    report = checked.report
    values = {
        "findings": [finding._asdict() for finding in report.findings],
        "classes": checked.classes,
        "counts": {str(label): pixels for label, pixels in sorted(report.counts.items())},
        "largest": report.largest,
        "mean": report.mean,
    }
    write_json(os.path.join(out, CHECK), values)


def _record(
    checked: CheckedSet, pictures: PictureSet, options: Options, base: str, line: str
) -> RunRecord:
    report = checked.report
    variant: Variant = VARIANTS[options.variant]
    counts = {split: len(checked.folder.splits[split]) for split in SPLITS}
    return RunRecord(
        variant=options.variant,
        stages=tuple(stage_name(name) for name in options.stages),
        stride=variant.stride,
        width=options.width,
        channels=report.channels,
        order="BGR" if report.channels == COLOURS else "stored",
        mean=pictures.mean,
        scale=1.0,
        outputs=(Output("score", "scores", pictures.classes, pictures.palette),),
        ignore_label=pictures.coding.ignore_label,
        data={"name": pictures.name, "folder": pictures.folder, **counts},
        largest=report.largest,
        base=base,
        command=line,
        versions=versions(),
        options=options._asdict(),
    )


def stage_name(variant: str) -> str:
    """Return the name of a stage's folder in a run: fcn8s for voc-fcn8s."""
    return variant[len("voc-") :] if variant.startswith("voc-") else variant


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    names = ", ".join(VARIANTS)
    return argparse.ArgumentParser(
        prog="python -m solvers.train",
        description="Train a net on a folder of your own pictures and labels. The same command "
        "continues a run that was stopped.",
        parents=[
            *set_arguments(),
            arguments.out(None, "folder of the run (default: runs/NAME OF THE SET)"),
            arguments.option(
                "--variant",
                default=DEFAULT_VARIANT,
                metavar="NAME",
                help=f"{names} (default: {DEFAULT_VARIANT})",
            ),
            arguments.option(
                "--width", default="1", metavar="W", help="fraction of every channel count: 1/8"
            ),
            arguments.option(
                "--single",
                action="store_true",
                help="train only this variant, not the stages before it",
            ),
            arguments.weights(
                "first weights: any .caffemodel, the folder of a run or stage, or random "
                "(default: the trunk's classifier; random for narrow nets)"
            ),
            arguments.option(
                "--layers",
                default="*",
                metavar="NAMES",
                help="layers that are copied from the weights: conv*,fc6 (default: all that fit)",
            ),
            arguments.option("--mean", metavar="VALUES", help="of each channel, with commas"),
            arguments.option(
                "--lr", type=float, metavar="RATE", help="learning rate of the first stage"
            ),
            arguments.iters(),
            arguments.images(),
            arguments.gpu(),
        ],
    )


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    values = vars(parser().parse_args(argv))
    fields = {key: values.pop(key) for key in Options._fields}
    options = Options(**{key: value for key, value in fields.items() if value is not None})
    data = values.pop("data")
    name = os.path.basename(os.path.abspath(data))
    out = values.pop("out") or os.path.join("runs", name)
    line = "python -m solvers.train " + " ".join(shlex.quote(word) for word in argv)
    run(data, out, options, line=line, **values)


if __name__ == "__main__":
    command.run(main)
