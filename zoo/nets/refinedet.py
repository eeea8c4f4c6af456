"""RefineDet on VGG16 (Zhang et al. 2018): boxes in two stages, the second on maps from above."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, rectified, scaled, vgg16
from .ssd import VARIANCE, extra

#: Boxes at a position: one of each aspect ratio 1, 2 and 1 / 2.
BOXES = 3


def heads(net: Any, stage: str, maps: dict[str, Any], values: dict[str, int]) -> None:
    """Add the convolutions of a stage, `arm` or `odm`, over each map; their tops are joined."""
    for kind, count in values.items():
        parts = []
        for name, top in maps.items():
            head = f"{name}_{stage}_{kind}"
            net[head] = convolution(top, BOXES * count, 3)
            net[f"{head}_perm"] = L.Permute(net[head], order=[0, 2, 3, 1])
            net[f"{head}_flat"] = L.Flatten(net[f"{head}_perm"], axis=1)
            parts.append(net[f"{head}_flat"])
        net[f"{stage}_{kind}"] = L.Concat(*parts, axis=1)
    classes = values["conf"]
    net[f"{stage}_reshape"] = L.Reshape(net[f"{stage}_conf"], shape={"dim": [0, -1, classes]})
    net[f"{stage}_softmax"] = L.Softmax(net[f"{stage}_reshape"], axis=2)
    net[f"{stage}_flatten"] = L.Flatten(net[f"{stage}_softmax"], axis=1)


def connections(net: Any, maps: dict[str, Any], wide: int) -> dict[str, Any]:
    """Return the maps of the second stage: each one takes up the coarser one (section 3.2)."""
    above, refined = None, {}
    for name, top in reversed(list(maps.items())):
        side = rectified(net, f"{name}_side", top, wide)
        net[f"{name}_lateral"] = lateral = convolution(side, wide)
        if above is not None:
            up = {"num_output": wide, "kernel_size": 2, "stride": 2}
            net[f"{name}_up"] = L.Deconvolution(
                above, convolution_param={**up, "weight_filler": {"type": "msra"}}
            )
            net[f"{name}_sum"] = lateral = L.Eltwise(lateral, net[f"{name}_up"])
        net[f"{name}_sum_relu"] = L.ReLU(lateral, in_place=True)
        above = refined[f"{name}_P"] = rectified(net, f"{name}_P", net[f"{name}_sum_relu"], wide)
    return dict(reversed(list(refined.items())))


def net(width: float = 1 / 16, size: int = 128, classes: int = 21) -> Any:
    """Return the NetParameter of RefineDet on VGG16; size is a multiple of 64."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = vgg16(n, n.data, width, 4)
    top = rectified(n, "conv5_1", top, scaled(512, width))
    fc7 = rectified(n, "fc7", top, scaled(1024, width))
    conv6 = extra(n, "conv6", fc7, scaled(256, width), scaled(512, width), stride=2)
    maps = {"fc7": fc7, "conv6_2": conv6}
    priors = []
    for i, (name, source) in enumerate(maps.items()):
        side = (size / 5) * 2**i
        settings = {"min_size": side, "aspect_ratio": [2], "variance": VARIANCE}
        n[f"{name}_priorbox"] = L.PriorBox(source, n.data, prior_box_param=settings)
        priors.append(n[f"{name}_priorbox"])
    n.arm_priorbox = L.Concat(*priors, axis=2)
    heads(n, "arm", maps, {"loc": 4, "conf": 2})
    heads(n, "odm", connections(n, maps, scaled(256, width)), {"loc": 4, "conf": classes})
    n.detection_out = L.DetectionOutput(
        *(n.odm_loc, n.odm_flatten, n.arm_priorbox, n.arm_flatten, n.arm_loc),
        detection_output_param={
            "num_classes": classes,
            "nms_param": {"nms_threshold": 0.45, "top_k": 200},
            "code_type": P.PriorBox.CENTER_SIZE,
            "keep_top_k": 100,
            "confidence_threshold": 0.05,
            "objectness_score": 0.01,
        },
    )
    return n.to_proto()
