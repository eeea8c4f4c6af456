"""DetectNet's data for training: DetectNetTransformation (Tao, Barker & Sarathy 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...blob import Blob
from ...data import detectnet
from ...forks import current_fork
from ...proto import caffe_pb2
from ..registry import register
from .rcnn_targets import Targets

#: Fields of detectnet_groundtruth_param that the layer needs: the fork's defaults are not known.
GROUND_TRUTH = (
    *("stride", "scale_cvg", "gridbox_type", "image_size_x", "image_size_y"),
    *("obj_norm", "crop_bboxes"),
)
#: Each change of an image, by the field with its probability, and the fields with its extent.
CHANGES = {
    "crop_prob": ("shift_x", "shift_y"),
    "flip_prob": (),
    "rotation_prob": ("max_rotate_degree",),
    "scale_prob": ("scale_min", "scale_max"),
    "hue_rotation_prob": ("hue_rotation",),
    "desaturation_prob": ("desaturation_max",),
}
#: The probabilities of changes of colours.
COLOURS = ("hue_rotation_prob", "desaturation_prob")


@register
class DetectNetTransformation(Targets):
    """Images with drawn changes, and their objects as maps (Tao, Barker & Sarathy 2016).

    Bottoms: images N x C x H x W, and DIGITS' labels N x 1 x (1 + K) x 16. Tops: the images less
    mean_value, and maps N x (8 + classes) x H / stride x W / stride: foreground (1 or 0); the
    corners of the cell's object relative to the corner of the cell, in pixels; 1 / width and
    1 / height of the object; its weight; and a coverage (1 or 0) for each `dst` of object_class,
    to which objects of class `src` belong.

    An object covers the cells that its box shrunk to scale_cvg of its sides touches, sides of at
    least min_cvg_len pixels (GRIDBOX_MIN), though not beyond the box, or at most max_cvg_len
    (GRIDBOX_MAX). A cell has the object with most pixels in the cell; of equal ones, the object
    whose box reaches further down. The weight is 1, with obj_norm 1 / the number of the object's
    cells. With crop_bboxes the boxes end at the image. In TRAIN, detectnet_augmentation_param draws
    changes of places (a mirror image, a turn, a scale, a shift) and of colours (hue, saturation).

    This is the article's description and the words of the fields. The fork may round the cells at
    the rim of an object otherwise, so that the layer runs after `set_fork("nvidia")` alone.
    """

    bottoms, tops = (2, 2), (2, 2)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        if current_fork() != "nvidia":
            raise self.error(
                "the engine does not know how NVIDIA/caffe rounds objects to cells; "
                'caffe.set_fork("nvidia") or --fork nvidia trains with labels as the article about '
                "DetectNet describes them"
            )
        p = self.ground_truth = self.layer_param.detectnet_groundtruth_param
        limit = "min_cvg_len" if p.gridbox_type == p.GRIDBOX_MIN else "max_cvg_len"
        self._need(p, "detectnet_groundtruth_param", [*GROUND_TRUTH, limit])
        self.channels = {c.src: c.dst for c in p.object_class}
        sizes = p.image_size_x, p.image_size_y
        if not self.channels or not p.stride or any(n % p.stride or not n for n in sizes):
            raise self.error(
                f"images of {sizes[0]} x {sizes[1]} pixels, stride {p.stride}, {len(self.channels)}"
                " object_class; multiples of the stride and at least one class are needed"
            )
        self.changes = self.layer_param.detectnet_augmentation_param
        self.is_training = self.phase == caffe_pb2.TRAIN
        if self.is_training:
            needed = [*CHANGES]
            for name, extents in CHANGES.items():
                needed += extents if getattr(self.changes, name) > 0 else ()
            self._need(self.changes, "detectnet_augmentation_param", needed)
        others = [f.name for f, _ in self.layer_param.transform_param.ListFields()]
        if set(others) - {"mean_value"}:
            raise self.error(f"transform_param has {', '.join(others)}; mean_value alone is read")

    def _need(self, message: object, name: str, fields: Sequence[str]) -> None:
        """Raise LayerError if one of the fields is not set."""
        missing = [f for f in fields if not message.HasField(f)]  # type: ignore[attr-defined]
        if missing:
            raise self.error(f"{name} lacks {', '.join(missing)}; set each of them")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        images, labels = (b.shape for b in bottom)
        p = self.ground_truth
        size = p.image_size_y, p.image_size_x
        if len(images) != 4 or tuple(images[2:]) != size or len(labels) != 4 or labels[1] != 1:
            raise self.shape_error(
                f"bottoms of shapes {images} and {labels}; images N x C x {size[0]} x {size[1]} "
                f"and labels N x 1 x K x {detectnet.COLUMNS} are needed"
            )
        colours = self.is_training and any(getattr(self.changes, n) > 0 for n in COLOURS)
        means = len(self.layer_param.transform_param.mean_value)
        if images[0] != labels[0] or means not in (0, 1, images[1]) or (colours and images[1] != 3):
            raise self.shape_error(
                f"{images[0]} images of {images[1]} channels, {labels[0]} labels and {means} "
                "mean_value; as many labels as images, a mean for all or for each channel, and "
                "three channels for changes of colours are needed"
            )
        top[0].resize(images)
        maps = detectnet.MAPS + 1 + max(self.channels.values())
        top[1].resize((images[0], maps, *(n // p.stride for n in size)))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        images, labels = (b.values.tensor().numpy() for b in bottom)
        mean = np.array([*self.layer_param.transform_param.mean_value] or [0], np.float32)
        tops: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for image, label in zip(images, labels[:, 0]):
            try:
                objects = detectnet.read_labels(label)
            except ValueError as error:
                raise self.error(str(error)) from None
            if self.is_training:
                image = detectnet.recoloured(image, self.changes, self.random)
            image = image - mean[:, None, None]
            if self.is_training:
                move = detectnet.drawn_move(self.changes, image.shape[:0:-1], self.random)
                image = detectnet.moved_image(image, move)
                boxes = detectnet.moved_boxes(objects.boxes, move)
                objects = detectnet.Objects(boxes, objects.classes)
            tops[0].append(image)
            maps = detectnet.label_maps(objects, self.channels, self.ground_truth)
            tops[1].append(maps)
        self.set_tops(top, [np.stack(values) for values in tops])
