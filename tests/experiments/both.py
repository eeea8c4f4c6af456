"""The nets of the experiments, a few iterations of each: `python both.py DEMO OUT`.

Runs under either Caffe, with Python 3.9 and without pytest.
"""

import json
import os
import sys

from experiments import masking, skips, staging, training


def run(demo, out):
    """The loss and accuracy of each net on the demo's test split, by name."""
    found = training.finished(demo)
    fields = dict(found.solver("voc-fcn16s"), max_iter=3, base_lr=1e-9)
    scores = {}

    def train(name, variant, change, weights, **others):
        folder = os.path.join(out, name)
        net = training.fcn(variant, folder, found)
        scores[name] = training.train(
            folder, lambda split: change(net(split)), {**fields, **others}, weights, 1, "cpu"
        )

    for seen in masking.SEEN[1:]:
        train(seen, "voc-fcn32s", lambda net, seen=seen: masking.masked(net, seen), found.start)
    train("dense", "voc-fcn32s", skips.without_stride, found.weights("voc-fcn32s"))
    train("batches", "voc-fcn16s", lambda net: net, found.weights("voc-fcn32s"), iter_size=2)
    train("at once", staging.AT_ONCE, lambda net: net, found.start)
    return {name: [s["loss"], s["pixel_accuracy"]] for name, s in scores.items()}


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
