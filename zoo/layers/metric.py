"""Cases of losses between rows, and of CTC, edges and detection losses."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np

from .case import Arrays, Case, normal


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """Return the softmax along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def focal(bottoms: Arrays) -> np.ndarray:
    """Return FocalLoss with alpha 0.25 and gamma 2."""
    x, labels = bottoms
    p = softmax(x, 1)[np.arange(len(x)), labels.astype(int)]
    return np.array((-0.25 * (1 - p) ** 2 * np.log(p)).mean())


def smoothed(bottoms: Arrays, share: float) -> np.ndarray:
    """Return the loss of the softmax against labels of which all classes have an equal share."""
    x, labels = bottoms
    target = np.full(x.shape, share / x.shape[1])
    target[np.arange(len(x)), labels.astype(int)] += 1 - share
    return np.array(-(target * np.log(softmax(x, 1))).sum() / len(x))


def triplets(bottoms: Arrays) -> np.ndarray:
    """Return TripletLoss with margin 0.5, a triplet at a time."""
    total = sum(
        max(0.0, ((a - p) ** 2).sum() - ((a - n) ** 2).sum() + 0.5) for a, p, n in zip(*bottoms)
    )
    return np.array(total / (2 * len(bottoms[0])))


def discrepancy(bottoms: Arrays) -> np.ndarray:
    """Return MMD by the kernels of all pairs."""
    s, t = bottoms
    rows = np.concatenate([s, t])
    squares = [((a - b) ** 2).sum() for a, b in product(rows, rows)]
    width = sum(squares) / (len(rows) * (len(rows) - 1))

    def mean(first: np.ndarray, second: np.ndarray) -> float:
        values = [
            np.mean([math.exp(-((a - b) ** 2).sum() / (width * 2.0 ** (i - 2))) for i in range(5)])
            for a, b in product(first, second)
        ]
        return float(np.mean(values))

    return np.array(mean(s, s) + mean(t, t) - 2 * mean(s, t))


def covariance_distance(bottoms: Arrays) -> np.ndarray:
    """Return CORALLoss, a pair of columns at a time."""
    first, second = (np.cov(rows.reshape(len(rows), -1).T) for rows in bottoms)
    width = len(first)
    total = sum((first[i, j] - second[i, j]) ** 2 for i, j in np.ndindex(width, width))
    return np.array(total / (4 * width**2))


def moved_angles(bottoms: Arrays, margin: float) -> np.ndarray:
    """Return CosinAdd's top."""
    x, labels = bottoms
    y = x.copy()
    for row, label in zip(y, labels.astype(int)):
        angle = math.acos(row[label])
        row[label] = (
            math.cos(angle + margin)
            if angle + margin < math.pi
            else row[label] - margin * math.sin(margin)
        )
    return y


def combined_angles(bottoms: Arrays, m1: float, m2: float, m3: float) -> np.ndarray:
    """Return CombinedMargin's top."""
    x, labels = bottoms
    y = x.copy()
    for row, label in zip(y, labels.astype(int)):
        row[label] = math.cos(m1 * math.acos(row[label]) + m2) - m3
    return y


def lifted(bottoms: Arrays, margin: float) -> np.ndarray:
    """Return LiftedStructSimilaritySoftmaxLoss, a pair at a time."""
    x, labels = bottoms
    d = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    terms = []
    for i, j in combinations(range(len(x)), 2):
        if labels[i] != labels[j]:
            continue
        others = [k for k in range(len(x)) if labels[k] != labels[i]]
        far = sum(math.exp(margin - d[i, k]) + math.exp(margin - d[j, k]) for k in others)
        terms.append(max(0, d[i, j] + math.log(far)) ** 2)
    return np.array(sum(terms) / (2 * len(terms)))


