"""Small nets trained with the demo's recipe, on the demo's data, scored on its held-out scenes."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import net_gen
from experiments.demo_run import Demo
from fcn_common import files
from solvers import available, snapshots, stage
from solvers import demo as recipe
from solvers import score as scoring
from solvers.device import Gpu
from solvers.log import losses
from solvers.metrics import Scores, plain

SPLITS = ("train", "val", "test", "deploy")
#: Iterations between snapshots, which is the most that a killed run loses.
SNAPSHOT_INTERVAL = 100
#: Returns the NetParameter of a split in SPLITS.
Net = Callable[[str], Any]


def fcn_arguments(folder: str, demo: Demo) -> Dict[str, Any]:
    """Return the demo's arguments of `net_gen.fcn`, for a net whose files lie in `folder`."""
    return {
        "width": demo.width,
        "classes": recipe.CLASSES,
        "dropout": 0.0,
        "seed": demo.seed,
        "sbdd_dir": os.path.relpath(os.path.join(demo.data, "sbdd", "dataset"), folder),
        "voc_dir": os.path.relpath(demo.voc, folder),
    }


def fcn(variant: Any, folder: str, demo: Demo, **arguments: Any) -> Net:
    """Return the nets of a variant by split, for `train`.

    arguments: more arguments of `net_gen.fcn`, which replace those of the recipe.
    """
    arguments = {**fcn_arguments(folder, demo), **arguments}

    def net(split: str) -> Any:
        if split == "test":
            return net_gen.fcn(variant, "val", **{**arguments, "val_split": "test"})
        return net_gen.fcn(variant, split, **arguments)

    return net


def train(
    folder: str,
    net: Net,
    solver_fields: Mapping[str, Any],
    weights: Optional[str],
    seed: int = recipe.SEED,
    gpu: Gpu = None,
    score: bool = False,
) -> Scores:
    """Train a net and return its scores on the split `test`; a finished training is only read.

    folder: gets the prototxts and, in snapshot/, the weights, the log and loss.csv.
    net: the NetParameter of each of SPLITS; its paths are relative to `folder`.
    solver_fields: base_lr, max_iter, and other fields that differ from the demo's stages.
    weights: a .caffemodel, the folder of another training, or None for the fillers.
    score: whether every snapshot is scored on the val split too, in snapshot/scores.jsonl.
    """
    folder = os.path.abspath(folder)
    for split in SPLITS:
        net_gen.write(net(split), os.path.join(folder, split + ".prototxt"))
    fields = {
        **recipe.STAGE,
        "snapshot": SNAPSHOT_INTERVAL,
        "test_iter": [1],
        **solver_fields,
    }
    message = net_gen.solver(next(iter(recipe.STAGES)), **fields)
    net_gen.write(message, os.path.join(folder, "solver.prototxt"))
    start = os.path.abspath(weights) if weights else None
    stage.run(folder, start, gpu=gpu, seed=seed, score=score)
    return recipe.test_scores(folder)


def score(folder: str, net: Net, weights: str) -> Scores:
    """Return the scores of trained weights in another net on the split `test`.

    folder: gets the net's prototxt and the scores, which later calls read. weights: a .caffemodel,
    or the folder of a training.
    """
    folder, weights = os.path.abspath(folder), available.weights_of(weights)
    record = os.path.join(folder, "test.json")
    if os.path.isfile(record):
        with open(record) as file:
            return json.load(file)
    path = os.path.join(folder, "test.prototxt")
    net_gen.write(net("test"), path)
    title = f"{os.path.basename(folder)} scoring on test"
    scores = plain(scoring.score_files(path, weights, title=title))
    files.write_json(record, scores)
    return scores


def draw_losses(axis: Any, curves: Mapping[str, Sequence[Mapping[str, float]]], unit: str) -> None:
    """Draw training losses over one axis.

    curves: title -> rows with `at` and `loss`, which is summed over an image. unit: the unit of
    `at`, such as iterations or images.
    """
    for title, rows in curves.items():
        axis.plot([r["at"] for r in rows], [r["loss"] for r in rows], linewidth=1, label=title)
    axis.set_xlabel(unit, fontsize=9)
    axis.set_ylabel("training loss", fontsize=9)
    axis.set_yscale("log")
    axis.tick_params(labelsize=8, which="both")
    axis.legend(fontsize=8, frameon=False)


def loss_curve(folder: str, first: float = 0, scale: float = 1) -> List[Dict[str, float]]:
    """Return the losses of a training for `draw_losses`; iteration i is at first + scale * i."""
    rows = losses(os.path.join(folder, "snapshot", "loss.csv"))
    return [{"at": first + scale * r["iteration"], "loss": r["loss"]} for r in rows]


def snapshot_scores(folder: str, scale: float = 1) -> List[Dict[str, Any]]:
    """Return the snapshots' scores on the val split; iteration i is at scale * i."""
    records = snapshots.read_records(os.path.join(folder, "snapshot"))
    return [dict(records[i], at=scale * i) for i in sorted(records)]
