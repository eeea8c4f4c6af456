"""All experiments that are not done, in the order of the page, then the page.

python -m experiments [NAME ...] [--seed N] [--out DIR] [--demo DIR] [--gpu N|cpu] [--docs]
"""

from __future__ import annotations

import importlib
import os
import shutil
import time
from typing import List, Optional, Sequence

from experiments import EXPERIMENTS, report
from fcn_common import command
from fcn_common.files import write_text
from solvers import available
from solvers.demo import SEED


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = report.parser(__doc__)
    parser.prog = "python -m experiments"
    parser.add_argument("name", nargs="*", help=f"{', '.join(EXPERIMENTS)} (all)")
    parser.set_defaults(out=None, demo=None)
    parser.add_argument("--seed", type=int, default=SEED, help="of the demo run: runs/demo-seedN")
    parser.add_argument("--docs", action="store_true", help="write docs/experiments.md too")
    args = parser.parse_args(argv)
    names = args.name or EXPERIMENTS
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(f"experiment {name!r}: one of {', '.join(EXPERIMENTS)} is needed")
    seed = f"-seed{args.seed}" if args.seed != SEED else ""
    args.out, args.demo = args.out or report.OUT + seed, args.demo or report.DEMO + seed
    started = time.time()
    for name in names:
        run = importlib.import_module(f"experiments.{name}").run
        report.make(run, args.out, args.demo, args.gpu)
    results = [report.load(args.out, name) for name in EXPERIMENTS if _done(args.out, name)]
    for path in report.page(results, args.out):
        print(path)
    if args.docs:
        print(docs(results, args.out))
    print(f"{time.time() - started:.0f} s")


def docs(results: Sequence[report.Result], out: str, root: str = available.ROOT) -> str:
    """Write docs/experiments.md, and its figures into docs/experiments; the path of the text."""
    folder = os.path.join(root, "docs", "experiments")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    named: List[report.Result] = []
    for result in results:
        figures = []
        for figure in result.figures:
            file = f"{result.name}-{figure.file}"
            _shrink(os.path.join(out, result.name, figure.file), os.path.join(folder, file))
            figures.append(figure._replace(file=file))
        named.append(result._replace(figures=figures))
    path = os.path.join(root, "docs", "experiments.md")
    write_text(path, report.document(named, ["experiments"] * len(named)))
    return path


def _shrink(source: str, target: str) -> None:
    """A copy of a PNG in 256 colours."""
    from PIL import Image

    with Image.open(source) as image:
        image.convert("RGB").quantize(256).save(target, optimize=True)


def _done(out: str, name: str) -> bool:
    return os.path.isfile(os.path.join(out, name, report.RESULT))


if __name__ == "__main__":
    report.stop_in_order()
    command.run(main)
