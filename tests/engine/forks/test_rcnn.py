"""The layers of the R-CNN family against OpenCV, plain loops and finite differences."""

import caffe
import numpy as np
import pytest
from caffe import CaffeError
from caffe import layers as L

from tests.engine.forks.peers import (
    assert_as_opencv,
    assert_close,
    assert_gradients,
    build,
    fill,
    opencv_outputs,
)


@pytest.fixture
def draw():
    return np.random.RandomState(5)


def inputs(**shapes):
    n = caffe.NetSpec()
    for name, shape in shapes.items():
        n[name] = L.Input(shape={"dim": list(shape)})
    return n


def train(folder, spec):
    """The net of a NetSpec with gradients for its inputs."""
    proto = spec.to_proto()
    proto.force_backward = True
    path = folder / "net.prototxt"
    path.write_text(str(proto))
    return caffe.Net(str(path), caffe.TRAIN)


def regions(draw, count, size=128.0, images=1):
    low = draw.rand(count, 2) * size * 0.7
    high = low + 4 + draw.rand(count, 2) * size * 0.4
    return np.concatenate([draw.randint(images, size=(count, 1)), low, high], 1)


def test_roi_pooling_agrees_with_opencv(tmp_path, draw):
    n = inputs(x=(1, 3, 16, 20), rois=(9, 5))
    n.pool = L.ROIPooling(n.x, n.rois, pooled_h=3, pooled_w=4, spatial_scale=0.125)
    arrays = {"x": draw.randn(1, 3, 16, 20), "rois": regions(draw, 9)}
    assert_as_opencv(tmp_path, n, arrays, ["pool"])


def test_psroi_pooling_agrees_with_opencv(tmp_path, draw):
    n = inputs(x=(1, 2 * 9, 16, 20), rois=(9, 5))
    n.pool = L.PSROIPooling(n.x, n.rois, output_dim=2, group_size=3, spatial_scale=0.125)
    arrays = {"x": draw.randn(1, 18, 16, 20), "rois": regions(draw, 9)}
    assert_as_opencv(tmp_path, n, arrays, ["pool"])


def test_the_first_of_equal_maxima_gets_the_gradient_and_an_empty_bin_none(tmp_path):
    n = inputs(x=(1, 1, 4, 4), rois=(2, 5))
    n.pool = L.ROIPooling(n.x, n.rois, pooled_h=2, pooled_w=2, spatial_scale=1)
    net = train(tmp_path, n)
    net.blobs["rois"].data[...] = [[0, 0, 0, 3, 3], [0, 9, 9, 12, 12]]
    net.forward()
    net.blobs["pool"].diff[...] = 1
    net.backward()
    expected = np.zeros((4, 4))
    expected[::2, ::2] = 1
    assert np.array_equal(net.blobs["x"].diff[0, 0], expected)


def test_regions_of_several_images_are_pooled_from_their_own(tmp_path, draw):
    n = inputs(x=(3, 4, 8, 8), rois=(6, 5))
    n.pool = L.ROIPooling(n.x, n.rois, pooled_h=2, pooled_w=2, spatial_scale=0.0625)
    n.mean = L.PSROIPooling(n.x, n.rois, output_dim=1, group_size=2, spatial_scale=0.0625)
    net, _ = build(tmp_path, n)
    x, rois = draw.randn(3, 4, 8, 8).astype(np.float32), regions(draw, 6, images=3)
    fill(net, {"x": x, "rois": rois})
    out = {name: value.copy() for name, value in net.forward().items()}
    for i, roi in enumerate(rois):
        fill(net, {"x": np.roll(x, -int(roi[0]), 0), "rois": np.tile([0, *roi[1:]], (6, 1))})
        again = net.forward()
        for name in ("pool", "mean"):
            np.testing.assert_array_equal(again[name][0], out[name][i])


