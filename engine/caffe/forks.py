"""The fork of Caffe whose meaning a word has where forks disagree.

Some words mean different things in different forks: `upsample_param` is max-unpooling in SegNet
and nearest-neighbour upsampling in YOLOv3. The fields that a prototxt sets usually tell which
meaning is intended. Where they do not, the layer asks `current_fork`.
"""

from __future__ import annotations

import difflib
import os

from .errors import UsageError

#: The names that `set_fork` accepts, and the public forks that they stand for.
FORKS = {
    "c3d": "facebook/C3D and chuckcho/video-caffe: video",
    "ctpn": "tianzhi0549/CTPN: text detection",
    "deeplab": "DeepLab v1 and v2: semantic labels with dilated convolutions",
    "faceboxes": "sfzhang15/FaceBoxes: face detection",
    "faces": "happynear/caffe-windows, ydwen/caffe-face, wy1iu/sphereface: face recognition",
    "flownet2": "lmb-freiburg/flownet2: optical flow",
    "hed": "HED: Crop places its first bottom by itself, SigmoidCrossEntropyLoss balances edges",
    "intel": "intel/caffe",
    "longjon": "longjon/caffe (branch future) and U-Net: Crop places its first bottom by itself",
    "mscnn": "zhaoweicai/mscnn and zhaoweicai/cascade-rcnn: object detection",
    "nvidia": "NVIDIA/caffe; DetectNet's labels as the article about it describes them",
    "parsenet": "debidatta/caffe-parsenet and DeconvNet",
    "pspnet": "hszhao/PSPNet, ICNet, and yjxiong/caffe (TSN)",
    "rcnn": "py-faster-rcnn and its successors",
    "segnet": "alexgkendall/caffe-segnet",
    "ssd": "weiliu89/caffe, branch ssd, and MobileNet-SSD",
    "textboxes": "MhLiao/TextBoxes",
    "yolo": "eric612/MobileNet-YOLO and gklz1982/caffe-yolov2",
}

#: The environment variable that names a fork for programs that do not call `set_fork`.
FORK = "CAFFE_FORK"

_fork: list[str] = []


def set_fork(name: str | None) -> None:
    """Read words with several meanings as the fork `name` does; None is no fork, the default.

    The setting holds for nets that are built afterwards. The environment variable CAFFE_FORK is
    the setting of programs that do not call this function. Raises UsageError for an unknown name.
    """
    _fork[:] = [] if name is None else [_checked(name)]


def current_fork() -> str | None:
    """Return the name that `set_fork` or CAFFE_FORK set, or None. Raises UsageError."""
    if _fork:
        return _fork[0]
    name = os.environ.get(FORK)
    return _checked(name) if name else None


def _checked(name: str) -> str:
    if name not in FORKS:
        near = difflib.get_close_matches(name, FORKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"no fork of Caffe has the name {name!r}; use {', '.join(FORKS)}{hint}")
    return name
