"""Nets and solvers at the edges of what Caffe accepts, under BVLC Caffe and under the engine.

    python -m oracle.edges

Bottoms without values for every layer of oracle.special_values, at the start and after a reshape;
and fields of layers and solvers with values that mean nothing. Where BVLC Caffe gives numbers, the
engine has to give the same numbers. Where BVLC Caffe ends the process, the engine has to give
numbers too, or a refusal of one line.
"""

# ruff: noqa: UP031 (as in the other files of this folder)
from __future__ import annotations

import argparse
import collections
import json
import os
import re
import sys
import tempfile
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fcn_common import command
from oracle.edge_cases import all_cases
from oracle.exchange_cases import Reading, read_reading
from oracle.run import run
from oracle.special_values import array_difference

SIDES = ("engine", "bvlc")
Numbers = Dict[str, np.ndarray]


class Listed(NamedTuple):
    """Cases that differ, with the reason.

    pattern: of the names of cases. verdict: the verdict that they have. title, sentence: what users
    read.
    """

    pattern: str
    verdict: str
    title: str
    sentence: str


REFUSES, OTHER = "the engine alone refuses", "other numbers"
LISTED = (
    Listed(
        r"(Conv|Deconv)olution.*(dilation: 0|axis: -1|pad: 4294967295)",
        REFUSES,
        "Convolution, Deconvolution",
        "The engine refuses a dilation of 0, a pad above 2^31 - 1 and a bottom without spatial "
        "axes. BVLC Caffe reads one position for all weights, reads the pad as a negative "
        "number, and computes a product of single values.",
    ),
    Listed(
        r"Dropout.*dropout_ratio: 1 }",
        REFUSES,
        "Dropout",
        "A dropout_ratio of 1 is refused; BVLC Caffe multiplies by 0 times infinity.",
    ),
    Listed(
        r"solver (momentum|weight_decay|clip_gradients|base_lr): |spec lr_mult nan",
        REFUSES,
        "solver, ParamSpec",
        "Rates and factors that are NaN or infinite are refused; BVLC Caffe trains until all "
        "weights are NaN.",
    ),
    Listed(
        r"solver lr_policy: '(poly|exp)'",
        REFUSES,
        "lr_policy",
        "If a policy gives an infinite rate or NaN, the training ends at that iteration. An "
        "example is poly with a fractional power after max_iter. BVLC Caffe trains on with NaN.",
    ),
    Listed(
        r"solver regularization_type",
        REFUSES,
        "regularization_type",
        "An unknown type is refused at the start; BVLC Caffe refuses it once weight_decay is set.",
    ),
    Listed(
        r"(Pooling|Im2col|Eltwise after Convolution).* axis [23] after a reshape",
        REFUSES,
        "Convolution, Pooling, Im2col",
        "A bottom that becomes smaller than the kernel is refused; BVLC Caffe makes a top without "
        "values.",
    ),
    Listed(
        r"(PReLU|MultinomialLogisticLoss|HingeLoss).* axis 1 after a reshape",
        REFUSES,
        "PReLU, losses",
        "A bottom that loses its channels is refused; BVLC Caffe compares the sizes once.",
    ),
    Listed(
        r"Bias of two bottoms. x axis 0 after a reshape",
        OTHER,
        "Bias",
        "For a batch without rows, the gradient of the bias is 0; in BVLC Caffe, it is the "
        "gradient of the pass before.",
    ),
    Listed(
        r".*(coeff|power|moving_average_fraction): nan",
        OTHER,
        "Reduction, Power, BatchNorm",
        "A coefficient, power or moving_average_fraction of NaN gives NaN; BLAS treats a factor "
        "of NaN as 0.",
    ),
    Listed(
        r"ReLU.*negative_slope: (nan|inf)",
        OTHER,
        "ReLU",
        "A negative_slope of NaN or infinity changes only values below 0; in BVLC Caffe, it "
        "changes all values.",
    ),
)


