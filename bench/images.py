"""The images and label maps that the benchmark runs on, drawn from seeds."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image

from bench.pictures import net_input, picture_list
from fcn_common import voc
from fcn_common.files import atomic_path, write_text

#: How many of a hundred of PASCAL VOC's photographs have a size (height, width), roughly.
VOC_SIZES = {
    (375, 500): 52,
    (500, 375): 15,
    (333, 500): 15,
    (500, 333): 6,
    (334, 500): 4,
    (332, 500): 4,
    (281, 500): 2,
    (400, 500): 2,
}
#: Images of the case that scores.
SCORED = 20
#: The sides of the blocks that photographs and label maps are drawn in, in pixels.
PATCH, BLOCK = 40, 60


def voc_sizes(count: int, seed: int = 7) -> List[Tuple[int, int]]:
    """Return `count` sizes (height, width), drawn with the frequencies of PASCAL VOC."""
    shares = np.array(list(VOC_SIZES.values()), float)
    drawn = np.random.RandomState(seed).choice(len(shares), count, p=shares / shares.sum())
    return [list(VOC_SIZES)[i] for i in drawn]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a picture of smooth patches of colour and grain: H x W x 3, uint8."""
    rng = np.random.RandomState(seed + 10007 * height + width)
    patches = rng.rand(height // PATCH + 2, width // PATCH + 2, 3).astype(np.float32) * 255
    smooth = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + 12 * rng.randn(height, width, 3), 0, 255).astype(np.uint8)


def labels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a label map of square blocks, outlined with the ignore label: H x W, uint8."""
    rng = np.random.RandomState(seed + 20011 * height + width)
    counts = height // BLOCK + 1, width // BLOCK + 1
    blocks = rng.randint(0, len(voc.CLASSES), counts).astype(np.uint8)
    label = np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8))[:height, :width]
    label[::BLOCK] = label[:, ::BLOCK] = voc.IGNORE_LABEL
    return label


def image(height: int, width: int) -> np.ndarray:
    """Return the net's input of a size: 1 x 3 x H x W, float32, with the mean subtracted."""
    return net_input(photograph(height, width))


def input_file(folder: Path, kind: str, size: Sequence[int]) -> str:
    """Return the path of the "image" or the "label" of a size, a .npy file; write a missing one."""
    path = folder / f"{kind}-{size[0]}x{size[1]}.npy"
    if not path.exists():
        array = image(*size) if kind == "image" else labels(*size)[None, None]
        with atomic_path(path) as partial:
            np.save(partial, array)
    return str(path)


def write_pictures(folder: Path, count: int = SCORED) -> None:
    """Write a VOC data set of `count` drawn pictures to folder/voc; its list comes last."""
    root = folder / "voc"
    for part in ("JPEGImages", "SegmentationClass"):
        (root / part).mkdir(parents=True, exist_ok=True)
    names = [f"{i:04d}" for i in range(count)]
    for i, (name, size) in enumerate(zip(names, voc_sizes(count))):
        photo = Image.fromarray(photograph(*size, seed=i + 1))
        photo.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        Image.fromarray(labels(*size, seed=i + 1)).save(root / "SegmentationClass" / f"{name}.png")
    write_text(picture_list(root), "".join(name + "\n" for name in names))
