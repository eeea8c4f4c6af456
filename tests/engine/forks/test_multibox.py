"""MultiBoxLoss and DetectionEvaluate against plain loops, written from the papers."""

import caffe
import numpy as np
import pytest
from caffe import CaffeError
from caffe import layers as L
from caffe.layers.forks.evaluation import average_precision

from tests.engine.forks.peers import assert_gradients, fill

PRIORS, CLASSES, IMAGES = 30, 4, 2


@pytest.fixture
def draw():
    return np.random.RandomState(11)


def build(folder, shared=True, loss=None, **settings):
    located = 1 if shared else CLASSES
    n = caffe.NetSpec()
    n.loc = L.Input(shape={"dim": [IMAGES, PRIORS * located * 4]})
    n.conf = L.Input(shape={"dim": [IMAGES, PRIORS * CLASSES]})
    n.priors = L.Input(shape={"dim": [1, 2, PRIORS * 4]})
    n.objects = L.Input(shape={"dim": [1, 1, 5, 8]})
    n.loss = L.MultiBoxLoss(
        *(n.loc, n.conf, n.priors, n.objects),
        multibox_loss_param={
            **{"num_classes": CLASSES, "share_location": shared, "code_type": 2},
            **{"overlap_threshold": 0.35, **settings},
        },
        loss_param=loss or {},
    )
    proto = n.to_proto()
    proto.force_backward = True
    path = folder / "net.prototxt"
    path.write_text(str(proto))
    return caffe.Net(str(path), caffe.TRAIN)


def example(draw, located=1):
    low = 0.7 * draw.rand(PRIORS, 2)
    priors = np.concatenate([low, low + 0.15 + 0.2 * draw.rand(PRIORS, 2)], 1)
    objects = np.zeros((5, 8))
    for row, (image, label, prior, difficult) in enumerate(
        [(0, 1, 3, 0), (0, 3, 7, 0), (0, 2, 9, 1), (1, 2, 20, 0), (-1, 0, 0, 0)]
    ):
        objects[row] = [image, label, 0, *(priors[prior] + 0.02 * draw.randn(4)), difficult]
    return {
        "loc": draw.randn(IMAGES, PRIORS * located * 4),
        "conf": draw.randn(IMAGES, PRIORS * CLASSES),
        "priors": np.stack([priors.ravel(), np.tile([0.1, 0.1, 0.2, 0.2], PRIORS)])[None],
        "objects": objects[None, None],
    }


def overlap(a, b):
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def plain_matches(priors, objects, threshold, per_prediction):
    """The object of each prior, by plain loops."""
    table = np.array([[overlap(p, o[3:7]) for o in objects] for p in priors])
    matches = {}
    while len(set(matches.values())) < len(objects):
        free = [
            (table[p, o], p, o)
            for p in range(len(priors))
            for o in range(len(objects))
            if p not in matches and o not in matches.values() and table[p, o] > 1e-6
        ]
        if not free:
            break
        _, p, o = max(free)
        matches[p] = o
    for p in range(len(priors)) if per_prediction and len(objects) else ():
        if p not in matches and table[p].max() >= threshold:
            matches[p] = int(table[p].argmax())
    return matches, table


