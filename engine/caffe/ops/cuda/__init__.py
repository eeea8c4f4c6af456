"""Kernels for CUDA devices, compiled at run time: one file a kernel and its gradient.

Each replaces several of PyTorch's operations, which would pass over memory several times.
"""

from .join import Join, Places, late_bias, takes
from .maxpool import MaxPool
from .sgd import SGD
from .upsample import Upsample, upsamples

__all__ = [
    "SGD",
    "Join",
    "MaxPool",
    "Places",
    "Upsample",
    "late_bias",
    "takes",
    "upsamples",
]
