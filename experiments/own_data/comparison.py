"""Training, scoring and inference on one set, and the comparison of sets of the same scenes."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from experiments.own_data.scenes import NAMES, draw_scene
from experiments.own_data.sets import SETS, SetForm
from fcn_common.places import make_folder, writable
from fcn_data.folders import Folder, open_folder
from solvers import compare, infer, score, snapshots, train
from solvers.label_map import save_labels

#: The scenes of a set, their scale, and the width of the net: seconds of training each.
COUNT, SCALE, WIDTH = 6, 0.4, "1/32"
VARIANT = "fcn16s"
SEED = 1
#: The metrics that training, `score` and `compare` have in common.
METRICS = ("pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc")


class Outcome(NamedTuple):
    """What a set gave: metric -> value as training, `score` and `compare` have it.

    agreement: the share of pixels whose label is that of the first set of the group.
    """

    name: str
    trained: Dict[str, float]
    scored: Dict[str, float]
    compared: Dict[str, float]
    agreement: float

    def row(self) -> Tuple[str, ...]:
        """Return a row of the table, in percent."""
        values = (self.trained, self.scored, self.compared)
        means = [f"{100 * value['mean_iu']:.4f}" for value in values]
        return (self.name, *means, f"{100 * self.agreement:.3f} %")


def measure_group(group: str, out: str, iters: int, gpu: Optional[str]) -> List[Outcome]:
    """Return the outcome of each set of a group, in the folder `out`."""
    outcomes: List[Outcome] = []
    first: Dict[str, np.ndarray] = {}
    for name, form in SETS[group].items():
        folder = os.path.join(out, name.replace(" ", "-").replace(",", "").replace(".", ""))
        data = _write_set(os.path.join(folder, "set"), form)
        maps = _train_and_infer(folder, data, form, iters, gpu)
        first = first or maps
        equal = sum(int((maps[idx] == first[idx]).sum()) for idx in first)
        agreement = equal / sum(labels.size for labels in first.values())
        outcomes.append(Outcome(name, *_three_scores(folder, data, gpu), agreement))
        print(f"{group}, {name}: mean IU {outcomes[-1].trained['mean_iu']:.4f}", flush=True)
    return outcomes


def differences(group: str, outcomes: List[Outcome]) -> List[str]:
    """Return a line for each set of a group whose results differ from those required."""
    lines = []
    for outcome in outcomes:
        values = (outcome.trained, outcome.scored, outcome.compared)
        if any(value[metric] != values[0][metric] for value in values for metric in METRICS):
            lines.append(f"{outcome.name}: training, score and compare differ")
        exact = SETS[group][outcome.name].exact
        if exact and (outcome.agreement < 1 or outcome.trained != outcomes[0].trained):
            lines.append(f"{outcome.name}: differs from {outcomes[0].name}")
        elif outcome.agreement < 0.99:
            lines.append(f"{outcome.name}: {outcome.agreement:.3f} of the labels are equal")
    return lines


def _write_set(root: str, form: SetForm) -> str:
    """Write the scenes as a set; layouts that name a split name the one that would be drawn."""
    scenes = {f"scene {k}": draw_scene(k, SCALE) for k in range(COUNT)}
    nowhere = Folder(root, "", dict.fromkeys(scenes, ("", "")), {})
    form.write(root, scenes, nowhere.with_splits(SEED).splits)
    return root


def _train_and_infer(
    folder: str, data: str, form: SetForm, iters: int, gpu: Optional[str]
) -> Dict[str, np.ndarray]:
    """Train two stages, segment the pictures of val, and return id -> labels (H x W)."""
    run = os.path.join(folder, "run")
    device = ["--gpu", gpu] if gpu else []
    files = open_folder(data).with_splits(SEED)
    pictures = [files.files[idx][0] for idx in files.splits["val"]]
    settings = f"--variant {VARIANT} --width {WIDTH} --iters {iters} --seed {SEED}".split()
    classes = ["--classes", ",".join(NAMES)]
    with _logged(os.path.join(folder, "log.txt")):
        train.main([data, "--out", run, *settings, *classes, *form.options, *device])
        infer.main([*pictures, "--run", run, "--out", os.path.join(folder, "predicted"), *device])
    maps = {}
    for idx in files.splits["val"]:
        name = os.path.basename(idx)
        with Image.open(os.path.join(folder, "predicted", f"{name}_labels.png")) as image:
            maps[name] = np.asarray(image)
        number = int(name.split()[1])
        save_labels(os.path.join(folder, "truth", f"{name}.png"), draw_scene(number, SCALE).labels)
    return maps


def _three_scores(
    folder: str, data: str, gpu: Optional[str]
) -> Tuple[Dict[str, float], Dict[str, float], Dict[str, float]]:
    """Return the scores of the training, of `solvers.score` and of `solvers.compare`."""
    run = os.path.join(folder, "run")
    records = snapshots.read_records(os.path.join(run, VARIANT, "snapshot"))
    device = ["--gpu", gpu] if gpu else []
    paths = [os.path.join(folder, name) for name in ("scored", "compared")]
    with _logged(os.path.join(folder, "log.txt")):
        score.main(["--run", run, "--out", paths[0], *device])
        truth, predicted = os.path.join(folder, "truth"), os.path.join(folder, "predicted")
        compare.main([truth, predicted, "--run", run, "--out", paths[1]])
    # `--run` means the best snapshot of the last stage.
    best = snapshots.best_iteration(records) or max(records)
    values = [records[best], *map(_read_scores, paths)]
    first, second, third = ({name: float(v[name]) for name in METRICS} for v in values)
    return first, second, third


def _read_scores(folder: str) -> Dict[str, float]:
    with open(os.path.join(folder, "scores.json"), encoding="utf-8") as file:
        scores: Dict[str, float] = json.load(file)
    return scores


@contextlib.contextmanager
def _logged(path: str) -> Iterator[None]:
    """Write what the programs print into a file."""
    make_folder(os.path.dirname(path))
    with (
        open(writable(path), "a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield
