"""pycaffe's smaller parts: pictures of nets, timers, names with an underscore."""

from __future__ import annotations

import sys
import time

import caffe
import numpy as np
import pytest
import torch
from caffe import CaffeError, draw
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from tests.engine.nets import SCORER, build, write

NET = """
name: "picture"
layer { name: "data" type: "Data" top: "data" top: "label" data_param { batch_size: 4 }
  include { phase: TRAIN } }
layer { name: "in" type: "Input" top: "data" include { phase: TEST } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 2 }
  convolution_param { num_output: 3 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label" top: "loss"
  exclude { phase: TEST } }
"""


@pytest.fixture
def net():
    return text_format.Parse(NET, caffe_pb2.NetParameter())


def test_a_net_is_drawn_as_bvlc_caffe_draws_it(net):
    layer, blob = 'shape="record", fillcolor="{}", style="filled"', 'shape="octagon"'
    blob += ', fillcolor="#E0E0E0", style="filled"'
    assert draw.dot_text(net, "TB", phase=caffe.TEST, display_lrm=True).splitlines() == [
        'digraph "picture" {',
        "rankdir=TB;",
        f'"in (Input)" [{layer.format("#6495ED")}];',
        f'"data" [{blob}];',
        '"conv (Convolution) kernel size: 3 stride: 2 pad: 1 lr mult: 2.0, 1.0" '
        f"[{layer.format('#FF5050')}];",
        f'"conv" [{blob}];',
        f'"relu (ReLU)" [{layer.format("#90EE90")}];',
        f'"pool (Pooling AVE) kernel size: 3 stride: 1 pad: 0" [{layer.format("#FF9900")}];',
        '"pool";',
        '"in (Input)" -> "data" [label=""];',
        '"data" -> "conv (Convolution) kernel size: 3 stride: 2 pad: 1 lr mult: 2.0, 1.0" '
        '[label=""];',
        '"conv (Convolution) kernel size: 3 stride: 2 pad: 1 lr mult: 2.0, 1.0" -> "conv" '
        '[label="3"];',
        '"conv" -> "relu (ReLU)" [label=""];',
        '"relu (ReLU)" -> "conv" [label=""];',
        '"conv" -> "pool (Pooling AVE) kernel size: 3 stride: 1 pad: 0" [label=""];',
        '"pool (Pooling AVE) kernel size: 3 stride: 1 pad: 0" -> "pool" [label=""];',
        "}",
    ]


def test_the_phase_selects_the_layers_that_are_drawn(net):
    train = draw.dot_text(net, phase=caffe.TRAIN)
    assert '"data\\n(Data)" -> "data" [label="Batch 4"];' in train and "in\\n(Input)" not in train
    everything = draw.dot_text(net)
    assert "in\\n(Input)" in everything and "loss\\n(SoftmaxWithLoss)" in everything
    assert 'label="Batch 4"' not in draw.dot_text(net, label_edges=False)


def test_a_dot_file_is_written_without_graphviz(net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    draw.draw_net_to_file(net, str(tmp_path / "net.dot"))
    assert (tmp_path / "net.dot").read_text() == draw.dot_text(net)
    with pytest.raises(CaffeError, match="pip install pydot"):
        draw.draw_net_to_file(net, str(tmp_path / "net.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.dot"]


def test_layers_without_parameters_have_no_learning_rate_multiplier(net):
    with pytest.raises(ValueError, match="ReLU layers do not have a learning rate multiplier"):
        draw.get_layer_lr_mult(net.layer[3])


def test_a_stopped_timer_keeps_its_milliseconds():
    timer = caffe.Timer()
    assert timer.ms == 0
    timer.start()
    time.sleep(0.02)
    timer.stop()
    measured = timer.ms
    assert 20 <= measured < 2000
    time.sleep(0.01)
    assert timer.ms == measured


def test_nccl_is_available_where_pytorch_has_it():
    assert caffe.has_nccl() is torch.distributed.is_nccl_available()


def test_nccl_needs_at_least_two_solvers():
    with pytest.raises(CaffeError, match="solver_count is 1; NCCL needs at least 2"):
        caffe.NCCL(None, caffe.NCCL.new_uid())


def test_scripts_can_use_names_of_pycaffe_with_an_underscore(tmp_path):
    net = build(tmp_path, SCORER)
    assert net._layer_names == ["data", "conv", "relu", "pool", "score"]
    assert net._blob_names == ["data", "conv", "pool", "score"]
    assert (net._inputs, net._outputs) == ([0], [3])
    assert [net._bottom_ids(i) for i in range(5)] == [[], [0], [1], [1], [2]]
    assert [net._top_ids(i) for i in range(5)] == [[0], [1], [1], [2], [3]]
    assert net._blobs[1] is net.blobs["conv"]
    assert net._forward(0, 4) == 0
    assert caffe.pycaffe._Net_forward(net).keys() == {"score"}


def test_selective_search_and_crops_outside_the_image_are_refused(tmp_path):
    net = build(tmp_path, SCORER.replace("dim: 1", "dim: 2"))
    net.save(str(tmp_path / "net.caffemodel"))
    model = write(tmp_path, SCORER)
    detector = caffe.Detector(model, str(tmp_path / "net.caffemodel"), context_pad=1)
    with pytest.raises(CaffeError, match="selective_search_ijcv_with_python"):
        detector.detect_selective_search(["a.jpg"])
    with pytest.raises(CaffeError, match="lies outside the image"):
        detector.crop(np.zeros((5, 5, 3), np.float32), (30, 30, 20, 20))
