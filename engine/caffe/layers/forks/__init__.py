"""Layer types that forks of Caffe added, one family a file.

Every class states its formula and its source: the paper, and the fork whose layer it agrees with.
"""

from . import faces, flow, mobile, rcnn, segmentation, ssd, text, volumes, yolo

__all__ = [
    "faces",
    "flow",
    "mobile",
    "rcnn",
    "segmentation",
    "ssd",
    "text",
    "volumes",
    "yolo",
]
