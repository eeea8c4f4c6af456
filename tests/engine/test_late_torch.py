"""Parts of PyTorch are loaded when they are first used, and are then what a plain import gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from caffe import late_torch

postponed = pytest.mark.skipif(
    not late_torch.known_parts() or os.name != "posix",
    reason="the installed version of PyTorch is loaded at once",
)

#: First uses of the parts: a statement, an expression, and its value as text.
USES = (
    ("import torch._refs.special", "torch._refs.special.__name__", "torch._refs.special"),
    ("import torch", "torch.cond.__name__", "cond"),
    ("import torch", "torch.ops.prims.add", "prims.add"),
    ("import torch", "tuple(torch.empty(2, 3, device='meta').nanmedian(0)[0].shape)", "(3,)"),
)
#: More of them, for the longer run.
MORE_USES = (
    ("import torch.optim", "torch.optim.SGD.__name__", "SGD"),
    ("import torch._dynamo.config", "torch._dynamo.config.__name__", "torch._dynamo.config"),
    ("from torch.utils.checkpoint import checkpoint", "checkpoint.__name__", "checkpoint"),
    ("from torch import vmap", "vmap.__name__", "vmap"),
    ("import torch", "torch._refs.__name__", "torch._refs"),
    ("import torch", "torch.zeros(4).to('meta').device.type", "meta"),
    ("import torch", "hasattr(torch, 'no_such_name')", "False"),
)
#: Runs a pass, then every use in a process of its own.
USING = """
import json, os, sys, warnings
warnings.simplefilter("error")
import caffe, torch
from caffe import heap, late_torch

net = caffe.Net(sys.argv[1], caffe.TEST)
net.forward()
heap.empty((1, 4, 2048, 2048), torch.float32, torch.channels_last)
print(json.dumps(late_torch.parts_are_loaded()), flush=True)
for statement, expression, _ in json.loads(sys.argv[2]):
    if os.fork() == 0:
        try:
            exec(statement)
            value = str(eval(expression))
            print(json.dumps([value, late_torch.parts_are_loaded()]), flush=True)
        finally:
            os._exit(0)
    os.wait()
"""
NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "score" type: "InnerProduct" bottom: "pool" top: "score"
  inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }
"""


def output(code: str, *arguments: str) -> list:
    """What a process prints, a value of JSON a line."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "GLOG_minloglevel": "2"},
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@postponed
@pytest.mark.parametrize(
    "uses",
    [
        pytest.param(USES, marks=pytest.mark.long),
        pytest.param(MORE_USES, marks=pytest.mark.slow),
    ],
)
def test_a_pass_loads_no_part_and_every_use_loads_all_of_them(tmp_path, uses):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    loaded_by_pass, *results = output(USING, str(path), json.dumps(uses))
    assert not loaded_by_pass
    assert results == [[value, True] for _, _, value in uses]


def test_other_versions_are_loaded_at_once(monkeypatch):
    monkeypatch.setattr(late_torch, "version", lambda name: "1.99.0+cpu")
    assert not late_torch.known_parts()


def test_kernels_of_devices_are_loaded_at_once_where_there_may_be_a_device(monkeypatch):
    monkeypatch.delenv("CAFFE_FAST", raising=False)
    for build, late in (("+cpu", True), ("+cu130", False), ("", False)):
        monkeypatch.setattr(late_torch, "version", lambda name, build=build: f"2.13.0{build}")
        assert (late_torch.DEVICE_KERNELS in late_torch.known_parts()) == late


def test_all_parts_are_loaded_at_once_with_the_fast_paths_off(monkeypatch):
    monkeypatch.setattr(late_torch, "version", lambda name: "2.13.0+cpu")
    monkeypatch.setenv("CAFFE_FAST", "0")
    assert not late_torch.known_parts()


#: What a program can see of PyTorch: its modules, its names, its operators and all their kernels.
SEEN = """
import hashlib, json, sys
{load}
import torch
operators = sorted(torch._C._dispatch_get_all_op_names())
kernels = "".join(torch._C._dispatch_dump_table(name) for name in operators)
print(json.dumps([
    sorted(name for name in sys.modules if name.startswith("torch")),
    sorted(dir(torch)), sorted(vars(torch.ops)), operators,
    hashlib.sha256(kernels.encode()).hexdigest(),
]))
"""


@pytest.mark.slow
@postponed
def test_pytorch_with_its_parts_is_what_a_plain_import_gives():
    loads = ("import torch", "import caffe, torch; torch.export.Dim")
    plain, late = (output(SEEN.replace("{load}", load))[0] for load in loads)
    assert late == plain
