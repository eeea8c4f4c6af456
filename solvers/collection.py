"""Segments a collection of photographs. A second run segments only the missing ones."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from fcn_common import command
from fcn_common.files import atomic_path, read_text, write_json
from fcn_common.places import make_folder, writable
from fcn_data.channel_lists import SUFFIX as CHANNEL_LIST
from fcn_data.channel_lists import is_channel_list, listed_files
from fcn_data.label_coding import stored_labels
from fcn_data.readers import as_rgb
from solvers import photograph, results, video, workers
from solvers.outputs import Head
from solvers.photograph import PictureFiles
from solvers.results import Result
from solvers.segmenter import MemoryEndError, Segmenter
from solvers.video import VideoFiles

#: File name extensions of the photographs that are read from a folder.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"),
    CHANNEL_LIST,
)
#: The file beside the pictures with the net and the weights that made them.
RECORD = "infer.json"
#: Receives the result of each file as soon as the file is segmented.
Report = Callable[[Result], None]


def collect(sources: Sequence[str], out: str = "") -> List[str]:
    """Return the paths of the photographs and videos of a collection.

    sources: photographs and videos; folders, whose photographs and videos come in the order of
        their names, without subfolders; .txt lists with one file a line, relative to the folder of
        the list; or several paths with spaces between them.
    out: the folder of the results. A folder that has results of its own photographs beside them is
        read without these results.

    Raises OSError for a missing file, and ValueError for two photographs whose pictures would have
    the same name, or if there are no photographs.
    """
    files: List[str] = []
    for source in split_paths(sources):
        if os.path.isdir(source):
            names = [n for n in sorted(os.listdir(source)) if n.lower().endswith(SUFFIXES)]
            names = _without_results(names) if _same(source, out) else names
            films = [n for n in sorted(os.listdir(source)) if video.is_video(n)]
            films = [n for n in films if not (_same(source, out) and video.is_result(n))]
            files += _without_parts([os.path.join(source, name) for name in (*names, *films)])
        elif source.lower().endswith(".txt"):
            names = [line.strip() for line in read_text(source).split("\n") if line.strip()]
            listed = [os.path.join(os.path.dirname(source), name) for name in names]
            for path in listed:
                if not os.path.isfile(path):
                    raise FileNotFoundError(f"{path}: no such file; {source} names it")
            files += listed
        else:
            files.append(source)
    for path in files:
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{path}: no such file; name a photograph, a video, a folder or a list"
            )
    files = list(dict.fromkeys(files))
    photograph.stems(files)
    if not files:
        suffixes = ", ".join((*SUFFIXES, *video.SUFFIXES))
        raise ValueError(f"{', '.join(sources)}: no photographs; needed {suffixes}")
    return files


def split_paths(sources: Sequence[str]) -> List[str]:
    """Return the paths in texts: a text itself, or several existing paths with spaces between."""
    paths: List[str] = []
    for text in sources:
        parts: List[str] = []
        if not os.path.exists(text):
            with contextlib.suppress(ValueError):
                parts = shlex.split(text)
        several = len(parts) > 1 and all(os.path.exists(part) for part in parts)
        paths += parts if several else [text]
    return paths


def _without_parts(paths: Sequence[str]) -> List[str]:
    """Return the paths without the files that channel lists among them name."""
    parts = {
        os.path.abspath(file)
        for path in paths
        if is_channel_list(path)
        for file in listed_files(path)
    }
    return [path for path in paths if os.path.abspath(path) not in parts]


def _same(folder: str, out: str) -> bool:
    return bool(out) and os.path.abspath(folder) == os.path.abspath(out)


def _without_results(names: Sequence[str]) -> List[str]:
    """Return the names without those of label maps and overlays of other names."""
    starts = {photograph.stem_of(name) for name in names} | set(names)

    def is_result(name: str) -> bool:
        for end in (photograph.LABELS, photograph.OVERLAY):
            start = name[: -len(end)]
            # The name of a head can stand between.
            if name.endswith(end) and (start in starts or start.rpartition("_")[0] in starts):
                return True
        return False

    return [name for name in names if not is_result(name)]


def segment_collection(
    sources: Sequence[str],
    segmenter: Segmenter,
    out: str = ".",
    report: Optional[Report] = None,
    say: Callable[[str], None] = workers.say,
    report_done: bool = False,
) -> List[str]:
    """Segment a collection into `out`: label maps and overlays (`PictureFiles`), and videos.

    sources: as for `collect`. report: is called with the result of each file; report_done: also of
    the photographs that are done. say: prints lines.

    Return the files that this worker segmented. Files that have their results in `out` are not
    segmented again. A photograph that cannot be read or whose memory ends is reported and skipped;
    a single process then raises OSError at the end, but one of several workers must not end the
    others. Raises ValueError if `out` has pictures of another net.
    """
    files = collect(sources, out)
    make_folder(out)
    _check_record(out, segmenter)
    names = photograph.stems(files)
    share = files[workers.rank() :: workers.count()]
    heads = segmenter.heads
    photos = [path for path in share if not video.is_video(path)]
    pictures = {p: PictureFiles(out, names[p], heads, segmenter.values) for p in photos}
    films = {p: VideoFiles(out, names[p], heads) for p in share if video.is_video(p)}
    missing = [p for p in photos if not pictures[p].done]
    missing_films = [p for p in films if not films[p].done]
    kind = "photographs and videos" if films else "photographs"
    done = len(share) - len(missing) - len(missing_films)
    count = f"{workers.label()}{len(share)} {kind}, {done} done already"
    (print if workers.count() > 1 else say)(count)
    if report and report_done:
        for path in photos:
            if path not in missing:
                report(_done_result(path, pictures[path]))
    faults = _segment_all([(p, pictures[p]) for p in missing], segmenter, report, say)
    faults.update(_segment_films({p: films[p] for p in missing_films}, segmenter, report, say))
    if faults and workers.count() == 1:
        more = f", nor can {len(faults) - 1} more" if len(faults) > 1 else ""
        raise OSError(f"{next(iter(faults))}: cannot be segmented{more}; the lines above say why")
    return [path for path in (*missing, *missing_films) if path not in faults]


def _segment_films(
    films: Mapping[str, VideoFiles],
    segmenter: Segmenter,
    report: Optional[Report],
    say: Callable[[str], None],
) -> Dict[str, str]:
    """Segment videos; return why some of them cannot be segmented, by path."""
    faults: Dict[str, str] = {}
    for path, files in films.items():
        try:
            result = video.segment_video(path, files, segmenter, say)
        except (OSError, ValueError, MemoryEndError) as error:
            faults[path] = str(error)
            _skip(path, str(error), report)
        else:
            if report:
                report(result)
    return faults


def segment_photograph(
    path: str, files: PictureFiles, segmenter: Segmenter, pixels: Optional[np.ndarray] = None
) -> Result:
    """Segment a photograph, write its files, and return the result.

    pixels: as `Segmenter.read` returns; None reads them. Raises OSError, ValueError and
    MemoryEndError that name the photograph.
    """
    started = time.time()
    pixels = segmenter.read(path) if pixels is None else pixels
    labels, notes = _segment(path, files, segmenter, pixels)
    photograph.save_pictures(files, as_rgb(pixels), labels)
    return _result(path, files, labels, notes, time.time() - started)


def _segment(
    path: str, files: PictureFiles, segmenter: Segmenter, pixels: np.ndarray
) -> Tuple[Tuple[np.ndarray, ...], Tuple[str, ...]]:
    """Return the label maps of a picture and the notes; write the values of its heads."""
    with contextlib.ExitStack() as values:

        def store(head: Head, shape: Tuple[int, int, int]) -> np.ndarray:
            temporary = values.enter_context(atomic_path(files.values_path(head)))
            return np.lib.format.open_memmap(writable(temporary), "w+", np.float32, shape)

        try:
            maps = segmenter.segment(pixels, store if files.values else None)
            return maps.labels, maps.notes
        except MemoryEndError as error:
            raise MemoryEndError(f"{path}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _result(
    path: str,
    files: PictureFiles,
    labels: Sequence[np.ndarray],
    notes: Tuple[str, ...],
    seconds: float,
) -> Result:
    height, width = labels[0].shape
    shares = results.all_shares(files.heads, labels)
    return Result(path, width, height, shares, tuple(files.paths), seconds, notes)


def _done_result(path: str, files: PictureFiles) -> Result:
    """Return the result of a photograph whose label maps are written."""
    labels = [np.asarray(stored_labels(files.label_path(head))[0]) for head in files.heads]
    return _result(path, files, labels, (), 0.0)


class _Reading(NamedTuple):
    """A photograph, its files, and the future of its pixels."""

    path: str
    files: PictureFiles
    pixels: Future


def _segment_all(
    photos: Sequence[Tuple[str, PictureFiles]],
    segmenter: Segmenter,
    report: Optional[Report],
    say: Callable[[str], None],
) -> Dict[str, str]:
    """Segment photographs; return why some of them cannot be segmented, by path."""
    faults: Dict[str, str] = {}
    bar = workers.progress_bar(len(photos), "segmenting", leave=False)
    with bar, _Writer(report) as writer:
        for reading in _read_ahead(photos, segmenter):
            started = time.time()
            try:
                pixels = reading.pixels.result()
                labels, notes = _segment(reading.path, reading.files, segmenter, pixels)
            except (OSError, ValueError, MemoryEndError) as error:
                faults[reading.path] = str(error)
                _skip(reading.path, str(error), report)
            else:
                for note in notes:
                    say(command.printable(f"{workers.label()}{reading.path}: {note}"))
                seconds = time.time() - started
                result = _result(reading.path, reading.files, labels, notes, seconds)
                writer.write(reading.files, as_rgb(pixels), labels, result)
            bar.update()
    return faults


def _skip(path: str, error: str, report: Optional[Report]) -> None:
    """Report a file that cannot be segmented."""
    line = command.printable(error if path in error else f"{path}: {error}")
    print(f"{workers.label()}skipped: {line}", file=sys.stderr, flush=True)
    if report:
        report(Result(path, error=error))


def _read_ahead(
    photos: Sequence[Tuple[str, PictureFiles]], segmenter: Segmenter
) -> Iterator[_Reading]:
    """Yield each photograph with the future of its pixels; the next one is read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        pending = [reader.submit(segmenter.read, path) for path, _ in photos[:1]]
        for i, (path, files) in enumerate(photos):
            pending += [reader.submit(segmenter.read, p) for p, _ in photos[i + 1 : i + 2]]
            yield _Reading(path, files, pending.pop(0))


