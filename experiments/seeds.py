"""How much the accuracy of the demo's classifier depends on its seed and on one rounding.

    OMP_NUM_THREADS=1 python -m experiments.seeds [--seeds 6] [--roundings 3] [--out runs/seeds]

The classifier is trained from each seed, and from the first seed again after one weight was moved
to the next float. The table is printed and written to OUT/seeds.md. Finished trainings are kept.
"""

from __future__ import annotations

import os
import statistics
from typing import List, Optional, Sequence

import numpy as np

from fcn_common import arguments, command
from fcn_common.files import write_text
from fcn_data import demo as demo_set
from solvers import available, demo, stage
from solvers.device import Gpu
from solvers.folders import ROOT

OUT = os.path.join(ROOT, "runs", "seeds")
DATA = os.path.join(ROOT, "data", "demo")
#: Layer and index of the weight that each rounding moves to the next float, before training.
ROUNDINGS = (("conv1_1", 7), ("conv3_1", 14), ("fc6", 21))


def run(
    out: str, data: str = DATA, seeds: int = 6, roundings: int = 3, gpu: Gpu = None
) -> List[str]:
    """Train the classifiers, and return the table as lines of Markdown.

    seeds: number of seeds, from `demo.SEED` on. roundings: how many of `ROUNDINGS` are trained.
    """
    demo_set.make(data, **demo.DATA)  # type: ignore[arg-type]
    numbers = range(demo.SEED, demo.SEED + seeds)
    by_seed = [accuracy(out, data, seed, 0, gpu) for seed in numbers]
    by_rounding = [
        accuracy(out, data, demo.SEED, rounding, gpu) for rounding in range(1, roundings + 1)
    ]
    lines = ["| start | accuracies | least | mean | most |", "| --- | --- | ---: | ---: | ---: |"]
    lines.append(_row(f"seeds {numbers[0]} to {numbers[-1]}", by_seed))
    if by_rounding:
        lines.append(_row(f"seed {demo.SEED}, one weight moved to the next float", by_rounding))
    write_text(os.path.join(out, "seeds.md"), "\n".join(lines) + "\n")
    return lines


def accuracy(out: str, data: str, seed: int, rounding: int, gpu: Gpu = None) -> float:
    """Return the accuracy on unseen objects of a classifier, which is trained if it is missing.

    rounding: 0, or the number of the entry of `ROUNDINGS` that is applied to the first weights.
    """
    name = f"seed{seed}-rounding{rounding}" if rounding else f"seed{seed}"
    folder = os.path.abspath(os.path.join(out, name))
    demo.write_classifier(folder, data, seed, 1.0)
    with stage.Stage(folder, seed=seed, scored=False) as training:
        training.choose_device(gpu)
        training.make_solver()
        if rounding and not training.iteration:
            layer, index = ROUNDINGS[rounding - 1]
            weights = training.net.params[layer][0].data
            weights.flat[index] = np.nextafter(weights.flat[index], np.float32(np.inf))
        for _ in training.steps():
            pass
    objects = os.path.join(data, "objects", "val.npz")
    return demo.accuracy(folder, available.weights_of(folder), objects)


def _row(title: str, accuracies: Sequence[float]) -> str:
    values = ", ".join(f"{value:.3f}" for value in accuracies)
    mean = statistics.mean(accuracies)
    return f"| {title} | {values} | {min(accuracies):.3f} | {mean:.3f} | {max(accuracies):.3f} |"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    parser = arguments.Parser(
        prog="python -m experiments.seeds",
        description="Train the demo's classifier from several seeds, and after one rounding.",
        parents=[
            arguments.out(OUT, "folder of the trainings"),
            arguments.option(
                "--data", default=DATA, metavar="DIR", help="the demo set (default: data/demo)"
            ),
            arguments.gpu(),
        ],
    )
    parser.add_argument("--seeds", type=int, default=6, metavar="N", help="seeds (default: 6)")
    parser.add_argument(
        "--roundings",
        type=int,
        default=len(ROUNDINGS),
        choices=range(len(ROUNDINGS) + 1),
        help="trainings of the first seed with one weight moved (default: 3)",
    )
    print("\n".join(run(**vars(parser.parse_args(argv)))))


if __name__ == "__main__":
    command.run(main)
