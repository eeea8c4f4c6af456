"""The result files of DetectionOutput, in the forms of VOC, COCO and ILSVRC (SSD's fork).

Sources: detection_output_layer.cpp and bbox_util.cpp of weiliu89/caffe, branch ssd.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
from google.protobuf import text_format

from ... import files, glog
from ...errors import FileError
from ...proto import caffe_pb2
from ..base import EngineLayer
from ..text_files import read_lines

FORMS = ("VOC", "COCO", "ILSVRC")


def pixels(
    corners: np.ndarray, size: tuple[int, int], resize: caffe_pb2.ResizeParameter | None
) -> np.ndarray:
    """Return boxes in pixels of a picture, K x 4, from boxes as parts of the net's input.

    size: height and width of the picture. resize: how it became the input; None: by warping.
    """
    height, width = size
    if resize is not None and resize.resize_mode == resize.FIT_LARGE_SIZE_AND_PAD:
        # The picture lies in the middle of the input: undo the borders above or beside it.
        rows, columns = resize.height, resize.width
        part = np.ones(2)
        if width / height > columns / rows:
            part[1] = columns / (width / height) / rows
        else:
            part[0] = rows * (width / height) / columns
        corners = (corners - np.tile((1 - part) / 2, 2)) / np.tile(part, 2)
    elif resize is not None and resize.resize_mode == resize.FIT_SMALL_SIZE:
        scales = resize.width_scale, resize.height_scale
        if all(scales):
            return (corners * np.tile(scales, 2)).clip(0, np.tile([width, height], 2))
    return corners.clip(0, 1) * np.tile([width, height], 2)


class DetectionFiles:
    """Writes the detections of pictures whose names and sizes a file lists.

    layer: the DetectionOutput, whose save_output_param has the settings. The files appear when the
    detections of num_test_image pictures are there, and are overwritten by those of the next.

    Raises LayerError for settings, LayerFileError for files.
    """

    def __init__(self, layer: EngineLayer) -> None:
        self.layer = layer
        p = self.param = layer.layer_param.detection_output_param.save_output_param
        if p.output_format not in FORMS:
            raise layer.error(
                f"output_format is {p.output_format!r}; it needs to be {', '.join(FORMS)}"
            )
        self._read_pictures()
        self.names = self._read_names()
        self._rows: list[np.ndarray] = []

    def _read_pictures(self) -> None:
        p = self.param
        #: The name, and the height and width, of each picture.
        self.pictures: list[tuple[str, tuple[int, int]]] = []
        for line in read_lines(self.layer, p.name_size_file):
            try:
                name, height, width = line.rsplit(maxsplit=2)
                self.pictures.append((name, (int(height), int(width))))
            except ValueError:
                raise self.layer.file_error(
                    f"{p.name_size_file}: {line!r}; lines of a name, height and width are needed"
                ) from None
        self.count = p.num_test_image if p.HasField("num_test_image") else len(self.pictures)
        if not 0 < self.count <= len(self.pictures):
            raise self.layer.error(
                f"num_test_image is {self.count}; {p.name_size_file} lists {len(self.pictures)}"
            )

    def _read_names(self) -> dict[int, str]:
        """Return the names of the labels in label_map_file."""
        path = self.param.label_map_file
        label_map = caffe_pb2.LabelMap()
        try:
            text_format.Parse(files.read_bytes(path), label_map)
        except (FileError, text_format.ParseError) as error:
            raise self.layer.file_error(f"{path}: no label map: {error}") from None
        return {item.label: item.name for item in label_map.item}

    def add(self, detections: np.ndarray) -> None:
        """Add the detections of the next picture, K x 7, and write the files after the last."""
        self._rows.append(detections)
        if len(self._rows) == self.count:
            with self.layer.using_files():
                self._write()
            self._rows = []

    def _write(self) -> None:
        p = self.param
        resize = p.resize_param if p.HasField("resize_param") else None
        detections = []
        for (name, size), rows in zip(self.pictures, self._rows):
            boxes = pixels(rows[:, 3:].astype(np.float64), size, resize)
            detections += [
                (name, int(row[1]), float(row[2]), corners) for row, corners in zip(rows, boxes)
            ]
        os.makedirs(files.writable(p.output_directory), exist_ok=True)
        prefix = os.path.join(p.output_directory, p.output_name_prefix)
        contents = getattr(self, f"_{p.output_format.lower()}")(detections)
        for ending, content in contents.items():
            with files.atomic(prefix + ending) as file:
                file.write(content.encode())
        message = f"Wrote {len(detections)} detections to {prefix}*"
        glog.write("detection_output_layer.cpp:400", message)

    def _voc(self, detections: Sequence[tuple]) -> dict[str, str]:
        """Return a file for each label: name score xmin ymin xmax ymax."""
        background = self.layer.layer_param.detection_output_param.background_label_id
        lines: dict[str, list[str]] = {
            name: [] for label, name in self.names.items() if label != background
        }
        for name, label, score, corners in detections:
            words = (name, f"{score:g}", *_whole(corners))
            lines.setdefault(self._name(label), []).append(" ".join(map(str, words)))
        return {f"{label}.txt": _joined(rows) for label, rows in lines.items()}

    def _coco(self, detections: Sequence[tuple]) -> dict[str, str]:
        """Return a JSON file: image_id, category_id, bbox of xmin, ymin, width, height, score."""
        rows = [
            {
                "image_id": _number(name),
                "category_id": _number(self._name(label)),
                "bbox": _sides(corners),
                "score": score,
            }
            for name, label, score, corners in detections
        ]
        return {".json": json.dumps(rows, indent=1) + "\n"}

    def _ilsvrc(self, detections: Sequence[tuple]) -> dict[str, str]:
        """Return a file: name label score xmin ymin xmax ymax."""
        rows = [
            " ".join(map(str, (name, label, f"{score:g}", *_whole(corners))))
            for name, label, score, corners in detections
        ]
        return {".txt": _joined(rows)}

    def _name(self, label: int) -> str:
        if label not in self.names:
            raise self.layer.file_error(
                f"{self.param.label_map_file}: has no label {label}, which is detected"
            )
        return self.names[label]


def files_of(layer: EngineLayer) -> DetectionFiles | None:
    """Return the files of a DetectionOutput, or None if it writes none.

    Published nets name the folders of their authors: where the lists of labels and pictures are
    missing, a line of the log says that no files are written.
    """
    p = layer.layer_param.detection_output_param.save_output_param
    lists = p.label_map_file, p.name_size_file
    if not (p.output_directory and all(lists)):
        return None
    missing = [path for path in lists if not os.path.isfile(path)]
    if missing:
        message = f"{layer.name} writes no detections to files: {missing[0]} is missing"
        glog.write("detection_output_layer.cpp:80", message, 1)
        return None
    return DetectionFiles(layer)


def _joined(rows: Sequence[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


def _sides(corners: np.ndarray) -> list[float]:
    """Return xmin, ymin, width and height to two decimals."""
    values = [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]
    return [round(float(value), 2) for value in values]


def _whole(corners: np.ndarray) -> list[int]:
    """Return the corners from `_sides`, each of which loses its decimals, as in the fork."""
    left, top, width, height = (int(value) for value in _sides(corners))
    return [left, top, left + width, top + height]


def _number(word: str) -> int | float | str:
    """Return a word as the number that it spells, as COCO's numbers are, or else the word."""
    try:
        return json.loads(word) if word[:1] in "-0123456789" else word
    except ValueError:
        return word
