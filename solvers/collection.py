"""A net on a collection of photographs, which is done once: a second run does what is missing."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from fcn_common.files import write_json
from fcn_data import DataSet
from solvers import available, device, photograph, workers
from solvers.photograph import LONG_SIDE

#: File name extensions of the photographs that are read from a folder.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
#: The file beside the pictures with the net and the weights that made them.
RECORD = "infer.json"


def collect(sources: Sequence[str]) -> List[str]:
    """Return the paths of the photographs of a collection.

    sources: photographs; folders, whose photographs come in the order of their names, without
        subfolders; .txt lists with one photograph a line, relative to the folder of the list.

    Raises OSError for a missing file, and ValueError for two photographs whose pictures would have
    the same name, or if there are no photographs.
    """
    photos: List[str] = []
    for source in sources:
        if os.path.isdir(source):
            names = sorted(n for n in os.listdir(source) if n.lower().endswith(SUFFIXES))
            photos += [os.path.join(source, name) for name in names]
        elif source.lower().endswith(".txt"):
            with open(source, encoding="utf-8") as file:
                names = [line.strip() for line in file if line.strip()]
            photos += [os.path.join(os.path.dirname(source), name) for name in names]
        else:
            photos.append(source)
    by_stem: Dict[str, str] = {}
    for photo in photos:
        if not os.path.isfile(photo):
            raise FileNotFoundError(f"{photo}: no such file")
        other = by_stem.setdefault(photograph.stem_of(photo), photo)
        if other != photo:
            raise ValueError(
                f"{photo}: its pictures would have the names of those of {other}; rename one of "
                "the two photographs"
            )
    if not photos:
        raise ValueError(f"{', '.join(sources)}: no photographs; needed {', '.join(SUFFIXES)}")
    return list(by_stem.values())


def run_collection(
    sources: Sequence[str],
    net: Optional[str] = None,
    weights: Optional[str] = None,
    out: str = ".",
    gpu: device.Gpu = None,
    variant: str = available.DEFAULT_VARIANT,
    long_side: int = LONG_SIDE,
) -> List[str]:
    """Segment a collection into out/NAME_labels.png and out/NAME_overlay.png.

    sources: as for `collect`. The other arguments are those of `infer.run`.

    Return the photographs that this worker segmented. Photographs that have a label map in `out`
    are not segmented again. A photograph that cannot be read is reported and skipped; a single
    process then raises OSError at the end, but one of several workers must not end the others.
    Raises ValueError if `out` has pictures of another net.
    """
    photos = collect(sources)
    model = available.select_model(variant, net, weights)
    processor = device.use(gpu)
    workers.say(f"{device.engine()}; runs on {processor}")
    workers.say(str(model))
    os.makedirs(out, exist_ok=True)
    _check_record(out, model.net, model.weights, long_side)
    share = photos[workers.rank() :: workers.count()]
    missing = [p for p in share if not os.path.isfile(photograph.label_path(out, p))]
    done = len(share) - len(missing)
    print(f"{workers.label()}{len(share)} photographs, {done} done already", flush=True)
    data_set = available.data_set_of(variant, model.weights)
    unreadable = _segment_all(missing, model, out, long_side, data_set)
    if unreadable and workers.count() == 1:
        raise OSError(f"{unreadable[0]}: first of {len(unreadable)} that cannot be read")
    return [photo for photo in missing if photo not in unreadable]


def _segment_all(
    photos: Sequence[str], model: available.Model, out: str, long_side: int, data_set: DataSet
) -> List[str]:
    """Segment photographs into the folder `out`; return those that cannot be read."""
    unreadable: List[str] = []
    if not photos:
        return unreadable
    net = photograph.load(model.net, model.weights)
    bar = workers.progress_bar(len(photos), "segmenting", leave=False)
    with bar, _Writer(out, data_set) as writer:
        for photo, reading in _read_ahead(photos):
            try:
                image = reading.result()
            except OSError as error:
                print(f"{workers.label()}skipped: {error}", file=sys.stderr, flush=True)
                unreadable.append(photo)
            else:
                writer.write(photo, image, photograph.segment(net, image, long_side, data_set))
            bar.update()
    return unreadable


def _read_ahead(photos: Sequence[str]) -> Iterator[Tuple[str, Future]]:
    """Yield each photograph with the future of its image; the next one is read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        images = [reader.submit(photograph.read, photo) for photo in photos[:1]]
        for i, photo in enumerate(photos):
            images += [reader.submit(photograph.read, p) for p in photos[i + 1 : i + 2]]
            yield photo, images.pop(0)


class _Writer:
    """Saves pictures in a thread, those of one photograph at a time.

    The block of `with` ends when all pictures are written.
    """

    def __init__(self, out: str, data_set: DataSet) -> None:
        self._out, self._data_set = out, data_set
        self._pool = ThreadPoolExecutor(1)
        self._last: Optional[Future] = None

    def write(self, photo: str, image: np.ndarray, label: np.ndarray) -> None:
        """Start to save the pictures of a photograph; raise the error of the photograph before."""
        self._wait()
        picture = self._out, photo, image, label, self._data_set
        self._last = self._pool.submit(photograph.save_pictures, *picture)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: Optional[type], *error: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._wait()


def _check_record(out: str, net: str, weights: str, long_side: int) -> None:
    """Record what makes the pictures in `out`; ValueError if it has pictures made otherwise."""
    record = {
        "net": os.path.abspath(net),
        "weights": os.path.abspath(weights),
        "bytes": os.path.getsize(weights),
        "modified": os.stat(weights).st_mtime_ns,
        "long_side": long_side,
    }
    path = os.path.join(out, RECORD)
    if not os.path.isfile(path):
        write_json(path, record)
        return
    with open(path) as file:
        before = json.load(file)
    for key in record:
        if before.get(key) != record[key]:
            raise ValueError(
                f"{out}: has pictures made with {key} {before.get(key)}, not {record[key]}; name "
                "another folder with --out, or remove the pictures"
            )
