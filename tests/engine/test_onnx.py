"""Layers as ONNX, run by ONNX Runtime: the engine's numbers."""

from __future__ import annotations

import re
import sys

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe import params as P
from caffe.errors import NetError
from caffe.layers import layer_class
from caffe.tools import onnx as writer
from caffe.tools.onnx.check import matched_rows
from caffe.tools.onnx.deploy import deploy_net

from tests.engine.nets import build
from zoo.export.nets import FILL, NETS, SHAPE, param_of
from zoo.layers import CASES
from zoo.nets import NETS as ZOO

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
compare = pytest.importorskip("zoo.export.compare")

TOLERANCE = 2e-6
#: The free axes of nets that do not take every size.
FREE = {"pyramids": [], "products": [], "recurrent": ["data_height", "data_width"]}
#: Why a case of the zoo has no ONNX form.
REFUSED = {
    "MultiStageMeanfield": "a lattice that is built from the colours",
    "Lstm, with marks of starts": "a second bottom, with which sequences continue,",
    "Pooling, AVE with hole": r"an average over windows with hole \(2, 2\)",
    "DomainTransform": "it filters along the rows and columns",
    "CombinedMargin": "transform_test",
    "CosinAdd": "transform_test",
    "MarginInnerProduct": "it reads labels",
    "LargeMarginInnerProduct": "is not written as ONNX",
    "LabelSpecificAdd": "transform_test",
    "CompactBilinear": "it multiplies Fourier transforms",
    "ConvolutionRistretto": "another number of few bits",
    "FcRistretto": "another number of few bits",
    "DeformableConvolution": "is not written as ONNX",
    "DeformablePSROIPooling": "is not written as ONNX",
    "DataAugmentation, by maps": "a second bottom, which moves the crop,",
    "FlowAugmentation": "is not written as ONNX",
}
#: Losses are not part of a model.
CASE_LIST = [
    case
    for case in CASES
    if case.phase == caffe.TEST and not getattr(layer_class(case.type), "loss", False)
]


def small_net(add, shape=SHAPE):
    """Return the net of `data` and the layers that `add(net_spec)` adds."""
    return compare.build(param_of(add, shape))


def rows_of(net, blob, axis):
    """Return how many rows a layer finds for random inputs."""
    random = np.random.RandomState(0)
    for name in net.inputs:
        net.blobs[name].data[...] = random.standard_normal(net.blobs[name].shape)
    if "info" in net.inputs:
        net.blobs["info"].data[...] = [80, 96, 1]
    net.forward()
    return net.blobs[blob].shape[axis]


def detections(**fields):
    """Return a function that adds a DetectionOutput of 3 classes over 6 x 6 positions."""

    def add(n):
        n.maps = L.Pooling(n.data, kernel_size=2, stride=2, pool=P.Pooling.MAX)
        n.priors = L.PriorBox(n.maps, n.data, min_size=4, max_size=7, aspect_ratio=2)
        n.codes = L.Input(shape={"dim": [2, 168 * 4 * (fields.get("located", 1))]})
        n.scores = L.Input(shape={"dim": [2, 168 * 3]})
        settings = {key: value for key, value in fields.items() if key != "located"}
        n.found = L.DetectionOutput(
            n.codes, n.scores, n.priors, detection_output_param={"num_classes": 3, **settings}
        )

    return add


@pytest.mark.parametrize("name", NETS)
def test_the_layers_of_bvlc_caffe_have_the_numbers_of_the_engine_at_two_sizes(name):
    export = compare.of_small(name)
    assert export.refusal == ""
    assert export.error < TOLERANCE
    free = [axis for axis in export.sizes["data"] if isinstance(axis, str)]
    assert free == FREE.get(name, ["batch", "data_height", "data_width"])


@pytest.mark.parametrize("case", CASE_LIST, ids=lambda case: case.title)
def test_the_layers_of_forks_have_the_numbers_of_the_engine(case):
    export = compare.of_case(case)
    reason = REFUSED.get(case.title) or REFUSED.get(case.type)
    if reason:
        assert re.search(reason, export.refusal)
    else:
        assert export.refusal == ""
        assert export.error < TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("Faster R-CNN", "C3D") else pytest.mark.slow)
        for name in ZOO
    ],
)
def test_nets_of_forks_have_the_numbers_of_the_engine(name):
    export = compare.of_zoo(name)
    if name == "CRF-RNN":
        assert "'inference' (MultiStageMeanfield)" in export.refusal
    else:
        assert export.refusal == "" and export.error < 1e-5


def test_marks_of_sequences_are_a_constant():
    def marked(n):
        n.marks = L.ContinuationIndicator(time_step=3, batch_size=2)
        n.y = L.Eltwise(n.data, n.marks, operation=P.Eltwise.PROD)

    export = compare.export(small_net(marked, (3, 2)))
    assert export.refusal == "" and export.error == 0 and export.operators["Eltwise"] == {"Mul"}