class _Writer:
    """Saves pictures in a thread, those of one photograph at a time, and reports their results.

    The block of `with` ends when all pictures are written.
    """

    def __init__(self, report: Optional[Report]) -> None:
        self._report = report
        self._pool = ThreadPoolExecutor(1)
        self._last: Optional[Tuple[Future, Result]] = None

    def write(
        self, files: PictureFiles, image: np.ndarray, labels: Sequence[np.ndarray], result: Result
    ) -> None:
        """Start to save the pictures of a photograph; raise the error of the photograph before."""
        self._wait()
        self._last = self._pool.submit(photograph.save_pictures, files, image, labels), result

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last[0].result()
            if self._report:
                self._report(last[1])

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: Optional[type], *error: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._wait()


def _check_record(out: str, segmenter: Segmenter) -> None:
    """Record how the pictures in `out` are made; ValueError if its pictures are made otherwise."""
    model, interface = segmenter.model, segmenter.interface
    record: Dict[str, Any] = {
        "net": os.path.abspath(model.net),
        "weights": os.path.abspath(model.weights),
        "bytes": os.path.getsize(model.weights),
        "modified": os.stat(model.weights).st_mtime_ns,
        "long_side": interface.long_side,
        "mean": list(interface.mean),
        "scale": interface.scale,
    }
    path = os.path.join(out, RECORD)
    if not os.path.isfile(path):
        write_json(path, record)
        return
    with open(path, encoding="utf-8") as file:
        before = json.load(file)
    for key in record:
        if before.get(key, record[key]) != record[key]:
            raise ValueError(
                f"{out}: has pictures made with {key} {before[key]}, not {record[key]}; name "
                "another folder with --out, or remove the pictures"
            )
