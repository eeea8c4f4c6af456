"""The one reader of pictures for training, scoring and inference, and readers of label files.

A picture means the same everywhere: it is upright (EXIF orientation), and its values are 0..255.
Every error names the file.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Set

import numpy as np
from PIL import Image, ImageOps

from fcn_common.files import check_regular, error_text

from . import mat_files
from .channel_lists import is_channel_list, listed_files

COLOURS = 3
UINT8_MAX = 255
UINT16_MAX = 65535
#: 16-bit values are divided by this number, so that the largest one becomes 255.
SIXTEEN_BIT = UINT16_MAX / UINT8_MAX
#: Bytes of pixels for each byte of a TIFF file that no packing reaches; deflate reaches 1032.
MAX_RATIO = 2000
#: What Pillow raises for damaged files, for sizes that no photograph has, and without memory.
_DAMAGE = (
    *(OSError, SyntaxError, EOFError, ValueError, TypeError, KeyError, IndexError, struct.error),
    *(OverflowError, ZeroDivisionError, MemoryError, Image.DecompressionBombError),
)
#: Tag of the EXIF orientation; 1 is upright.
ORIENTATION = 0x0112


def read_image(path: str) -> np.ndarray:
    """Return a photograph as H x W x 3, uint8, RGB, upright.

    Grey pictures get three equal channels, transparency is dropped, CMYK is converted, 16-bit
    and float pictures are scaled as in `read_channels`.

    Raises FileNotFoundError if there is no such file, OSError if the file is not readable.
    """
    with _enough_memory(path):
        pages = _pages(path, first_only=True)
        return as_rgb(_colours(pages[0])[:, :, ::-1])


def read_channels(path: str, channels: int = COLOURS) -> np.ndarray:
    """Return a picture as a net reads it: H x W x `channels`, uint8 or float32, 0..255, upright.

    1 channel: grey. 3 channels: colours in the order B, G, R. More channels: those of the file in
    its order, from one page with `channels` samples (RGBA, CMYK, TIFF), from pages of one TIFF
    file one after another, or from the files of a channel list (`channel_lists`).

    8-bit pictures are uint8. 16-bit values are divided by 257. Floats in 0..1 are multiplied by
    255, floats in 0..255 stay as they are.

    Raises FileNotFoundError if there is no such file, OSError if the file is not readable,
    ValueError for another number of channels and for floats or integers out of range.
    """
    with _enough_memory(path):
        return _read_channels(path, channels)


def _read_channels(path: str, channels: int) -> np.ndarray:
    if channels == 1:
        return _grey(_pages(path, first_only=True)[0])
    if channels == COLOURS:
        pages = _pages(path, first_only=False)
        if len(pages) == COLOURS and all(page.ndim == 2 for page in _arrays(pages)):
            return np.stack(_arrays(pages), axis=2)
        return _colours(pages[0])[:, :, ::-1]
    planes: List[np.ndarray] = []
    for page in _arrays(_pages(path, first_only=False)):
        planes += [page] if page.ndim == 2 else list(page.transpose(2, 0, 1))
    sizes = {plane.shape for plane in planes}
    if len(planes) != channels or len(sizes) != 1:
        raise ValueError(
            f"{path}: has {len(planes)} channels of {len(sizes)} sizes, "
            f"needs {channels} of one size"
        )
    return np.stack(planes, axis=2)


@contextmanager
def _enough_memory(path: str) -> Iterator[None]:
    """Raise OSError in place of a MemoryError in the `with` block."""
    try:
        yield
    except MemoryError as error:
        reason = str(error) or "the machine has none left"
        raise OSError(f"{path}: no memory for its pixels ({reason}); use a smaller image") from None


def count_channels(path: str) -> int:
    """Return the number of channels that a file stores: 1 for grey, 3 for colours and palettes.

    Transparency counts. Only the head of the file is read. Raises OSError if that fails.
    """
    if is_channel_list(path):
        return sum(map(count_channels, listed_files(path)))
    try:
        with open_image(path) as image:
            bands = COLOURS if image.mode in ("P", "YCbCr") else len(image.getbands())
            return bands * (getattr(image, "n_frames", 1) if image.format == "TIFF" else 1)
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        if not path.lower().endswith((".tif", ".tiff")):
            raise OSError(f"{path}: is not a readable image ({error_text(error, path)})") from None
    page = _tiff_pages(path)[0]
    return page.shape[2] if page.ndim == COLOURS else 1


def open_image(path: str) -> Any:
    """Open a picture with Pillow. Raises OSError, also for a FIFO or a device."""
    check_regular(path)
    return Image.open(path)


def is_wide(path: str) -> bool:
    """Return whether the values of a picture have more than 8 bits."""
    if is_channel_list(path):
        return any(map(is_wide, listed_files(path)))
    with open_image(path) as image:
        return image.mode in ("I", "F") or image.mode.startswith("I;16")


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return what `read_channels` gives as a picture to look at: H x W x 3, uint8, RGB.

    1 channel is shown in grey; of more than 3 channels the first three are shown.
    """
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, COLOURS, axis=2)
    elif pixels.shape[2] == COLOURS:
        pixels = pixels[:, :, ::-1]
    else:
        pixels = np.concatenate([pixels] * COLOURS, axis=2)[:, :, :COLOURS]
    if pixels.dtype == np.uint8:
        return pixels
    return np.clip(np.rint(pixels), 0, UINT8_MAX).astype(np.uint8)


