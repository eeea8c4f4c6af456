"""report.html: a run on one page, which opens offline in any browser.

    python -m solvers.report my_run

The page has the curves of the loss and of the scores, the table of classes, the confusion matrix,
the best and the worst images, what the check of the data found, and how the run was made. Training
writes the page again at every scoring. Everything on the page comes from files of the run.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from fcn_common import arguments, command, templates
from fcn_common.files import write_text
from solvers import caffe_solver, snapshots
from solvers.curves import Curve, Level, chart, spark
from solvers.examples import read_examples
from solvers.log import TABLE, losses
from solvers.metrics import METRICS, Scores
from solvers.run_record import RUN, RunRecord, read_run

FILE = "report.html"
TEMPLATE = "report.html.jinja"
CHECK, BASE_REPORT = "check.json", "base.txt"
#: Classes up to which a confusion matrix is drawn, and the confusions that are listed.
MATRIX, CONFUSIONS = 40, 10
#: Fields of a solver that the page shows, in this order.
SOLVER_FIELDS = (
    *("type", "base_lr", "lr_policy", "power", "gamma", "stepsize", "momentum", "weight_decay"),
    *("clip_gradients", "iter_size", "average_loss", "max_iter", "snapshot", "random_seed"),
)
TITLES = {
    "loss": "loss",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iu": "mean IU",
    "fwavacc": "frequency-weighted IU",
}


class ClassRow(NamedTuple):
    """A row of the table of classes. Fractions are None where the class is not in the truth."""

    name: str
    color: str
    share: Optional[float]
    iu: Optional[float]
    best: Optional[float]
    accuracy: Optional[float]
    curve: str


class Section(NamedTuple):
    """A stage of a run, as the page shows it."""

    title: str
    iteration: int
    iterations: int
    finished: bool
    records: Dict[int, Scores]
    best: Optional[int]
    loss_chart: str
    loss_unit: str
    score_chart: str
    classes: List[ClassRow]
    matrix: Dict[str, Any]
    examples: Dict[str, Any]
    settings: Dict[str, Any]

    @property
    def scores(self) -> Scores:
        """The newest scores; {} if there are none."""
        return self.records[max(self.records)] if self.records else {}

    @property
    def groups(self) -> List[Tuple[str, List[Dict[str, Any]]]]:
        """The headings of the examples with the images below each; an image comes once."""
        groups: List[Tuple[str, List[Dict[str, Any]]]] = []
        earlier: Set[str] = set()
        headings = {"best": "Best images", "worst": "Worst images", "sample": "Other samples"}
        for kind, heading in headings.items():
            rows = self.examples.get("examples", [])
            chosen = [r for r in rows if kind in r["kinds"] and r["name"] not in earlier]
            earlier.update(row["name"] for row in chosen)
            if chosen:
                groups.append((heading, chosen))
        return groups


def stage_section(folder: str, title: str, param: Any, iterations: Optional[int] = None) -> Section:
    """Return what the page says about a stage.

    folder: of its snapshots and logs. param: its SolverParameter. iterations: in all (max_iter).
    """
    records = snapshots.read_records(folder)
    rows = losses(os.path.join(folder, TABLE))
    examples = read_examples(folder)
    classes = examples.get("classes") or _class_numbers(records)
    palette = [tuple(color) for color in examples.get("palette", [])]
    total = iterations or param.max_iter
    reached = max([*records, *(int(row["iteration"]) + 1 for row in rows[-1:])], default=0)
    chart_of_loss, unit = _loss_chart(rows, len(classes))
    return Section(
        title=title,
        iteration=reached,
        iterations=total,
        finished=bool(records) and max(records) >= total,
        records=records,
        best=snapshots.best_iteration(records),
        loss_chart=chart_of_loss,
        loss_unit=unit,
        score_chart=_score_chart(records),
        classes=_class_rows(records, classes, palette, examples.get("hist")),
        matrix=_matrix(examples.get("hist"), classes, palette),
        examples=examples,
        settings=_solver_settings(param),
    )


def write(path: str, title: str, sections: Sequence[Section], **facts: Any) -> str:
    """Write the page of a run, and return its path.

    sections: its stages, in their order. facts: `findings` of the check, as dicts with level and
    text; `command` that made the run; `settings`, by name; `data`, in words; `notes`, lines.
    """
    stages = [s for s in sections if s.iteration or s.records]
    scored = [s for s in stages if s.records]
    text = _template().render(
        title=title,
        stages=stages,
        current=scored[-1] if scored else None,
        metrics=METRICS,
        titles=TITLES,
        written=f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        findings=facts.get("findings", []),
        command=facts.get("command", ""),
        settings=facts.get("settings", {}),
        data=facts.get("data", ""),
        notes=facts.get("notes", []),
    )
    write_text(path, text)
    return path


@functools.cache
def _template() -> Any:
    environment = templates.environment(__file__)
    environment.filters.update(percent=percent, number=number)
    return environment.get_template(TEMPLATE)


def write_stage(folder: str, title: str, param: Any) -> str:
    """Write the page of a stage alone into the folder of its snapshots, and return its path."""
    return write(os.path.join(folder, FILE), title, [stage_section(folder, title, param)])


def write_run(out: str) -> str:
    """Write the page of the run in the folder `out`, and return its path.

    The folder is that of `solvers.train`, a stage, or one whose folders are stages, as the demo's.
    Raises OSError if it is none of these.
    """
    if _is_stage(out):
        param = caffe_solver.read_solver(os.path.join(out, "solver.prototxt"))
        records = os.path.join(out, os.path.dirname(param.snapshot_prefix))
        return write_stage(records, os.path.basename(os.path.abspath(out)), param)
    path = os.path.join(out, FILE)
    if os.path.isfile(os.path.join(out, RUN)):
        record = read_run(out)
        sections = [section_of(os.path.join(out, name)) for name in record.stages]
        return write(path, f"{record.data.get('name') or out}", sections, **_facts(out, record))
    stages = [name for name in sorted(os.listdir(out)) if _is_stage(os.path.join(out, name))]
    if not stages:
        raise FileNotFoundError(
            f"{out}: has neither {RUN} nor a stage with scores; name the folder of a run"
        )
    # The papers' order: 32s, 16s, 8s.
    stages.sort(key=lambda name: -int("".join(filter(str.isdigit, name)) or 0))
    sections = [section_of(os.path.join(out, name)) for name in stages]
    return write(path, os.path.basename(os.path.abspath(out)), sections, **_settings_file(out))


def section_of(folder: str) -> Section:
    """Return `stage_section` of a stage's folder, with solver.prototxt and its snapshots."""
    param = caffe_solver.read_solver(os.path.join(folder, "solver.prototxt"))
    records = os.path.join(folder, os.path.dirname(param.snapshot_prefix) or ".")
    return stage_section(records, os.path.basename(os.path.abspath(folder)), param)


