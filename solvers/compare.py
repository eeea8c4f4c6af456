"""Compare two folders of label maps: the truth and predictions.

    python -m solvers.compare truth/ predicted/ [--run my_run | --data my_set | --classes NAMES]

Files are matched by their stems. The metrics are those of `solvers.score`.
"""

from __future__ import annotations

import json
import os
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fcn_common import arguments, command, voc
from fcn_data import DATA_SETS, DataSet, Labels
from fcn_data.folder_layers import DATA_FILE, read_set
from fcn_data.folders import LABEL_ENDS, open_folder
from fcn_data.label_coding import LABEL_SUFFIXES, LabelCoding, class_colours, stored_labels
from fcn_data.split_files import read_ids
from solvers import workers
from solvers.check import class_names
from solvers.metrics import Scores, fast_hist, metrics, plain, score_lines
from solvers.photograph import LABELS, OVERLAY
from solvers.run_record import read_run
from solvers.score import write_scores

#: The most stems that a line names.
NAMED = 3


class Meaning(NamedTuple):
    """What labels mean: the class names (none: as many as there are labels), colours, and coding.

    coding: how the files of the truth are read.
    """

    classes: Tuple[str, ...] = ()
    palette: np.ndarray = voc.PALETTE
    coding: LabelCoding = LabelCoding()

    def data_set(self, count: int) -> DataSet:
        """Return a data set record with the classes; numbers for those without names."""
        names = self.classes or tuple(f"class {k}" for k in range(count))
        labels = Labels("label", names, self.palette, self.coding.ignore_label)
        return DataSet("", "", (), (labels,), {})


class Comparison(NamedTuple):
    """The scores, and the stems that one of the folders lacks."""

    scores: Scores
    unpredicted: Tuple[str, ...]
    unexpected: Tuple[str, ...]


def compare(
    truth: str,
    predicted: str,
    meaning: Optional[Meaning] = None,
    head: str = "",
    ids: Optional[str] = None,
) -> Comparison:
    """Return the scores of the predictions in a folder against the truth in another one.

    truth, predicted: folders, without subfolders. A prediction of ID.png is called ID.png or
    ID_labels.png, and ID_HEAD_labels.png for a net of several heads. meaning: of the labels. head:
    the name of the head. ids: a split file, whose ids alone are counted.

    Raises OSError for a folder or file that is not readable, ValueError if no stem is in both, for
    maps of different sizes, and for predictions that are not classes.
    """
    meaning = meaning or Meaning()
    truths = {LABEL_ENDS.sub("", stem): path for stem, path in _stems(truth).items()}
    predictions = _predictions(predicted, truths, head)
    if ids is not None:
        chosen = set(read_ids(ids))
        truths = {stem: path for stem, path in truths.items() if stem in chosen}
        predictions = {stem: path for stem, path in predictions.items() if stem in chosen}
    common = [stem for stem in truths if stem in predictions]
    if not common:
        raise ValueError(
            f"{predicted}: has no label map of a stem in {truth}; found {_some(predictions)}, "
            f"needed {_some(truths)}"
        )
    hist = np.zeros((len(meaning.classes),) * 2, np.int64)
    with workers.progress_bar(len(common), "comparing", leave=False) as bar:
        for stem in common:
            hist = _add(hist, _count(truths[stem], predictions[stem], meaning))
            bar.update()
    scores = dict(metrics(hist), images=len(common))
    unpredicted = tuple(stem for stem in truths if stem not in predictions)
    unexpected = tuple(stem for stem in predictions if stem not in truths)
    return Comparison(scores, unpredicted, unexpected)


def _count(truth: str, prediction: str, meaning: Meaning) -> np.ndarray:
    """Return the histogram of a pair of label maps."""
    labels, predicted = meaning.coding.read(truth), _prediction(prediction)
    if labels.shape != predicted.shape:
        raise ValueError(
            f"{prediction}: is {' x '.join(map(str, predicted.shape))} (height x width), its truth "
            f"{truth} is {' x '.join(map(str, labels.shape))}"
        )
    ignored = labels == meaning.coding.ignore_label
    count = len(meaning.classes)
    if not count:
        count = int(max(np.where(ignored, 0, labels).max(), np.where(ignored, 0, predicted).max()))
        count += 1
    outside = labels[~ignored & ((labels < 0) | (labels >= count))]
    if outside.size:
        raise ValueError(
            f"{truth}: has label {outside[0]}, needs 0..{count - 1} or "
            f"{meaning.coding.ignore_label} (ignored)"
        )
    try:
        return fast_hist(np.where(ignored, -1, labels.astype(np.int64)), predicted, count)
    except ValueError as error:
        raise ValueError(f"{prediction}: {error}") from None


def _prediction(path: str) -> np.ndarray:
    labels = stored_labels(path)[0]
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise ValueError(
            f"{path}: has shape {labels.shape} and type {labels.dtype}, needs a label map: "
            "one class index a pixel"
        )
    return labels


def _add(total: np.ndarray, hist: np.ndarray) -> np.ndarray:
    """Return the sum of two histograms of different numbers of classes."""
    if len(total) < len(hist):
        total, hist = hist.copy(), total
    total[: len(hist), : len(hist)] += hist
    return total


