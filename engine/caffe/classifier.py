"""`Classifier`: class scores of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import io
from .late_names import late_names
from .net import Net
from .proto.caffe_pb2 import TEST


def preprocessing(
    net: Net,
    mean: np.ndarray | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> io.Transformer:
    """Return the Transformer of a net's first input, for images H x W x C.

    mean, input_scale, raw_scale, channel_swap: as in `caffe.io.Transformer`; None leaves the step
        out.
    """
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


class Classifier(Net):
    """A net that classifies images, with their preprocessing.

    model_file, pretrained_file: the prototxt of a net with one input, and its weights.
    image_dims: the (height, width) to which images are resized before they are cropped; by default
        the size of the input.
    mean, input_scale, raw_scale, channel_swap: as in `caffe.io.Transformer`.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = preprocessing(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims: Any = image_dims or self.crop_dims

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """Return the scores of N images H x W x C.

        With `oversample` they are the means over ten crops of each image, N x classes. Without,
        they are those of the centre of each image, in the shape of the net's output.

        Raises ValueError where `image_dims` is smaller than the net's input.
        """
        images = np.array([io.resize_image(image, self.image_dims) for image in inputs], np.float32)
        if oversample:
            crops = io.oversample(list(images), self.crop_dims.tolist())
        else:
            top, left = (
                int(size / 2 - crop / 2) for size, crop in zip(self.image_dims, self.crop_dims)
            )
            height, width = self.crop_dims
            if top < 0 or left < 0:
                raise ValueError(
                    f"image_dims is {tuple(self.image_dims)}, needs the size of the net's input, "
                    f"{height} x {width} (height x width), or more"
                )
            crops = images[:, top : top + height, left : left + width, :]
        name = self.inputs[0]
        batch = np.array([self.transformer.preprocess(name, crop) for crop in crops], np.float32)
        scores = self.forward_all(None, **{name: batch})[self.outputs[0]]
        return scores.reshape(len(scores) // 10, 10, -1).mean(1) if oversample else scores


__getattr__, __dir__ = late_names(__name__, {"caffe": "caffe"})
