"""Generators of the forks' nets, with NetSpec alone: one kind a file, all in `NETS`.

Each is a function of plain arguments that returns a NetParameter; by default the net is narrow and
its input small.
"""

from __future__ import annotations

from typing import Any, Callable

from . import (
    c3d,
    crfrnn,
    deconvnet,
    deeplab,
    enet,
    flownet,
    icnet,
    parsenet,
    pspnet,
    rcnn,
    refinedet,
    segnet,
    seresnet,
    shufflenet,
    ssd,
    yolo,
)

#: Name -> generator.
NETS: dict[str, Callable[..., Any]] = {
    "SSD-VGG": ssd.vgg,
    "MobileNet-SSD": ssd.mobilenet,
    "RefineDet": refinedet.net,
    "Faster R-CNN": rcnn.faster,
    "R-FCN": rcnn.rfcn,
    "SegNet": segnet.net,
    "ENet": enet.net,
    "ParseNet": parsenet.net,
    "PSPNet": pspnet.net,
    "ICNet": icnet.net,
    "SE-ResNet-50": seresnet.net,
    "ShuffleNet": shufflenet.net,
    "YOLOv2": yolo.v2,
    "YOLOv3": yolo.v3,
    "FlowNetC": flownet.net,
    "C3D": c3d.net,
    "CRF-RNN": crfrnn.net,
    "DeconvNet": deconvnet.net,
    "DeepLab v1": deeplab.v1,
    "DeepLab v2": deeplab.v2,
}

__all__ = ["NETS"]
