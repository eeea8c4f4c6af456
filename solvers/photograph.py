"""A net on a photograph: load and read them, predict the label map, save the pictures."""

from __future__ import annotations

import os
from typing import Any, Tuple

import caffe
import numpy as np
from PIL import Image

from fcn_data import VOC, DataSet
from fcn_data.readers import read_image
from solvers.label_map import highest, labels, overlay, save_labels, save_png
from surgery import check_weights

#: Pixels of the long side of PASCAL VOC's photographs, the scale that the nets were trained at.
LONG_SIDE = 500
#: The resampling filters, which lie elsewhere in Pillow before 9.1.
FILTERS = getattr(Image, "Resampling", Image)


def load(net: str, weights: str) -> Any:
    """Return a deploy net with its weights, from a prototxt and a .caffemodel.

    Raises FileNotFoundError for a missing file, and ValueError if the weights do not fill the net
    or the net has not exactly one input.
    """
    for path in (net, weights):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
    loaded = caffe.Net(net, caffe.TEST)
    check_weights(loaded, weights, need=list(loaded.params))
    loaded.copy_from(weights)
    if len(loaded.inputs) != 1:
        raise ValueError(f"{net}: found inputs {list(loaded.inputs)}, needed one, the image")
    return loaded


def score_blob(net: Any) -> Any:
    """Return the blob of scores of a deploy net, 1 x K x H x W: `score`, or the first output."""
    return net.blobs["score" if "score" in net.blobs else net.outputs[0]]


def read(path: str) -> np.ndarray:
    """Return a photograph, upright: H x W x 3, RGB, uint8. Raises OSError if it is unreadable."""
    try:
        return read_image(path)
    except (OSError, ValueError):
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types.
        raise OSError(f"{path}: is not a readable image ({error})") from None


def predict(net: Any, image: np.ndarray, data_set: DataSet = VOC) -> Tuple[np.ndarray, np.ndarray]:
    """Return the label map (H x W) and the scores (K x H x W) of an RGB image (H x W x 3).

    data_set: the data set of the net, whose mean is subtracted from the image.
    """
    data = image[:, :, ::-1].astype(np.float32) - np.array(data_set.mean, np.float32)
    name = net.inputs[0]
    net.blobs[name].reshape(1, data.shape[2], *data.shape[:2])
    net.reshape()
    net.blobs[name].data[...] = data.transpose(2, 0, 1)
    net.forward()
    scores = score_blob(net).data[0]
    return labels(scores[None])[0], scores


def segment(
    net: Any, image: np.ndarray, long_side: int = LONG_SIDE, data_set: DataSet = VOC
) -> np.ndarray:
    """Return the label map (H x W) of a photograph of any size (H x W x 3, RGB, uint8).

    A photograph whose long side exceeds `long_side` pixels is reduced to `long_side`, and its
    scores are enlarged bilinearly. 0 keeps every photograph at its size. data_set: as for
    `predict`.
    """
    height, width = image.shape[:2]
    shrink = long_side / max(height, width) if long_side else 1.0
    if shrink >= 1:
        return predict(net, image, data_set)[0]
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    reduced = np.asarray(Image.fromarray(image).resize(size, FILTERS.LANCZOS))
    scores = predict(net, reduced, data_set)[1]
    enlarged = (
        np.asarray(Image.fromarray(plane).resize((width, height), FILTERS.BILINEAR))
        for plane in np.array(scores, np.float32)
    )
    return highest(enlarged)[0]


def stem_of(photo: str) -> str:
    """Return the name of a photograph without folder and extension."""
    return os.path.splitext(os.path.basename(photo))[0]


def label_path(out: str, photo: str) -> str:
    """Return the path of the label map of a photograph in the folder `out`."""
    return os.path.join(out, stem_of(photo) + "_labels.png")


def overlay_path(out: str, photo: str) -> str:
    """Return the path of the overlay of a photograph in the folder `out`."""
    return os.path.join(out, stem_of(photo) + "_overlay.png")


def save_pictures(
    out: str, photo: str, image: np.ndarray, label: np.ndarray, data_set: DataSet = VOC
) -> None:
    """Write the overlay and the label map of a photograph into the folder `out`.

    photo: the path of the photograph, which names the pictures. image: H x W x 3, uint8, RGB.
    label: H x W. data_set: the data set of the net, whose palette colours the classes.

    The label map comes last: a photograph that has its label map is done.
    """
    picture = overlay(image, label, ignore_label=None, palette=data_set.palette)
    save_png(overlay_path(out, photo), Image.fromarray(picture))
    save_labels(label_path(out, photo), label, data_set.palette)
