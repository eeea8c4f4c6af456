"""R-FCN as py-R-FCN trains it end to end, with online hard example mining (Dai et al. 2016)."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, rectified, scaled, with_batch_norm
from .rcnn import ANCHORS, SMALL, residual


def python(module: str, layer: str, ntop: int, *bottoms: Any, settings: str = "") -> Any:
    """Return a Python layer of py-faster-rcnn."""
    text = settings or "'feat_stride': 16"
    return L.Python(*bottoms, ntop=ntop, module=module, layer=layer, param_str=text)


def proposals(net: Any, top: Any, channels: int) -> Any:
    """Return the regions that a region proposal network proposes, and add its losses."""
    top = rectified(net, "rpn_conv/3x3", top, channels)
    for name, values in (("cls_score", 2), ("bbox_pred", 4)):
        net[f"rpn_{name}"] = L.Convolution(
            top, num_output=values * ANCHORS, kernel_size=1, weight_filler=SMALL
        )
    net.rpn_cls_score_reshape = L.Reshape(net.rpn_cls_score, shape={"dim": [0, 2, -1, 0]})
    targets = python(
        *("rpn.anchor_target_layer", "AnchorTargetLayer", 4),
        *(net.rpn_cls_score, net.gt_boxes, net.im_info, net.data),
    )
    names = ("labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights")
    for name, target in zip(names, targets):
        net[f"rpn_{name}"] = target
    net.rpn_loss_cls = L.SoftmaxWithLoss(
        *(net.rpn_cls_score_reshape, net.rpn_labels),
        propagate_down=[True, False],
        loss_param={"ignore_label": -1, "normalize": True},
    )
    net.rpn_loss_bbox = L.SmoothL1Loss(
        *(net.rpn_bbox_pred, *targets[1:]), smooth_l1_loss_param={"sigma": 3}
    )
    net.rpn_cls_prob = L.Softmax(net.rpn_cls_score_reshape)
    net.rpn_cls_prob_reshape = L.Reshape(net.rpn_cls_prob, shape={"dim": [0, 2 * ANCHORS, -1, 0]})
    net.rpn_rois = python(
        *("rpn.proposal_layer", "ProposalLayer", 1),
        *(net.rpn_cls_prob_reshape, net.rpn_bbox_pred, net.im_info),
    )
    return net.rpn_rois


def mined_losses(net: Any, labels: Any, targets: Any, inside: Any, count: int) -> None:
    """Add the losses of the `count` regions with the largest losses of an image."""
    off = {"loss_weight": [0, 0, 0], "propagate_down": [False, False]}
    net.temp_loss_cls, net.temp_prob_cls, net.per_roi_loss_cls = L.SoftmaxWithLossOHEM(
        net.cls_score, labels, ntop=3, **off
    )
    off = {"loss_weight": [0, 0], "propagate_down": [False] * 3}
    net.temp_loss_bbox, net.per_roi_loss_bbox = L.SmoothL1LossOHEM(
        net.bbox_pred, targets, inside, ntop=2, **off
    )
    net.per_roi_loss = L.Eltwise(
        net.per_roi_loss_cls, net.per_roi_loss_bbox, propagate_down=[False, False]
    )
    net.labels_ohem, net.bbox_loss_weights_ohem = L.BoxAnnotatorOHEM(
        *(net.rois, net.per_roi_loss, labels, inside),
        ntop=2,
        propagate_down=[False] * 4,
        box_annotator_ohem_param={"roi_per_img": count, "ignore_label": -1},
    )
    net.silence = L.Silence(
        *(net.bbox_outside_weights, net.temp_loss_cls, net.temp_prob_cls, net.temp_loss_bbox),
        ntop=0,
    )
    net.loss_cls = L.SoftmaxWithLoss(
        *(net.cls_score, net.labels_ohem),
        loss_weight=1,
        propagate_down=[True, False],
        loss_param={"ignore_label": -1},
    )
    net.accuarcy = L.Accuracy(net.cls_score, net.labels_ohem, accuracy_param={"ignore_label": -1})
    net.loss_bbox = L.SmoothL1LossOHEM(
        *(net.bbox_pred, targets, net.bbox_loss_weights_ohem),
        loss_weight=1,
        propagate_down=[True, False, False],
        loss_param={"normalization": P.Loss.PRE_FIXED, "pre_fixed_normalizer": count},
    )


def rfcn_ohem(width: float = 1 / 16, classes: int = 4, k: int = 3, count: int = 128) -> Any:
    """Return the NetParameter of R-FCN with class-agnostic boxes, in training.

    classes: with the background. k: bins on a side. count: the regions of an image that count.
    """
    n = caffe.NetSpec()
    n.data, n.im_info, n.gt_boxes = python(
        "roi_data_layer.layer", "RoIDataLayer", 3, settings=f"'num_classes': {classes}"
    )
    top = with_batch_norm(n, "conv1", n.data, scaled(64, width), 7, stride=2)
    n.pool1 = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    for stage, channels in enumerate((256, 512, 1024), 2):
        stride = 1 if stage == 2 else 2
        top = residual(n, f"res{stage}", top, scaled(channels, width), stride)
    rois = proposals(n, top, scaled(512, width))
    names = ("labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights")
    n.rois, *targets = python(
        *("rpn.proposal_target_layer", "ProposalTargetLayer", 5),
        *(rois, n.gt_boxes),
        settings="{'num_classes': 2, 'batch_size': -1}",
    )
    for name, target in zip(names, targets):
        n[name] = target
    top = residual(n, "res5", top, scaled(2048, width))
    top = rectified(n, "conv_new_1", top, scaled(1024, width), 1)
    for name, pooled, values in (("cls", "cls_score", classes), ("bbox", "bbox_pred", 8)):
        n[f"rfcn_{name}"] = convolution(top, values * k * k, 1)
        n[f"psroipooled_{name}_rois"] = L.PSROIPooling(
            n[f"rfcn_{name}"], n.rois, spatial_scale=1 / 16, output_dim=values, group_size=k
        )
        n[pooled] = L.Pooling(
            n[f"psroipooled_{name}_rois"], pool=P.Pooling.AVE, kernel_size=k, stride=k
        )
    mined_losses(n, n.labels, n.bbox_targets, n.bbox_inside_weights, count)
    return n.to_proto()
