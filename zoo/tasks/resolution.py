"""Super-resolution: the luminance of a picture through a net, its colours enlarged as ever."""

from __future__ import annotations

import cv2
import numpy as np


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Return the picture `scale` times as large, by bicubic interpolation."""
    height, width = picture.shape[:2]
    size = (width * scale, height * scale)
    return cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)


def luminance(picture: np.ndarray) -> np.ndarray:
    """Return the Y channel of YCrCb, 0 .. 1, as 1 x 1 x H x W: the input of SRCNN and VDSR."""
    y = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[:, :, 0]
    return y[None, None].astype(np.float32) / 255


def with_luminance(picture: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the picture with another luminance, h x w in 0 .. 1.

    A net without padding gives a smaller map; it replaces the centre (Dong et al. 2014, "SRCNN").
    """
    ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    height, width = y.shape
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    values = np.rint(y.clip(0, 1) * 255).astype(np.uint8)
    ycc[top : top + height, left : left + width, 0] = values
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def psnr(picture: np.ndarray, truth: np.ndarray, border: int = 0) -> float:
    """Return the peak signal-to-noise ratio of the luminance in dB, without a border of pixels."""
    a, b = (luminance(x)[0, 0].astype(np.float64) for x in (picture, truth))
    inner = slice(border, -border or None)
    error = ((a - b)[inner, inner] ** 2).mean()
    return float("inf") if error == 0 else float(-10 * np.log10(error))