def plain_loss(arrays, shared, per_prediction, ratio, difficult, logistic, l2, weight):
    """The loss in plain loops; returns it before the division, and the number of matches."""
    priors = arrays["priors"][0, 0].reshape(-1, 4)
    variances = arrays["priors"][0, 1].reshape(-1, 4)
    total = count = 0
    for image in range(IMAGES):
        rows = [o for o in arrays["objects"][0, 0] if o[0] == image and (difficult or not o[7])]
        matches, table = plain_matches(priors, rows, 0.35, per_prediction)
        count += len(matches)
        scores = arrays["conf"][image].reshape(PRIORS, CLASSES)
        codes = arrays["loc"][image].reshape(PRIORS, -1, 4)
        labels = [int(rows[matches[p]][1]) if p in matches else 0 for p in range(PRIORS)]
        if logistic:
            signs = np.where(np.eye(CLASSES)[labels], 1, -1)
            losses = np.log1p(np.exp(-signs * scores)).sum(1)
        else:
            losses = np.log(np.exp(scores).sum(1)) - scores[np.arange(PRIORS), labels]
        chosen = set(range(PRIORS))
        if ratio is not None:
            others = [
                p for p in range(PRIORS) if p not in matches and max(table[p], default=0) < 0.5
            ]
            others.sort(key=lambda p: -losses[p])
            chosen = set(matches) | set(others[: int(len(matches) * ratio)])
        total += sum(losses[p] for p in chosen)
        for p, o in matches.items():
            box, prior = rows[o][3:7], priors[p]
            size, box_size = prior[2:] - prior[:2], box[2:] - box[:2]
            shift = (box[:2] + box[2:] - prior[:2] - prior[2:]) / 2 / size
            target = np.concatenate([shift, np.log(box_size / size)]) / variances[p]
            d = np.abs(codes[p, 0 if shared else labels[p]] - target)
            total += weight * (d * d / 2 if l2 else np.where(d < 1, d * d / 2, d - 0.5)).sum()
    return total, count


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "settings, options",
    [
        ({}, {}),
        ({"match_type": "BIPARTITE", "neg_pos_ratio": 2}, {"per_prediction": False, "ratio": 2}),
        ({"mining_type": "NONE", "loc_weight": 0.5}, {"ratio": None, "weight": 0.5}),
        ({"do_neg_mining": False, "use_difficult_gt": False}, {"ratio": None, "difficult": False}),
        ({"conf_loss_type": "LOGISTIC", "loc_loss_type": "L2"}, {"logistic": True, "l2": True}),
    ],
)
def test_the_loss_agrees_with_plain_loops(tmp_path, draw, shared, settings, options):
    net = build(tmp_path, shared, **settings)
    arrays = example(draw, 1 if shared else CLASSES)
    fill(net, arrays)
    defaults = {"per_prediction": True, "ratio": 3, "difficult": True, "weight": 1}
    total, count = plain_loss(
        arrays, shared, **{**defaults, "logistic": False, "l2": False, **options}
    )
    net.forward()
    assert count >= 3
    assert float(net.blobs["loss"].data) == pytest.approx(total / count, rel=1e-4)


def test_the_loss_can_be_divided_by_the_batch(tmp_path, draw):
    arrays = example(draw)
    values = []
    for mode in ("VALID", "BATCH_SIZE", "NONE"):
        net = build(tmp_path, loss={"normalization": mode})
        fill(net, arrays)
        net.forward()
        values.append(float(net.blobs["loss"].data))
    assert values[1] == pytest.approx(values[2] / IMAGES)
    assert values[0] < values[1]


def test_the_gradients_of_the_loss_are_right(tmp_path, draw):
    net = build(tmp_path)
    arrays = example(draw)
    fill(net, arrays)
    assert_gradients(net, "loss", [net.blobs["loc"], net.blobs["conf"]], tolerance=5e-2)


def test_a_batch_without_objects_has_no_loss(tmp_path, draw):
    net = build(tmp_path)
    arrays = example(draw)
    arrays["objects"][..., 0] = -1
    fill(net, arrays)
    net.forward()
    assert float(net.blobs["loss"].data) == 0
    net.backward()
    assert not net.blobs["loc"].diff.any() and not net.blobs["conf"].diff.any()


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"use_prior_for_matching": False, "share_location": False}, "needs share_location: true"),
    ],
)
def test_settings_that_are_not_supported_are_refused(tmp_path, settings, words):
    with pytest.raises(CaffeError, match=words):
        build(tmp_path, **settings)


def test_bp_inside_leaves_out_the_edges_that_lie_outside_the_image(tmp_path, draw):
    arrays = example(draw)
    priors = arrays["priors"][0, 0].reshape(-1, 4)
    # Of the prior of the first object, xmin and ymin lie outside.
    priors[3, :2] = -0.02
    priors[3, 2:] = 0.3
    arrays["objects"][0, 0, 0, 3:7] = [0, 0, 0.3, 0.3]
    settings = {"match_type": "BIPARTITE", "loc_loss_type": "L2", "mining_type": "NONE"}
    losses, diffs = [], []
    for inside in (False, True):
        net = build(tmp_path, loss={"normalization": "NONE"}, bp_inside=inside, **settings)
        fill(net, arrays)
        losses.append(float(net.forward()["loss"]))
        net.backward()
        diffs.append(net.blobs["loc"].diff[0].reshape(-1, 4).copy())
    plain, limited = diffs
    assert plain[3].all() and not limited[3, :2].any()
    np.testing.assert_array_equal(limited[3, 2:], plain[3, 2:])
    others = np.arange(PRIORS) != 3
    np.testing.assert_array_equal(limited[others], plain[others])
    assert losses[0] - losses[1] == pytest.approx((plain[3, :2] ** 2).sum() / 2, rel=1e-3)