def is_listed(verdict: str, name: str) -> bool:
    """Return whether the verdict on a case is right, or is one of LISTED."""
    if verdict in RIGHT:
        return True
    return any(verdict == entry.verdict and re.match(entry.pattern, name) for entry in LISTED)


#: Verdicts that are not faults of the engine, which runs where BVLC Caffe ends the process.
RIGHT = ("agree", "both refuse", "BVLC Caffe alone crashes", "BVLC Caffe alone refuses")
#: A refusal of the engine: one line, without the name of an exception that is not the engine's.
ONE_LINE = re.compile(r"(\w*Error|\w*Exception): [^\n]+\nsignal 0")
#: Exceptions that are faults, even if they end with one line.
FAULTS = (
    "TimeoutError",
    "IndexError",
    "KeyError",
    "AttributeError",
    "ZeroDivisionError",
    "RuntimeError",
    "UnboundLocalError",
)


def is_refusal(words: str) -> bool:
    """Return whether a Caffe's last words are a refusal in one line, of a documented type."""
    last = words.strip().rsplit("\n", 2)
    line = "\n".join(last[-2:])
    return bool(ONE_LINE.fullmatch(line)) and not line.startswith(FAULTS)


def number_differences(engine: Numbers, bvlc: Numbers) -> List[str]:
    """Return a line for each key that one side alone has, or whose arrays differ."""
    lines = []
    for key in {*engine, *bvlc}:
        if key not in engine or key not in bvlc:
            lines.append(key + " is missing in one")
        else:
            text = array_difference(np.asarray(engine[key]), np.asarray(bvlc[key]))
            lines += ["%s: %s" % (key, text)] if text else []
    return lines


def verdict(engine: Reading, bvlc: Reading) -> Tuple[str, str]:
    """Return in a few words how the Caffes agree, and an explanation."""
    if engine.numbers is not None and bvlc.numbers is not None:
        lines = number_differences(engine.numbers, bvlc.numbers)
        return ("other numbers" if lines else "agree"), "; ".join(sorted(lines))
    if engine.numbers is None and not is_refusal(engine.refusal):
        return "the engine fails", engine.refusal[-700:]
    if engine.numbers is None and bvlc.numbers is None:
        return "both refuse", ""
    if engine.numbers is None:
        return "the engine alone refuses", engine.refusal.strip().rsplit("\n", 2)[-2]
    crash = re.search(r"signal (\d+)", bvlc.refusal)
    words = re.findall(r"Check failed[^\n]*|Unknown[^\n]*|Error[^\n]*", bvlc.refusal)
    if (crash and crash[1] in ("8", "11")) or not words:
        return "BVLC Caffe alone crashes", bvlc.refusal[-200:]
    return "BVLC Caffe alone refuses", words[-1]


def compare(cases: Sequence[dict], folder: str) -> Dict[str, List[Tuple[str, str]]]:
    """Run the cases under both Caffes; return verdict -> (name, explanation) of cases."""
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as file:
        json.dump(list(cases), file)
    for side in SIDES:
        run(side, "run_edges.py", folder, side)
    verdicts: Dict[str, List[Tuple[str, str]]] = collections.defaultdict(list)
    for case in cases:
        words, text = verdict(*(read_reading(folder, side, case["name"]) for side in SIDES))
        verdicts[words].append((case["name"], text))
    return verdicts


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare all cases and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a pattern of the names of cases")
    args = parser.parse_args(argv)
    cases = [case for case in all_cases() if re.search(args.only, case["name"])]
    with tempfile.TemporaryDirectory() as folder:
        verdicts = compare(cases, folder)
    for words, entries in sorted(verdicts.items()):
        listed = [is_listed(words, name) for name, _ in entries]
        print("==== %d %s, %d of them right or listed" % (len(entries), words, sum(listed)))
        for name, text in entries if words not in ("agree", "both refuse") else ():
            print("  %s\n      %s" % (name, " ".join(text.split())[:300]))
    return not all(is_listed(words, name) for words, es in verdicts.items() for name, _ in es)


if __name__ == "__main__":
    command.run(lambda: sys.exit(main()))
