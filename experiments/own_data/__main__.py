"""Train on the same scenes in every layout and format, and compare the results.

    python -m experiments.own_data [--out runs/own-data] [--iters 20] [--only flat,voc]

Each set is trained with `python -m solvers.train`, two stages at a small width. Its scored pictures
are segmented with `solvers.infer`; the scores of the training, of `solvers.score` and of
`solvers.compare` have to be one number. Sets of the same values have to give the same label maps.
At the end, the twelve photographs of docs/own-data.md are trained and segmented with two commands,
which are timed. The program ends with an error if anything differs.
"""

from __future__ import annotations

import os
from typing import List, Optional, Sequence

from experiments.own_data.comparison import Outcome, differences, measure_group
from experiments.own_data.sets import SETS
from experiments.own_data.two_commands import draw_figure, time_two_commands
from fcn_common import arguments, command
from fcn_common.files import write_json
from fcn_common.tables import markdown
from solvers.folders import ROOT

OUT = os.path.join(ROOT, "runs", "own-data")
HEAD = ("set", "mean IU", "score", "compare", "equal labels")


def run(out: str = OUT, iters: int = 20, only: str = "", gpu: Optional[str] = None) -> None:
    """Measure the groups of `SETS`, or those named in `only`, and the twelve photographs.

    Raises ValueError if sets that have to be equal are not.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(SETS)
    for name in names:
        if name not in SETS:
            raise ValueError(f"group is {name!r}, needs one of {', '.join(SETS)}")
    problems: List[str] = []
    outcomes: List[Outcome] = []
    for name in names:
        group = measure_group(name, os.path.join(out, name.replace(" ", "-")), iters, gpu)
        print(f"\n{name}\n")
        print("\n".join(markdown(HEAD, [outcome.row() for outcome in group])))
        outcomes += group
        problems += [f"{name}: {line}" for line in differences(name, group)]
    write_json(os.path.join(out, "results.json"), [outcome._asdict() for outcome in outcomes])
    if not only:
        time_two_commands(os.path.join(out, "twelve"), gpu)
        draw_figure(os.path.join(out, "twelve"), os.path.join(out, "twelve.png"))
    if problems:
        raise ValueError("; ".join(problems))
    print("every set of a group gives the same scores and label maps")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    parser = arguments.Parser(
        prog="python -m experiments.own_data",
        description="Train on the same scenes in every layout and format, and compare.",
        parents=[
            arguments.out(OUT, "folder of the sets and runs"),
            arguments.option("--iters", type=int, default=20, help="iterations of each stage"),
            arguments.option("--only", default="", metavar="GROUPS", help=", ".join(SETS)),
            arguments.gpu(),
        ],
    )
    run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    command.run(main)
