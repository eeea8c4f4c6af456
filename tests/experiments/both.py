"""Trains the nets of the experiments for a few iterations: `python both.py DEMO OUT`.

The script runs under either Caffe, with Python 3.9 and without pytest.
"""

import json
import os
import sys

from experiments import demo_run, masking, skips, staging, training


def run(demo, out):
    """Return the loss and accuracy of each net on the demo's test split, by name."""
    finished = demo_run.open_demo(demo)
    fields = dict(finished.solver("voc-fcn16s"), max_iter=3, base_lr=1e-9)
    scores = {}

    def train(name, variant, change, weights, **more_fields):
        folder = os.path.join(out, name)
        net = training.fcn(variant, folder, finished)
        scores[name] = training.train(
            folder, lambda split: change(net(split)), {**fields, **more_fields}, weights, 1, "cpu"
        )

    for part in masking.PARTS[1:]:
        train(part, "voc-fcn32s", lambda net, part=part: masking.masked(net, part), finished.start)
    train("dense", "voc-fcn32s", skips.without_stride, finished.weights("voc-fcn32s"))
    train("batches", "voc-fcn16s", lambda net: net, finished.weights("voc-fcn32s"), iter_size=2)
    train("at once", staging.AT_ONCE, lambda net: net, finished.start)
    return {name: [s["loss"], s["pixel_accuracy"]] for name, s in scores.items()}


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
