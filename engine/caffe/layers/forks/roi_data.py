"""The data layer that Faster R-CNN's Python programs fill: images with boxes from a list in memory.

py-faster-rcnn has the layer in Python, `roi_data_layer.layer`. The one here runs where that module
is missing. Settings are the defaults of py-faster-rcnn's training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...blob import Blob
from ...data import opencv as cv2
from ..base import Layer
from ..python import stand_in
from .rcnn_targets import Targets

#: The shorter and the largest side of an image in pixels, and the means of blue, green and red.
SHORT_SIDE, LONGEST_SIDE, MEANS = 600, 1000, (102.9801, 115.9465, 122.7717)
#: Images and regions a batch of Fast R-CNN, and the share of objects (Girshick 2015, 2.3).
IMAGES, REGIONS, OBJECT_SHARE = 2, 128, 0.25
#: Overlaps with a box of the truth: the least of an object, and the range of the background.
OBJECT_OVERLAP, BACKGROUND_OVERLAPS = 0.5, (0.1, 0.5)

Entry = Mapping[str, Any]


class RoIData(Targets):
    """Images with their objects (Faster R-CNN) or with regions and targets (Fast R-CNN).

    `net.layers[0].set_roidb(entries)` brings the data before the first pass: dictionaries with
    `image` (a path), `flipped`, `boxes` (K x 4 in pixels) and `gt_classes` (K, 0 for a box that is
    no object). Batches follow a drawn order that changes with each epoch. An image without its mean
    has a shorter side of 600 pixels, or a longer one of 1,000 where that is less.

    With a top named im_info the tops are one image 1 x 3 x H x W, its height, width and scale
    1 x 3, and objects G x 5, the class last. Otherwise the tops are two images, regions R x 5,
    labels R and, where named, codes, inside weights and outside weights R x 4 C, for num_classes C
    of param_str. Each entry then also has `max_classes` and `max_overlaps` (K) and `bbox_targets`
    (K x 5, class and codes). Of 128 regions at most a quarter overlap an object by 0.5; the others
    overlap one by 0.1 to 0.5. `batch_size` in param_str is another number of regions; with -1 the
    images bring all of theirs, also background that overlaps no object (abhi2610/ohem).
    """

    bottoms, tops = (0, 0), (3, 6)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        text = self.layer_param.python_param.param_str
        match = re.search(r"num_classes'?\s*:\s*(\d+)", text)
        self.with_objects = "im_info" in self.layer_param.top
        if self.with_objects and len(top) != 3:
            raise self.error(f"{len(top)} tops; data, im_info and gt_boxes are needed")
        if not self.with_objects and (len(top) not in (3, 6) or match is None):
            raise self.error(
                f"{len(top)} tops and param_str {text!r}; 3 or 6 tops and num_classes are needed"
            )
        self.classes = int(match[1]) if match else 0
        self.count = self.region_count(REGIONS)
        self.entries: Sequence[Entry] = ()
        #: The entries that the epoch still has, the next one last.
        self.order: list[int] = []
        images = 1 if self.with_objects else IMAGES
        columns = [3, 5] if self.with_objects else [5, *[4 * self.classes] * 3]
        shapes: list[tuple[int, ...]] = [(images, 3, SHORT_SIDE, LONGEST_SIDE)]
        shapes += [(1, n) for n in columns]
        if not self.with_objects:
            shapes.insert(2, (1,))
        for blob, shape in zip(top, shapes):
            blob.resize(shape)

    def set_roidb(self, roidb: Sequence[Entry]) -> None:
        """Read batches from these entries. Raises LayerError for entries that lack a value."""
        names = ["image", "boxes"]
        names += ["gt_classes"] if self.with_objects else ["max_classes", "max_overlaps"]
        names += ["bbox_targets"] * (len(self.layer_param.top) == 6)
        missing = [name for name in names if any(name not in entry for entry in roidb)]
        if missing or not len(roidb):
            lacks = ", ".join(missing) or "images"
            raise self.error(
                f"a roidb of {len(roidb)} entries without {lacks}; entries with "
                f"{', '.join(names)} are needed"
            )
        self.entries = roidb
        if max(self.order, default=0) >= len(roidb):
            self.order = []

    def _next(self) -> Entry:
        if not self.order:
            self.order = self.random.permutation(len(self.entries)).tolist()[::-1]
        return self.entries[self.order.pop()]

    def resume_state(self) -> Any:
        return {**super().resume_state(), "order": [*self.order]}

    def set_resume_state(self, values: Any) -> None:
        super().set_resume_state(values)
        self.order = [int(number) for number in values["order"]]

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Leave the tops as they are: each pass gives them the sizes of its images."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not len(self.entries):
            raise self.error(
                "there are no images: give py-faster-rcnn's list of them to "
                "net.layers[0].set_roidb, or put its modules on PYTHONPATH"
            )
        if self.with_objects:
            entry = self._next()
            image, scale = self._read(entry)
            classes = np.asarray(entry["gt_classes"])
            boxes = np.asarray(entry["boxes"], np.float32)[classes != 0] * np.float32(scale)
            objects = np.column_stack([boxes, classes[classes != 0]])
            info = np.array([[*image.shape[1:], scale]])
            self.set_tops(top, [image[None], info, objects])
            return
        batch = [self._next() for _ in range(IMAGES)]
        read = [self._read(entry) for entry in batch]
        size = np.max([image.shape for image, _ in read], 0)
        images = np.zeros((IMAGES, *size), np.float32)
        for place, (image, _) in zip(images, read):
            place[:, : image.shape[1], : image.shape[2]] = image
        parts = [self._sample(i, e, scale) for i, (e, (_, scale)) in enumerate(zip(batch, read))]
        regions, labels, codes, inside = (np.concatenate(part) for part in zip(*parts))
        self.set_tops(top, [images, regions, labels, codes, inside, inside][: len(top)])

    def _read(self, entry: Entry) -> tuple[np.ndarray, float]:
        """Return an image, 3 x H x W, less the means, and its scale."""
        image = cv2.imread(str(entry["image"]))
        if image is None:
            raise self.file_error(
                f"{entry['image']}: no image that can be read; mend the file or its entry"
            )
        image = image[:, ::-1] if entry.get("flipped") else image
        low, high = min(image.shape[:2]), max(image.shape[:2])
        scale = SHORT_SIDE / low
        if round(scale * high) > LONGEST_SIDE:
            scale = LONGEST_SIDE / high
        values = image.astype(np.float32) - np.array(MEANS, np.float32)
        return cv2.resize(values, None, fx=scale, fy=scale).transpose(2, 0, 1), scale

    def _sample(self, image: int, entry: Entry, scale: float) -> tuple[np.ndarray, ...]:
        """Return drawn regions of an image, their labels, codes and weights."""
        overlaps = np.asarray(entry["max_overlaps"])
        low, high = BACKGROUND_OVERLAPS
        count, share = self.count // IMAGES, OBJECT_SHARE
        if self.count == -1:
            count, share, low = len(overlaps), 1, 0
        objects = self.chosen(np.flatnonzero(overlaps >= OBJECT_OVERLAP), round(count * share))
        background = np.flatnonzero((overlaps >= low) & (overlaps < high))
        kept = np.concatenate([objects, self.chosen(background, count - len(objects))])
        boxes = np.asarray(entry["boxes"], np.float32)[kept] * np.float32(scale)
        labels = np.asarray(entry["max_classes"], np.float32)[kept]
        labels[len(objects) :] = 0
        codes = np.zeros((2, len(kept), self.classes, 4), np.float32)
        if len(self.layer_param.top) == 6:
            targets = np.asarray(entry["bbox_targets"], np.float32)[kept]
            rows = np.flatnonzero(targets[:, 0] > 0)
            place = rows, targets[rows, 0].astype(int)
            codes[0][place], codes[1][place] = targets[rows, 1:], 1
        regions = np.column_stack([np.full(len(kept), image), boxes])
        columns = math.prod(codes.shape[2:])
        return regions, labels, *codes.reshape(2, len(kept), columns)


@stand_in("roi_data_layer.layer", "RoIDataLayer")
def roi_data(param: Any) -> Layer:
    """Return the RoIData for py-faster-rcnn's Python layer of a LayerParameter."""
    return RoIData(param)