def path_loss(bottoms: Arrays, blank: int, merge: bool = True) -> np.ndarray:
    """Return CTCLoss by enumerating all paths, with equal neighbours merged or not."""
    scores, labels = bottoms
    steps, count, classes = scores.shape
    p = softmax(scores, 2)
    total = 0.0
    for n in range(count):
        target = [int(x) for x in labels[n] if x not in (-1, blank)]
        probability = 0.0
        for path in product(range(classes), repeat=steps):
            merged = [x for x, last in zip(path, (None, *path)) if x != last or not merge]
            if [x for x in merged if x != blank] == target:
                probability += np.prod([p[t, n, x] for t, x in enumerate(path)])
        total -= math.log(probability)
    return np.array(total / count)


def edge_filtered(bottoms: Arrays, iterations: int, spatial: float, ranged: float) -> np.ndarray:
    """Return DomainTransform's top, a value at a time."""
    y = bottoms[0].copy()
    g = bottoms[1][:, 0]
    for k in range(1, iterations + 1):
        sigma = spatial * math.sqrt(3) * 2 ** (iterations - k) / math.sqrt(4**iterations - 1)
        w = np.exp(-math.sqrt(2) / sigma * (1 + g * spatial / ranged))
        n, _, rows, columns = y.shape
        for m, i in np.ndindex(n, rows):
            for j in range(1, columns):
                y[m, :, i, j] += w[m, i, j] * (y[m, :, i, j - 1] - y[m, :, i, j])
            for j in range(columns - 2, -1, -1):
                y[m, :, i, j] += w[m, i, j + 1] * (y[m, :, i, j + 1] - y[m, :, i, j])
        for m, j in np.ndindex(n, columns):
            for i in range(1, rows):
                y[m, :, i, j] += w[m, i, j] * (y[m, :, i - 1, j] - y[m, :, i, j])
            for i in range(rows - 2, -1, -1):
                y[m, :, i, j] += w[m, i + 1, j] * (y[m, :, i + 1, j] - y[m, :, i, j])
    return y


def labelled(random: np.random.RandomState) -> list[np.ndarray]:
    """Draw scores 6 x 5 and labels."""
    return [random.standard_normal((6, 5)), random.randint(0, 5, 6)]


def cosines(random: np.random.RandomState) -> list[np.ndarray]:
    """Draw cosines 6 x 5, one of which is near -1 where the label is, and labels."""
    x, labels = random.uniform(-0.8, 0.8, (6, 5)), random.randint(0, 5, 6)
    x[0, labels[0]] = -0.95
    return [x, labels]


def sequences(random: np.random.RandomState) -> list[np.ndarray]:
    """Draw scores of 5 steps, 2 sequences and 3 classes, and labels with a repetition."""
    return [random.standard_normal((5, 2, 3)), np.array([[1, 1, 0], [2, 1, -1]])]


def edges(random: np.random.RandomState) -> list[np.ndarray]:
    """Draw features 2 x 3 x 4 x 5 and edges."""
    return [random.standard_normal((2, 3, 4, 5)), random.uniform(0, 2, (2, 1, 4, 5))]


def lengths(x: np.ndarray) -> np.ndarray:
    """Return the length of the channels at each position."""
    return np.sqrt((x * x).sum(1, keepdims=True))


