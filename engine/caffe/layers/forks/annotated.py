"""AnnotatedData: images with boxes from an LMDB database, as SSD trains on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ... import glog, mode
from ...blob import Blob
from ...data import annotated, changes, db
from ...data.prefetcher import Prefetcher
from ...data.transformer import DataTransformer, Random, decode, draw, planes
from ...proto import caffe_pb2
from ...wire import parse_binary
from ..registry import register
from ..resume_values import decode_arrays, encode_arrays
from ..source import Source

#: A transformed image C x H x W, and the image's objects G x 7, or the image's label.
Pair = tuple[np.ndarray, np.ndarray]
#: The objects of an image in the labels of MobileNet-YOLO.
YOLO_OBJECTS = 300


@register
class AnnotatedData(Source):
    """The AnnotatedDatum messages of an LMDB database (annotated_data_layer.cpp of SSD).

    The tops are images, batch_size x C x H x W, and the objects of all of them, 1 x 1 x G x 8: the
    number of the image, label, instance, xmin, ymin, xmax, ymax as parts of the image, difficult. A
    batch without objects has one row of -1.

    Each image is, in this order and where transform_param or annotated_data_param say so:
    distorted, put into a larger one, cropped to one of the windows that batch_sampler draws,
    resized, changed by noise_param, cropped, and mirrored. emit_constraint says which objects
    remain in a crop. With yolo_data_type 1 the second top has rows of (label - 1, x, y, width,
    height) for each image, batch_size x 300 x 5 (eric612/MobileNet-YOLO). Without anno_type, and
    for records without annotations, the second top has the labels.
    """

    tops = (1, 2)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.data_param
        self.batch_size = self.positive(p.batch_size, "batch_size")
        if p.backend == p.LEVELDB:
            raise self.error(f"data_param has backend LEVELDB; {db.NO_LEVELDB}")
        with self.using_files():
            random = Random() if p.shuffle else None
            self.reader = db.ArrangedReader(p.source, random) if random else db.Reader(p.source)
        self.transformer = DataTransformer(self.layer_param)
        self.random = np.random.RandomState(draw(mode.rng()))
        #: How many records were read, by whichever solver.
        self.number = 0
        self.has_boxes = self._datum().HasField("type") or self._settings.HasField("anno_type")
        image, _ = self._pair(self._datum())
        top[0].resize((self.batch_size, *image.shape))
        if len(top) > 1:
            empty = [np.zeros((0, 7), np.float32)] * self.batch_size
            top[1].resize(self._labels(empty).shape if self.has_boxes else (self.batch_size,))
        glog.write("annotated_data_layer.cpp:84", f"output data size: {top[0].shape}")
        self._pairs = self._all_pairs()
        title = f"prefetch of {self.name}"
        self._prefetcher = Prefetcher(self.pairs, p.prefetch, title, self._position)

    def _position(self) -> dict[str, Any]:
        random = self.transformer.random
        return {
            "number": self.number,
            **self.reader.state(),
            "random": mode.twister_state(self.random),
            "transformer": random.state() if random else None,
        }

    def resume_state(self) -> Any:
        return encode_arrays(self._prefetcher.position)

    def set_resume_state(self, values: Any) -> None:
        self._prefetcher.discard()
        values = decode_arrays(values)
        self.number = int(values["number"])
        self.reader.go_to(self.number)
        self.reader.set_state(values)
        mode.set_twister_state(self.random, values["random"])
        if self.transformer.random and values["transformer"]:
            self.transformer.random.set_state(values["transformer"])
        self._pairs = self._all_pairs()
        self._prefetcher.position = self._position()

    @property
    def _settings(self) -> caffe_pb2.AnnotatedDataParameter:
        return self.layer_param.annotated_data_param

    def _datum(self) -> caffe_pb2.AnnotatedDatum:
        with self.using_files():
            return parse_binary(self.reader.value, caffe_pb2.AnnotatedDatum(), self.reader.path)

    def pairs(self) -> list[Pair]:
        """Return the next batch. Raises ShapeError for images of different shapes."""
        batch = list(islice(self._pairs, self.batch_size))
        shapes = {image.shape for image, _ in batch}
        if len(shapes) > 1:
            raise self.shape_error(
                f"images of shapes {sorted(shapes)} in one batch; they need to be equal: set "
                "resize_param, or batch_size 1"
            )
        return batch

    def _all_pairs(self) -> Iterator[Pair]:
        while True:
            datum = self._datum() if self.in_share(self.number) else None
            self.number += 1
            self.reader.next()
            if datum is not None:
                yield self._pair(datum)

    def _pair(self, datum: caffe_pb2.AnnotatedDatum) -> Pair:
        """Return the transformed image of a record, and its objects or its label."""
        transform = self.layer_param.transform_param
        with self.using_files():
            values = decode(datum.datum, transform, self.reader.path)
        image = np.ascontiguousarray(values.transpose(1, 2, 0))
        objects = annotated.read_objects(datum)
        if not self.has_boxes:
            return self.transformer(planes(image)), np.array([datum.datum.label], np.float32)
        image, objects = self._augmented(image, objects)
        if transform.HasField("resize_param"):
            resize = transform.resize_param
            image, objects = annotated.resized(image, objects, resize, self.random)
        if transform.HasField("noise_param"):
            image = changes.noisy(image, transform.noise_param, self.random)
        image, objects = self._crop(image, objects)
        if transform.mirror and self.random.randint(2):
            image, objects = annotated.mirrored(image, objects)
        image = image[..., ::-1] if transform.cvt_bgr2rgb else image
        mean = self.transformer.mean_for(planes(image).shape)
        result = planes(image).astype(np.float32)
        result = (result if mean is None else result - mean) * np.float32(transform.scale)
        return np.ascontiguousarray(result), objects

    def _augmented(self, image: np.ndarray, objects: np.ndarray) -> Pair:
        """Distort and expand an image, and crop it to a drawn window."""
        transform, random = self.layer_param.transform_param, self.random
        if transform.HasField("distort_param"):
            image = annotated.distorted(image, transform.distort_param, random)
        if transform.HasField("expand_param"):
            mean = transform.mean_value
            expand = transform.expand_param
            image, objects = annotated.expanded(image, objects, expand, mean, random)
        window = annotated.sample(self._settings.batch_sampler, objects, random)
        if window is not None:
            image, objects = annotated.cropped(image, objects, window, self._constraint)
        return image, objects

    @property
    def _constraint(self) -> caffe_pb2.EmitConstraint | None:
        transform = self.layer_param.transform_param
        return transform.emit_constraint if transform.HasField("emit_constraint") else None

    def _crop(self, image: np.ndarray, objects: np.ndarray) -> Pair:
        """Crop to crop_size, or crop_h x crop_w: at a drawn place in TRAIN, else at the centre."""
        rows, columns = image.shape[:2]
        _, height, width = self.transformer.shape(image.shape[2], rows, columns)
        if (height, width) == (rows, columns):
            return image, objects
        top, left = (rows - height) // 2, (columns - width) // 2
        if self.phase == caffe_pb2.TRAIN:
            top, left = (self.random.randint(n + 1) for n in (rows - height, columns - width))
        pixels = np.array([left, top, left + width, top + height], np.float32)
        window = pixels / np.array([columns, rows] * 2, np.float32)
        part = image[top : top + height, left : left + width]
        return part, annotated.projected(objects, window, self._constraint)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        batch = self._prefetcher.next()
        tops = [np.stack([image for image, _ in batch])]
        if len(top) > 1:
            tops.append(self._labels([objects for _, objects in batch]))
        for blob, values in zip(top, tops):
            blob.resize(values.shape)
            blob.data[...] = values

    def _labels(self, objects: Sequence[np.ndarray]) -> np.ndarray:
        """Return the second top of a batch, from the objects of each image."""
        if not self.has_boxes:
            return np.concatenate(objects)
        if self._settings.yolo_data_type == 1:
            rows = np.zeros((len(objects), YOLO_OBJECTS, 5), np.float32)
            for row, of_image in zip(rows, objects):
                part = of_image[:YOLO_OBJECTS]
                low, high = part[:, 2:4], part[:, 4:6]
                label = part[:, :1] - 1
                row[: len(part)] = np.hstack([label, (low + high) / 2, high - low])
            return rows
        numbered = [np.insert(o, 0, i, 1) for i, o in enumerate(objects) if len(o)]
        joined = np.concatenate(numbered) if numbered else np.full((1, 8), -1, np.float32)
        return joined.reshape(1, 1, -1, 8)
