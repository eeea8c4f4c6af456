"""VideoData of three families of forks: a camera or one file, lists of clips, lists of segments."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ... import glog, mode
from ...blob import Blob
from ...data import frames
from ...data import opencv as cv2
from ...data.transformer import Random, draw, planes
from ...forks import current_fork
from ...proto import caffe_pb2
from ..base import EngineLayer
from ..prefetching import Prefetching, Record
from ..registry import register
from ..text_files import Turns, read_lines

#: Fields of VideoDataParameter that one family alone has, and the forks that `set_fork` names.
OF_CAMERA = ("video_type", "device_id", "video_file", "skip_frames")
OF_SEGMENTS = ("num_segments", "modality", "name_pattern", "encoded", "grayscale")
OF_CLIPS = (
    *("root_folder", "is_color", "use_image", "use_temporal_jitter", "sampling_rate", "show_data"),
    *("max_sampling_rate", "use_sampling_rate_jitter", "use_multiple_label", "num_of_labels"),
)
#: Settings of C3D's layer that belong to transform_param elsewhere.
TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")


class EndOfVideo(Exception):  # noqa: N818
    """A batch is asked for after the last frame."""


@register
class VideoData(Prefetching):
    """Frames of a camera, a video, or videos in a list, as three families of forks read them.

    The fields in the prototxt select the family: `CameraData` of SSD, `ClipData` of C3D,
    `SegmentData` of yjxiong/caffe (TSN). If several families have these fields, `set_fork` selects
    the family ("c3d" or "pspnet").
    """

    tops = (1, 2)

    def __new__(cls, param: Any) -> VideoData:
        """Return a layer of the family that the fields tell. Raises LayerError if none do."""
        return object.__new__(_family(param) if cls is VideoData else cls)


def _family(param: Any) -> type[VideoData]:
    p = param.video_data_param
    if param.HasField("image_data_param"):
        return ClipData
    if any(p.HasField(name) for name in OF_CAMERA) or not p.source:
        return CameraData
    if any(p.HasField(name) for name in OF_SEGMENTS):
        return SegmentData
    if any(p.HasField(name) for name in OF_CLIPS) or current_fork() == "c3d":
        return ClipData
    if current_fork() == "pspnet":
        return SegmentData
    raise EngineLayer(param).error(
        "lines of source have a first frame in C3D and a number of frames in yjxiong/caffe (TSN); "
        'say which with caffe.set_fork("c3d") or caffe.set_fork("pspnet"), or with --fork'
    )


class CameraData(VideoData):
    """The frames of a camera or of one video file (video_data_layer.cpp of weiliu89/caffe, SSD).

    data_param has the batch_size, video_data_param the video_type: WEBCAM, the camera device_id, or
    VIDEO, video_file. Before each frame, skip_frames others are passed over. transform_param
    resizes as in SSD. The labels are 0. After the last frame of a file the layer says "Finished
    processing video." and sends its process SIGINT, as the fork does; the frames of the last batch
    are then those of the file's end. Sources: the fork's layer and its demo of a
    webcam.
    """

    settings = "data_param"
    log_place = "video_data_layer.cpp:75"

    def open(self) -> Sequence[int]:
        p = self.layer_param.video_data_param
        if p.video_type == p.VIDEO and not p.video_file:
            raise self.error(
                "video_type is VIDEO, and video_file is missing; set it to the path of a video"
            )
        with self.using_files():
            self.video = frames.Video(p.video_file if p.video_type == p.VIDEO else p.device_id)
            frame = self.video.next()
        if frame is None:
            raise self.file_error(
                f"{self.video.title}: has no frames; a video with at least 1 is needed"
            )
        if p.video_type == p.VIDEO:
            self.video.go_to(0)
        return planes(frame).shape

    def _frame(self) -> np.ndarray | None:
        for _ in range(self.layer_param.video_data_param.skip_frames):
            self.video.next()
        return self.video.next()

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        images: list[np.ndarray] = []
        while len(images) < self.batch_size:
            frame = self._frame()
            if frame is None and not images:
                raise EndOfVideo
            images.append(images[-1] if frame is None else self.transformer(planes(frame)))
        return np.stack(images), np.zeros(self.batch_size, np.float32)

    def source_position(self) -> dict[str, Any]:
        return {"frame": self.video.number}

    def set_source_position(self, values: dict[str, Any]) -> None:
        if self.layer_param.video_data_param.video_file:
            self.video.go_to(int(values["frame"]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        try:
            super().forward(bottom, top)
        except EndOfVideo:
            glog.write("video_data_layer.cpp:150", "Finished processing video.")
            signal.raise_signal(signal.SIGINT)


class _ListedVideos(VideoData):
    """Videos from a list. The frames of a record are drawn or computed."""

    log_place = "video_data_layer.cpp:90"
    #: What a line of the list is.
    form: ClassVar[str]

    @property
    def param(self) -> Any:
        """The settings of the list."""
        return getattr(self.layer_param, self.settings)

    def open(self) -> Sequence[int]:
        p = self.param
        if bool(p.new_height) != bool(p.new_width):
            raise self.error(
                f"new_height {p.new_height}, new_width {p.new_width}; it needs both or none"
            )
        lines = [self._line(line) for line in read_lines(self, p.source)]
        if not lines:
            raise self.file_error(f"{p.source}: is empty; it needs lines of {self.form}")
        glog.write("video_data_layer.cpp:45", f"A total of {len(lines)} videos.")
        self.turns = Turns(lines, Random() if p.shuffle else None)
        #: Draws the parts of the videos.
        self.random = Random()
        if p.rand_skip:
            self.turns.place = draw(mode.rng()) % p.rand_skip
            if self.turns.place >= len(lines):
                raise self.error(
                    f"rand_skip skips {self.turns.place} of {len(lines)} videos; "
                    f"set it to at most {len(lines)}"
                )
        state = self.random.state()
        with self.using_files():
            shape = self.read(*self.turns.line[:2]).shape
        self.random.set_state(state)
        return shape

    def _line(self, line: str) -> tuple[str, int, int]:
        """Return the path, the number and the label of a line. Raises LayerFileError."""
        try:
            path, number, label = line.rsplit(maxsplit=2)
            return path, int(number), int(label)
        except ValueError:
            raise self.file_error(
                f"{self.param.source}: {line!r}; lines of {self.form} are needed"
            ) from None

    def read(self, path: str, number: int) -> np.ndarray:
        """Return the part of a video that a record has, uint8, C x H x W. Raises FileError."""
        raise NotImplementedError

    def records(self) -> Iterator[Record]:
        for path, number, label in self.turns.lines():
            record = self.attempt(partial(self._transformed, path, number, label))
            if record is not None:
                yield record

    def _transformed(self, path: str, number: int, label: int) -> Record:
        with self.using_files():
            values = self.read(path, number)
        return self.transformer(values).reshape(self.shape_of(values.shape)), label

    def source_position(self) -> dict[str, Any]:
        return {**self.turns.position(), "parts": self.random.state()}

    def set_source_position(self, values: dict[str, Any]) -> None:
        self.turns.set_position(values)
        self.random.set_state(values["parts"])

    @property
    def draws(self) -> bool:
        """Whether parts of videos are drawn, as in TRAIN, or computed."""
        return self.phase == caffe_pb2.TRAIN


class ClipData(_ListedVideos):
    """Clips of videos, batch_size x C x new_length x H x W (Tran et al. 2015; facebook/C3D).

    Each line of `source` is a path below root_folder, the first frame of the clip, and the label.
    The path is a video file, whose frames count from 0, or a folder of images with numbers, as
    use_image says in C3D. A clip is new_length frames, sampling_rate apart; use_temporal_jitter
    draws its first frame in TRAIN. Crop and mirror are the same for all frames of a clip. mean_file
    has C x L x H x W values, mean_value one for each channel. C3D's V1 layer VIDEO_DATA has these
    settings in image_data_param; those of transform_param may stand there too. Sources:
    C3D's user guide and chuckcho/video-caffe; which first frames a jitter allows is this
    engine's choice: all.
    """

    form = "a path, the first frame and a label"

    def __init__(self, param: Any) -> None:
        copy = type(param)()
        copy.CopyFrom(param)
        fields = "video_data_param", "image_data_param"
        self.settings = fields[not copy.HasField(fields[0])]  # type: ignore[misc]
        settings = getattr(copy, self.settings)
        for name in TRANSFORMS:
            if settings.HasField(name) and not copy.transform_param.HasField(name):
                setattr(copy.transform_param, name, getattr(settings, name))
        super().__init__(copy)

    def open(self) -> Sequence[int]:
        p = self.param
        for name in ("use_sampling_rate_jitter", "use_multiple_label"):
            if getattr(p, name, False):
                raise self.error(f"{name} is true; the engine reads clips without it")
        self.length = self.positive(p.new_length, "new_length")
        shape = super().open()
        mean = self.transformer.mean
        if mean is not None and len(mean) * self.length == shape[0]:
            self.transformer.mean = np.repeat(mean, self.length, axis=0)
        return shape

    def shape_of(self, first: Sequence[int]) -> Sequence[int]:
        planes_, height, width = self.transformer.shape(*first)
        return planes_ // self.length, self.length, height, width

    def read(self, path: str, number: int) -> np.ndarray:
        p = self.param
        path = p.root_folder + path
        images = os.path.isdir(path)
        step = max(1, p.sampling_rate)
        reach = (self.length - 1) * step + 1
        if p.use_temporal_jitter and self.draws:
            spare = max(0, frames.count_frames(path) - reach)
            number = images + self.random.below(spare + 1)
        numbers = range(number, number + reach, step)
        size = p.new_height, p.new_width
        if images:
            pattern = os.path.join(path, frames.name_pattern(path, number))
            clip = [frames.read_frame(pattern % n, p.is_color, size) for n in numbers]
        else:
            clip = [self._resized(frame) for frame in frames.read_video(path, numbers)]
        # Channels first: C L planes, of which the transformer crops all alike.
        values = np.stack([planes(frame) for frame in clip], 1)
        return values.reshape(-1, *values.shape[2:])

    def _resized(self, frame: np.ndarray) -> np.ndarray:
        p = self.param
        frame = frame if p.is_color else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        return cv2.resize(frame, (p.new_width, p.new_height)) if p.new_height else frame


class SegmentData(_ListedVideos):
    """Frames of num_segments parts of each video (Wang et al. 2016, "TSN"; yjxiong/caffe).

    Each line of `source` is a folder of images, its number of frames, and the label. A video of n
    frames has num_segments parts of n // num_segments frames. Of each part come new_length frames:
    from a drawn one in TRAIN, from the middle in TEST, and the first where the part is shorter. The
    top is batch_size x C x H x W with the channels of all frames in turn: with modality RGB three
    each, of name_pattern "image_%04d.jpg"; with FLOW the horizontal and the vertical flow, of
    "flow_%c_%04d.jpg", whose %c stands for x and y. The first image has the number 1. Sources:
    the paper and the fork's video_data_layer.cpp.
    """

    form = "a folder, its number of frames and a label"
    settings = "video_data_param"

    def read(self, path: str, number: int) -> np.ndarray:
        p = self.param
        if p.encoded:
            raise self.error("encoded is true; the engine reads folders of images")
        flow = p.modality == p.FLOW
        pattern = p.name_pattern or ("flow_%c_%04d.jpg" if flow else "image_%04d.jpg")
        size = p.new_height, p.new_width
        parts = []
        for start in self._starts(number):
            for n in range(start + 1, start + 1 + p.new_length):
                for name in self._names(pattern, n):
                    image = frames.read_frame(
                        os.path.join(path, name), not (flow or p.grayscale), size
                    )
                    parts.append(planes(image))
        return np.concatenate(parts)

    def _names(self, pattern: str, number: int) -> list[str]:
        """Return the file names of a frame: the image's, or those of both parts of the flow."""
        flow = self.param.modality == self.param.FLOW
        try:
            return [pattern % (axis, number) for axis in "xy"] if flow else [pattern % number]
        except (TypeError, ValueError):
            words = ("FLOW", "%c for x or y and %d") if flow else ("RGB", "%d")
            raise self.error(
                f"name_pattern {pattern!r} with modality {words[0]}; it needs {words[1]} for the "
                "number of the frame"
            ) from None

    def _starts(self, count: int) -> list[int]:
        """Return the frame before the first of each segment, of a video of `count` frames."""
        p = self.param
        part = count // p.num_segments
        spare = part - p.new_length + 1
        if spare < 1:
            return [0] * p.num_segments
        offsets = (
            self.random.below(spare) if self.draws else spare // 2 for _ in range(p.num_segments)
        )
        return [offset + i * part for i, offset in enumerate(offsets)]
