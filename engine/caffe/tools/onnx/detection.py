"""Writers of the layers that detect objects: priors, proposals, regions, detections."""

from __future__ import annotations

import numpy as np
import torch

from ...ops.boxes import CENTER_SIZE, CORNER
from .arrays import (
    END,
    Array,
    Size,
    constant,
    inputs,
    number,
    positions,
    product,
    size_of,
    sizes_of,
)
from .model import FLOAT, INT64, Model, Source, refusal, writes


@writes
def PriorBox(m: Model, source: Source) -> str:
    """Write the boxes as a constant; with free sizes, compute them from the sizes."""
    layer = source.layer
    free = any(source.is_free(axis, bottom) for bottom in (0, 1) for axis in (2, 3))
    if not free:
        maps = (torch.empty(shape) for shape in source.shapes)
        return m.constant(layer.compute(*maps).numpy())
    p = source.param.prior_box_param
    rows, columns = sizes_of(m, source, (2, 3))
    height, width = (
        fixed or p.img_size or number(size)
        for fixed, size in zip((p.img_h, p.img_w), sizes_of(m, source, (2, 3), bottom=1))
    )
    step_h = p.step_h or p.step or height / number(rows)
    step_w = p.step_w or p.step or width / number(columns)
    sides = np.array(layer.sides, np.float32) / 2
    half_w, half_h = (constant(m, sides[:, i]) for i in (0, 1))
    right, down, lower = (constant(m, shift) for shift in np.array(layer.shifts, np.float32).T)
    y = ((positions(m, rows) + p.offset).reshape(-1, 1, 1) + lower) * step_h + down
    x = ((positions(m, columns) + p.offset) * step_w).reshape(1, -1, 1) + right
    edges = [(x - half_w) / width, (y - half_h) / height]
    edges += [(x + half_w) / width, (y + half_h) / height]
    grid = [edge.expand(rows, columns, len(sides)).unsqueeze(3) for edge in edges]
    corners = grid[0].concat(3, *grid[1:])
    if p.clip:
        corners = corners.maximum(0.0).minimum(1.0)
    variance = np.resize(list(p.variance) or [0.1], 4)
    variances = corners * 0.0 + constant(m, variance)
    return corners.reshape(1, 1, -1).concat(1, variances.reshape(1, 1, -1)).name


def _decode(codes: Array, prior: Array, variance: Array | None, code: int) -> Array:
    """Return the boxes (... x P x 4) that codes describe relative to priors (... x P x 4)."""
    if variance is not None:
        codes = codes * variance
    low, high = prior.slice(-1, 0, 2), prior.slice(-1, 2, 4)
    if code == CORNER:
        return codes + prior
    sizes = high - low
    moved, scaled = codes.slice(-1, 0, 2), codes.slice(-1, 2, 4)
    if code != CENTER_SIZE:
        return (moved * sizes + low).concat(-1, scaled * sizes + high)
    centers = moved * sizes + (low + high) / 2.0
    halves = scaled.apply("Exp") * sizes / 2.0
    return (centers - halves).concat(-1, centers + halves)


def _suppress(
    m: Model, boxes: Array, scores: Array, limit: Size, overlap: float, least: float | None = None
) -> Array:
    """Return the rows (batch, class, box) that NonMaxSuppression selects.

    boxes: B x P x 4. scores: B x 1 x P. limit: the boxes that are selected at most of each batch.
    least: the score above which boxes are selected; None selects among all.
    """
    low = boxes.slice(-1, 0, 2)
    # A box with a negative side overlaps none; ONNX would exchange its corners.
    high = boxes.slice(-1, 2, 4).maximum(low)
    thresholds = [constant(m, [value]) for value in (overlap, least) if value is not None]
    count = limit if isinstance(limit, Array) else constant(m, [limit], INT64)
    return low.concat(-1, high).node("NonMaxSuppression", scores, count, *thresholds, kind=INT64)


