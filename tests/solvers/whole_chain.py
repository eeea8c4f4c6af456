"""Cast, 32s, 16s, 8s on a few small pictures: `whole_chain.py FOLDER`, under either Caffe."""

import json
import os
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]

from solvers import stage  # noqa: E402
from tests import tiny  # noqa: E402


def run(folder):
    folder = os.path.abspath(folder)
    tiny.data(folder)
    weights = tiny.start(folder, folder)
    scores = {}
    for name in ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s"):
        here = tiny.nets(os.path.join(folder, name), folder, name)
        scores[name] = stage.run(here, weights, gpu="cpu", seed=1)
        weights = here
    return scores


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
