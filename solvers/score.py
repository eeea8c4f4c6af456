"""Score a net on a split: loss, pixel accuracy, mean accuracy, mean IU, frequency-weighted IU.

python -m solvers.score [VARIANT] [--net val.prototxt] [--weights f.caffemodel] [--images N]
"""

from __future__ import annotations

import math
import os
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import caffe
import numpy as np

from fcn_common import arguments, command
from fcn_common.files import write_json, write_text
from fcn_data import DataSet
from net_gen import VARIANTS, Head
from net_gen.arguments import check_integer
from net_gen.generate import prototxt_stem
from solvers import available, device, workers
from solvers.folders import working_folder
from solvers.label_map import labels, save_labels
from solvers.metrics import (
    METRICS,
    Scores,
    class_names,
    confusion_csv,
    fast_hist,
    metrics,
    plain,
    score_lines,
)
from surgery import check_weights

__all__ = [
    "METRICS",
    "Scores",
    "fast_hist",
    "labels",
    "metrics",
    "plain",
    "score_files",
    "score_heads",
    "score_net",
    "seg_tests",
    "split_size",
]


def score_net(
    net: Any,
    images: int,
    layer: str = "score",
    gt: str = "label",
    out: Optional[str] = None,
    title: str = "scoring",
) -> Scores:
    """Return the scores of a net with a data layer on its next `images` images.

    layer: the blob of scores, N x K x H x W. gt: the blob of label maps, N x 1 x H x W.
    out: a folder in which every prediction is saved as a PNG (`save_labels`).
    title: the title of the progress bar.

    The loss is the blob `loss`, or NaN without one. Afterwards the data layers are where they were
    before, so that the next call scores the same images. Raises ValueError for a blob that the net
    does not have.
    """
    (count,) = _count(net, images, [_Blobs(layer, gt, "loss", out)], title)
    return _scores(count, images)


def score_heads(
    net: Any,
    images: int,
    heads: Sequence[Head],
    out: Optional[str] = None,
    title: str = "scoring",
    observe: Optional[Observer] = None,
) -> Scores:
    """Return `score_net` of the first head, and under the label's name that of each further head.

    heads: the net's maps of scores (`net_gen.Head`). out: as for `score_net`; the predictions of a
    further head lie in a folder of its label's name below. observe: is called for each image.
    """
    return _by_head(_count(net, images, _blobs(heads, out), title, observe), images, heads)


class _Blobs(NamedTuple):
    """The blobs of a head: scores, truth and loss, and the folder for its predictions."""

    scores: str
    truth: str
    loss: str = "loss"
    out: Optional[str] = None


#: Is called with the net, the id of its image ("" if that is unknown), and the histogram and the
#: prediction (H x W) of the first head.
Observer = Callable[[Any, str, np.ndarray, np.ndarray], object]
#: A histogram K x K, and a sum of losses.
_Count = Tuple[Any, float]


def _blobs(heads: Sequence[Head], out: Optional[str] = None) -> List[_Blobs]:
    below = [os.path.join(out, head.label) if out else None for head in heads[1:]]
    return [
        _Blobs(f"score{head.suffix}", head.label, head.loss, folder)
        for head, folder in zip(heads, [out, *below])
    ]


def _scores(count: _Count, images: int) -> Scores:
    return dict(metrics(count[0]), loss=count[1] / max(images, 1), images=images)


def _by_head(counts: Sequence[_Count], images: int, heads: Sequence[Head]) -> Scores:
    first, *further = (_scores(count, images) for count in counts)
    return {**first, **{head.label: scores for head, scores in zip(heads[1:], further)}}


