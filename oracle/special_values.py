"""NaN, infinity, zeros with a sign, denormal and very large numbers through layers.

    python -m oracle.special_values --seeds 5

Every layer of LAYERS runs forward and backward in BVLC Caffe and in the engine, with values of each
kind in VALUES in its bottoms, in the gradients of its tops, and in its weights. NaN and infinities
have to be at the same places with the same signs. Finite values have to agree to TOLERANCE of
themselves, or of the median magnitude of their array, or of 1.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import argparse
import collections
import os
import re
import sys
import tempfile
from typing import Iterator, List, Mapping, NamedTuple, Optional, Sequence

import caffe
import numpy as np

from fcn_common import arguments, command
from oracle.cases.case import net
from oracle.random_nets.comparison import finish_bvlc, start_bvlc
from oracle.random_nets.engine import Outcome, read_outcome
from oracle.random_nets.tally import without_scratch
from oracle.run_nets import run_net
from oracle.special_layers import LAYERS

#: The tolerance of a finite value, as a share of the value or of the median of its array.
TOLERANCE = 1e-5
#: Kind -> the special values that are mixed with normal ones.
VALUES = {
    "nan": "nan",
    "infinity": "inf -inf",
    "large": "3e38 -3e38",
    "small": "1e-40 -1e-40 1e-45 0 -0.0",
    "all": "nan inf -inf 1e-40 -0.0 0",
}
#: Where the special values are.
PLACES = ("bottoms", "gradients", "weights")


class Explained(NamedTuple):
    """A difference that stays, with its reason.

    layers, values, places: patterns of the names of LAYERS, VALUES and PLACES at which it appears.
    title: the layers, in words for users. sentence: the explanation for users.
    """

    name: str
    title: str
    layers: str
    values: str
    places: str
    sentence: str


NOT_FINITE = "nan|infinity|all"
EXPLAINED = (
    Explained(
        "overflow",
        "all that add or multiply",
        "Convolution|Deconvolution|Winograd|InnerProduct|BatchNorm|Scale|Bias|MVN|LRN|Reduction"
        "|Eltwise|PReLU|BNLL|Exp|SigmoidCross|LSTM|RNN|Softmax|EuclideanLoss",
        "large",
        ".*",
        "Sums and products of values near the largest float32 overflow at different places, "
        "because the engines compute them in different orders.",
    ),
    Explained(
        "ReLU",
        "ReLU, PReLU",
        "ReLU|PReLU|BatchNorm after|Convolution, pad 12|Eltwise after",
        NOT_FINITE,
        ".*",
        "ReLU without a slope turns -infinity into 0, where BVLC Caffe multiplies by the slope "
        "0, which gives NaN. ReLU and PReLU pass the gradient on where the bottom is NaN, and "
        "ReLU without a slope stops a gradient of NaN or infinity where the bottom is below 0; "
        "BVLC Caffe does the reverse. To agree, the engine would need another pass over every "
        "map. In forward, a NaN passes through in both.",
    ),
    Explained(
        "zeros around maps",
        "Convolution, Deconvolution",
        "(Convolution|Deconvolution).* pad|Winograd|(BatchNorm|Eltwise) after",
        NOT_FINITE,
        "bottoms|gradients|weights",
        "The engine does not multiply the padding of a convolution. BVLC Caffe multiplies the "
        "zeros with weights and gradients, and a product of 0 with NaN or infinity is NaN.",
    ),
    Explained(
        "maximum of NaN",
        "Pooling MAX",
        "Pooling, MAX|SPP, MAX|BatchNorm after|Convolution, pad 12",
        NOT_FINITE,
        "bottoms|weights",
        "A window with nothing but NaN has no gradient; BVLC Caffe writes the gradient in front "
        "of the map, or ends the process. Behind a ReLU that reads a map with a wide padding, "
        "the maximum of such a window is 0 instead of -FLT_MAX.",
    ),
    Explained(
        "LRN",
        "LRN",
        "LRN, ACROSS_CHANNELS",
        NOT_FINITE,
        "bottoms|gradients",
        "In LRN across channels, a NaN or infinity reaches the channels whose sums contain it. "
        "BVLC Caffe keeps a running sum along the channels, so the NaN reaches all later "
        "channels of the position.",
    ),
    Explained(
        "factors of 0 and NaN",
        "Scale, Reduction",
        "Scale|Reduction, (ASUM|SUMSQ)",
        NOT_FINITE,
        ".*",
        "The engine multiplies as IEEE 754 says; BLAS gives 0. This concerns a factor of Scale "
        "that is 0 or NaN, and, in the gradients of Reduction's ASUM and SUMSQ, a coefficient "
        "of 0 or a gradient of NaN.",
    ),
    Explained(
        "products",
        "Eltwise PROD",
        "Eltwise, PROD stable_prod_grad: false",
        ".*",
        "bottoms",
        "The engine always computes the gradient of stable_prod_grad: true. Without that "
        "setting, BVLC Caffe divides the product by the factor, and 0 / 0 is NaN.",
    ),
    Explained(
        "order of NaN",
        "ArgMax",
        "ArgMax .*top_k",
        NOT_FINITE,
        "bottoms",
        "For a top_k above 1, the order of NaN in BVLC Caffe is undefined; the engine ranks NaN "
        "first.",
    ),
    Explained(
        "recurrent weights",
        "LSTM, RNN",
        "LSTM|RNN",
        NOT_FINITE,
        "weights",
        "The product of a hidden state of 0 with an infinite weight is NaN; BLAS gives 0 for some "
        "sizes.",
    ),
)


def explained(net: Mapping[str, str]) -> Optional[Explained]:
    """Return the entry that explains a difference of a net of `make_nets`, or None."""
    for entry in EXPLAINED:
        if (
            re.match(entry.layers, net["layer"])
            and re.fullmatch(entry.values, net["value"])
            and re.fullmatch(entry.places, net["place"])
        ):
            return entry
    return None


def make_nets(
    seed: int, names: Optional[Sequence[str]] = None, values: Sequence[str] = tuple(VALUES)
) -> Iterator[dict]:
    """Yield the nets of a seed, as oracle/run_nets.py reads nets, also with layer, value and place.

    names: of LAYERS, or None for all. values: of VALUES.
    """
    for name in names or LAYERS:
        entry = LAYERS[name]
        for kind in values:
            words = VALUES[kind]
            special = "special %g %s" % (entry.share, words)
            for place in PLACES:
                kinds = dict(entry.labels)
                if place == "bottoms":
                    kinds.update({b: special for b in entry.bottoms if b not in kinds})
                elif place == "gradients":
                    tops = [top for top in entry.tops if "'loss'" not in entry.text]
                    kinds.update({top + ".diff": special for top in tops})
                elif entry.weights:
                    kinds["weights"] = special
                if kinds == dict(entry.labels) or (place == "gradients" and not entry.backward):
                    continue
                yield {
                    "name": ("%s.%s.%s.%d" % (name, kind, place, seed)).replace("/", "_"),
                    "layer": name,
                    "value": kind,
                    "place": place,
                    "text": net(entry.bottoms, entry.text, entry.backward),
                    "inputs": kinds,
                    "phase": entry.phase,
                    "rounds": [{}, {}],
                    "backward": entry.backward,
                }


def array_difference(engine: np.ndarray, bvlc: np.ndarray) -> Optional[str]:
    """Return how the engine's float32 values differ, or None."""
    if engine.shape != bvlc.shape:
        return "shape %s, BVLC Caffe has %s" % (engine.shape, bvlc.shape)
    engine, bvlc = engine.astype(np.float64).ravel(), bvlc.astype(np.float64).ravel()
    finite = np.isfinite(bvlc)
    magnitudes = np.abs(bvlc[finite & (bvlc != 0)])
    scale = max(1.0, np.median(magnitudes)) if len(magnitudes) else 1.0
    same = (engine == bvlc) | (np.isnan(engine) & np.isnan(bvlc))
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(engine - bvlc) <= TOLERANCE * np.maximum(np.abs(bvlc), scale) + 1e-44
    same |= finite & np.isfinite(engine) & near
    if same.all():
        return None
    at = np.flatnonzero(~same)
    return "%d of %d, %s where BVLC Caffe has %s" % (
        len(at),
        same.size,
        np.float32(engine[at[:4]]),
        np.float32(bvlc[at[:4]]),
    )


