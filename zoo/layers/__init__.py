"""A case for each layer of a fork: one family a file, all in `CASES`."""

from . import crf, detection, faces, flow, mobile, segmentation, text, volumes, yolo
from .case import Case, gradient_error, numpy_error, opencv_error

CASES = [
    case
    for family in (detection, segmentation, crf, mobile, yolo, text, flow, volumes, faces)
    for case in family.CASES
]

__all__ = ["CASES", "Case", "gradient_error", "numpy_error", "opencv_error"]