@writes
def DetectionOutput(m: Model, source: Source) -> str:
    """Write the decoding of the boxes, TopK and NonMaxSuppression for each class."""
    layer, p = source.layer, source.param.detection_output_param
    nms = p.nms_param
    if len(source.inputs) == 1:
        raise refusal(layer, "the detection of YOLO", "end the net at its bottom")
    if nms.eta < 1:
        raise refusal(layer, f"nms_param.eta {nms.eta:g}, a threshold that falls,", "set eta: 1")
    count = size_of(m, source, 0)
    labels = [c for c in range(p.num_classes) if c != p.background_label_id]
    classes = constant(m, labels, INT64)
    size = size_of(m, source, 2, bottom=2) // 4
    boxes, scores = _candidates(m, source, len(labels), classes, count, size)
    if nms.HasField("top_k") and nms.top_k > -1 and (isinstance(size, Array) or nms.top_k < size):
        size = size.minimum(nms.top_k) if isinstance(size, Array) else nms.top_k
        scores, index = scores.top_k(size)
        index = index.unsqueeze(3).expand(1, 1, 1, 4)
        boxes = boxes.node("GatherElements", index, axis=2)
    least = p.confidence_threshold if p.HasField("confidence_threshold") else None
    batches, rows = boxes.reshape(-1, size, 4), scores.reshape(-1, 1, size)
    selected = _suppress(m, batches, rows, size, nms.nms_threshold, least)
    batch, place = (selected.column(i) for i in (0, 2))
    flat = batch * size + place
    score, corners = scores.reshape(-1).gather(flat), boxes.reshape(-1, 4).gather(flat)
    image = batch / len(labels)
    label = classes.gather(batch.node("Mod", len(labels)))
    columns = [c.to(FLOAT).unsqueeze(1) for c in (image, label, score)]
    detections = columns[0].concat(1, *columns[1:], corners)
    if p.keep_top_k > -1:
        detections = detections.gather(_best(m, score, image, count, p.keep_top_k))
    return _or_none(m, detections, count).name


def _candidates(
    m: Model, source: Source, kinds: int, classes: Array, count: Size, size: Size
) -> tuple[Array, Array]:
    """Return the decoded boxes, N x K x P x 4, and their scores, N x K x P.

    kinds, classes: the number K of classes without the background, and their labels. count, size:
    the numbers N of images and P of priors.
    """
    p = source.param.detection_output_param
    codes, confidence, priors, *first_stage = inputs(m, source)
    priors = priors.reshape(2, -1, 4)
    prior, variance = (priors.slice(0, i, i + 1).reshape(-1, 4) for i in (0, 1))
    factors = None if p.variance_encoded_in_target else variance
    scores = confidence.reshape(0, -1, p.num_classes).transpose(0, 2, 1).gather(classes, 1)
    if first_stage:
        objects, moves = (x.reshape(count, size, -1) for x in first_stage)
        moved = _decode(moves.slice(2, 0, 4), prior, factors, p.code_type)
        prior = moved.unsqueeze(1)
        background = objects.column(1).unsqueeze(1) < float(np.float32(p.objectness_score))
        scores = background.where(constant(m, 0.0), scores)
    located = 1 if p.share_location else p.num_classes
    each = codes.reshape(0, -1, located, 4).transpose(0, 2, 1, 3)
    boxes = _decode(each, prior, factors, p.code_type)
    if not p.share_location:
        boxes = boxes.gather(classes, 1)
    elif kinds > 1:
        boxes = boxes.expand(1, kinds, 1, 1)
    return boxes, scores


def _best(m: Model, score: Array, image: Array, count: Size, keep: int) -> Array:
    """Return the places of the `keep` best scores of each image, in rising order."""
    _, order = score.top_k(score.size(0), axis=0)
    images = positions(m, count).to(INT64)
    of_image = image.gather(order).unsqueeze(1).equals(images).to(FLOAT)
    ranks = of_image.node("CumSum", constant(m, 0, INT64)) * of_image
    kept = order.gather((ranks.sum(1, keepdims=False) <= float(keep)).nonzero())
    return kept.top_k(kept.size(0), axis=0, largest=False)[0]


def _or_none(m: Model, rows: Array, count: Size) -> Array:
    """Return detections as 1 x 1 x K x 7; without any, a row of -1 with each image's number."""
    images = positions(m, count).unsqueeze(1)
    empty = images.concat(1, constant(m, [[-1.0]]).expand(count, 6))
    needed = rows.size(0).equals(0).to(INT64) * count
    return rows.concat(0, empty.slice(0, 0, needed)).reshape(1, 1, -1, 7)


@writes
def Proposal(m: Model, source: Source) -> list[str]:
    """Write the anchors, the decoding, TopK and NonMaxSuppression."""
    p, layer = source.param.proposal_param, source.layer
    count = len(layer.anchors)
    scores, codes, info = inputs(m, source)
    info = info.reshape(-1)
    grid = _anchors(m, source)
    sizes = grid.slice(-1, 2, 4) - grid.slice(-1, 0, 2) + 1.0
    moves = codes.reshape(count, 4, -1).transpose(2, 0, 1)
    centers = grid.slice(-1, 0, 2) + sizes / 2.0 + moves.slice(-1, 0, 2) * sizes
    halves = moves.slice(-1, 2, 4).apply("Exp") * sizes / 2.0
    boxes = (centers - halves).concat(-1, centers + halves).reshape(-1, 4)
    limits = info.gather(constant(m, [1, 0, 1, 0], INT64)) - 1.0
    boxes = boxes.maximum(0.0).minimum(limits)
    objects = scores.slice(1, count, 2 * count).reshape(count, -1).transpose(1, 0).reshape(-1)
    sides = boxes.slice(-1, 2, 4) - boxes.slice(-1, 0, 2) + 1.0
    large = sides >= info.slice(0, 2, 3) * float(p.min_size)
    index = (large.column(0) & large.column(1)).nonzero()
    limit: Size = index.size(0)
    if p.pre_nms_topn:
        limit = index.size(0).minimum(p.pre_nms_topn)
    best, order = objects.gather(index).top_k(limit, axis=0)
    boxes = boxes.gather(index.gather(order))
    # ONNX measures a side as xmax - xmin, without the one pixel more.
    larger = boxes + constant(m, [0.0, 0.0, 1.0, 1.0])
    selected = _suppress(
        *(m, larger.unsqueeze(0), best.reshape(1, 1, -1)),
        *(p.post_nms_topn or END, p.nms_thresh),
    ).column(2)
    rois = boxes.gather(selected)
    images = rois.slice(1, 0, 1) * 0.0
    return [images.concat(1, rois).name, best.gather(selected).unsqueeze(1).name]