@pytest.mark.parametrize("type_", ["CustomData", "MatRead", "VideoData"])
def test_layers_that_bring_data_are_inputs_of_a_model(tmp_path, type_):
    path = tmp_path / "net.prototxt"
    path.write_text(
        f'layer {{ name: "d" type: "{type_}" top: "d" }} '
        'layer { name: "y" type: "ReLU" bottom: "d" top: "y" }'
    )
    net, lines = deploy_net(path, None, {"d": (1, 2)})
    assert net.inputs == ["d"]
    assert lines == [f"replaced d ({type_}): d read by the model instead"]


NMS = {"nms_threshold": 0.3}
CENTER = {"code_type": P.PriorBox.CENTER_SIZE, "confidence_threshold": 0.4, "nms_param": NMS}


@pytest.mark.parametrize(
    "fields",
    [
        {"nms_param": NMS},
        {**CENTER, "keep_top_k": 10},
        {**CENTER, "keep_top_k": 10, "nms_param": {**NMS, "top_k": 12}},
        {**CENTER, "share_location": False, "located": 3, "background_label_id": -1},
        {**CENTER, "variance_encoded_in_target": True, "keep_top_k": 3},
        {**CENTER, "code_type": P.PriorBox.CORNER_SIZE, "background_label_id": 1},
        {**CENTER, "confidence_threshold": 1e6},
    ],
)
def test_detections_have_the_order_and_the_numbers_of_the_engine(fields):
    net = small_net(detections(**fields), (2, 6, 12, 14))
    export = compare.export(net)
    assert export.refusal == "" and export.error < TOLERANCE
    rows = rows_of(net, "found", axis=2)
    assert rows == 2 if fields.get("confidence_threshold") == 1e6 else rows > 3


@pytest.mark.parametrize(
    "fields",
    [
        {"min_size": [4, 6], "max_size": [7, 9], "aspect_ratio": [2, 3], "clip": True},
        {"min_size": [4], "aspect_ratio": [2], "flip": False, "layout": P.PriorBox.TEXTBOXES},
        {"min_size": [32, 64], "layout": P.PriorBox.FACEBOXES},
    ],
)
def test_priors_are_those_of_the_engine_at_two_sizes(fields):
    def add(n):
        n.maps = L.Pooling(n.data, kernel_size=2, stride=2, pool=P.Pooling.MAX)
        n.priors = L.PriorBox(n.maps, n.data, prior_box_param=fields)

    export = compare.export(small_net(add, (2, 3, 12, 14)))
    assert export.refusal == "" and export.error < TOLERANCE
    assert export.sizes["data"][2:] == ["data_height", "data_width"]


def test_proposals_are_those_of_the_engine_where_few_and_where_many_remain():
    for post in (3, 300):

        def add(n, post=post):
            n.scores = L.Input(shape={"dim": [1, 18, 5, 6]})
            n.codes = L.Input(shape={"dim": [1, 36, 5, 6]})
            n.info = L.Input(shape={"dim": [1, 3]})
            fields = {"feat_stride": 16, "min_size": 8, "post_nms_topn": post, "pre_nms_topn": 90}
            n.rois, n.objects = L.Proposal(n.scores, n.codes, n.info, ntop=2, proposal_param=fields)
            n.end = L.Silence(n.data, ntop=0)

        net = small_net(add, (1, 3, 80, 96))
        export = compare.export(net)
        assert export.error < TOLERANCE
        assert (rows_of(net, "rois", axis=0) == 3) == (post == 3)


@pytest.mark.parametrize("method", ["FIXED", "DIV", "REP"])
def test_unpooling_by_parsenet_has_the_numbers_of_the_engine(method):
    fields = {"unpool": getattr(P.UnPooling, method), "out_kernel_size": 4, "out_stride": 3}

    def add(n):
        n.map = L.UnPooling(n.data, unpooling_param=fields)

    export = compare.export(small_net(add, (2, 3, 5, 6)))
    assert export.refusal == "" and export.error < TOLERANCE


def test_an_input_that_no_layer_reads_is_no_output_of_the_model():
    """As im_info of region proposal nets whose proposals are chosen in a script."""

    def add(n):
        n.info = L.Input(shape={"dim": [1, 3]})
        n.y = L.ReLU(n.data)

    net = small_net(add, (1, 2, 4, 5))
    assert "info" in net.outputs
    export = compare.export(net)
    assert export.refusal == "" and export.error < TOLERANCE


def test_a_net_whose_blobs_are_all_read_is_refused(tmp_path):
    net = build(
        tmp_path,
        """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }
    layer { name: "y" type: "TanH" bottom: "x" top: "y" }
    layer { name: "s" type: "Silence" bottom: "y" }""",
    )
    with pytest.raises(NetError, match="the net has no outputs.* Silence$"):
        writer.build(net)


