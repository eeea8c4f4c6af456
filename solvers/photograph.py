"""A net on a photograph in memory, and the files that a segmented picture becomes."""

from __future__ import annotations

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fcn_data import VOC, DataSet
from fcn_data.readers import read_image
from solvers.label_map import labels, overlay, save_labels, save_png
from solvers.outputs import Head

#: The ends of the names of label maps and overlays.
LABELS = "_labels.png"
OVERLAY = "_overlay.png"


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


class PictureFiles(NamedTuple):
    """The files of a segmented picture: a label map, an overlay and values for each head.

    out: their folder. stem: begins their names. heads: of the net. values: as for `Segmenter`.
    """

    out: str
    stem: str
    heads: Tuple[Head, ...]
    values: Optional[str] = None

    def label_path(self, head: Head) -> str:
        """Return the path of the label map of a head."""
        return self._path(head, LABELS)

    def overlay_path(self, head: Head) -> str:
        """Return the path of the overlay of a head."""
        return self._path(head, OVERLAY)

    def values_path(self, head: Head) -> str:
        """Return the path of the values of a head: NAME_scores.npy or NAME_probabilities.npy."""
        return self._path(head, f"_{self.values}.npy")

    @property
    def paths(self) -> List[str]:
        """The paths of all files."""
        paths: List[str] = []
        for head in self.heads:
            paths += [self.label_path(head), self.overlay_path(head)]
            if self.values:
                paths.append(self.values_path(head))
        return paths

    @property
    def done(self) -> bool:
        """Whether the label maps and the values are there. The overlays come before them."""
        needed = [self.label_path(head) for head in self.heads]
        if self.values:
            needed += [self.values_path(head) for head in self.heads]
        return all(os.path.isfile(path) for path in needed)

    def _path(self, head: Head, end: str) -> str:
        several = len(self.heads) > 1
        return os.path.join(self.out, self.stem + (f"_{head.name}" if several else "") + end)


def stem_of(photo: str) -> str:
    """Return the name of a photograph without folder and extension."""
    return os.path.splitext(os.path.basename(photo))[0]


def stems(photos: Sequence[str]) -> Dict[str, str]:
    """Return photograph -> the start of the names of its files.

    The start is the name without its extension, or the complete name if another photograph has the
    same stem: `a.jpg` and `a.png` become a.jpg_labels.png and a.png_labels.png.

    Raises ValueError for two photographs of one name in different folders.
    """
    by_stem: Dict[str, List[str]] = {}
    for photo in photos:
        by_stem.setdefault(stem_of(photo).lower(), []).append(photo)
    names: Dict[str, str] = {}
    for group in by_stem.values():
        by_name: Dict[str, str] = {}
        for photo in group:
            base = os.path.basename(photo)
            other = by_name.setdefault(base.lower(), photo)
            if other != photo:
                raise ValueError(
                    f"{photo}: its pictures would have the names of those of {other}; rename one "
                    "of the two photographs, or name another folder with --out"
                )
            names[photo] = base if len(group) > 1 else stem_of(photo)
    return {photo: names[photo] for photo in photos}


def save_pictures(files: PictureFiles, image: np.ndarray, label_maps: Sequence[np.ndarray]) -> None:
    """Write the overlay and the label map of each head of a picture.

    image: H x W x 3, uint8, RGB. label_maps: H x W for each head.

    The label maps come last: a photograph that has them is done. Raises OSError if a file cannot
    be written, also because memory ends.
    """
    palettes = [np.array(head.output.palette, np.uint8) for head in files.heads]
    try:
        for head, label, palette in zip(files.heads, label_maps, palettes):
            picture = overlay(image, label, ignore_label=None, palette=palette)
            save_png(files.overlay_path(head), Image.fromarray(picture))
        for head, label, palette in zip(files.heads, label_maps, palettes):
            save_labels(files.label_path(head), label, palette[:256])
    except MemoryError:
        start = os.path.join(files.out, files.stem)
        raise OSError(f"{start}: memory ended while its pictures were written") from None