def _count(
    net: Any,
    images: int,
    heads: Sequence[_Blobs],
    title: str,
    observe: Optional[Observer] = None,
) -> List[_Count]:
    """Return the histogram and the sum of the losses of each head over the next `images` images."""
    for blob in (name for head in heads for name in (head.scores, head.truth)):
        if blob not in net.blobs:
            raise ValueError(f"blob {blob}: not in this net; it has {', '.join(net.blobs)}")
    counts: List[_Count] = [(0, 0.0)] * len(heads)
    with workers.progress_bar(images, title, leave=False) as bar:
        for i in range(images):
            names = _image_ids(net) if observe or any(head.out for head in heads) else []
            net.forward()
            for k, head in enumerate(heads):
                hist, loss, prediction = _count_image(net, head, names, i)
                counts[k] = counts[k][0] + hist, counts[k][1] + loss
                if observe and k == 0:
                    observe(net, names[0] if names else "", hist, prediction[0])
            bar.update()
    _rewind(net, images)
    return counts


def _count_image(
    net: Any, head: _Blobs, names: Sequence[str], number: int
) -> Tuple[np.ndarray, float, np.ndarray]:
    """Count the present pass of a net for one head, and save its predictions.

    Returns the histogram, the loss, and the predictions, N x H x W.
    """
    scores = net.blobs[head.scores].data
    prediction = labels(scores)
    if head.out:
        for n, label in enumerate(prediction):
            name = names[n] if n < len(names) else f"{number:06d}_{n}"
            save_labels(os.path.join(head.out, name + ".png"), label)
    loss = float(net.blobs[head.loss].data.sum()) if head.loss in net.blobs else float("nan")
    hist = fast_hist(net.blobs[head.truth].data, prediction, scores.shape[1])
    return hist, loss, prediction


def seg_tests(
    solver: Any,
    images: Optional[int] = None,
    title: str = "scoring",
    parts: str = ".scored",
    heads: Sequence[Head] = (Head(),),
    observe: Optional[Observer] = None,
) -> Scores:
    """Return `score_heads` of a solver's test net, with the present weights of its training net.

    images: how many images are scored; None means the whole split of the test net's data layer.
    parts: the path prefix of the files in which the other workers pass on their counts.
    observe: as for `score_heads`.

    Among several workers, each calls this function and scores a share of the images. Worker 0
    returns the scores of all images, the others return {}. A worker observes its own share.
    """
    net = solver.test_nets[0]
    net.share_with(solver.net)
    images = images or split_size(net)
    if workers.count() == 1:
        return score_heads(net, images, heads, title=title, observe=observe)
    first, share = workers.share(images)
    _skip(net, first)
    counts = _count(net, share, _blobs(heads), title, observe)
    _rewind(net, first)
    vectors = []
    for head, (hist, loss) in zip(_blobs(heads), counts):
        pixels = np.zeros(net.blobs[head.scores].shape[1] ** 2) + np.ravel(hist)
        vectors.append(np.append(pixels, loss))
    total = workers.sum_up(solver, np.concatenate(vectors), parts)
    if workers.rank():
        return {}
    sums = []
    for vector in np.split(total, np.cumsum([len(vector) for vector in vectors])[:-1]):
        side = math.isqrt(len(vector) - 1)
        sums.append((vector[:-1].reshape(side, side), float(vector[-1])))
    return _by_head(sums, images, heads)


def split_size(net: Any) -> int:
    """Return the number of images in the split of the net's data layer.

    Raises ValueError if no layer of the net has the list `indices`.
    """
    for data_layer in net.layers:
        if hasattr(data_layer, "indices"):
            return len(data_layer.indices)
    raise ValueError("no data layer of this net has a list `indices`; name the number of images")


def _image_ids(net: Any) -> List[str]:
    """Return the id of the image that the next forward pass reads; [] if no data layer says so."""
    for data_layer in net.layers:
        if hasattr(data_layer, "indices") and hasattr(data_layer, "idx"):
            return [str(data_layer.indices[data_layer.idx])]
    return []


def _skip(net: Any, images: int) -> None:
    """Pass over images. Raises ValueError if no data layer can."""
    layers = [data_layer for data_layer in net.layers if hasattr(data_layer, "skip")]
    if not layers:
        raise ValueError("no data layer of this net has `skip`; score it in one process")
    for data_layer in layers:
        data_layer.skip(images)


