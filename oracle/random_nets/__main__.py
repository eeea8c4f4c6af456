"""Compares random nets with BVLC Caffe."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Optional, Sequence

from fcn_common import arguments, command
from oracle.random_nets.comparison import compare_nets
from oracle.random_nets.nets import make_net
from oracle.random_nets.tally import Tally

#: How many nets run before their verdicts are printed.
BATCH = 250


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare nets and print those that disagree; return 1 if there are any, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m oracle.random_nets",
        description=__doc__,
        parents=[arguments.seed(0, "nets")],
    )
    parser.add_argument("--count", type=int, default=2000, help="how many nets (default 2000)")
    parser.add_argument("--start", type=int, default=0, help="the first net's number (default 0)")
    args = parser.parse_args(argv)
    # The engine logs the lines that BVLC Caffe logs; refusals come as exceptions.
    os.environ.setdefault("GLOG_minloglevel", "2")
    tally, disagreeing, uncompared = Tally(), 0, 0
    numbers = range(args.start, args.start + args.count)
    for i in range(0, args.count, BATCH):
        compare_nets([make_net(args.seed, k) for k in numbers[i : i + BATCH]], tally)
        for net, text in tally.disagreements[disagreeing:]:
            print(f"--- net {net['name']}: {text}\n{net['text']}", flush=True)
        for net, text in tally.uncompared[uncompared:]:
            print(f"--- net {net['name']} is not compared: {text}", flush=True)
        disagreeing, uncompared = len(tally.disagreements), len(tally.uncompared)
    print(f"seed {args.seed}, {tally}")
    return 1 if disagreeing else 0


if __name__ == "__main__":
    command.run(lambda: sys.exit(main()))
