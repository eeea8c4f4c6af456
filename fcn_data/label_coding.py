"""What the values of a label file mean: indices, colours of a palette, or masks of 0 and 255."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fcn_common import voc
from fcn_common.files import error_text

from .readers import open_image, read_segmentation

#: Suffixes of label files. JPEG is not one of them: its compression changes labels.
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".mat", ".npy")
#: The colour of VOC's borders, which are ignored in colour-coded labels too.
BORDER = (224, 224, 192)
UINT8_MAX = 255
#: The ignored label of sets whose classes need 16 bits.
WIDE_IGNORE_LABEL = 65535
Colour = Tuple[int, int, int]


class LabelCoding(NamedTuple):
    """How label files are read.

    ignore_label: the label of pixels that are not counted. colours: the colour (R, G, B) of each
    class in colour-coded files, or None. masks: 255 in files of 0 and 255 is class 1. values: the
    stored value of each class, or None where the values are the class indices.
    """

    ignore_label: int = voc.IGNORE_LABEL
    colours: Optional[Tuple[Colour, ...]] = None
    masks: bool = False
    values: Optional[Tuple[int, ...]] = None

    def read(self, path: str) -> np.ndarray:
        """Return the class indices in a label file, H x W, integers.

        Raises OSError for a file that is not readable, ValueError for colours without a palette
        and for a colour or a value that belongs to no class.
        """
        return self.decode(path, *stored_labels(path))

    def decode(self, path: str, pixels: np.ndarray, palette: Optional[np.ndarray]) -> np.ndarray:
        """Return the class indices of the values that `stored_labels(path)` returned.

        Raises ValueError as `read` does.
        """
        if pixels.ndim == 3 and self.colours is None:
            pixels = _grey_values(path, pixels)
        if pixels.ndim == 3:
            return self._from_colours(path, pixels, self.colours or ())
        if palette is not None and self._names_colours(pixels, palette):
            return self._from_colours(path, palette[pixels], self.colours or ())
        if self.values is not None:
            return self._from_values(path, pixels, self.values)
        if self.masks and is_mask(pixels):
            return (pixels == UINT8_MAX).astype(np.uint8)
        return pixels

    def _from_values(self, path: str, pixels: np.ndarray, values: Sequence[int]) -> np.ndarray:
        classes = np.full(pixels.shape, -1, np.int32)
        classes[pixels == self.ignore_label] = self.ignore_label
        for k, value in enumerate(values):
            classes[pixels == value] = k
        unknown = pixels[classes == -1]
        if unknown.size:
            raise ValueError(
                f"{path}: has the value {unknown.flat[0]} in {unknown.size} pixels, needs one of "
                f"{', '.join(map(str, values))}, or {self.ignore_label} (ignored)"
            )
        return classes

    def _names_colours(self, indices: np.ndarray, palette: np.ndarray) -> bool:
        """Return whether the palette of a file has this coding's colours at other indices."""
        if self.colours is None:
            return False
        present = np.unique(indices)
        if present[-1] >= len(palette):
            return False
        named = [tuple(map(int, palette[k])) for k in present]
        same_order = all(
            k < len(self.colours) and self.colours[k] == colour
            for k, colour in zip(present, named)
            if colour != BORDER
        )
        return not same_order and set(named) <= {*self.colours, BORDER}

    def _from_colours(self, path: str, pixels: np.ndarray, colours: Sequence[Colour]) -> np.ndarray:
        codes = _codes(pixels)
        table: Dict[int, int] = {_code(BORDER): self.ignore_label}
        table.update({_code(colour): k for k, colour in enumerate(colours)})
        keys = np.array(sorted(table), np.int64)
        values = np.array([table[key] for key in keys], np.int32)
        position = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
        unknown = codes[keys[position] != codes]
        if unknown.size:
            code = int(unknown.flat[0])
            colour = f"{code >> 16},{code >> 8 & 255},{code & 255}"
            raise ValueError(
                f"{path}: has the colour {colour} in {unknown.size} pixels, "
                f"needs one of the {len(colours)} colours of the palette"
            )
        return values[position]


def stored_labels(path: str) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """Return the values of a label file, H x W or H x W x 3, and the palette of a palette image.

    Raises OSError if the file is not readable.
    """
    suffix = path[path.rfind(".") :].lower()
    if suffix == ".mat":
        return np.asarray(read_segmentation(path)), None
    if suffix == ".npy":
        return _numpy_labels(path), None
    try:
        with open_image(path) as image:
            if image.mode == "P":
                palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
                return np.asarray(image), palette
            if image.mode in ("L", "I", "F") or image.mode.startswith("I;16"):
                return np.asarray(image), None
            return np.asarray(image.convert("L" if image.mode in ("1", "LA") else "RGB")), None
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(
            f"{path}: is not a readable label image ({error_text(error, path)})"
        ) from None


def colour_counts(pixels: np.ndarray) -> Dict[Colour, int]:
    """Return the number of pixels of each colour of an H x W x 3 picture."""
    codes, counts = np.unique(_codes(pixels), return_counts=True)
    return {
        (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255): int(count)
        for code, count in zip(codes, counts)
    }


def is_mask(pixels: np.ndarray) -> bool:
    """Return whether the values of a label file are 0 and 255 only, with 255 among them."""
    values: List[int] = np.unique(pixels).tolist()
    return UINT8_MAX in values and set(values) <= {0, UINT8_MAX}


def class_colours(count: int, colours: Optional[Sequence[Colour]] = None) -> np.ndarray:
    """Return a colour for each class, count x 3, uint8, RGB: those named, or VOC's."""
    if colours is not None:
        return np.array(colours, np.uint8).reshape(-1, 3)[:count]
    return voc.palette(count)


def _numpy_labels(path: str) -> np.ndarray:
    try:
        labels: Any = np.load(path)
    except (OSError, ValueError) as error:
        raise OSError(f"{path}: is not a readable .npy file ({error_text(error, path)})") from None
    # labelme stores ignored pixels as -1.
    return np.where(labels < 0, voc.IGNORE_LABEL, labels) if labels.dtype.kind == "i" else labels


def _grey_values(path: str, pixels: np.ndarray) -> np.ndarray:
    """Return the values of a colour picture whose channels are equal, H x W."""
    if (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    raise ValueError(
        f"{path}: has colours, and no list says which class each colour is; write labelmap.txt "
        "with lines of name:red,green,blue (`python -m solvers.check MY_SET --propose FILE` "
        "proposes one)"
    )


def _codes(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]