def percent(value: Optional[float]) -> str:
    """Return a fraction as percent with one digit, or a dash."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def number(value: Any) -> str:
    """Return a number for readers: 20,000, 0.0125, 4e-07."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if (float(value).is_integer() or abs(value) >= 1000) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _is_stage(folder: str) -> bool:
    prefix = os.path.join(folder, snapshots.PREFIX)
    return os.path.isfile(os.path.join(os.path.dirname(prefix), snapshots.RECORDS))


def _facts(out: str, record: RunRecord) -> Dict[str, Any]:
    """Return what the page says about a run beside its stages."""
    check = _read_json(os.path.join(out, CHECK))
    data = record.data
    counts = [f"{data[split]} {split}" for split in ("train", "val") if split in data]
    settings = {**record.options, **record.versions}
    notes = []
    base = os.path.join(out, BASE_REPORT)
    if os.path.isfile(base):
        with open(base, encoding="utf-8") as file:
            notes = file.read().splitlines()
    return {
        "findings": check.get("findings", []),
        "command": record.command,
        "data": f"{data.get('folder', '')} ({', '.join(counts)})" if data else "",
        "settings": {k: v for k, v in settings.items() if v not in (None, "", False)},
        "notes": notes,
    }


def _settings_file(out: str) -> Dict[str, Any]:
    """Return the settings in a demo's settings.json."""
    values = _read_json(os.path.join(out, "settings.json"))
    flat = {key: value for key, value in values.items() if not isinstance(value, dict)}
    return {"settings": flat, "command": values.get("command", "")}