def losses_of(net, arrays):
    """The class loss of each prior of image 0, and the priors that objects match."""
    rows = [o for o in arrays["objects"][0, 0] if o[0] == 0]
    priors = arrays["priors"][0, 0].reshape(-1, 4)
    matches, _ = plain_matches(priors, rows, 0.35, True)
    scores = arrays["conf"][0].reshape(PRIORS, CLASSES)
    labels = [int(rows[matches[p]][1]) if p in matches else 0 for p in range(PRIORS)]
    return np.log(np.exp(scores).sum(1)) - scores[np.arange(PRIORS), labels], matches


def test_hard_example_mining_counts_the_priors_with_the_largest_losses(tmp_path, draw):
    net = build(tmp_path, loss={"normalization": "NONE"}, mining_type="HARD_EXAMPLE", sample_size=5)
    arrays = example(draw)
    arrays["objects"][..., 0] = np.where(arrays["objects"][..., 0] == 0, -1, -1)
    fill(net, arrays)
    losses, _ = losses_of(net, arrays)
    net.forward()
    second = arrays["conf"][1].reshape(PRIORS, CLASSES)
    other = np.log(np.exp(second).sum(1)) - second[:, 0]
    hardest = np.sort(losses)[-5:].sum() + np.sort(other)[-5:].sum()
    assert float(net.blobs["loss"].data) == pytest.approx(hardest, rel=1e-5)


def test_suppression_before_mining_leaves_out_the_easier_of_two_priors_on_one_place(tmp_path, draw):
    arrays = example(draw)
    arrays["objects"][..., 0] = -1
    arrays["priors"][0, 0] = np.tile([0.1, 0.1, 0.4, 0.4], PRIORS)
    values = []
    for settings in ({}, {"nms_param": {"nms_threshold": 0.5}, "use_prior_for_nms": True}):
        options = {"mining_type": "HARD_EXAMPLE", "sample_size": 4, **settings}
        net = build(tmp_path, loss={"normalization": "NONE"}, **options)
        fill(net, arrays)
        net.forward()
        values.append(float(net.blobs["loss"].data))
    losses, _ = losses_of(net, arrays)
    second = arrays["conf"][1].reshape(PRIORS, CLASSES)
    other = np.log(np.exp(second).sum(1)) - second[:, 0]
    assert (
        values[1] == pytest.approx(losses.max() + other.max(), rel=1e-5) and values[0] > values[1]
    )


def test_predictions_may_be_matched_in_place_of_priors(tmp_path, draw):
    arrays = example(draw)
    arrays["loc"][:] = 0
    values = []
    for settings in ({}, {"use_prior_for_matching": False}):
        net = build(tmp_path, **settings)
        fill(net, arrays)
        net.forward()
        values.append(float(net.blobs["loss"].data))
    # With codes of 0 the predictions are the priors.
    assert values[0] == values[1]
    arrays["loc"][:, 0::4] = 30
    fill(net, arrays)
    net.forward()
    assert float(net.blobs["loss"].data) != values[0]


def two_stages(folder, codes, scores):
    """A RefineDet loss whose first stage has these codes and scores."""
    n = caffe.NetSpec()
    n.loc = L.Input(shape={"dim": [IMAGES, PRIORS * 4]})
    n.conf = L.Input(shape={"dim": [IMAGES, PRIORS * CLASSES]})
    n.priors = L.Input(shape={"dim": [1, 2, PRIORS * 4]})
    n.objects = L.Input(shape={"dim": [1, 1, 5, 8]})
    n.first_conf = L.Input(shape={"dim": [IMAGES, PRIORS * 2]})
    n.first_loc = L.Input(shape={"dim": [IMAGES, PRIORS * 4]})
    settings = {"num_classes": CLASSES, "code_type": 2, "objectness_score": 0.1}
    bottoms = (n.loc, n.conf, n.priors, n.objects, n.first_conf, n.first_loc)
    n.loss = L.MultiBoxLoss(*bottoms, multibox_loss_param=settings)
    path = folder / "two.prototxt"
    path.write_text(str(n.to_proto()))
    net = caffe.Net(str(path), caffe.TRAIN)
    fill(net, {"first_conf": scores, "first_loc": codes})
    return net


