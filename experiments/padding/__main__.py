"""The command line of the experiment; see experiments.padding."""

from __future__ import annotations

import os
from typing import Optional, Sequence

from experiments import padding, running
from experiments.padding.experiment import run
from experiments.padding.page import write_docs
from fcn_common import command


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Make the result, unless it exists; with --docs, write the page about the result too."""
    parser = running.parser(padding.__doc__)
    parser.prog = "python -m experiments.padding"
    parser.add_argument("--docs", action="store_true", help="write docs/padding.md too")
    args = parser.parse_args(argv)
    result = running.make("padding", run, args.out, args.demo, args.gpu)
    if args.docs:
        print(write_docs(result, os.path.abspath(args.out)))


if __name__ == "__main__":
    running.exit_on_sigterm()
    command.run(main)
