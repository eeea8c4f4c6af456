"""Layers of forks that are not functions of one formula, against plain loops."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import CaffeError, LayerError, LayerFileError, ShapeError
from caffe.layers.forks.ctc import edit_distance
from caffe.layers.forks.pose import peaks
from scipy.io import loadmat

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer


def run(folder, text, *arrays, tops=1, phase=caffe.TEST):
    """The tops of one layer over these bottoms, and the net."""
    head = layer(text, *(np.shape(a) for a in arrays), tops=tops)
    net = build(folder, head.replace("force_backward: true", ""), phase)
    for i, values in enumerate(arrays):
        net.blobs[f"x{i}"].data[...] = values
    net.forward()
    return [net.blobs[f"y{i}"].data.copy() for i in range(tops)], net


BOX_OUTPUT = (
    "type: 'BoxOutput' box_output_param { fg_thr: -1 iou_thr: 0.5 nms_type: 'IOU' field_h: 20 "
    "field_h: 40 field_w: 10 field_w: 30 downsample_rate: 8 downsample_rate: 16 "
    "field_whr: 2 field_xyr: 2 max_nms_num: 30 max_post_nms_num: 6 min_size: 1 }"
)


def plain_boxes(maps):
    """The boxes of one image as BoxOutput describes them, (score, box), best first."""
    rows = []
    for m, (h, w), rate in zip(maps, ((20, 10), (40, 30)), (8, 16)):
        for i, j in np.ndindex(m.shape[1:]):
            v = m[:, i, j]
            score = v[1:-4].max() - v[0]
            if score < -1:
                continue
            dx, dy = np.clip(v[-4:-2], -0.5, 0.5)
            dw, dh = np.exp(np.clip(v[-2:], -np.log(2), np.log(2)))
            cx, cy = dx * w + (j + 0.5) * rate, dy * h + (i + 0.5) * rate
            half = (dw * w / 2, dh * h / 2)
            rows.append((score, (cx - half[0], cy - half[1], cx + half[0], cy + half[1])))
    return sorted(rows, reverse=True)


def overlap(a, b):
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def test_box_output_proposes_the_best_boxes_of_all_maps(tmp_path):
    random = np.random.RandomState(0)
    maps = [random.standard_normal((2, 7, n, n)).astype(np.float32) for n in (5, 3)]
    (boxes, scored), _ = run(tmp_path, BOX_OUTPUT, *maps, tops=2)
    expected = []
    for image in range(2):
        kept = []
        for score, box in plain_boxes([m[image] for m in maps])[:30]:
            if len(kept) < 6 and all(overlap(box, other[1]) <= 0.5 for other in kept):
                kept.append((score, box))
        expected += [[image, *box, score] for score, box in kept]
    np.testing.assert_allclose(scored, expected, rtol=1e-5, atol=1e-5)
    assert np.array_equal(boxes, scored[:, :5])


def test_an_image_without_proposals_has_one_of_a_pixel(tmp_path):
    maps = [np.zeros((1, 7, 2, 2)), np.zeros((1, 7, 1, 1))]
    for m in maps:
        m[:, 0] = 9
    (boxes,), _ = run(tmp_path, BOX_OUTPUT, *maps)
    assert boxes.tolist() == [[0, 0, 0, 0, 0]]


def test_decode_bbox_moves_regions_by_codes_in_units_of_their_size(tmp_path):
    factors = " ".join(f"bbox_std: {std}" for std in (0.1, 0.1, 0.2, 0.2))
    text = f"type: 'DecodeBBox' bbox_reg_param {{ {factors} }}"
    codes = [[9, 9, 9, 9, 1, -1, 0, 0.5], [0] * 8]
    regions = [[0, 10, 20, 29, 59], [1, 0, 0, 9, 9]]
    (top,), _ = run(tmp_path, text, codes, regions)
    # 20 x 40 pixels around (20, 40): the centre moves by (2, -4), the height grows by exp 0.1.
    half = 20 * np.exp(0.1)
    expected = [[0, 12, 36 - half, 31, 36 + half - 1], [1, 0, 0, 9, 9]]
    np.testing.assert_allclose(top, expected, rtol=1e-5)


def brute_mean_field(scores, image, iterations, filters):
    """The mean field of one image with exact Gaussian kernels between all pairs."""
    classes, height, width = scores.shape
    places = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2).astype(float)
    colours = image.reshape(3, -1).T
    flat = scores.reshape(classes, -1)
    q = np.exp(flat) / np.exp(flat).sum(0)
    for _ in range(iterations):
        messages = flat.copy()
        for weight, xy, rgb in filters:
            d = ((places[:, None] - places) ** 2).sum(2) / xy**2
            d = d + (((colours[:, None] - colours) ** 2).sum(2) / rgb**2 if rgb else 0)
            kernel = np.exp(-d / 2)
            messages += weight * (q @ kernel) / kernel.sum(1)
        q = np.exp(messages) / np.exp(messages).sum(0)
    return q.reshape(scores.shape)


def test_a_dense_crf_approaches_the_mean_field_with_exact_kernels(tmp_path):
    random = np.random.RandomState(3)
    image = np.zeros((1, 3, 10, 12))
    image[..., 6:] = 120
    image += 5 * random.standard_normal(image.shape)
    scores = 2 * random.standard_normal((1, 3, 10, 12))
    text = (
        "type: 'DenseCRF' dense_crf_param { max_iter: 5 pos_w: 2 pos_xy_std: 2 bi_w: 3 "
        "bi_xy_std: 8 bi_rgb_std: 20 }"
    )
    sizes = np.reshape([8, 12], (1, 1, 1, 2))
    (top,), _ = run(tmp_path, text, scores, sizes, image)
    expected = brute_mean_field(scores[0, :, :8], image[0, :, :8], 5, [(2, 2, 0), (3, 8, 20)])
    # The lattice approximates the kernels; the labels are those of the exact field.
    assert (top[0, :, :8].argmax(0) == expected.argmax(0)).mean() > 0.97
    assert np.abs(top[0, :, :8] - expected).mean() < 0.05
    assert not top[0, :, 8:].any()
    (labels,), _ = run(
        tmp_path, text.replace("pos_w", "output_probability: false pos_w"), scores, image
    )
    assert labels.shape == (1, 1, 10, 12) and set(np.unique(labels)) <= {0, 1, 2}


def test_a_dense_crf_refuses_a_photograph_without_pixels(tmp_path):
    arrays = np.zeros((1, 2, 4, 4)), np.zeros((1, 1, 1, 2)), np.zeros((1, 3, 4, 4))
    with pytest.raises(ShapeError, match=r"sizes \[\[0, 0\]\] of photographs for maps"):
        run(tmp_path, "type: 'DenseCRF' dense_crf_param { }", *arrays)


def test_seg_accuracy_counts_pixels_classes_and_unions(tmp_path):
    scores = np.zeros((1, 3, 1, 6))
    for j, label in enumerate([0, 0, 1, 1, 1, 2]):
        scores[0, label, 0, j] = 1
    labels = np.reshape([0, 1, 1, 1, 255, 255], (1, 1, 1, 6))
    text = "type: 'SegAccuracy' seg_accuracy_param { ignore_label: 255 reset: false }"
    (top,), net = run(tmp_path, text, scores, labels)
    np.testing.assert_allclose(
        top.ravel(), [3 / 4, (1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2], rtol=1e-6
    )
    net.blobs["x1"].data[...] = np.reshape([0, 0, 1, 1, 1, 2], (1, 1, 1, 6))
    np.testing.assert_allclose(net.forward()["y0"].ravel()[0], 9 / 10, rtol=1e-6)


def test_mat_write_writes_the_axes_in_the_order_of_matlab(tmp_path):
    (tmp_path / "names.txt").write_text("photos/a.jpg x\nb.jpg\n")
    text = (
        f"type: 'MatWrite' mat_write_param {{ prefix: '{tmp_path}/out_' "
        f"source: '{tmp_path}/names.txt' strip: 4 }}"
    )
    values = np.arange(12.0).reshape(1, 2, 2, 3)
    head = layer(text, values.shape, tops=0).replace("force_backward: true", "")
    net = build(tmp_path, head)
    net.blobs["x0"].data[...] = values
    net.forward()
    net.forward()
    data = loadmat(str(tmp_path / "out_a_blob_0.mat"))["data"]
    # MATLAB, as SciPy, drops the last axis of size 1 or keeps it.
    assert np.array_equal(data.reshape(3, 2, 2), values[0].T)
    assert (tmp_path / "out_b_blob_0.mat").exists()


def test_mat_read_reads_what_the_v1_layer_mat_write_has_written(tmp_path):
    (tmp_path / "names.txt").write_text("a.jpg\nb.jpg\n")
    files = f"prefix: '{tmp_path}/' source: '{tmp_path}/names.txt' strip: 4"
    writer = build(
        tmp_path,
        "input: 'x' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 "
        f"layers {{ name: 'w' type: MAT_WRITE bottom: 'x' mat_write_param {{ {files} }} }}",
    )
    arrays = np.arange(48.0).reshape(2, 1, 2, 3, 4)
    for values in arrays:
        writer.blobs["x"].data[...] = values
        writer.forward()
    text = f"layer {{ name: 'r' type: 'MatRead' top: 'y' mat_read_param {{ {files} %s }} }}"
    reader = build(tmp_path, text % "")
    for number in (0, 1, 0):
        assert np.array_equal(reader.forward()["y"], arrays[number])
    both = build(tmp_path, text % "batch_size: 2")
    assert np.array_equal(both.forward()["y"], arrays[:, 0])
    (tmp_path / "b_blob_0.mat").write_bytes(b"no file of MATLAB")
    with pytest.raises(
        LayerFileError, match="b_blob_0.mat: is a damaged MATLAB file: it has no header"
    ):
        both.forward()
    (tmp_path / "b_blob_0.mat").unlink()
    with pytest.raises(LayerFileError, match="b_blob_0.mat: no such file"):
        both.forward()


@pytest.mark.parametrize(
    "word, fork",
    [("WINDOW_SEG_DATA", "HyeonwooNoh"), ("VOLUME_DATA", "facebook/C3D"), ("SEG_DATA", "yjxiong")],
)
def test_a_v1_type_that_the_engine_lacks_names_its_fork(tmp_path, word, fork):
    with pytest.raises(CaffeError, match=f"unknown type .*from the fork {fork}"):
        build(tmp_path, f"layers {{ name: 'd' type: {word} top: 'x' }}")


def test_peaks_of_heat_maps_are_returned_with_their_places(tmp_path):
    heat = np.zeros((1, 2, 20, 20))
    heat[0, 0, 5, 7], heat[0, 0, 5, 8], heat[0, 0, 15, 3] = 0.8, 0.4, 0.6
    (top,), _ = run(
        tmp_path, "type: 'Nms' nms_param { threshold: 0.1 max_peaks: 3 num_parts: 2 }", heat
    )
    assert top.shape == (1, 2, 4, 3)
    assert top[0, :, 0, 0].tolist() == [2, 0]
    np.testing.assert_allclose(top[0, 0, 1], [7 + 1 / 3, 5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(top[0, 0, 2], [3, 15, 0.6], rtol=1e-6)
    assert peaks(np.zeros((4, 4)), 0).shape == (0, 3)
    drawn = np.random.RandomState(0).rand(20, 20)
    assert np.array_equal(peaks(drawn, 0.5, 4), peaks(drawn, 0.5)[:4])


def test_the_ctc_decoder_merges_repetitions_and_drops_blanks(tmp_path):
    path = [0, 1, 1, 0, 1, 2, 2, 0]
    scores = np.zeros((8, 1, 3))
    for t, label in enumerate(path):
        scores[t, 0, label] = 1
    marks = np.array([0, 1, 1, 1, 1, 1, 1, 1]).reshape(8, 1)
    labels = np.array([1, 2, -1, -1, -1, -1, -1, -1]).reshape(8, 1)
    (rows, error), _ = run(tmp_path, "type: 'CTCDecoder'", scores, marks, labels, tops=2)
    assert rows[0].tolist() == [1, 1, 2, -1, -1, -1, -1, -1]
    assert float(error) == pytest.approx(1 / 2)
    text = "type: 'CtcDecoder' ctc_decoder_param { ctc_merge_repeated: false }"
    (rows,), _ = run(tmp_path, text, scores)
    assert rows[0].tolist()[:6] == [1, 1, 1, 2, 2, -1]


@pytest.mark.parametrize("a, b, edits", [("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ab", 0)])
def test_the_edit_distance_is_levenshteins(a, b, edits):
    assert edit_distance([*map(ord, a)], [*map(ord, b)]) == edits


def ctc(folder, text, *arrays):
    (top,), _ = run(folder, f"type: '{text}", *arrays, phase=caffe.TRAIN)
    return float(top)


def test_ctc_reads_labels_in_each_of_its_three_forms(tmp_path):
    random = np.random.RandomState(5)
    scores = random.standard_normal((6, 2, 4))
    labels = np.array([[1, 2, 0], [3, 0, 0]])
    plain = ctc(tmp_path, "WarpCTCLoss'", scores, labels)
    marks = np.ones((6, 2))
    marks[0] = 0
    columns = np.full((6, 2), -1.0)
    columns[:3] = np.where(labels.T > 0, labels.T, -1)
    assert ctc(tmp_path, "CTCLoss'", scores, marks, columns) == pytest.approx(plain)
    sizes = np.array([6, 6]), np.array([2, 1])
    assert ctc(tmp_path, "CtcLoss'", scores, *sizes, columns) == pytest.approx(plain)
    assert ctc(tmp_path, "CtcLoss'", scores, np.array([3, 6]), sizes[1], columns) != plain


def test_the_gradient_scaler_turns_the_gradient_around(tmp_path):
    text = "type: 'GradientScaler' gradient_scaler_param { upper_bound: 0.5 alpha: 10 max_iter: 1 }"
    net = build(tmp_path, layer(text, (2, 3)), caffe.TRAIN)
    factors = []
    for _ in range(2):
        net.forward()
        net.blobs["y0"].diff[...] = 1
        net.backward()
        factors.append(float(net.blobs["x0"].diff[0, 0]))
    # The first pass has progress 0, the second 1.
    assert factors == [pytest.approx(0), pytest.approx(-(1 / (1 + np.exp(-10)) - 0.5), rel=1e-5)]


def test_spatial_dropout_drops_channels_as_a_whole(tmp_path):
    caffe.set_random_seed(1)
    text = "type: 'SpatialDropout' spatial_dropout_param { dropout_ratio: 0.5 }"
    (top,), _ = run(tmp_path, text, np.ones((4, 16, 3, 3)), phase=caffe.TRAIN)
    channels = top.reshape(64, 9)
    assert set(np.unique(channels)) == {0, 2} and (channels.min(1) == channels.max(1)).all()
    (top,), _ = run(tmp_path, text, np.ones((4, 16, 3, 3)))
    assert (top == 1).all()


@pytest.mark.parametrize(
    "fields, size, corner",
    [
        ("kernel_size: 3 stride: 2", (4, 4), None),
        ("kernel_size: 3 stride: 2 torch_pooling: true", (3, 3), None),
        ("pool: AVE kernel_size: 2 stride: 2 pad: 1", (5, 5), 0.25),
        ("pool: AVE kernel_size: 2 stride: 2 pad: 1 avg_include_pad: false", (5, 5), 1.0),
    ],
)
def test_pooling_rounds_and_counts_its_padding_as_forks_say(tmp_path, fields, size, corner):
    (top,), _ = run(
        tmp_path, f"type: 'Pooling' pooling_param {{ {fields} }}", np.ones((1, 1, 8, 8))
    )
    assert top.shape[2:] == size
    assert corner is None or float(top[0, 0, 0, 0]) == corner


@pytest.mark.parametrize(
    "fields, blobs, expected",
    [
        ("use_weight_bias: true", 5, lambda x: 2 * (x - 1) / 2 + 3),
        ("use_weight_bias: true bias_term: false", 4, lambda x: 2 * (x - 1) / 2),
        ("disable_mean: true", 3, lambda x: x / 2),
        ("disable_variance: true", 3, lambda x: x - 1),
    ],
)
def test_batch_norm_has_the_options_of_intel_and_of_the_face_fork(
    tmp_path, fields, blobs, expected
):
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    text = f"type: 'BatchNorm' batch_norm_param {{ eps: 0 {fields} }}"
    _, net = run(tmp_path, text, x)
    assert len(net.params["l"]) == blobs
    for blob, value in zip(net.params["l"], (1, 4, 1, 2, 3)):
        blob.data[...] = value
    np.testing.assert_allclose(net.forward()["y0"], expected(x), rtol=1e-5, atol=1e-6)


def test_a_convolution_of_intel_caffe_contains_its_relu(tmp_path):
    text = (
        "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 bias_term: false "
        "relu: true negative_slope: 0.5 "
        "weight_filler { type: 'diagonal' diag_val: 1 diag_val: -1 } }"
    )
    (top,), net = run(tmp_path, text, np.ones((1, 2, 3, 3)))
    assert list(net._layer_names) == ["x0", "l", "l_relu"]
    assert (top[0, 0] == 1).all() and (top[0, 1] == -0.5).all()


def test_accuracy_may_be_divided_by_a_number(tmp_path):
    text = "type: 'Accuracy' accuracy_param { denominator: 8 }"
    (top,), _ = run(tmp_path, text, np.eye(4), np.arange(4))
    assert float(top) == 0.5


def refined(folder, *arrays, score=0.1):
    text = (
        "type: 'DetectionOutput' detection_output_param { num_classes: 3 code_type: CENTER_SIZE "
        f"confidence_threshold: 0.2 objectness_score: {score} "
        "nms_param { nms_threshold: 0.45 } }"
    )
    (top,), _ = run(folder, text, *arrays)
    return top[0, 0]


def test_a_first_stage_moves_the_priors_of_detections_and_filters_them(tmp_path):
    prior = [0.2, 0.2, 0.6, 0.6]
    priors = np.stack([prior * 2, [0.1, 0.1, 0.2, 0.2] * 2])[None]
    zeros, scores = np.zeros((1, 8)), np.array([[0.1, 0.8, 0.1, 0.1, 0.1, 0.8]])
    objectness = np.array([[0.1, 0.9, 0.95, 0.05]])
    moves = np.array([[1.0, 0, 0, 0, 0, 0, 0, 0]])
    rows = refined(tmp_path, zeros, scores, priors, objectness, moves)
    # The first prior moves by 0.1 of its width; the second is taken for background.
    np.testing.assert_allclose(rows, [[0, 1, 0.8, 0.24, 0.2, 0.64, 0.6]], rtol=1e-5)
    rows = refined(tmp_path, zeros, scores, priors, objectness, moves, score=0.01)
    assert len(rows) == 2


def test_text_boxes_have_a_second_row_of_priors_half_a_step_below(tmp_path):
    text = "type: 'PriorBox' prior_box_param { min_size: 4 aspect_ratio: 2 flip: false }"
    caffe.set_fork("textboxes")
    try:
        (top,), _ = run(tmp_path, text, np.zeros((1, 1, 2, 2)), np.zeros((1, 3, 16, 16)))
    finally:
        caffe.set_fork(None)
    boxes = top[0, 0].reshape(2, 2, 4, 4)
    heights = (boxes[..., 1] + boxes[..., 3]) / 2 * 16
    assert heights[0, 0].tolist() == pytest.approx([4, 4, 8, 8])


def priors_beside(folder, fields, outputs, behind=""):
    """The boxes, in pixels, of a PriorBox over a map of one position of 32 pixels."""
    text = f"""
