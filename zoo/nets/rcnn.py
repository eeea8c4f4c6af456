"""Faster R-CNN on VGG16 (Ren et al. 2015) and R-FCN on a residual net (Dai et al. 2016)."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import FILLER, convolution, rectified, scaled, with_batch_norm

RATIOS, SCALES = (0.5, 1, 2), (8, 16, 32)
#: The filler of the published proposal networks, for maps of 512 channels.
SMALL = {"type": "gaussian", "std": 0.01}
ANCHORS = len(RATIOS) * len(SCALES)


def inputs(size: int) -> Any:
    """Return a NetSpec with the image, 1 x 3 x size x size, and its height, width and scale."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    n.im_info = L.Input(input_param={"shape": {"dim": [1, 3]}})
    return n


def proposals(net: Any, bottom: Any, channels: int, count: int) -> Any:
    """Return the ROIs that a region proposal network over a feature map proposes."""
    net["rpn_conv/3x3"] = L.Convolution(
        bottom, num_output=channels, kernel_size=3, pad=1, weight_filler=SMALL
    )
    net["rpn_relu/3x3"] = L.ReLU(net["rpn_conv/3x3"], in_place=True)
    top = net["rpn_relu/3x3"]
    for name, values in (("cls_score", 2), ("bbox_pred", 4)):
        net[f"rpn_{name}"] = L.Convolution(
            top, num_output=values * ANCHORS, kernel_size=1, weight_filler=SMALL
        )
    net.rpn_cls_score_reshape = L.Reshape(net.rpn_cls_score, shape={"dim": [0, 2, -1, 0]})
    net.rpn_cls_prob = L.Softmax(net.rpn_cls_score_reshape)
    net.rpn_cls_prob_reshape = L.Reshape(net.rpn_cls_prob, shape={"dim": [0, 2 * ANCHORS, -1, 0]})
    net.rois = L.Proposal(
        net.rpn_cls_prob_reshape,
        net.rpn_bbox_pred,
        net.im_info,
        proposal_param={
            "feat_stride": 16,
            "base_size": 16,
            "min_size": 16,
            "ratio": list(RATIOS),
            "scale": list(SCALES),
            "pre_nms_topn": 6000,
            "post_nms_topn": count,
            "nms_thresh": 0.7,
        },
    )
    return net.rois


def faster(width: float = 1 / 16, size: int = 224, classes: int = 21, count: int = 20) -> Any:
    """Return the NetParameter of Faster R-CNN: scores and box codes of `count` proposals."""
    n = inputs(size)
    top = n.data
    for block, (layers, channels) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1
    ):
        for i in range(1, layers + 1):
            top = rectified(n, f"conv{block}_{i}", top, scaled(channels, width))
        if block < 5:
            n[f"pool{block}"] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
            top = n[f"pool{block}"]
    rois = proposals(n, top, scaled(512, width), count)
    n.pool5 = L.ROIPooling(top, rois, pooled_h=7, pooled_w=7, spatial_scale=1 / 16)
    top = n.pool5
    for name in ("fc6", "fc7"):
        n[name] = L.InnerProduct(top, num_output=scaled(4096, width), weight_filler=FILLER)
        n[f"relu_{name}"] = L.ReLU(n[name], in_place=True)
        top = n[f"relu_{name}"]
    n.cls_score = L.InnerProduct(top, num_output=classes, weight_filler=FILLER)
    n.bbox_pred = L.InnerProduct(top, num_output=4 * classes, weight_filler=FILLER)
    n.cls_prob = L.Softmax(n.cls_score)
    return n.to_proto()


def residual(net: Any, name: str, bottom: Any, channels: int, stride: int = 1) -> Any:
    """Return a bottleneck block with a projection."""
    top = with_batch_norm(net, f"{name}_a", bottom, max(1, channels // 4), 1, stride=stride)
    top = with_batch_norm(net, f"{name}_b", top, max(1, channels // 4), 3)
    top = with_batch_norm(net, f"{name}_c", top, channels, 1, slope=None)
    other = with_batch_norm(net, f"{name}_p", bottom, channels, 1, slope=None, stride=stride)
    net[name] = L.Eltwise(top, other)
    net[f"{name}_relu"] = L.ReLU(net[name], in_place=True)
    return net[f"{name}_relu"]


def rfcn(
    width: float = 1 / 16, size: int = 224, classes: int = 21, count: int = 20, k: int = 7
) -> Any:
    """Return the NetParameter of R-FCN: scores and box codes of `count` proposals, k x k bins."""
    n = inputs(size)
    top = with_batch_norm(n, "conv1", n.data, scaled(64, width), 7, stride=2)
    n.pool1 = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    top = n.pool1
    for stage, channels in enumerate((256, 512, 1024), 2):
        stride = 1 if stage == 2 else 2
        top = residual(n, f"res{stage}", top, scaled(channels, width), stride)
    rois = proposals(n, top, scaled(512, width), count)
    top = residual(n, "res5", top, scaled(2048, width))
    top = rectified(n, "conv_new_1", top, scaled(1024, width), 1)
    for name, values in (("cls", classes), ("bbox", 8)):
        n[f"rfcn_{name}"] = convolution(top, values * k * k, 1)
        n[f"psroipooled_{name}_rois"] = L.PSROIPooling(
            n[f"rfcn_{name}"], rois, spatial_scale=1 / 16, output_dim=values, group_size=k
        )
        n[f"ave_{name}_rois"] = L.Pooling(
            n[f"psroipooled_{name}_rois"], pool=P.Pooling.AVE, kernel_size=k, stride=k
        )
    n.cls_prob_pre = L.Softmax(n.ave_cls_rois)
    n.cls_prob = L.Reshape(n.cls_prob_pre, shape={"dim": [-1, classes]})
    n.bbox_pred = L.Reshape(n.ave_bbox_rois, shape={"dim": [-1, 8]})
    return n.to_proto()