def test_a_pad_ratio_enlarges_the_regions(tmp_path, draw):
    n = inputs(x=(1, 2, 16, 16), rois=(1, 5), larger=(1, 5))
    settings = {"pooled_h": 3, "pooled_w": 3, "spatial_scale": 0.5}
    n.padded = L.ROIPooling(n.x, n.rois, pad_ratio=0.5, **settings)
    n.plain = L.ROIPooling(n.x, n.larger, **settings)
    net, _ = build(tmp_path, n)
    x = draw.randn(1, 2, 16, 16)
    fill(net, {"x": x, "rois": [[0, 10, 12, 17, 15]], "larger": [[0, 6, 10, 21, 17]]})
    out = net.forward()
    np.testing.assert_array_equal(out["padded"], out["plain"])


@pytest.mark.parametrize("rows", [[[2, 0, 0, 4, 4]], [[-1, 0, 0, 4, 4]]])
def test_a_region_of_a_missing_image_is_refused(tmp_path, rows):
    n = inputs(x=(1, 2, 16, 16), rois=(1, 5))
    n.pool = L.ROIPooling(n.x, n.rois, pooled_h=2, pooled_w=2)
    net, _ = build(tmp_path, n)
    fill(net, {"rois": rows})
    with pytest.raises(CaffeError, match="layer 'pool' .ROIPooling.*for 1 images"):
        net.forward()


def test_the_gradients_of_region_pooling_are_right(tmp_path, draw):
    n = inputs(x=(2, 4, 6, 6), rois=(3, 5), a=(3, 4, 2, 2), b=(3, 1, 2, 2))
    n.pool = L.ROIPooling(n.x, n.rois, pooled_h=2, pooled_w=2, spatial_scale=0.05)
    n.mean = L.PSROIPooling(n.x, n.rois, output_dim=1, group_size=2, spatial_scale=0.05)
    n.both = L.EuclideanLoss(n.pool, n.a)
    n.second = L.EuclideanLoss(n.mean, n.b)
    n.loss = L.Eltwise(n.both, n.second, loss_weight=1)
    net = train(tmp_path, n)
    net.blobs["both"].diff[...] = net.blobs["second"].diff[...] = 0
    shapes = {name: net.blobs[name].shape for name in ("x", "a", "b")}
    fill(net, {name: draw.randn(*shape) for name, shape in shapes.items()})
    fill(net, {"rois": regions(draw, 3, images=2)})
    assert net.blobs["rois"].diff.any() == np.False_
    assert_gradients(net, "loss", [net.blobs["x"]], tolerance=5e-2)


def proposal_inputs(draw, anchors=9, rows=6, columns=8):
    return {
        "prob": draw.rand(1, 2 * anchors, rows, columns),
        "codes": 0.3 * draw.randn(1, 4 * anchors, rows, columns),
        "info": np.array([[96, 128, 1.0]]),
    }


def plain_proposals(arrays, topn, post, threshold, minimum, stride=16, base=16):
    """Proposals in plain loops, after the paper and py-faster-rcnn."""
    prob, codes, (height, width, scale) = arrays["prob"][0], arrays["codes"][0], arrays["info"][0]
    anchors = []
    for ratio in (0.5, 1, 2):
        w = round(np.sqrt(base * base / ratio))
        h = round(w * ratio)
        anchors += [(w * s, h * s) for s in (8, 16, 32)]
    rows = []
    for y in range(prob.shape[1]):
        for x in range(prob.shape[2]):
            for a, (w, h) in enumerate(anchors):
                dx, dy, dw, dh = codes[4 * a : 4 * a + 4, y, x]
                cx = x * stride + (base - 1) / 2 + 0.5 + dx * w
                cy = y * stride + (base - 1) / 2 + 0.5 + dy * h
                half_w, half_h = w * np.exp(dw) / 2, h * np.exp(dh) / 2
                x1, x2 = np.clip([cx - half_w, cx + half_w], 0, width - 1)
                y1, y2 = np.clip([cy - half_h, cy + half_h], 0, height - 1)
                if min(x2 - x1, y2 - y1) + 1 >= minimum * scale:
                    rows.append((prob[len(anchors) + a, y, x], x1, y1, x2, y2))
    rows = sorted(rows, key=lambda row: -row[0])[:topn]
    kept = []
    for row in rows:
        keep = True
        for other in kept:
            w = max(0, min(row[3], other[3]) - max(row[1], other[1]) + 1)
            h = max(0, min(row[4], other[4]) - max(row[2], other[2]) + 1)
            sizes = [(r[3] - r[1] + 1) * (r[4] - r[2] + 1) for r in (row, other)]
            keep = keep and w * h / (sum(sizes) - w * h) <= threshold
        if keep:
            kept.append(row)
    return np.array(kept[:post])


