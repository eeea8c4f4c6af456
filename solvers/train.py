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
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import net_gen
from fcn_common import arguments, command, voc
from fcn_common.files import remove_partial, write_json
from fcn_data.class_weights import MATRIX, class_weights, write_matrix
from fcn_data.folder_layers import SPLITS, PictureSet, read_set, write_set
from fcn_data.readers import COLOURS
from net_gen import VARIANTS, Variant
from net_gen.arguments import check_integer
from solvers import available, report, run_lock, snapshots, stage, workers
from solvers.check import CheckedSet, check_set, refuse_errors, set_arguments
from solvers.device import Gpu
from solvers.first_weights import BASE, mean_of_weights, resolve_weights, write_first_weights
from solvers.metrics import Scores
from solvers.recipe import SetSize, solver_fields
from solvers.run_record import RUN, Output, RunRecord, read_run, versions, write_run
from solvers.train_options import Options, option_arguments
from solvers.train_options import checked as checked_options

CHECK = "check.json"


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

    Raises ValueError if the check finds errors or `out` holds another run with a snapshot, OSError
    for a file that is missing.
    """
    for name, value in (("iters", iters), ("images", images)):
        if value is not None:
            check_integer(name, value)
    options = resolve_weights(checked_options(options or Options()))
    with contextlib.ExitStack() as stack:
        if workers.rank() == 0:
            stack.enter_context(run_lock.one_run(out))
            remove_partial(out)
        with workers.one_at_a_time(os.path.join(os.path.abspath(out), ".prepare")):
            if not _is_prepared(out, data, options, kind):
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
    workers.say(f"{out} is trained; the best snapshot: {available.trained_weights(out)}")
    return scores


def _is_prepared(out: str, data: str, options: Options, kind: Mapping[str, Any]) -> bool:
    """Return whether `out` holds the run that the options describe.

    Another run without a snapshot, such as one whose first start failed, is replaced. Raises
    ValueError for another run with a snapshot.
    """
    if not os.path.isfile(os.path.join(out, RUN)):
        return False
    record = read_run(out)
    stored = {**Options()._asdict(), **record.options, "data": record.data.get("folder", "")}
    # A later command may leave out the options that describe the set.
    named = {key: value for key, value in kind.items() if value and key in record.options}
    settings = {**options._asdict(), **named, "data": os.path.abspath(data)}
    different = next((key for key, value in settings.items() if stored.get(key) != value), None)
    if different is None:
        read_set(out)
        return True
    before, now = stored.get(different), settings[different]
    difference = f"has no {different}" if before is None else f"has {different} {before!r}"
    difference += f", this command has {'none' if now is None else repr(now)}"
    prefixes = (os.path.join(out, name, snapshots.PREFIX) for name in record.stages)
    if any(map(snapshots.latest, prefixes)):
        raise ValueError(
            f"{os.path.join(out, RUN)}: {difference}; name another --out, or repeat the first "
            f"command: {record.command}"
        )
    workers.say(f"{os.path.join(out, RUN)}: {difference}; no snapshot exists, the run starts anew")
    return False


def _prepare(
    data: str, out: str, options: Options, iters: Optional[int], line: str, kind: Dict[str, Any]
) -> None:
    """Check the set, and write all files of a run but the snapshots. run.json comes last."""
    checked = check_set(data, seed=options.seed, skips=options.on_error == "skip", **kind)
    workers.say("\n".join(checked.report.lines(checked.classes)))
    refuse_errors(checked)
    pictures = _pictures(checked, options)
    _write_check(out, checked)
    write_set(out, pictures, checked.folder.splits)
    weights = _write_class_weights(out, checked, options)
    for name in options.stages:
        _write_stage(out, name, checked, pictures, options, iters, bool(weights))
    deploy = os.path.join(out, stage_name(options.stages[0]), "deploy.prototxt")
    base = write_first_weights(out, deploy, options)
    record = _record(checked, pictures, options, base, line)
    settings = {**record.options, **kind}
    write_run(out, record._replace(options=settings, class_weights=weights))


def _write_stage(
    out: str,
    name: str,
    checked: CheckedSet,
    pictures: PictureSet,
    options: Options,
    iters: Optional[int],
    weighted: bool,
) -> None:
    """Write the prototxts of a stage. weighted: whether the loss weighs the classes."""
    splits, width = checked.folder.splits, Fraction(options.width)
    variant = VARIANTS[name]._replace(data_set=pictures.data_set(splits), data_root="..")
    pixels = options.augmentation.pixels(checked.report.pixels)
    size = SetSize(len(splits["train"]) / options.batch, len(splits["val"]), pixels)
    fields = solver_fields(variant, size, width, options.pretrained, iters, options.lr)
    fields.update(random_seed=options.seed, **options.solver_fields)
    net_gen.generate(
        variant,
        os.path.join(out, stage_name(name)),
        fields,
        width=width,
        channels=checked.report.channels,
        class_weights=f"../{MATRIX}" if weighted else None,
        set_dir="..",
        **options.data_settings,
    )


def _write_class_weights(out: str, checked: CheckedSet, options: Options) -> Tuple[float, ...]:
    """Write the matrix of the class weights, if there are any, and return the weights."""
    if not options.class_weights:
        return ()
    report = checked.report
    weights = class_weights(
        options.class_weights, checked.classes, report.train_counts, report.extent
    )
    write_matrix(os.path.join(out, MATRIX), weights)
    names = [f"{name} {weight:.4g}" for name, weight in zip(checked.classes, weights)]
    workers.say(f"class weights: {', '.join(names)}")
    return weights


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

    The first of these that applies is used: the named mean, the mean of the run of the first
    weights, ILSVRC's mean for colour pictures and trained weights, the mean of the training
    pictures.
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
    stored = mean_of_weights(options.weights)
    if stored is not None and len(stored) == channels:
        return tuple(stored)
    if channels == COLOURS and options.pretrained:
        return voc.MEAN
    return checked.report.mean


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
    return arguments.Parser(
        prog="python -m solvers.train",
        description="Train a net on a folder of your own pictures and labels. The same command "
        "continues a run that was stopped.",
        parents=[
            *set_arguments(),
            arguments.out(None, "folder of the run (default: runs/NAME OF THE SET)"),
            *option_arguments(),
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
