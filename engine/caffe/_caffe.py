"""The names of pycaffe's compiled module. Its vectors of C++ are lists here."""

from . import api
from .api import *  # noqa: F403
from .blob import Blob, BlobVec
from .proto.caffe_pb2 import LayerParameter, SolverParameter
from .train.solver import Solver

__version__ = "1.0.0+pytorch"

BoolVec = DtypeVec = IntVec = LayerVec = NetVec = RawBlobVec = StringVec = list

__all__ = [
    *api.COMPILED,
    "Blob",
    "BlobVec",
    "BoolVec",
    "DtypeVec",
    "IntVec",
    "LayerParameter",
    "LayerVec",
    "NetVec",
    "RawBlobVec",
    "Solver",
    "SolverParameter",
    "StringVec",
]
