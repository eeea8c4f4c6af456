"""Caffe's Python interface on PyTorch: `import caffe` as it has always been written."""

from . import _torch  # isort: skip  # noqa: F401  (before all that needs PyTorch)
from . import _caffe, classifier, coord_map, detector, draw, io, net_spec, proto, pycaffe
from .classifier import Classifier
from .detector import Detector
from .errors import CaffeError
from .glog import init_log, log
from .launch import (
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .layers import Layer, layer_type_list
from .mode import (
    precision,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_precision,
    set_random_seed,
)
from .net import Net
from .net_spec import NetSpec, layers, params, to_proto
from .proto.caffe_pb2 import TEST, TRAIN
from .timer import Timer
from .train.nccl import NCCL, has_nccl
from .train.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__version__ = "1.0.0+pytorch"

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "CaffeError",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "_caffe",
    "classifier",
    "coord_map",
    "detector",
    "draw",
    "get_solver",
    "has_nccl",
    "init_log",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "net_spec",
    "params",
    "precision",
    "proto",
    "pycaffe",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_precision",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]