def orientation(path: str) -> int:
    """Return the EXIF orientation of a picture, 1 to 8; 1 (upright) for a file without one.

    Of a channel list, it is that of the first file.
    """
    path = listed_files(path)[0]
    with open_image(path) as image:
        return int(image.getexif().get(ORIENTATION, 1))


def read_label_image(path: str) -> np.ndarray:
    """Return the pixels of a label image as they are stored: the indices of a palette image.

    Raises OSError if the file is not readable.
    """
    try:
        with open_image(path) as image:
            return np.asarray(image)
    except _DAMAGE as error:
        raise OSError(
            f"{path}: is not a readable label image ({error_text(error, path)})"
        ) from None


def read_segmentation(path: str) -> np.ndarray:
    """Return the class indices in a .mat file of SBD's cls layout, H x W.

    Raises OSError if the file is not readable or has another layout.
    """
    return mat_files.read_segmentation(path)


def read_mat_array(path: str, name: str) -> np.ndarray:
    """Return the array `name` of a .mat file as integers, int64.

    Raises OSError if the file is not readable or has no such array.
    """
    return mat_files.read_array(path, name).astype(np.int64)


def read_class_list(path: str) -> Dict[int, str]:
    """Return number -> name of the lines `NUMBER: NAME` of a text file, without spaces.

    Raises OSError if there is no such file, ValueError if a line has another form.
    """
    if not os.path.isfile(path):
        raise OSError(f"{path}: no such file, needs lines `NUMBER: NAME`")
    classes: Dict[int, str] = {}
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            number, colon, name = line.partition(":")
            name = name.replace(" ", "").strip()
            if not line.strip():
                continue
            if not (colon and name and number.strip().isdigit()):
                raise ValueError(f"{path}: has the line {line.strip()!r}, needs `NUMBER: NAME`")
            classes[int(number)] = name
    if not classes:
        raise ValueError(f"{path}: is empty, needs lines `NUMBER: NAME`")
    return classes


def _pages(path: str, first_only: bool) -> List[Any]:
    """Return the pages of a picture, upright: Pillow images, or arrays of a TIFF file that Pillow
    cannot read. Values of 16 bits and floats are arrays already scaled to 0..255. A channel list
    has the pages of all its files."""
    if is_channel_list(path):
        return [page for file in listed_files(path) for page in _pages(file, first_only)]
    try:
        with open_image(path) as image:
            count = 1 if first_only else getattr(image, "n_frames", 1)
            pages = []
            for index in range(count if image.format in ("TIFF", "MPO") else 1):
                image.seek(index)
                pages.append(ImageOps.exif_transpose(image.copy()))
                if image.format == "MPO":  # a phone's JPEG with a preview behind the photograph
                    break
    except FileNotFoundError:
        raise
    except Image.UnidentifiedImageError as error:
        if not path.lower().endswith((".tif", ".tiff")):
            raise OSError(f"{path}: is not a readable image ({error_text(error, path)})") from None
        return _tiff_pages(path)
    except _DAMAGE as error:
        raise OSError(f"{path}: is not a readable image ({error_text(error, path)})") from None
    return [_scaled(path, page) for page in pages]