@pytest.mark.parametrize("settings", [(6000, 300, 0.7, 16), (80, 10, 0.5, 40)])
def test_proposals_agree_with_plain_loops(tmp_path, draw, settings):
    topn, post, threshold, minimum = settings
    arrays = proposal_inputs(draw)
    n = inputs(**{name: value.shape for name, value in arrays.items()})
    n.rois, n.scores = L.Proposal(
        *(n.prob, n.codes, n.info),
        ntop=2,
        proposal_param={
            **{"pre_nms_topn": topn, "post_nms_topn": post},
            **{"nms_thresh": threshold, "min_size": minimum},
        },
    )
    net, _ = build(tmp_path, n)
    fill(net, arrays)
    out = net.forward()
    expected = plain_proposals(arrays, topn, post, threshold, minimum)
    assert 3 < len(expected) == len(out["rois"])
    assert_close(out["scores"][:, 0], expected[:, 0])
    assert (out["rois"][:, 0] == 0).all()
    assert_close(out["rois"][:, 1:], expected[:, 1:])


def test_proposals_agree_with_opencv(tmp_path, draw):
    arrays = proposal_inputs(draw)
    n = inputs(**{name: value.shape for name, value in arrays.items()})
    settings = {"feat_stride": 16, "base_size": 16, "min_size": 1, "nms_thresh": 0.7}
    settings.update(ratio=[0.5, 1, 2], scale=[8, 16, 32], pre_nms_topn=400, post_nms_topn=30)
    n.rois = L.Proposal(n.prob, n.codes, n.info, proposal_param=settings)
    net, path = build(tmp_path, n)
    fill(net, arrays)
    ours = net.forward()["rois"]
    theirs = opencv_outputs(tmp_path, net, path, arrays, ["rois"])["rois"]
    assert_close(ours, theirs[: len(ours)])


@pytest.mark.parametrize("bottoms", [2, 3, 4])
def test_smooth_l1_agrees_with_the_paper(tmp_path, draw, bottoms):
    names = ["x", "t", "inside", "outside"][:bottoms]
    n = inputs(**{name: (4, 6) for name in names})
    n.loss = L.SmoothL1Loss(*[n[name] for name in names], sigma=2)
    net = train(tmp_path, n)
    arrays = {name: draw.randn(4, 6) for name in names}
    arrays = {name: abs(v) if name in ("inside", "outside") else v for name, v in arrays.items()}
    fill(net, arrays)
    total = 0
    for i in np.ndindex(4, 6):
        d = arrays.get("inside", np.ones((4, 6)))[i] * (arrays["x"][i] - arrays["t"][i])
        distance = 0.5 * (2 * d) ** 2 if abs(d) < 0.25 else abs(d) - 0.125
        total += arrays.get("outside", np.ones((4, 6)))[i] * distance
    net.forward()
    assert float(net.blobs["loss"].data) == pytest.approx(total / 4, rel=1e-5)


def test_the_gradients_of_smooth_l1_are_right(tmp_path, draw):
    n = inputs(x=(4, 6), t=(4, 6))
    n.loss = L.SmoothL1Loss(n.x, n.t)
    net = train(tmp_path, n)
    fill(net, {"x": draw.randn(4, 6), "t": draw.randn(4, 6)})
    assert_gradients(net, "loss", [net.blobs["x"], net.blobs["t"]])


def mining(draw):
    n = inputs(score=(8, 3), labels=(8,), x=(8, 4), t=(8, 4), w=(8, 4), rois=(8, 5))
    n.class_loss, n.prob, n.class_rows = L.SoftmaxWithLossOHEM(
        n.score, n.labels, ntop=3, loss_weight=[1, 0, 0]
    )
    n.box_loss, n.box_rows = L.SmoothL1LossOHEM(
        *(n.x, n.t, n.w),
        ntop=2,
        loss_weight=[1, 0],
        loss_param={"normalization": "PRE_FIXED", "pre_fixed_normalizer": 5},
    )
    arrays = {"score": draw.randn(8, 3), "labels": draw.randint(3, size=8), "w": draw.rand(8, 4)}
    arrays.update(x=draw.randn(8, 4), t=draw.randn(8, 4), rois=regions(draw, 8, images=2))
    return n, arrays