def test_a_first_stage_moves_the_priors_and_filters_the_mining(tmp_path, draw):
    arrays = example(draw)
    plain = build(tmp_path, overlap_threshold=0.5)
    fill(plain, arrays)
    plain.forward()
    ones = np.ones((IMAGES, PRIORS * 2))
    net = two_stages(tmp_path, np.zeros((IMAGES, PRIORS * 4)), ones)
    fill(net, arrays)
    net.forward()
    assert float(net.blobs["loss"].data) == pytest.approx(float(plain.blobs["loss"].data))
    net.blobs["first_conf"].data[...] = 0
    net.forward()
    assert float(net.blobs["loss"].data) < float(plain.blobs["loss"].data)


def evaluate(folder, detections, objects, **settings):
    n = caffe.NetSpec()
    n.detections = L.Input(shape={"dim": [1, 1, *np.shape(detections)]})
    n.objects = L.Input(shape={"dim": [1, 1, *np.shape(objects)]})
    n.rows = L.DetectionEvaluate(
        n.detections, n.objects, detection_evaluate_param={"num_classes": 3, **settings}
    )
    path = folder / "net.prototxt"
    path.write_text(str(n.to_proto()))
    net = caffe.Net(str(path), caffe.TEST)
    fill(net, {"detections": detections, "objects": objects})
    return net.forward()["rows"][0, 0]


OBJECTS = [
    [0, 1, 0, 0.1, 0.1, 0.3, 0.3, 0],
    [0, 1, 0, 0.6, 0.6, 0.9, 0.9, 1],
    [1, 2, 0, 0.2, 0.2, 0.5, 0.5, 0],
]
DETECTIONS = [
    [0, 1, 0.6, 0.1, 0.1, 0.3, 0.31],
    [0, 1, 0.9, 0.1, 0.11, 0.3, 0.3],
    [0, 1, 0.7, 0.6, 0.6, 0.9, 0.88],
    [1, 2, 0.8, 0.7, 0.7, 0.9, 0.9],
    [1, 2, 0.5, 0.2, 0.2, 0.5, 0.52],
]


def test_detections_are_true_once_for_each_object(tmp_path):
    rows = evaluate(tmp_path, DETECTIONS, OBJECTS)
    np.testing.assert_allclose(
        rows,
        [
            *([-1, 1, 2, -1, -1], [-1, 2, 1, -1, -1]),
            *([0, 1, 0.9, 1, 0], [0, 1, 0.7, 1, 0], [0, 1, 0.6, 0, 1]),
            *([1, 2, 0.8, 0, 1], [1, 2, 0.5, 1, 0]),
        ],
        rtol=1e-6,
    )
    precisions = average_precision(rows)
    assert precisions == {1: pytest.approx(1), 2: pytest.approx(0.5)}
    assert average_precision(rows, 11) == {1: pytest.approx(1), 2: pytest.approx(0.5)}


def test_difficult_objects_may_be_left_out(tmp_path):
    rows = evaluate(tmp_path, DETECTIONS, OBJECTS, evaluate_difficult_gt=False)
    assert rows[0, 2] == 1
    assert rows[3].tolist() == pytest.approx([0, 1, 0.7, 0, 0])
    assert average_precision(rows)[1] == pytest.approx(1)


def test_average_precision_is_the_area_under_the_best_precision():
    rows = [[-1, 1, 4, -1, -1], [0, 1, 0.9, 1, 0], [0, 1, 0.8, 0, 1], [0, 1, 0.7, 1, 0]]
    assert average_precision(np.array(rows)) == {1: pytest.approx(0.25 + 0.25 * 2 / 3)}
    eleven = (3 * 1 + 3 * 2 / 3) / 11
    assert average_precision(np.array(rows), 11) == {1: pytest.approx(eleven)}
