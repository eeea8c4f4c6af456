"""DetectNet on GoogLeNet (Tao, Barker & Sarathy 2016), as DIGITS trains it: data, loss, scores."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import rectified, scaled

#: GoogLeNet's inception modules (Szegedy et al. 2014, table 1). DetectNet leaves out the pooling
#: before 5a, so that its stride is 16.
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
STRIDE = 16
TRAIN, VALIDATE = {"phase": caffe.TRAIN}, {"phase": caffe.TEST, "stage": ["val"]}
DEPLOY = {"phase": caffe.TEST, "not_stage": ["val"]}
#: The published changes of KITTI's pictures, of which shifts are a smaller part.
AUGMENTATION = {
    "crop_prob": 1.0,
    "flip_prob": 0.5,
    "rotation_prob": 0.0,
    "max_rotate_degree": 5.0,
    "scale_prob": 0.4,
    "scale_min": 0.8,
    "scale_max": 1.2,
    "hue_rotation_prob": 0.8,
    "hue_rotation": 30.0,
    "desaturation_prob": 0.8,
    "desaturation_max": 0.8,
}


def ground_truth(size: int, classes: int, crop: bool) -> dict[str, Any]:
    """Return detectnet_groundtruth_param for images of size x size with these label classes."""
    return {
        "stride": STRIDE,
        "scale_cvg": 0.4,
        "gridbox_type": P.DetectNetGroundTruth.GRIDBOX_MIN,
        "coverage_type": P.DetectNetGroundTruth.RECTANGULAR,
        "min_cvg_len": 20,
        "obj_norm": True,
        "image_size_x": size,
        "image_size_y": size,
        "crop_bboxes": crop,
        "object_class": [{"src": label, "dst": 0} for label in range(1, classes + 1)],
    }


def data(folder: str, phase: str, size: int, batch: int, classes: int, shift: int) -> Any:
    """Return the NetParameter of the layers that read `phase` ("train", "val" or "deploy")."""
    n = caffe.NetSpec()
    if phase == "deploy":
        n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}}, include=DEPLOY)
        n.transformed_data = L.Power(n.data, shift=-127, include=DEPLOY)
        return n.to_proto()
    rule = TRAIN if phase == "train" else VALIDATE
    for name, kind in (("data", "images"), ("label", "labels")):
        source = f"{folder}/{phase}_{kind}"
        n[name] = L.Data(source=source, batch_size=batch, backend=P.Data.LMDB, include=rule)
    shifts = {"shift_x": shift, "shift_y": shift}
    changes = {"detectnet_augmentation_param": {**AUGMENTATION, **shifts}}
    n.transformed_data, n.transformed_label = L.DetectNetTransformation(
        *(n.data, n.label),
        ntop=2,
        detectnet_groundtruth_param=ground_truth(size, classes, phase == "train"),
        transform_param={"mean_value": 127},
        include=rule,
        **(changes if phase == "train" else {}),
    )
    return n.to_proto()


def trunk(net: Any, bottom: Any, width: float) -> Any:
    """Return the top of GoogLeNet's convolutions, at stride 16."""
    pool = {"pool": P.Pooling.MAX, "kernel_size": 3}
    top = rectified(net, "conv1/7x7_s2", bottom, scaled(64, width), 7, stride=2)
    net["pool1/3x3_s2"] = L.Pooling(top, stride=2, **pool)
    net["pool1/norm1"] = L.LRN(net["pool1/3x3_s2"], local_size=5, alpha=1e-4, beta=0.75)
    top = rectified(net, "conv2/3x3_reduce", net["pool1/norm1"], scaled(64, width), 1)
    top = rectified(net, "conv2/3x3", top, scaled(192, width))
    net["conv2/norm2"] = L.LRN(top, local_size=5, alpha=1e-4, beta=0.75)
    net["pool2/3x3_s2"] = top = L.Pooling(net["conv2/norm2"], stride=2, **pool)
    for module, channels in INCEPTION.items():
        if module == "4a":
            net["pool3/3x3_s2"] = top = L.Pooling(top, stride=2, **pool)
        ones, reduce3, threes, reduce5, fives, pooled = (scaled(c, width) for c in channels)
        name = f"inception_{module}"
        first = rectified(net, f"{name}/1x1", top, ones, 1)
        middle = rectified(net, f"{name}/3x3_reduce", top, reduce3, 1)
        middle = rectified(net, f"{name}/3x3", middle, threes)
        last = rectified(net, f"{name}/5x5_reduce", top, reduce5, 1)
        last = rectified(net, f"{name}/5x5", last, fives, 5)
        net[f"{name}/pool"] = L.Pooling(top, stride=1, pad=1, **pool)
        side = rectified(net, f"{name}/pool_proj", net[f"{name}/pool"], pooled, 1)
        net[f"{name}/output"] = top = L.Concat(first, middle, last, side)
    return top


