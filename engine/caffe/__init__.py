"""Caffe's Python interface on PyTorch: `import caffe` as with BVLC Caffe."""

from . import _torch  # isort: skip  # noqa: F401  (before every module that imports PyTorch)
from . import _caffe, pycaffe
from .api import *  # noqa: F403
from .api import __all__ as __all__

__version__ = "1.0.0+pytorch"

__all__ += ("_caffe", "pycaffe")
