"""`Detector`: scores of windows of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import io
from .classifier import preprocessing
from .errors import CaffeError, UsageError
from .late_names import late_names
from .net import Net
from .proto.caffe_pb2 import TEST


class Detector(Net):
    """A net that scores windows of images (R-CNN), with their cropping and preprocessing.

    model_file, pretrained_file: the prototxt of a net with one input, and its weights.
    mean, input_scale, raw_scale, channel_swap: as in `caffe.io.Transformer`.
    context_pad: the pixels of the net's input, on each side, that show what surrounds a window.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = preprocessing(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[str, Sequence[Any]]]
    ) -> list[dict[str, Any]]:
        """Return the scores of windows (ymin, xmin, ymax, xmax) of image files.

        images_windows: pairs of a file name and its windows.

        The result has a dict for each window, with its `window`, `prediction` and `filename`.
        """
        detections: list[dict[str, Any]] = []
        crops = []
        for filename, windows in images_windows:
            image = io.load_image(filename).astype(np.float32)
            for window in windows:
                detections.append({"window": window, "prediction": None, "filename": filename})
                try:
                    crops.append(self.crop(image, window))
                except UsageError as error:
                    raise UsageError(f"{filename}: {error}") from None
        name = self.inputs[0]
        batch = np.array([self.transformer.preprocess(name, crop) for crop in crops], np.float32)
        scores = self.forward_all(None, **{name: batch})[self.outputs[0]]
        for detection, score in zip(detections, scores):
            detection["prediction"] = score
        return detections

    def detect_selective_search(self, image_fnames: Iterable[str]) -> list[dict[str, Any]]:
        """Return the scores of the windows that selective search proposes, as `detect_windows`.

        Raises CaffeError without the package `selective_search_ijcv_with_python`, which runs
        MATLAB.
        """
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError:
            raise CaffeError(
                "selective search needs selective_search_ijcv_with_python on PYTHONPATH; without "
                "it, pass your own windows to detect_windows"
            ) from None
        names = [os.path.abspath(name) for name in image_fnames]
        return self.detect_windows(
            zip(names, selective_search.get_windows(names, cmd="selective_search_rcnn"))
        )

    def crop(self, im: np.ndarray, window: Any) -> np.ndarray:
        """Return the window (ymin, xmin, ymax, xmax) of an image H x W x C.

        With `context_pad` the window is warped to the size of the net's input, with its context
        around it, and with the mean where the context lies outside the image.

        Raises UsageError for a window that lies outside the image.
        """
        window = np.asarray(window)
        if not self.context_pad:
            y1, x1, y2, x2 = window.astype(int)
            crop = im[y1:y2, x1:x2]
            if not crop.size:
                raise UsageError(_outside(window, im))
            return crop
        size = self.blobs[self.inputs[0]].width
        half = (window[2:] - window[:2] + 1) / 2
        reach = half * (size / (size - 2 * self.context_pad))
        centre = window[:2] + half
        low, high = np.round(centre - reach), np.round(centre + reach)
        scale = size / (high - low + 1)
        pad = np.round(np.maximum(0, -low) * scale).astype(int)
        low, high = (np.clip(edge, 0, im.shape[:2]).astype(int) for edge in (low, high))
        if (high <= low).any():
            raise UsageError(_outside(window, im))
        extent = np.minimum(np.round((high - low + 1) * scale).astype(int), size - pad)
        out = np.ones(self.crop_dims, dtype=np.float32) * self.crop_mean
        out[pad[0] : pad[0] + extent[0], pad[1] : pad[1] + extent[1]] = io.resize_image(
            im[low[0] : high[0], low[1] : high[1]], extent
        )
        return out

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context around a window, and the values that stand for the context off the image.

        These values are the mean of the preprocessing, in the image's range and order.

        Raises UsageError for a context that leaves no pixel of the input for the window.
        """
        name, transformer = self.inputs[0], self.transformer
        to_image = np.argsort(transformer.transpose[name])
        self.crop_dims = np.array(self.blobs[name].data.shape[1:])[to_image]
        self.context_pad = context_pad
        if not context_pad:
            return
        width = self.blobs[name].width
        if context_pad < 0 or 2 * context_pad >= width:
            raise UsageError(
                f"context_pad is {context_pad} for an input {width} pixels wide, needs 0 to "
                f"{(width - 1) // 2}"
            )
        mean = transformer.mean.get(name)
        if mean is None:
            self.crop_mean = np.zeros(self.crop_dims, dtype=np.float32)
            return
        mean = mean.transpose(to_image)
        if name in transformer.channel_swap:
            mean = mean[:, :, np.argsort(transformer.channel_swap[name])]
        self.crop_mean = mean / transformer.raw_scale.get(name, 1)


def _outside(window: np.ndarray, im: np.ndarray) -> str:
    """Return the message about a window without a pixel of the image."""
    height, width = im.shape[:2]
    return (
        f"window {window.tolist()} (ymin, xmin, ymax, xmax) lies outside the image of "
        f"{height} x {width} (height x width)"
    )


__getattr__, __dir__ = late_names(__name__, {"caffe": "caffe"})