def heads(net: Any, top: Any) -> None:
    """Add the coverage and the boxes."""
    net["pool5/drop_s1"] = L.Dropout(top, dropout_ratio=0.4)
    # Small, because GoogLeNet without batch normalization keeps the scale of the pixels.
    filler = {"type": "gaussian", "std": 0.001}
    for name, channels in (("cvg/classifier", 1), ("bboxes", 4)):
        net[name] = L.Convolution(
            net["pool5/drop_s1"], num_output=channels, kernel_size=1, weight_filler=filler
        )
    net.coverage = L.Sigmoid(net["cvg/classifier"])


def losses(net: Any) -> None:
    """Add the label's parts, and the losses of boxes, where objects are, and of the coverage."""
    include = [TRAIN, VALIDATE]
    names = ("foreground-label", "bbox-label", "size-label", "obj-label", "coverage-label")
    parts = L.Slice(
        net.transformed_label,
        ntop=5,
        slice_param={"slice_dim": 1, "slice_point": [1, 5, 7, 8]},
        include=include,
    )
    for name, part in zip(names, parts):
        net[name] = part

    def product(name: str, *bottoms: str) -> Any:
        net[name] = L.Eltwise(*(net[b] for b in bottoms), operation=P.Eltwise.PROD, include=include)

    for name, part, times in (("coverage", 0, 4), ("size", 2, 2), ("obj", 3, 4)):
        net[f"{name}-block"] = L.Concat(*[parts[part]] * times, concat_dim=1, include=include)
    product("bbox-label-norm", "bbox-label", "size-block")
    product("bbox-obj-label-norm", "bbox-label-norm", "obj-block")
    product("bboxes-masked", "bboxes", "coverage-block")
    product("bboxes-masked-norm", "bboxes-masked", "size-block")
    product("bboxes-obj-masked-norm", "bboxes-masked-norm", "obj-block")
    net.loss_bbox = L.L1Loss(
        net["bboxes-obj-masked-norm"], net["bbox-obj-label-norm"], loss_weight=2, include=include
    )
    net.loss_coverage = L.EuclideanLoss(net.coverage, net["coverage-label"], include=include)


def scores(net: Any, size: int, clustering: str) -> None:
    """Add the detections, and in validation their precision and recall."""
    package = "caffe.layers.detectnet"
    net["bbox-list"] = L.Python(
        *(net.coverage, net.bboxes),
        module=f"{package}.clustering",
        layer="ClusterDetections",
        param_str=f"{size}, {size}, {STRIDE}, {clustering}, 1",
        include={"phase": caffe.TEST},
    )
    net["bbox-list-label"] = L.Python(
        *(net["coverage-label"], net["bbox-label"]),
        module=f"{package}.clustering",
        layer="ClusterGroundtruth",
        param_str=f"{size}, {size}, {STRIDE}, 1",
        include=VALIDATE,
    )
    net["bbox-list-scored"] = L.Python(
        *(net["bbox-list-label"], net["bbox-list"]),
        module=f"{package}.mean_ap",
        layer="ScoreDetections",
        include=VALIDATE,
    )
    net.mAP, net.precision, net.recall = L.Python(
        net["bbox-list-scored"],
        ntop=3,
        module=f"{package}.mean_ap",
        layer="mAP",
        param_str=f"{size}, {size}, {STRIDE}",
        include=VALIDATE,
    )


def train_val(
    folder: str,
    width: float = 1 / 8,
    size: int = 128,
    batch: int = 4,
    classes: int = 1,
    clustering: str = "0.6, 3, 0.02, 22",
    shift: int = 32,
) -> Any:
    """Return the NetParameter of DetectNet for training, validation (stage "val") and inference.

    folder: where the databases train_images, train_labels, val_images and val_labels lie.
    classes: label classes from 1 on, all of which are objects.
    clustering: the least coverage, the group size, eps, and the least height of a detection.
    shift: the pixels by which a training image moves at most.
    """
    parameter = caffe.proto.caffe_pb2.NetParameter(name="DetectNet")
    for phase in ("train", "val", "deploy"):
        parameter.layer.extend(data(folder, phase, size, batch, classes, shift).layer)
    n = caffe.NetSpec()
    n.transformed_data, n.transformed_label = L.Input(ntop=2)
    heads(n, trunk(n, n.transformed_data, width))
    losses(n)
    scores(n, size, clustering)
    parameter.layer.extend(x for x in n.to_proto().layer if x.type != "Input")
    return parameter
