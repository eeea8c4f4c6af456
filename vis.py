"""Label maps as pictures, by the names that the scripts of the published FCNs use: `import vis`."""

from __future__ import annotations

import numpy as np

from fcn_common.voc import PALETTE


def make_palette(num_classes: int) -> np.ndarray:
    """Return the colours of classes 0 to num_classes - 1 in VOC's scheme, N x 3, uint8, RGB.

    Raises ValueError for more than 256 classes.
    """
    if not 0 < num_classes <= len(PALETTE):
        raise ValueError(f"num_classes is {num_classes}, needs 1..{len(PALETTE)}")
    return np.array(PALETTE[:num_classes])


def color_seg(seg: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return a label map (H x W) in colours, H x W x 3, uint8, RGB.

    palette: N x 3. Labels from N on, such as 255 for void, have their colour in VOC's scheme.
    """
    colors = np.array(PALETTE)
    colors[: len(palette)] = palette
    return colors[np.asarray(seg).astype(np.int64)]


def vis_seg(
    img: np.ndarray, seg: np.ndarray, palette: np.ndarray, alpha: float = 0.5
) -> np.ndarray:
    """Return an image (H x W x 3, uint8, RGB) with the colours of a label map laid over it.

    alpha: the share of the colours. Pixels of class 0, the background, stay as they are.
    """
    image, seg = np.array(img, np.float64), np.asarray(seg)
    mask = seg > 0
    image[mask] = (1 - alpha) * image[mask] + alpha * color_seg(seg, palette)[mask]
    return image.astype(np.uint8)