def _anchors(m: Model, source: Source) -> Array:
    """Return the anchors at every position, (H W) x A x 4."""
    stride = float(source.param.proposal_param.feat_stride)
    rows, columns = sizes_of(m, source, (2, 3))
    y = (positions(m, rows) * stride).unsqueeze(1).expand(1, columns).reshape(-1, 1, 1)
    x = (positions(m, columns) * stride).unsqueeze(0).expand(rows, 1).reshape(-1, 1, 1)
    return x.concat(2, y, x, y) + constant(m, source.layer.anchors)


@writes
def ROIPooling(m: Model, source: Source) -> str:
    """Write MaxRoiPool."""
    p = source.param.roi_pooling_param
    if p.pad_ratio:
        raise refusal(source.layer, f"pad_ratio {p.pad_ratio:g}", "pad the regions in the net")
    regions = Array(m, source.inputs[1]).reshape(-1, 5).name
    shape = [p.pooled_h, p.pooled_w]
    scale = p.spatial_scale
    return m.add("MaxRoiPool", source.input, regions, pooled_shape=shape, spatial_scale=scale)


@writes
def ROIAlign(m: Model, source: Source) -> str:
    """Write RoiAlign."""
    p = source.param.roi_align_param
    rois = Array(m, source.inputs[1]).reshape(-1, 5)
    return m.add(
        "RoiAlign",
        *(source.input, rois.slice(1, 1, 5).name, rois.column(0).to(INT64).name),
        coordinate_transformation_mode="output_half_pixel",
        output_height=p.pooled_h,
        output_width=p.pooled_w,
        sampling_ratio=max(1, p.sample_num),
        spatial_scale=p.spatial_scale,
    )


@writes
def PSROIPooling(m: Model, source: Source) -> str:
    """Write masks of each bin's rows and columns, and MatMul with the maps.

    The sums over a bin's rows are a product of R x (N H) masks and (N H) x (D k W) values for each
    row of bins.
    """
    p = source.param.psroi_pooling_param
    k, scale = p.group_size, p.spatial_scale
    x, rois = inputs(m, source)
    count, (height, width) = size_of(m, source, 0), sizes_of(m, source, (2, 3))
    rois = rois.reshape(-1, 5)
    corners = rois.slice(1, 1, 5)
    rounded = corners.apply("Sign") * (corners.apply("Abs") + 0.5).apply("Floor")
    starts = rounded.slice(1, 0, 2) * scale
    lengths = ((rounded.slice(1, 2, 4) + 1.0) * scale - starts).maximum(0.1) / float(k)
    columns, rows = (
        _bin_masks(m, starts.slice(1, i, i + 1), lengths.slice(1, i, i + 1), k, size)
        for i, size in enumerate((width, height))
    )
    area = rows.sum(2) * columns.sum(2).transpose(0, 2, 1)
    of_image = rois.slice(1, 0, 1).equals(positions(m, count)).to(FLOAT)
    masks = rows.unsqueeze(2) * of_image.unsqueeze(1, 3)
    masks = masks.reshape(0, k, -1).transpose(1, 0, 2)
    maps = x.reshape(0, p.output_dim, k, k, height, width).transpose(2, 0, 4, 1, 3, 5)
    values = maps.reshape(k, product((count, height)), -1)
    strips = masks.matmul(values).reshape(k, -1, p.output_dim, k, width)
    sums = (strips * columns.unsqueeze(1)).sum(4, keepdims=False).transpose(1, 2, 0, 3)
    return (sums / area.maximum(1.0).unsqueeze(1)).name


def _bin_masks(m: Model, start: Array, length: Array, bins: int, size: Size) -> Array:
    """Return which positions 0 .. size - 1 each bin covers, R x bins x size."""
    index = constant(m, np.arange(bins))
    first = (length * index + start).apply("Floor").unsqueeze(2)
    last = (length * (index + 1.0) + start).apply("Ceil").unsqueeze(2)
    place = positions(m, size)
    return ((first <= place) & (last > place)).to(FLOAT)