def _rewind(net: Any, images: int) -> None:
    """Go back by a number of images in the data layers that read their split in order."""
    for data_layer in net.layers:
        random = getattr(data_layer, "random", False)
        if hasattr(data_layer, "skip") and hasattr(data_layer, "indices") and not random:
            data_layer.skip(-images % len(data_layer.indices))


def score_files(
    net: str,
    weights: str,
    images: Optional[int] = None,
    out: Optional[str] = None,
    heads: Sequence[Head] = (Head(),),
    title: str = "scoring",
) -> Scores:
    """Return the scores of a prototxt that has a data layer, with a weights file.

    Relative paths in the prototxt are relative to its folder. The other arguments are those of
    `score_heads`; images None means the whole split. Raises FileNotFoundError for a missing file,
    and ValueError if the weights do not fill the net.
    """
    net, weights = os.path.abspath(net), os.path.abspath(weights)
    out = os.path.abspath(out) if out else None
    for path in (net, weights):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
    with working_folder(os.path.dirname(net)):
        model = caffe.Net(net, caffe.TEST)
        check_weights(model, weights, need=list(model.params))
        model.copy_from(weights)
        return score_heads(model, images or split_size(model), heads, out, title)


def run(
    variant: Optional[str] = None,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    images: Optional[int] = None,
    out: Optional[str] = None,
    gpu: device.Gpu = None,
    run: Optional[str] = None,
) -> Scores:
    """Score a net on its val split, print the scores, and return them.

    variant: its name; None leaves the choice to `available.select_model`.
    net: a prototxt with a data layer; None means that of the val split, beside the weights or of
    the variant.
    weights: a .caffemodel, or the folder of a run or stage; None means the best on this machine.
    images: how many images are scored; None means all. out: a folder for predictions, scores.json
    and confusion.csv. gpu: as for `device.use`. run: the folder of a run on own pictures.
    """
    if workers.count() > 1:
        raise ValueError(
            f"{workers.count()} workers: this command scores a net in one process; only training "
            "shares the scoring among workers"
        )
    if images is not None:
        check_integer("images", images)
    named = available.resolve_variant(variant) if variant else available.DEFAULT_VARIANT
    prototxt = f"{prototxt_stem(VARIANTS[named], 'val')}.prototxt"
    model = available.select_model(variant, net, weights, prototxt, run)
    print(f"{device.engine()}; runs on {device.use(gpu)}")
    print(model)
    used = model.variant or named
    heads = available.heads_of(used)
    data_set = available.data_set_of(used, model.weights)
    scores = score_files(model.net, model.weights, images, out, heads)
    print("\n".join(score_lines(scores, f"{scores['images']} images", data_set, heads)))
    if out:
        write_scores(out, scores, data_set)
    return scores


def write_scores(out: str, scores: Scores, data_set: DataSet) -> None:
    """Write scores.json and confusion.csv into a folder; the matrix is that of the first head."""
    write_json(os.path.join(out, "scores.json"), plain(scores))
    names = class_names(len(scores["iu"]), data_set)
    write_text(os.path.join(out, "confusion.csv"), confusion_csv(scores["confusion"], names))


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    parser = arguments.Parser(
        prog="python -m solvers.score",
        description="Score a net on a split: loss, pixel accuracy, mean accuracy, mean IU, "
        "frequency-weighted IU, the table of classes and the confusion matrix.",
        parents=[
            arguments.option("variant", metavar="VARIANT", nargs="?", help=", ".join(VARIANTS)),
            arguments.option("--run", metavar="FOLDER", help="folder of a run of solvers.train"),
            arguments.net("prototxt with a data layer (default: val.prototxt of the variant)"),
            arguments.weights(
                ".caffemodel, or the folder of a run or stage (default: the best on this machine)"
            ),
            arguments.images(),
            arguments.out(purpose="folder for predictions, scores.json, confusion.csv"),
            arguments.gpu(),
        ],
    )
    run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    command.run(main)
