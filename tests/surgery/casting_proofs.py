"""Small classifiers against the nets that they are cast into; runs under either Caffe.

python tests/surgery/casting_proofs.py NAME    # the errors, as JSON on the last line
"""

import functools
import json
import os
import sys

import caffe

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
    """The largest relative errors: all are rounding errors but `padded`, the smallest of its kind.

    own_size: on an image of the classifier's size. every: on every crop, without padding.
    inside: of the padded net, inside the image. borders: with the zeros of a crop's padding.
    padded: without these zeros.
    """
    pair, bare = small(name), unpadded(name)
    image = pairs.draw_input(*[pairs.grid_extent(pair, GRID)] * 2)
    scores, expected = proofs.scores_on_crops(pair, image, GRID)
    places = [(0, 2), (1, 1)]
    bordered = [proofs.with_borders(pair, image, *place) for place in places]
    every, inside = proofs.bare_errors(pair, bare, BARE_GRID)
    return {
        "own_size": proofs.own_size_error(pair),
        "every": every,
        "inside": inside,
        "borders": float(
            max(
                proofs.error(a, expected[(slice(None), *p)]).max() for a, p in zip(bordered, places)
            )
        ),
        "padded": float(proofs.error(scores, expected).min()),
    }


def chain(folder, name):
    """Cast a classifier from file to file; the largest error of the scores on its own size."""
    pair = small(name)
    paths = [os.path.join(folder, name + end) for end in (".prototxt", ".caffemodel")]
    net_gen.write(pair.classifier, paths[0])
    pair.net.save(paths[1])
    out = os.path.join(folder, name + "-cast.caffemodel")
    surgery.cast(*paths, None, out)
    net = caffe.Net(out.replace(".caffemodel", ".prototxt"), out, caffe.TEST)
    image = pairs.draw_input(pair.size, pair.size)
    expected = pairs.forward(pair.net, image, pair.scores)[0]
    return proofs.error(pairs.forward(net, image, pair.scores)[0], expected[:, None, None]).max()


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