layer {{ name: "map" type: "Input" top: "map" input_param {{ shape {{ dim: [1, 2, 1, 1] }} }} }}
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: [1, 3, 32, 32] }} }} }}
layer {{ name: "loc" type: "Convolution" bottom: "map" top: "loc"
  convolution_param {{ num_output: {outputs} kernel_size: 1 }} }}
layer {{ name: "boxes" type: "PriorBox" bottom: "map" bottom: "data" top: "boxes"
  prior_box_param {{ {fields} flip: false }} }}"""
    net = build(folder, text + behind)
    net.forward()
    return 32 * net.blobs["boxes"].data[0, 0].reshape(-1, 4)


@pytest.mark.parametrize("outputs, count", [(8, 2), (16, 4), (12, 2)])
def test_the_convolutions_beside_priors_tell_text_boxes(tmp_path, outputs, count):
    boxes = priors_beside(tmp_path, "min_size: 4 aspect_ratio: 2", outputs)
    assert len(boxes) == count
    if count == 4:
        centres = (boxes[:, 1] + boxes[:, 3]) / 2
        assert centres.tolist() == pytest.approx([16, 16, 32, 32])


def test_the_number_of_classes_tells_scores_of_text_boxes_from_codes(tmp_path):
    """Scores of 2 classes and 4 boxes are as many as the codes of 2 boxes."""
    scored = """
