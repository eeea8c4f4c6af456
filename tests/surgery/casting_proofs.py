"""Small classifiers against the nets that they are cast into; runs under either Caffe.

python tests/surgery/casting_proofs.py NAME    # the errors, as JSON on the last line
"""

import functools
import json
import sys

import net_gen
import surgery
from experiments.casting import pairs, proofs

WIDTH = 1 / 16
CLASSES = 20
GRID = 3
BARE_GRID = 2


@functools.cache
def small(name):
    """A pair of 1/16 the width with random weights."""
    return pairs.published_pair(name, WIDTH, classes=CLASSES)


@functools.cache
def unpadded(name):
    """The same weights without padding."""
    return pairs.unpadded(small(name))


def run(name):
    """The largest relative errors that are to be none, and the one that is not."""
    whole = small(name)
    bare = unpadded(name)
    image = pairs.draw_input(*[pairs.grid_extent(whole, GRID)] * 2)
    found, wanted = proofs.scores_on_crops(whole, image, GRID)
    places = [(0, 2), (1, 1)]
    again = [proofs.with_borders(whole, image, *place) for place in places]
    every, inside = proofs.bare_errors(whole, bare, BARE_GRID)
    return {
        "own": proofs.own_size_error(whole),
        "every": every,
        "inside": inside,
        "borders": float(
            max(proofs.error(a, wanted[(slice(None), *p)]).max() for a, p in zip(again, places))
        ),
        "padded": float(proofs.error(found, wanted).min()),
    }


def chain(folder, name):
    """Cast in files: classifier.prototxt, its weights, cast.prototxt and the cast weights."""
    import os

    import caffe

    whole = small(name)
    paths = [os.path.join(folder, name + end) for end in (".prototxt", ".caffemodel")]
    net_gen.write(whole.classifier, paths[0])
    whole.net.save(paths[1])
    out = os.path.join(folder, name + "-cast.caffemodel")
    surgery.cast(*paths, None, out)
    net = caffe.Net(out.replace(".caffemodel", ".prototxt"), out, caffe.TEST)
    image = pairs.draw_input(whole.size, whole.size)
    wanted = pairs.forward(whole.net, image, whole.scores)[0]
    return proofs.error(pairs.forward(net, image, whole.scores)[0], wanted[:, None, None]).max()


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