def differences(engine: Outcome, bvlc: Outcome) -> List[str]:
    """Return a line for each array of a net that differs, or for a refusal of one Caffe."""
    if engine.numbers is None or bvlc.numbers is None:
        if engine.refusal and bvlc.refusal:
            return []
        return [
            "engine: %s; BVLC Caffe: %s"
            % (engine.refusal or "runs", (bvlc.refusal or "runs")[-300:])
        ]
    expected = without_scratch(engine.numbers, bvlc.numbers)
    pairs = (
        (key, array_difference(engine.numbers[key], expected[key]))
        for key in expected
        if key != "meta"
    )
    return ["%s: %s" % (key, text) for key, text in pairs if text]


class Result(NamedTuple):
    """How a net differs: its lines, and the entry that explains them, if any."""

    net: dict
    lines: List[str]
    entry: Optional[Explained]


def run_here(entry: dict, folder: str) -> Outcome:
    """Run a net in the engine, in this process."""
    try:
        return Outcome(dict(run_net(entry, folder)), None)
    except caffe.CaffeError as error:
        return Outcome(None, str(error))


def compare(nets: Sequence[dict]) -> List[Result]:
    """Run nets of `make_nets` in both Caffes; return the results of those that differ."""
    with tempfile.TemporaryDirectory() as folder:
        process = start_bvlc(nets, folder)
        engine = [run_here(entry, folder) for entry in nets]
        finish_bvlc(process)
        bvlc = [read_outcome(os.path.join(folder, entry["name"])) for entry in nets]
    results = []
    for entry, *outcomes in zip(nets, engine, bvlc):
        lines = differences(*outcomes)
        if lines:
            results.append(Result(entry, lines, explained(entry)))
    return results


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare the layers and print what differs; return 1 if something has no explanation."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[arguments.seed(0, "values")])
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    parser.add_argument("--layers", nargs="*", help="names of the table LAYERS (default all)")
    args = parser.parse_args(argv)
    os.environ.setdefault("GLOG_minloglevel", "2")
    nets = [n for s in range(args.seed, args.seed + args.seeds) for n in make_nets(s, args.layers)]
    results = compare(nets)
    counts = collections.Counter(r.entry.name if r.entry else "unexplained" for r in results)
    for result in results:
        if result.entry is None:
            print("\n  ".join([result.net["name"], *result.lines]))
    words = "".join(", %d %s" % (n, name) for name, n in sorted(counts.items()))
    print(
        "%d nets of %d layers: %d agree%s"
        % (len(nets), len(LAYERS), len(nets) - len(results), words)
    )
    return 1 if counts["unexplained"] else 0


if __name__ == "__main__":
    command.run(lambda: sys.exit(main()))