def test_losses_come_row_by_row(tmp_path, draw):
    n, arrays = mining(draw)
    net, _ = build(tmp_path, n)
    fill(net, arrays)
    out = net.forward()
    exps = np.exp(arrays["score"])
    rows = -np.log(exps[np.arange(8), arrays["labels"]] / exps.sum(1))
    assert_close(out["class_rows"], rows)
    assert float(out["class_loss"]) == pytest.approx(rows.mean(), rel=1e-5)
    d = np.abs(arrays["w"] * (arrays["x"] - arrays["t"]))
    distance = np.where(d < 1, 0.5 * d * d, d - 0.5)
    assert_close(out["box_rows"].ravel(), distance.sum(1))
    assert float(out["box_loss"]) == pytest.approx(distance.sum() / 5, rel=1e-5)


def test_the_hardest_regions_of_each_image_keep_their_labels(tmp_path, draw):
    n = inputs(rois=(8, 5), losses=(8,), labels=(8,), weights=(8, 4))
    n.hard, n.hard_weights = L.BoxAnnotatorOHEM(
        *(n.rois, n.losses, n.labels, n.weights), ntop=2, roi_per_img=2, ignore_label=-1
    )
    net, _ = build(tmp_path, n)
    rois = regions(draw, 8)
    rois[:, 0] = [0, 0, 0, 0, 1, 1, 1, 1]
    losses, labels = [5, 1, 7, 6, 1, 2, 2, 0], np.arange(8)
    weights = draw.rand(8, 4)
    fill(net, {"rois": rois, "losses": losses, "labels": labels, "weights": weights})
    out = net.forward()
    assert out["hard"].tolist() == [-1, -1, 2, 3, -1, 5, 6, -1]
    kept = out["hard"] >= 0
    assert_close(out["hard_weights"], weights * kept[:, None])


def test_the_gradients_of_losses_with_rows_are_right(tmp_path, draw):
    n, arrays = mining(draw)
    net = train(tmp_path, n)
    fill(net, arrays)
    assert_gradients(net, "class_loss", [net.blobs["score"]])
    assert_gradients(net, "box_loss", [net.blobs["x"], net.blobs["t"]])


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_dropout_scales_in_training_or_in_testing(tmp_path, phase):
    n = inputs(data=(100, 100))
    n.train = L.Dropout(n.data, dropout_ratio=0.25)
    n.test = L.Dropout(n.data, dropout_ratio=0.25, scale_train=False)
    net, _ = build(tmp_path, n, phase)
    fill(net, {"data": 1})
    out = net.forward()
    values = {name: sorted(set(np.round(out[name], 4).ravel())) for name in ("train", "test")}
    if phase == caffe.TRAIN:
        assert np.allclose(values["train"], [0, 4 / 3], atol=1e-4) and values["test"] == [0, 1]
    else:
        assert values == {"train": [1], "test": [0.75]}


@pytest.mark.parametrize(
    "settings", ["'feat_stride': 16", "{'feat_stride': 16, 'scales': [8, 16, 32]}"]
)
@pytest.mark.parametrize("module", ["rpn.proposal_layer", "detector.rpn.proposal_layer"])
def test_the_python_layer_of_faster_rcnn_runs_without_its_module(tmp_path, draw, module, settings):
    arrays = proposal_inputs(draw)
    n = inputs(**{name: value.shape for name, value in arrays.items()})
    bottoms = (n.prob, n.codes, n.info)
    n.rois = L.Python(*bottoms, module=module, layer="ProposalLayer", param_str=settings)
    n.other = L.Proposal(*bottoms)
    net, _ = build(tmp_path, n)
    fill(net, arrays)
    out = net.forward()
    assert out["rois"].shape[0] > 5
    np.testing.assert_array_equal(out["rois"], out["other"])
