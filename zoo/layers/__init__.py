"""A case for each layer of a fork: one family a file, all in `CASES`."""

from . import (
    bilinear,
    crf,
    deformable,
    dense,
    detection,
    faces,
    flow,
    flow_data,
    flow_training,
    metric,
    mobile,
    operators,
    pruning,
    regions,
    ristretto,
    segmentation,
    text,
    volumes,
    yolo,
)
from .case import Case, gradient_error, numpy_error, opencv_error

CASES = [
    case
    for family in (
        *(detection, regions, segmentation, crf, mobile, yolo, text, flow, flow_data),
        *(volumes, faces, metric, dense, ristretto, bilinear, deformable, flow_training),
        *(operators, pruning),
    )
    for case in family.CASES
]

__all__ = ["CASES", "Case", "gradient_error", "numpy_error", "opencv_error"]
