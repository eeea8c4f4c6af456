"""A net on a video: every frame is segmented, and a video of the overlays is written."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from fcn_common import command
from fcn_common.files import atomic_path
from fcn_common.places import writable
from fcn_data.readers import COLOURS
from solvers import results, workers
from solvers.label_map import overlay
from solvers.outputs import Head
from solvers.results import Result
from solvers.segmenter import MemoryEndError, Segmenter

#: Extension of a video -> extension and codec of its video of overlays. A video in WebM has
#: overlays in another format, because OpenCV warns of every codec in WebM.
CODECS = {
    ".mp4": (".mp4", "mp4v"),
    ".m4v": (".m4v", "mp4v"),
    ".mov": (".mov", "mp4v"),
    ".avi": (".avi", "MJPG"),
    ".mkv": (".mkv", "mp4v"),
    ".webm": (".mp4", "mp4v"),
}
SUFFIXES = tuple(CODECS)
#: The end of the stem of a video of overlays.
END = "_overlay"
#: Frames a second of a video that does not say so.
FRAME_RATE = 25.0


class Film(NamedTuple):
    """What a video file says: frames in all (0: not said), frames a second, size in pixels."""

    frames: int
    rate: float
    width: int
    height: int


class VideoFiles(NamedTuple):
    """The files of a segmented video: a video of overlays for each head.

    out: their folder. stem: begins their names.
    """

    out: str
    stem: str
    heads: Tuple[Head, ...]

    def path(self, head: Head, suffix: str = "") -> str:
        """Return the path of a head's video; `suffix` is its extension."""
        name = self.stem + (f"_{head.name}" if len(self.heads) > 1 else "") + END
        return os.path.join(self.out, name + suffix)

    @property
    def done(self) -> bool:
        """Whether all videos are written."""
        return all(
            any(os.path.isfile(self.path(head, suffix)) for suffix in SUFFIXES)
            for head in self.heads
        )


def is_video(path: str) -> bool:
    """Return whether a file is a video, by its extension."""
    return path.lower().endswith(SUFFIXES)


def is_result(path: str) -> bool:
    """Return whether a file has the name of a video of overlays."""
    return os.path.splitext(path)[0].endswith(END)


def segment_video(
    path: str, files: VideoFiles, segmenter: Segmenter, say: Callable[[str], None] = workers.say
) -> Result:
    """Segment each frame of a video, write its videos of overlays, and return the result.

    The shares of the classes are those of all frames. Sound is not copied. Raises OSError for a
    video whose codec cannot be read or written, ValueError for a net that reads other than 1 or 3
    channels, MemoryEndError if memory ends.
    """
    if segmenter.interface.channels not in (1, COLOURS):
        raise ValueError(
            f"{path}: the net reads {segmenter.interface.channels} channels, frames have {COLOURS}"
        )
    if segmenter.values:
        raise ValueError(f"{path}: --npy is for photographs, needs a folder of the frames")
    started = time.time()
    capture = _open(path)
    try:
        film = _film(capture)
        shown = film.frames or "unknown"
        size = f"{film.width} x {film.height}, {film.rate:g} a second"
        say(f"{command.printable(path)}: {shown} frames of {size}")
        frames, counts, paths = _segment_frames(path, capture, film, files, segmenter)
    finally:
        capture.release()
    notes: Tuple[str, ...] = ()
    if film.frames and frames < film.frames:
        notes = (f"warning: {frames} of {film.frames} frames could be read",)
        say(f"{command.printable(path)}: {notes[0]}")
    shares = tuple(results.shares_of(head, n) for head, n in zip(files.heads, counts))
    seconds = time.time() - started
    return Result(
        path, film.width, film.height, shares, tuple(paths), seconds, notes, frames=frames
    )