def _stems(folder: str) -> Dict[str, str]:
    """Return stem -> path of the label files in a folder, by name."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder; name a folder with label maps")
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(LABEL_SUFFIXES))
    return {os.path.splitext(name)[0]: os.path.join(folder, name) for name in names}


def _predictions(folder: str, truths: Iterable[str], head: str) -> Dict[str, str]:
    """Return stem of the truth -> path of its prediction."""
    truths = set(truths)
    overlays = os.path.splitext(OVERLAY)[0]
    end = (f"_{head}" if head else "") + os.path.splitext(LABELS)[0]
    stems: Dict[str, str] = {}
    for stem, path in _stems(folder).items():
        if stem.endswith(overlays) and stem not in truths:
            continue
        is_map = stem.endswith(end) and stem not in truths
        # infer keeps the extension of photographs of one stem.
        start = stem[: -len(end)] if is_map else stem
        if is_map and start not in truths and os.path.splitext(start)[0] in truths:
            start = os.path.splitext(start)[0]
        other = stems.setdefault(start, path)
        if other != path:
            raise ValueError(f"{path}: is a prediction of {start}, as {other} is; remove one")
    return stems


def meaning_of(
    run: Optional[str] = None,
    data: Optional[str] = None,
    classes: Optional[str] = None,
    ignore_label: Optional[int] = None,
) -> Meaning:
    """Return what labels mean to a run, to a data set, or by the names of the classes.

    run: the folder of a run. data: the name of a data set, or a folder of own pictures. classes:
    names with commas, or a file with one name a line. ignore_label: in place of theirs.
    """
    if sum(value is not None for value in (run, data, classes)) > 1:
        raise ValueError("run, data and classes are named, needs one of them")
    meaning = Meaning()
    if run is not None:
        record = read_run(run)
        folder = os.path.dirname(run) if os.path.isfile(run) else run
        coding = LabelCoding(record.ignore_label)
        if os.path.isfile(os.path.join(folder, DATA_FILE)):
            coding = read_set(folder).coding
        meaning = Meaning(record.classes, record.palette, coding)
    elif data in DATA_SETS:
        record_of_set = DATA_SETS[str(data)]
        coding = LabelCoding(record_of_set.ignore_label)
        meaning = Meaning(record_of_set.classes, record_of_set.palette, coding)
    elif data is not None:
        opened = open_folder(data)
        colours = class_colours(len(opened.classes), opened.colours)
        meaning = Meaning(opened.classes, colours, LabelCoding(colours=opened.colours))
    elif classes is not None:
        meaning = Meaning(class_names(classes))
    if ignore_label is not None:
        meaning = meaning._replace(coding=meaning.coding._replace(ignore_label=ignore_label))
    return meaning


def run(
    truth: str,
    predicted: str,
    meaning: Optional[Meaning] = None,
    head: str = "",
    ids: Optional[str] = None,
    out: Optional[str] = None,
    as_json: bool = False,
) -> Scores:
    """Compare two folders, print the scores, and return them.

    out: a folder for scores.json and confusion.csv. as_json: print the scores as a line of JSON.
    The other arguments are those of `compare`.
    """
    meaning = meaning or Meaning()
    comparison = compare(truth, predicted, meaning, head, ids)
    scores = comparison.scores
    data_set = meaning.data_set(len(scores["iu"]))
    if as_json:
        print(json.dumps(plain(scores)))
    else:
        print("\n".join(score_lines(scores, f"{scores['images']} images", data_set)))
        for stems, words in (
            (comparison.unpredicted, f"label maps of {truth} have no prediction"),
            (comparison.unexpected, f"predictions in {predicted} have no truth"),
        ):
            if stems:
                line = f"not counted: {len(stems)} {words}: {_some(stems)}"
                print(command.printable(line))
    if out:
        write_scores(out, scores, data_set)
    return scores


def _some(stems: Iterable[str]) -> str:
    names: List[str] = list(stems)
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])]) or "none"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    parser = arguments.Parser(
        prog="python -m solvers.compare",
        description="Score a folder of predicted label maps against the truth in another folder.",
        parents=[
            arguments.option("truth", metavar="TRUTH", help="folder of label maps"),
            arguments.option("predicted", metavar="PREDICTED", help="folder of label maps"),
            arguments.option("--run", metavar="FOLDER", help="the classes are those of a run"),
            arguments.option(
                "--data",
                metavar="NAME",
                help=f"those of a data set ({', '.join(DATA_SETS)}) or a folder of own pictures",
            ),
            arguments.option(
                "--classes",
                metavar="NAMES",
                help="class names separated by commas, or a file with one name a line",
            ),
            arguments.option("--head", default="", metavar="NAME", help="of a net with several"),
            arguments.option(
                "--ids", metavar="FILE", help="count only the ids in a split file, such as val.txt"
            ),
            arguments.option(
                "--ignore-label",
                type=int,
                metavar="N",
                help="label of the truth that is not counted (default: 255)",
            ),
            arguments.out(None, "folder for scores.json and confusion.csv"),
            arguments.option("--json", action="store_true", help="print a line of JSON"),
        ],
    )
    options = vars(parser.parse_args(argv))
    keys = ("run", "data", "classes", "ignore_label")
    meaning = meaning_of(**{key: options.pop(key) for key in keys})
    as_json = options.pop("json")
    run(meaning=meaning, as_json=as_json, **options)


if __name__ == "__main__":
    command.run(main)