def _read_json(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _class_numbers(records: Mapping[int, Scores]) -> List[str]:
    count = len(records[max(records)]["iu"]) if records else 0
    return [f"class {k}" for k in range(count)]


def _loss_chart(rows: Sequence[Mapping[str, float]], classes: int) -> Tuple[str, str]:
    """Return the curve of the loss, and its unit in words."""
    per_pixel = any(math.isfinite(row["pixel_loss"]) for row in rows)
    key = "pixel_loss" if per_pixel else "loss"
    points = [(row["iteration"], row[key]) for row in rows]
    level = None
    if per_pixel and classes > 1:
        level = Level(f"ln({classes}) = {math.log(classes):.2f}: a guess", math.log(classes))
    unit = "a labelled pixel" if per_pixel else "an image"
    return chart([Curve("training loss", points)], f"loss of {unit}", level), unit


def _score_chart(records: Mapping[int, Scores]) -> str:
    names = {"mean_iu": "first", "pixel_accuracy": "second", "mean_accuracy": "third"}
    curves = [
        Curve(TITLES[name], [(i, records[i].get(name)) for i in sorted(records)], style)
        for name, style in names.items()
    ]
    return chart(curves, "percent", percent=True)


def _class_rows(
    records: Mapping[int, Scores],
    classes: Sequence[str],
    palette: Sequence[Tuple[int, ...]],
    hist: Any,
) -> List[ClassRow]:
    if not records:
        return []
    last = records[max(records)]
    counts = np.asarray(hist, np.float64).sum(1) if hist else None
    rows = []
    for k, name in enumerate(classes[: len(last["iu"])]):
        points = [(i, records[i]["iu"][k]) for i in sorted(records) if len(records[i]["iu"]) > k]
        ius = [iu for _, iu in points if iu is not None]
        rows.append(
            ClassRow(
                name,
                css_color(palette, k),
                float(counts[k] / max(counts.sum(), 1)) if counts is not None else None,
                last["iu"][k],
                max(ius) if ius else None,
                last["accuracy"][k],
                spark(points),
            )
        )
    return rows


def _matrix(
    hist: Any, classes: Sequence[str], palette: Sequence[Tuple[int, ...]]
) -> Dict[str, Any]:
    """Return the confusion matrix as the template draws it, and the most frequent confusions."""
    if not hist:
        return {}
    pixels = np.asarray(hist, np.float64)
    sums = pixels.sum(1, keepdims=True)
    shares = np.divide(pixels, sums, out=np.zeros_like(pixels), where=sums > 0)
    present = [k for k in range(len(pixels)) if sums[k, 0] or pixels[:, k].any()]
    rows = [
        {
            "name": classes[i],
            "color": css_color(palette, i),
            "cells": [
                {"share": float(shares[i, j]), "pixels": int(pixels[i, j]), "diagonal": i == j}
                for j in present
            ],
        }
        for i in present
        if sums[i, 0]
    ]
    wrong = pixels * (1 - np.eye(len(pixels)))
    order = np.argsort(-wrong, axis=None)[:CONFUSIONS]
    confusions = []
    for place in order:
        i, j = divmod(int(place), len(pixels))
        if wrong[i, j]:
            confusions.append((classes[i], classes[j], float(shares[i, j]), int(wrong[i, j])))
    return {
        "columns": [(k, classes[k], css_color(palette, k)) for k in present],
        "rows": rows if len(present) <= MATRIX else [],
        "confusions": confusions,
    }


def css_color(palette: Sequence[Tuple[int, ...]], k: int) -> str:
    """Return the colour of class k; grey for a class without one."""
    red, green, blue = palette[k] if k < len(palette) else (128, 128, 128)
    return f"rgb({red},{green},{blue})"


def _solver_settings(param: Any) -> Dict[str, Any]:
    present = {field.name: value for field, value in param.ListFields()}
    return {name: present[name] for name in SOLVER_FIELDS if name in present}


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `write_run`."""
    parser = arguments.Parser(
        prog="python -m solvers.report",
        description=f"Write {FILE} into the folder of a run, which training does at each scoring.",
        parents=[arguments.option("run", metavar="FOLDER", help="folder of a run")],
    )
    print(write_run(parser.parse_args(argv).run))


if __name__ == "__main__":
    command.run(main)