def _tiff_pages(path: str) -> List[np.ndarray]:
    """Return the picture of a TIFF file with samples that Pillow does not read, as one page."""
    # Comes with scikit-image, and only rare TIFF files need it.
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            _refuse_circles(file.pages)
            series, size = file.series[0], os.path.getsize(path)
            if not 0 < series.nbytes <= MAX_RATIO * size:
                raise ValueError(f"claims {series.nbytes} bytes of pixels in {size} bytes")
            array, axes = series.asarray(), series.axes
    except Exception as error:  # tifffile raises many types for a damaged file
        raise OSError(f"{path}: is not a readable image ({error_text(error, path)})") from None
    if array.ndim not in (2, COLOURS) or not {"Y", "X"} <= set(axes):
        raise OSError(f"{path}: has shape {array.shape}, needs height x width x channels")
    if array.ndim == COLOURS:
        (samples,) = set(range(COLOURS)) - {axes.index("Y"), axes.index("X")}
        array = np.moveaxis(array, samples, -1)
    return [_in_range(path, array)]


def _refuse_circles(pages: Iterable[Any]) -> None:
    """Raise ValueError for a TIFF file whose pages lead back to one before, so without an end."""
    offsets: Set[int] = set()
    for page in pages:
        if page.offset in offsets:
            raise ValueError(f"page {len(offsets)} lies at byte {page.offset}, as one before does")
        offsets.add(page.offset)


def _scaled(path: str, image: Any) -> Any:
    """Return an image of 8 bits as it is, and any other one as an array scaled to 0..255."""
    wide = image.mode in ("I", "F") or image.mode.startswith("I;16")
    return _in_range(path, np.asarray(image)) if wide else image


def _in_range(path: str, array: np.ndarray) -> np.ndarray:
    """Return values scaled to 0..255. Raises ValueError if their range is unknown."""
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min(initial=0)), float(array.max(initial=0))
    limit = UINT8_MAX if array.dtype.kind == "f" else UINT16_MAX
    if not (low >= 0 and high <= limit):
        needed = "0..1 or 0..255" if array.dtype.kind == "f" else f"0..{UINT16_MAX}"
        raise ValueError(f"{path}: has values from {low:g} to {high:g}, needs {needed}")
    if array.dtype.kind == "f":
        return (array * (UINT8_MAX if high <= 1 else 1)).astype(np.float32)
    return (array / SIXTEEN_BIT).astype(np.float32)


def _arrays(pages: List[Any]) -> List[np.ndarray]:
    """Return pages as arrays, H x W or H x W x C, with palettes resolved to colours."""
    return [page if isinstance(page, np.ndarray) else _array(page) for page in pages]


def _array(image: Any) -> np.ndarray:
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("RGBA", "CMYK", "LA"):
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _colours(page: Any) -> np.ndarray:
    """Return a page as H x W x 3, R, G, B."""
    if not isinstance(page, np.ndarray):
        return np.asarray(page.convert("RGB"))
    if page.ndim == 2:
        return np.repeat(page[:, :, None], COLOURS, axis=2)
    if page.shape[2] < COLOURS:
        return np.repeat(page[:, :, :1], COLOURS, axis=2)
    return page[:, :, :COLOURS]


def _grey(page: Any) -> np.ndarray:
    """Return a page as H x W x 1."""
    if not isinstance(page, np.ndarray):
        return np.asarray(page.convert("L"))[:, :, None]
    if page.ndim == COLOURS and page.shape[2] >= COLOURS:
        # The weights of ITU-R 601-2, as Pillow has them.
        luma = page[:, :, :COLOURS].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return luma[:, :, None]
    return page[:, :, None] if page.ndim == 2 else page[:, :, :1]
