"""Solver fields of forks: detections that a test judges, and the policy "plateau"."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe import glog
from caffe.errors import NetError
from caffe.layers.forks.evaluation import average_precision
from caffe.train.policies import Plateau

NET = """
layer { name: "d" type: "Input" top: "boxes" top: "objects" include { phase: TEST }
  input_param { shape { dim: 1 dim: 1 dim: 3 dim: 7 } shape { dim: 1 dim: 1 dim: 2 dim: 8 } } }
layer { name: "eval" type: "DetectionEvaluate" bottom: "boxes" bottom: "objects"
  top: "detection_eval" include { phase: TEST }
  detection_evaluate_param { num_classes: 3 evaluate_difficult_gt: false } }
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "loss" }
"""
BOXES = [[0, 1, 0.9, 0.1, 0.1, 0.3, 0.3], [0, 1, 0.8, 0.6, 0.6, 0.7, 0.7]]
BOXES += [[0, 2, 0.7, 0.5, 0.5, 0.9, 0.9]]
OBJECTS = [[0, 1, 0, 0.1, 0.1, 0.3, 0.3, 0], [0, 2, 0, 0.5, 0.5, 0.9, 0.9, 0]]


def solver(folder, fields):
    (folder / "net.prototxt").write_text(NET)
    path = folder / "solver.prototxt"
    path.write_text(
        f'net: "{folder}/net.prototxt" test_iter: 2 test_interval: 10 base_lr: 0 max_iter: 1 '
        f'lr_policy: "fixed" snapshot_after_train: false {fields}'
    )
    return caffe.get_solver(str(path))


def test_a_test_of_detections_logs_the_mean_average_precision(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(glog, "write", lambda place, text, level=0: lines.append(text))
    s = solver(tmp_path, 'eval_type: "detection" ap_version: "11point" show_per_class_result: true')
    net = s.test_nets[0]
    net.blobs["boxes"].data[0, 0] = BOXES
    net.blobs["objects"].data[0, 0] = OBJECTS
    s.step(1)
    assert "class1: 1" in lines and "class2: 1" in lines
    assert "    Test net output #0: detection_eval = 1" in lines
    assert any("Test net output #0: loss" in line for line in lines)


@pytest.mark.parametrize(
    "fields, words",
    [
        ('eval_type: "detection" ap_version: "12point"', "ap_version is '12point'; it needs"),
        ('eval_type: "pose"', "eval_type is 'pose'; it needs"),
    ],
)
def test_unknown_words_are_refused(tmp_path, fields, words):
    with pytest.raises(NetError, match=words):
        solver(tmp_path, fields)


def test_the_integral_version_takes_precisions_as_they_are():
    rows = [[-1, 1, 2, -1, -1], [0, 1, 0.9, 0, 1], [0, 1, 0.8, 1, 0], [0, 1, 0.7, 1, 0]]
    assert average_precision(np.array(rows), interpolated=False)[1] == pytest.approx(
        0.5 * 1 / 2 + 0.5 * 2 / 3
    )
    assert average_precision(np.array(rows))[1] == pytest.approx(2 / 3)


def test_the_rate_drops_after_a_plateau_of_the_loss():
    param = caffe.proto.caffe_pb2.SolverParameter(plateau_winsize=[3, 2])
    plateau, drops, counts = Plateau(), 0, []
    for iteration, loss in enumerate([5, 4, 4, 4, 4, 4, 4, 4, 4]):
        drops = plateau.count_drops(param, iteration, drops, loss)
        counts.append(drops)
    assert counts == [0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_a_list_of_devices_is_left_out_with_a_warning(tmp_path, capfd, monkeypatch):
    """As in yjxiong/caffe, which trains on several devices."""
    monkeypatch.setenv("GLOG_minloglevel", "1")
    assert solver(tmp_path, "device_id: [0, 1, 2]\nrichness: 200").iter == 0
    log = capfd.readouterr().err
    assert "left out device_id" in log and "left out richness" in log