def _opencv() -> Any:
    """Return the module cv2, which does not print what it cannot read."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # OpenCV is optional beside BVLC Caffe, and needed for videos only.
    import cv2

    return cv2


def _open(path: str) -> Any:
    """Return OpenCV's reader of a video. Raises OSError if the codec cannot be read."""
    cv2 = _opencv()
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise OSError(
            f"{path}: is not a video that OpenCV {cv2.__version__} can read; its codec is unknown, "
            "or the file is damaged"
        )
    return capture


def _film(capture: Any) -> Film:
    cv2 = _opencv()
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = capture.get(cv2.CAP_PROP_FPS)
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    rate = rate if 0 < rate < 1000 else FRAME_RATE
    return Film(max(int(count), 0), float(rate), int(width), int(height))


def _frames(capture: Any) -> Iterator[np.ndarray]:
    """Yield the frames of a video, H x W x 3, uint8, BGR, upright."""
    while True:
        read, frame = capture.read()
        if not read:
            return
        yield frame


def _segment_frames(
    path: str, capture: Any, film: Film, files: VideoFiles, segmenter: Segmenter
) -> Tuple[int, List[np.ndarray], List[str]]:
    """Return the number of frames, the pixels of each class by head, and the files written."""
    suffix, code = CODECS[os.path.splitext(path)[1].lower()]
    counts = [np.zeros(len(head.output.classes), np.int64) for head in files.heads]
    palettes = [np.array(head.output.palette, np.uint8) for head in files.heads]
    targets = [files.path(head, suffix) for head in files.heads]
    number = 0
    with _Outputs(targets, code, film.rate) as outputs:
        bar = workers.progress_bar(film.frames, os.path.basename(path), leave=False)
        with bar:
            for frame in _frames(capture):
                try:
                    labels = segmenter.segment(_channels(frame, segmenter)).labels
                except MemoryEndError as error:
                    raise MemoryEndError(f"{path}: frame {number}: {error}") from None
                for k, label in enumerate(labels):
                    counts[k] += results.count_classes(files.heads[k], label)
                    image = overlay(
                        frame[:, :, ::-1], label, ignore_label=None, palette=palettes[k]
                    )
                    outputs.write(k, image[:, :, ::-1])
                number += 1
                bar.update()
        if not number:
            raise OSError(f"{path}: has no frame that OpenCV can read (codec, damage)")
    return number, counts, targets


def _channels(frame: np.ndarray, segmenter: Segmenter) -> np.ndarray:
    """Return a frame as the net reads it, H x W x C."""
    if segmenter.interface.channels == COLOURS:
        return frame
    # The weights of ITU-R 601-2, as Pillow has them for grey pictures.
    grey = frame[:, :, ::-1].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return grey[:, :, None]


class _Outputs:
    """OpenCV's writers of the videos of overlays; the files appear when they are complete."""

    def __init__(self, targets: Sequence[str], code: str, rate: float) -> None:
        self._code, self._rate = code, rate
        self._targets = list(targets)
        self._temporary: List[str] = []
        self._writers: List[Any] = [None] * len(self._targets)
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> _Outputs:
        for target in self._targets:
            self._temporary.append(self._resources.enter_context(atomic_path(target)))
        return self

    def write(self, k: int, frame: np.ndarray) -> None:
        """Add a frame, BGR, to the video of head k."""
        if self._writers[k] is None:
            self._writers[k] = self._open(k, frame)
        self._writers[k].write(np.ascontiguousarray(frame))

    def _open(self, k: int, frame: np.ndarray) -> Any:
        cv2 = _opencv()
        code = cv2.VideoWriter_fourcc(*self._code)
        size = frame.shape[1], frame.shape[0]
        writer = cv2.VideoWriter(writable(self._temporary[k]), code, self._rate, size)
        if not writer.isOpened():
            raise OSError(
                f"{self._targets[k]}: OpenCV {cv2.__version__} cannot write the codec {self._code}"
            )
        return writer

    def __exit__(self, *error: Any) -> None:
        for writer in self._writers:
            if writer is not None:
                writer.release()
        self._resources.__exit__(*error)