def test_proposals_of_a_python_layer_without_its_module_are_written():
    def add(n):
        n.scores = L.Input(shape={"dim": [1, 18, 5, 6]})
        n.codes = L.Input(shape={"dim": [1, 36, 5, 6]})
        n.info = L.Input(shape={"dim": [1, 3]})
        python = {"module": "rpn.proposal_layer", "layer": "ProposalLayer"}
        n.rois = L.Python(n.scores, n.codes, n.info, python_param=python)
        n.end = L.Silence(n.data, ntop=0)

    export = compare.export(small_net(add, (1, 3, 80, 96)))
    assert export.refusal == "" and export.error < TOLERANCE


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda n: setattr(n, "a", L.Pooling(n.data, kernel_size=2, hole=2, pool=P.Pooling.AVE)),
         r"an average over windows with hole \(2, 2\) is not written"),
        (lambda n: setattr(n, "a", L.Convolution(n.data, num_output=2, kernel_size=1, axis=2)),
         r"axis 2 \(other than 1\)"),
        (lambda n: setattr(n, "a", L.DummyData(shape={"dim": [1]}, data_filler=[FILL])),
         "a random filler is not written as ONNX; make it an Input layer"),
        (lambda n: setattr(n, "a", L.LSTM(n.data, n.marks, recurrent_param={"num_output": 2})),
         "a state that continues from batch to batch .*expose_hidden: true"),
    ],
)  # fmt: skip
def test_a_setting_that_onnx_cannot_express_is_refused_with_its_layer(add, message, tmp_path):
    def net_spec(n):
        n.marks = L.Input(shape={"dim": [2, 6]})
        add(n)

    net = small_net(net_spec)
    with pytest.raises(caffe.CaffeError, match=f"'a'.*{message}"):
        writer.write(net, str(tmp_path / "net.onnx"))
    assert not (tmp_path / "net.onnx").exists()


class Doubler(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)


def test_all_layers_without_an_onnx_form_are_named_in_one_message(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "doubler", sys.modules[__name__])

    def add(n):
        n.a = L.Pooling(n.data, kernel_size=2, hole=2, pool=P.Pooling.AVE)
        n.b = L.Python(n.a, python_param={"module": "doubler", "layer": "Doubler"})
        n.c = L.MultiStageMeanfield(n.b, n.b, n.b, name="field", multi_stage_meanfield_param={
            "num_iterations": 1, "theta_alpha": 1, "theta_beta": 1, "theta_gamma": 1})  # fmt: skip

    net = small_net(add, (1, 3, 8, 8))
    with pytest.raises(caffe.CaffeError) as refused:
        writer.write(net, str(tmp_path / "net.onnx"))
    assert [error.layer for error in refused.value.refused] == ["a", "b", "field"]
    text = str(refused.value)
    assert text.startswith("3 layers are not written as ONNX: layer 'a' (Pooling): an average ")
    assert "; layer 'b' (Python): a layer in Python is not written as ONNX; replace it" in text


def test_an_operator_set_that_is_too_old_or_unknown_is_refused(tmp_path):
    net = small_net(lambda n: setattr(n, "a", L.ReLU(n.data)))
    for opset in (16, 99):
        with pytest.raises(caffe.CaffeError, match=f"opset {opset}: needs 17 .. "):
            writer.build(net, opset=opset)


def test_without_the_package_onnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    net = small_net(lambda n: setattr(n, "a", L.ReLU(n.data)))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(caffe.CaffeError, match="pip install onnx"):
        writer.write(net, str(tmp_path / "net.onnx"))


def test_a_stride_above_the_kernel_fixes_the_sizes():
    net = small_net(lambda n: setattr(n, "a", L.Pooling(n.data, kernel_size=2, stride=3)))
    export = compare.export(net)
    assert export.error < TOLERANCE and export.sizes["data"] == list(SHAPE)
    net = small_net(lambda n: setattr(n, "a", L.Pooling(n.data, kernel_size=1, stride=7)))
    assert "a window that begins behind the 11 positions" in compare.export(net).refusal


@pytest.mark.parametrize("name", ["pools", "convolutions", "shapes"])
def test_models_with_fixed_sizes_round_nothing_and_have_the_same_numbers(name, tmp_path):
    net = compare.build(param_of(NETS[name]))
    sizes = writer.find_sizes(net, fixed=True)
    writer.write(net, str(tmp_path / "net.onnx"), sizes)
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert not [a for node in model.graph.node for a in node.attribute if a.name == "ceil_mode"]
    assert "Shape" not in {node.op_type for node in model.graph.node}
    differences = writer.check(net, str(tmp_path / "net.onnx"), sizes)
    assert max(difference.error for difference in differences) < TOLERANCE


def test_detections_of_equal_scores_may_be_in_another_order():
    rows = np.array([[0, 1, 0.9, 1, 2, 3, 4], [0, 2, 1, 5, 5, 6, 6], [0, 2, 1, 7, 7, 8, 8]], "f")
    swapped = rows[[0, 2, 1]] + np.float32(1e-6) * (np.arange(7) > 1)
    np.testing.assert_allclose(matched_rows(rows, swapped), rows, atol=2e-6)
    other = rows.copy()
    other[0, 1] = 3
    np.testing.assert_array_equal(matched_rows(rows, other), other)
    moved = rows + np.float32([0, 0, 0, 1, 0, 0, 0])
    assert np.abs(matched_rows(rows, moved) - rows).max() == 1