layer { name: "conf" type: "Convolution" bottom: "map" top: "conf"
  convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "flat" type: "Flatten" bottom: "conf" top: "flat" }
layer { name: "codes" type: "Flatten" bottom: "loc" top: "codes" }
layer { name: "out" type: "DetectionOutput" bottom: "codes" bottom: "flat" bottom: "boxes"
  top: "out" detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.5 } } }"""
    assert len(priors_beside(tmp_path, "min_size: 4 aspect_ratio: 2", 16, scored)) == 4


def test_the_convolutions_beside_priors_tell_dense_faces(tmp_path):
    boxes = priors_beside(tmp_path, "min_size: 32 min_size: 64 min_size: 128", 84)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert len(boxes) == 21 and sorted({*centres[:16, 0].tolist()}) == [4, 12, 20, 28]
    assert centres[1].tolist() == [12, 4] and sorted({*centres[16:20, 1].tolist()}) == [8, 24]
    assert np.unique(boxes[:, 2] - boxes[:, 0]).tolist() == [32, 64, 128]


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_diagonal_filler_needs_a_kernel_of_one(tmp_path, kernel):
    values = "diag_val: 1 diag_val: 2"
    text = (
        f"type: 'Convolution' convolution_param {{ num_output: 2 kernel_size: {kernel} "
        f"weight_filler {{ type: 'diagonal' {values} }} }}"
    )
    if kernel == 1:
        _, net = run(tmp_path, text, np.ones((1, 2, 3, 3)))
        assert net.params["l"][0].data[:, :, 0, 0].tolist() == [[1, 0], [0, 2]]
    else:
        with pytest.raises(CaffeError, match="a kernel of 1"):
            run(tmp_path, text, np.ones((1, 2, 3, 3)))


def test_a_continuation_indicator_marks_the_first_step(tmp_path):
    text = "layer { name: 'm' type: 'ContinuationIndicator' top: 'm' %s }"
    settings = "continuation_indicator_param { time_step: 3 batch_size: 2 }"
    out = build(tmp_path, text % settings).forward()["m"]
    assert out.tolist() == [[0, 0], [1, 1], [1, 1]]
    with pytest.raises(LayerError, match="time_step 0 and batch_size 0"):
        build(tmp_path, text % "")


def test_a_distance_of_covariances_needs_two_rows_of_each_domain(tmp_path):
    with pytest.raises(ShapeError, match="each needs two rows"):
        build(tmp_path, layer("type: 'CORALLoss'", (1, 4), (3, 4)), caffe.TRAIN).forward()


@pytest.mark.parametrize(
    ("settings", "channels", "reason"),
    [
        ("num_output: 4 kernel_size: 3", 17, "offsets of 17 channels"),
        ("num_output: 4 kernel_size: 3 deformable_group: 2", 18, "2 groups of 9 positions need 36"),
        ("num_output: 4 kernel_size: 3 group: 3", 18, "group 3 and 1 groups of offsets"),
        ("num_output: 4", 18, "the kernel has no size"),
        ("num_output: 4 kernel_size: 3 pad: 1", 18, "offsets for each of 6 x 6 positions"),
    ],
)
def test_a_deformable_convolution_says_which_offsets_it_needs(tmp_path, settings, channels, reason):
    text = f"type: 'DeformableConvolution' deformable_convolution_param {{ {settings} }}"
    with pytest.raises(LayerError, match=reason):
        build(tmp_path, layer(text, (1, 4, 6, 6), (1, channels, 4, 4)))


@pytest.mark.parametrize(
    ("settings", "shapes", "reason"),
    [
        ("group_size: 2", [(1, 8, 6, 6), (3, 5)], "output_dim, group_size"),
        ("output_dim: 2 group_size: 2", [(1, 8, 6, 6), (3, 5)], "2 bottoms; features and ROIs"),
        ("output_dim: 2 group_size: 2 no_trans: true", [(1, 9, 6, 6), (3, 5)], "need 8 channels"),
        ("output_dim: 2 group_size: 2 no_trans: true", [(1, 8, 6, 6), (3, 4)], "R x 5 is needed"),
        ("output_dim: 2 group_size: 2", [(1, 8, 6, 6), (3, 5), (3, 2, 7, 7)], "3 x 2 K x 2 x 2"),
    ],
)
def test_a_deformable_pooling_says_which_bottoms_it_needs(tmp_path, settings, shapes, reason):
    text = (
        "type: 'DeformablePSROIPooling' deformable_psroi_pooling_param { spatial_scale: 0.5 "
        f"{settings} }}"
    )
    with pytest.raises(LayerError, match=reason):
        build(tmp_path, layer(text, *shapes))
