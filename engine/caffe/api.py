"""pycaffe's public names, each imported and listed once.

    caffe           `__all__`
    caffe._caffe    `COMPILED`, and the types of C++ that only this module has
    caffe.pycaffe   `PYCAFFE`

`__all__` grows from one list to the next, in the form that type checkers understand.
"""

from . import classifier, coord_map, detector, draw, io, net_spec, proto
from .classifier import Classifier
from .detector import Detector
from .errors import CaffeError
from .forks import set_fork
from .glog import init_log, log
from .launch import (
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .layers import Layer, layer_type_list, register_layer
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
from .train.solver_types import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__all__: tuple[str, ...] = (
    "NCCL",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
)
PYCAFFE = __all__

__all__ += (
    "Layer",
    "get_solver",
    "has_nccl",
    "init_log",
    "layer_type_list",
    "log",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
)
COMPILED = __all__

__all__ += (
    "TEST",
    "TRAIN",
    "CaffeError",
    "Classifier",
    "Detector",
    "NetSpec",
    "classifier",
    "coord_map",
    "detector",
    "draw",
    "io",
    "layers",
    "net_spec",
    "params",
    "precision",
    "proto",
    "register_layer",
    "set_fork",
    "set_precision",
    "to_proto",
)