CASES = [
    Case(
        "CORALLoss",
        "",
        normal((5, 2, 2), (7, 4)),
        "Sun & Saenko 2016, Deep CORAL; VisionLearningGroup/CORAL",
        lambda b, p: covariance_distance(b),
        smooth=(0, 1),
    ),
    Case(
        "FocalLoss",
        "",
        labelled,
        "Lin et al. 2017, RetinaNet; happynear/caffe-windows",
        lambda b, p: focal(b),
    ),
    Case(
        "SoftmaxWithLoss",
        "loss_param { label_smoothing: 0.1 }",
        labelled,
        "Szegedy et al. 2016; NVIDIA/caffe, intel/caffe",
        lambda b, p: smoothed(b, 0.1),
        "label_smoothing",
    ),
    Case(
        "Eltwise",
        "eltwise_param { coeff_blob: true coeff: 2 coeff: 1 }",
        normal((3, 4, 5), (3, 4, 5), (2, 3)),
        "Donahue et al. 2015, LRCN; LisaAnne/lisa-caffe-public",
        lambda b, p: 2 * b[0] * b[2][0][:, None, None] + b[1] * b[2][1][:, None, None],
        "coeff_blob",
        smooth=(0, 1),
    ),
    Case(
        "TripletLoss",
        "triplet_loss_param { margin: 0.5 }",
        normal((4, 3), (4, 3), (4, 3)),
        "Schroff et al. 2015, FaceNet",
        lambda b, p: triplets(b),
        smooth=(0, 1, 2),
    ),
    Case(
        "MMD",
        "",
        normal((4, 3), (5, 3)),
        "Long et al. 2015, DAN; thuml/transfer-caffe",
        lambda b, p: discrepancy(b),
        smooth=(),
    ),
    Case(
        "CosinAdd",
        "cosin_add_param { m: 0.5 transform_test: true }",
        cosines,
        "Deng et al. 2019, ArcFace; xialuxi/arcface-caffe",
        lambda b, p: moved_angles(b, 0.5),
    ),
    Case(
        "CombinedMargin",
        "combined_margin_param { m1: 0.9 m2: 0.4 m3: 0.15 transform_test: true }",
        cosines,
        "Deng et al. 2019, ArcFace; xialuxi/arcface-caffe",
        lambda b, p: combined_angles(b, 0.9, 0.4, 0.15),
    ),
    Case(
        "LiftedStructSimilaritySoftmaxLoss",
        "lifted_struct_sim_softmax_loss_param { margin: 0.5 }",
        lambda random: [random.standard_normal((6, 4)), np.array([0, 1, 0, 2, 1, 0])],
        "Song et al. 2016, lifted structure; rksltnl/Deep-Metric-Learning-CVPR16",
        lambda b, p: lifted(b, 0.5),
    ),
    Case(
        "Normalize",
        "normalize_param { normalize_type: 'L2' }",
        normal((2, 3, 4, 5)),
        "Wang et al. 2017, NormFace; happynear/caffe-windows",
        lambda b, p: [b[0] / lengths(b[0]), lengths(b[0])],
        "of faces",
        tops=2,
    ),
    Case(
        "InnerProduct",
        "inner_product_param { num_output: 4 normalize: true bias_term: false }",
        normal((3, 5)),
        "Wang et al. 2017, NormFace; happynear/caffe-windows",
        lambda b, p: b[0] @ (p[0] / np.sqrt((p[0] ** 2).sum(1, keepdims=True))).T,
        "normalize",
        learns=(0,),
    ),
    Case(
        "CTCLoss",
        "",
        sequences,
        "Graves et al. 2006; senlinuc/caffe_ocr",
        lambda b, p: path_loss(b, 0),
    ),
    Case(
        "CTCLoss",
        "ctc_loss_param { ctc_merge_repeated: false }",
        sequences,
        "Graves et al. 2006; senlinuc/caffe_ocr",
        lambda b, p: path_loss(b, 0, merge=False),
        "without merging",
    ),
    Case(
        "CTCLoss",
        "ctc_loss_param { preprocess_collapse_repeated: true }",
        sequences,
        "Graves et al. 2006; senlinuc/caffe_ocr",
        lambda b, p: path_loss([b[0], np.array([[1, -1, -1], [2, 1, -1]])], 0),
        "collapsed labels",
    ),
    Case(
        "DomainTransform",
        "domain_transform_param { num_iter: 2 spatial_sigma: 3 range_sigma: 4 }",
        edges,
        "Chen et al. 2016; xmyqsh/deeplab-v2",
        lambda b, p: edge_filtered(b, 2, 3, 4),
        smooth=(0, 1),
    ),
]
