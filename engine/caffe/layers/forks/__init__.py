"""Layer types that forks of Caffe added, one family a file.

Every class states its formula and its source: the paper, and the fork whose layer it agrees with.
"""

from . import (
    crf,
    evaluation,
    faces,
    flow,
    label_data,
    mobile,
    multibox,
    ohem,
    rcnn,
    segmentation,
    ssd,
    text,
    volumes,
    yolo,
)

__all__ = [
    "crf",
    "evaluation",
    "faces",
    "flow",
    "label_data",
    "mobile",
    "multibox",
    "ohem",
    "rcnn",
    "segmentation",
    "ssd",
    "text",
    "volumes",
    "yolo",
]
